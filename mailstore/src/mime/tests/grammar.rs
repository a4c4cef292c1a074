//! An independent reader of ENVELOPE, BODY and BODYSTRUCTURE, strict by RFC 9051 section 9.

/// A body as read.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Multipart(Vec<Read>),
    Message { size: u64, inside: Box<Read> },
    Leaf { size: u64 },
}

/// Whether extension data follow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Body,
    BodyStructure,
}

pub fn read_body(text: &[u8], form: Form) -> Result<Read, String> {
    let mut reader = Reader { text, at: 0, form };
    let body = reader.body()?;
    reader.end().map(|()| body)
}

pub fn read_envelope(text: &[u8]) -> Result<(), String> {
    let mut reader = Reader { text, at: 0, form: Form::Body };
    reader.envelope()?;
    reader.end()
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    form: Form,
}

impl Reader<'_> {
    fn fail<T>(&self, wanted: &str) -> Result<T, String> {
        Err(format!("{wanted} at {} of {}", self.at, self.text.escape_ascii()))
    }

    fn end(&self) -> Result<(), String> {
        if self.at == self.text.len() { Ok(()) } else { self.fail("end") }
    }

    fn starts(&self, token: &str) -> bool {
        self.text[self.at..].starts_with(token.as_bytes())
    }

    fn token(&mut self, token: &str) -> Result<(), String> {
        if !self.starts(token) {
            return self.fail(token);
        }
        self.at += token.len();
        Ok(())
    }

    fn number(&mut self) -> Result<u64, String> {
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = std::str::from_utf8(&self.text[self.at..self.at + digits]).expect("digits");
        let Ok(number) = text.parse() else {
            return self.fail("number");
        };
        self.at += digits;
        Ok(number)
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        if self.starts("{") {
            self.token("{")?;
            let len = usize::try_from(self.number()?).map_err(|error| error.to_string())?;
            self.token("}\r\n")?;
            let Some(text) = self.text.get(self.at..self.at + len) else {
                return self.fail("literal");
            };
            self.at += len;
            return if text.contains(&0) { self.fail("no NUL") } else { Ok(text.to_vec()) };
        }
        self.token("\"")?;
        let mut text = Vec::new();
        loop {
            match self.text[self.at..] {
                [b'"', ..] => {
                    self.at += 1;
                    return Ok(text);
                }
                [b'\\', byte @ (b'"' | b'\\'), ..] => {
                    text.push(byte);
                    self.at += 2;
                }
                [0 | b'\r' | b'\n' | b'\\' | 0x80.., ..] | [] => return self.fail("quoted"),
                [byte, ..] => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn nstring(&mut self) -> Result<(), String> {
        if self.starts("NIL") { self.token("NIL") } else { self.string().map(|_| ()) }
    }

    fn params(&mut self) -> Result<(), String> {
        if self.starts("NIL") {
            return self.token("NIL");
        }
        self.token("(")?;
        loop {
            self.string()?;
            self.token(" ")?;
            self.string()?;
            if !self.starts(" ") {
                return self.token(")");
            }
            self.token(" ")?;
        }
    }

    fn disposition(&mut self) -> Result<(), String> {
        if self.starts("NIL") {
            return self.token("NIL");
        }
        self.token("(")?;
        self.string()?;
        self.token(" ")?;
        self.params()?;
        self.token(")")
    }

    fn language(&mut self) -> Result<(), String> {
        if !self.starts("(") {
            return self.nstring();
        }
        self.token("(")?;
        loop {
            self.string()?;
            if !self.starts(" ") {
                return self.token(")");
            }
            self.token(" ")?;
        }
    }

    fn addresses(&mut self) -> Result<(), String> {
        if self.starts("NIL") {
            return self.token("NIL");
        }
        self.token("(")?;
        loop {
            self.token("(")?;
            for separator in [" ", " ", " ", ")"] {
                self.nstring()?;
                self.token(separator)?;
            }
            if !self.starts("(") {
                return self.token(")");
            }
        }
    }

    fn envelope(&mut self) -> Result<(), String> {
        self.token("(")?;
        self.nstring()?;
        self.token(" ")?;
        self.nstring()?;
        for _ in 0..6 {
            self.token(" ")?;
            self.addresses()?;
        }
        self.token(" ")?;
        self.nstring()?;
        self.token(" ")?;
        self.nstring()?;
        self.token(")")
    }

    fn body(&mut self) -> Result<Read, String> {
        self.token("(")?;
        let body = if self.starts("(") { self.multipart()? } else { self.single()? };
        if self.form == Form::BodyStructure {
            self.token(" ")?;
            match body {
                Read::Multipart(_) => self.params()?,
                Read::Message { .. } | Read::Leaf { .. } => self.nstring()?,
            }
            self.token(" ")?;
            self.disposition()?;
            self.token(" ")?;
            self.language()?;
            self.token(" ")?;
            self.nstring()?;
        }
        self.token(")")?;
        Ok(body)
    }

    fn multipart(&mut self) -> Result<Read, String> {
        let mut inside = Vec::new();
        while self.starts("(") {
            inside.push(self.body()?);
        }
        self.token(" ")?;
        self.string()?;
        Ok(Read::Multipart(inside))
    }

    fn single(&mut self) -> Result<Read, String> {
        let main = self.string()?.to_ascii_lowercase();
        self.token(" ")?;
        let sub = self.string()?.to_ascii_lowercase();
        self.token(" ")?;
        self.params()?;
        self.token(" ")?;
        self.nstring()?;
        self.token(" ")?;
        self.nstring()?;
        self.token(" ")?;
        self.string()?;
        self.token(" ")?;
        let size = self.number()?;
        if main == b"text" {
            self.token(" ")?;
            self.number()?;
        }
        if main != b"message" || (sub != b"rfc822" && sub != b"global") {
            return Ok(Read::Leaf { size });
        }
        self.token(" ")?;
        self.envelope()?;
        self.token(" ")?;
        let inside = Box::new(self.body()?);
        self.token(" ")?;
        self.number()?;
        Ok(Read::Message { size, inside })
    }
}
