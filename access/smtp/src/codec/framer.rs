//! Content on the wire: finds its end, takes out the dots that protect it, and judges line ends. Incremental: keeps no bytes.
//!
//! States: at the beginning of a line, behind a dot there, behind that dot's CR, within a line, behind a CR.
//! Invariants: only CRLF.CRLF ends dotted content, so that no two servers disagree on where a message ends (SMTP smuggling);
//! a line begins only behind CRLF; what is handed out does not depend on how the input was cut.

/// How the end of the content is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// DATA: up to CRLF.CRLF, lines that begin with a dot carry one more. RFC 5321 4.5.2.
    Dotted,
    /// BDAT: counted by the caller, nothing is escaped. RFC 3030 section 2.
    Counted,
}

/// What becomes of a CR or LF that stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEndings {
    /// RFC 5321 2.3.8: must not be sent. The content is reported as [`Framer::is_broken`].
    Strict,
    /// Each becomes CRLF: a refusal would make the mail server in front bounce the message.
    Repair,
}

/// How far an input led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All was used, and the content goes on.
    More,
    /// The content ended with the first `used` bytes.
    Ended { used: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Dot,
    DotCr,
    Text,
    Cr,
}

/// The framing of one message.
#[derive(Clone, Debug)]
pub struct Framer {
    framing: Framing,
    endings: LineEndings,
    at: At,
    broken: bool,
    nul: bool,
}

impl Framer {
    #[must_use]
    pub fn new(framing: Framing, endings: LineEndings) -> Self {
        let at = match framing {
            // RFC 5321 4.1.1.4: the CRLF of the DATA line counts: `.`CRLF right behind it is an empty message.
            Framing::Dotted => At::LineStart,
            Framing::Counted => At::Text,
        };
        Self { framing, endings, at, broken: false, nul: false }
    }

    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    #[must_use]
    pub fn endings(&self) -> LineEndings {
        self.endings
    }

    /// A bare CR or LF was seen.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// A NUL was seen.
    #[must_use]
    pub fn has_nul(&self) -> bool {
        self.nul
    }

    /// Takes `input`, hands the text of the message to `sink` piece by piece.
    pub fn push(&mut self, input: &[u8], sink: &mut impl FnMut(&[u8])) -> Progress {
        let mut from = 0;
        while from < input.len() {
            match self.at {
                At::LineStart | At::Dot | At::DotCr | At::Cr => match self.begin(input[from], sink)
                {
                    Begun::Used => from += 1,
                    Begun::Left => {}
                    Begun::Ended => return Progress::Ended { used: from + 1 },
                },
                At::Text => from += self.run(&input[from..], sink),
            }
        }
        Progress::More
    }

    /// Counted content has ended: a CR that was held back stands alone.
    pub fn finish(&mut self, sink: &mut impl FnMut(&[u8])) {
        match self.at {
            At::Cr => self.bare(b"\r", sink),
            At::LineStart | At::Dot | At::DotCr | At::Text => {}
        }
        self.at = At::Text;
    }

    /// One byte in a state other than `Text`.
    fn begin(&mut self, byte: u8, sink: &mut impl FnMut(&[u8])) -> Begun {
        match (self.at, byte) {
            (At::LineStart, b'.') => self.at = At::Dot,
            (At::Dot, b'\r') => self.at = At::DotCr,
            (At::DotCr, b'\n') => return Begun::Ended,
            (At::Cr, b'\n') => {
                sink(b"\r\n");
                self.at = self.line_start();
            }
            // RFC 5321 4.5.2: the first of the dots goes; the byte behind it is judged as text.
            (At::LineStart | At::Dot | At::Text, _) => {
                self.at = At::Text;
                return Begun::Left;
            }
            (At::DotCr | At::Cr, _) => {
                self.bare(b"\r", sink);
                self.at = At::Text;
                return Begun::Left;
            }
        }
        Begun::Used
    }

    /// Text up to where a single byte has to be looked at; returns what was used.
    fn run(&mut self, input: &[u8], sink: &mut impl FnMut(&[u8])) -> usize {
        let mut at = 0;
        while let Some(found) = memchr::memchr3(b'\r', b'\n', 0, &input[at..]) {
            let special = at + found;
            match (input[special], input.get(special + 1)) {
                (b'\r', Some(b'\n')) => {
                    at = special + 2;
                    if self.framing == Framing::Dotted && input.get(at).is_none_or(|&b| b == b'.') {
                        emit(&input[..at], sink);
                        self.at = At::LineStart;
                        return at;
                    }
                }
                (b'\r', _) => {
                    emit(&input[..special], sink);
                    self.at = At::Cr;
                    return special + 1;
                }
                (b'\n', _) => {
                    emit(&input[..special], sink);
                    self.bare(b"\n", sink);
                    return special + 1;
                }
                (_, _) => {
                    self.nul = true;
                    at = special + 1;
                }
            }
        }
        emit(input, sink);
        input.len()
    }

    fn bare(&mut self, as_sent: &[u8], sink: &mut impl FnMut(&[u8])) {
        self.broken = true;
        match self.endings {
            LineEndings::Strict => sink(as_sent),
            LineEndings::Repair => sink(b"\r\n"),
        }
    }

    fn line_start(&self) -> At {
        match self.framing {
            Framing::Dotted => At::LineStart,
            Framing::Counted => At::Text,
        }
    }
}

fn emit(text: &[u8], sink: &mut impl FnMut(&[u8])) {
    if !text.is_empty() {
        sink(text);
    }
}

enum Begun {
    Used,
    /// The state changed; the byte is still to be judged.
    Left,
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Read {
        text: Vec<u8>,
        rest: Option<Vec<u8>>,
        broken: bool,
        nul: bool,
    }

    fn read(framing: Framing, endings: LineEndings, pieces: &[&[u8]]) -> Read {
        let mut framer = Framer::new(framing, endings);
        let mut got = Read::default();
        for piece in pieces {
            match &mut got.rest {
                Some(rest) => rest.extend_from_slice(piece),
                None => {
                    let sink = &mut |text: &[u8]| got.text.extend_from_slice(text);
                    if let Progress::Ended { used } = framer.push(piece, sink) {
                        got.rest = Some(piece[used..].to_vec());
                    }
                }
            }
        }
        if framing == Framing::Counted {
            framer.finish(&mut |text| got.text.extend_from_slice(text));
        }
        (got.broken, got.nul) = (framer.is_broken(), framer.has_nul());
        got
    }

    fn dotted(input: &[u8]) -> (Vec<u8>, Option<Vec<u8>>, bool) {
        let got = read(Framing::Dotted, LineEndings::Strict, &[input]);
        (got.text, got.rest, got.broken)
    }

    #[test]
    fn the_end_and_the_dots_of_rfc_5321_4_5_2() {
        assert_eq!(dotted(b".\r\nQ"), (b"".to_vec(), Some(b"Q".to_vec()), false));
        let stuffed = b"..a\r\n.b\r\n...\r\n.\r\n";
        assert_eq!(dotted(stuffed), (b".a\r\nb\r\n..\r\n".to_vec(), Some(vec![]), false));
    }

    #[test]
    fn nothing_else_ends_data() {
        for fake in [
            b"a\n.\n".as_slice(),
            b"a\n.\r\n",
            b"a\r\n.\n",
            b"a\r.\r",
            b"a\r\n.\r",
            b"a\r\n.\r\r\n",
            b"a\r.\r\n",
            b"a\n.\r",
            b"\n.\r\n",
            b"a\r\n.\0\r\n",
            b".\n",
        ] {
            assert_eq!(dotted(fake).1, None, "{}", fake.escape_ascii());
        }
    }

    #[test]
    fn repaired_line_ends() {
        let got = read(Framing::Dotted, LineEndings::Repair, &[b"a\n.\rb\r\r\n..c\n\r\n.\r\n"]);
        assert_eq!(got.text.escape_ascii().to_string(), r"a\r\n.\r\nb\r\n\r\n.c\r\n\r\n");
        let got = read(Framing::Counted, LineEndings::Repair, &[b".a\r", b"\n.\r\nb\r"]);
        assert_eq!(got.text.escape_ascii().to_string(), r".a\r\n.\r\nb\r\n");
    }

    /// A slow reading of the rules: split at CRLF, look at whole lines.
    fn naive(endings: LineEndings, input: &[u8]) -> Read {
        let mut got = Read::default();
        let mut left = input;
        loop {
            let Some(end) = left.windows(2).position(|pair| pair == b"\r\n") else {
                return got;
            };
            let (line, rest) = (&left[..end], &left[end + 2..]);
            if line == b"." {
                got.rest = Some(rest.to_vec());
                return got;
            }
            for &byte in line.strip_prefix(b".").unwrap_or(line) {
                match (byte, endings) {
                    (b'\r' | b'\n', LineEndings::Repair) => got.text.extend_from_slice(b"\r\n"),
                    _ => got.text.push(byte),
                }
                got.broken |= byte == b'\r' || byte == b'\n';
                got.nul |= byte == 0;
            }
            got.text.extend_from_slice(b"\r\n");
            left = rest;
        }
    }

    fn wire() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(b"\r\n\r\n\r\n...ab\0".to_vec());
        prop::collection::vec(byte, 0..60).prop_map(|mut bytes| {
            bytes.extend_from_slice(b"\r\n.\r\nrest");
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn agrees_with_the_naive_model_however_cut(
            input in wire(), a in 0_usize..70, b in 0_usize..70, repair in any::<bool>()
        ) {
            let endings = if repair { LineEndings::Repair } else { LineEndings::Strict };
            let model = naive(endings, &input);
            let (a, b) = (a.min(input.len()), b.min(input.len()));
            let (a, b) = (a.min(b), a.max(b));
            let pieces = [&input[..a], &input[a..b], &input[b..]];
            prop_assert_eq!(&read(Framing::Dotted, endings, &pieces), &model);
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            prop_assert_eq!(&read(Framing::Dotted, endings, &bytes), &model);
        }

        #[test]
        fn counted_content_is_kept_as_it_is(input in wire(), cut in 0_usize..70) {
            let cut = cut.min(input.len());
            let got = read(Framing::Counted, LineEndings::Strict, &[&input[..cut], &input[cut..]]);
            prop_assert_eq!(got.text, input);
        }
    }
}
