//! IMAP's parenthesised lists, as ENVELOPE and BODYSTRUCTURE are kept (RFC 9051 9): NIL, strings, numbers, lists.

/// Lists nest at most so deep. `mailstore::mime` nests parts far less; whatever is deeper is damaged.
const DEPTH_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Nil,
    Text(Vec<u8>),
    Number(u64),
    List(Vec<Value>),
}

const NIL: Value = Value::Nil;

impl Value {
    /// `None`: it is not one whole value.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { rest: bytes };
        let value = reader.value(0)?;
        reader.rest.is_empty().then_some(value)
    }

    /// An element of a list; NIL beyond its end, and of what is no list.
    pub fn at(&self, index: usize) -> &Self {
        match self {
            Self::List(items) => items.get(index).unwrap_or(&NIL),
            Self::Nil | Self::Text(_) | Self::Number(_) => &NIL,
        }
    }

    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Nil | Self::Text(_) | Self::Number(_) => &[],
        }
    }

    /// Empty of what is no string.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Nil | Self::Number(_) | Self::List(_) => &[],
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    pub fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Nil | Self::Text(_) | Self::List(_) => 0,
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        match self.rest.first()? {
            b'(' if depth < DEPTH_MAX => {
                self.skip(1);
                self.list(depth)
            }
            b'"' => {
                self.skip(1);
                self.quoted()
            }
            b'{' => self.literal(),
            b'0'..=b'9' => {
                let number = self.number()?;
                Some(Value::Number(number))
            }
            _ if self.rest.get(..3)?.eq_ignore_ascii_case(b"NIL") => {
                self.skip(3);
                Some(Value::Nil)
            }
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        loop {
            match self.rest.first()? {
                b')' => {
                    self.skip(1);
                    return Some(Value::List(items));
                }
                b' ' => self.skip(1),
                _ => items.push(self.value(depth + 1)?),
            }
        }
    }

    fn quoted(&mut self) -> Option<Value> {
        let mut text = Vec::new();
        loop {
            let byte = *self.rest.first()?;
            self.skip(1);
            match byte {
                b'"' => return Some(Value::Text(text)),
                b'\\' => {
                    text.push(*self.rest.first()?);
                    self.skip(1);
                }
                byte => text.push(byte),
            }
        }
    }

    fn literal(&mut self) -> Option<Value> {
        self.skip(1);
        let len = usize::try_from(self.number()?).ok()?;
        self.rest = self.rest.strip_prefix(b"}\r\n")?;
        let text = self.rest.get(..len)?.to_vec();
        self.skip(len);
        Some(Value::Text(text))
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = std::str::from_utf8(self.rest.get(..digits)?).ok()?.parse().ok()?;
        self.skip(digits);
        Some(number)
    }

    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn lists_strings_numbers() {
        let value =
            Value::parse(b"((\"a\" NIL \"b\\\"c\" \"\")(NIL) 12 {3}\r\n(\"x)").expect("a value");
        let first = Value::List(vec![text("a"), Value::Nil, text("b\"c"), text("")]);
        assert_eq!(value.at(0), &first);
        assert_eq!(value.at(1), &Value::List(vec![Value::Nil]));
        assert_eq!(value.at(2).number(), 12);
        assert_eq!(value.at(3).text(), "(\"x");
        assert_eq!(value.at(9), &Value::Nil);
        for broken in ["", "(", "(\"a", "{9}\r\nabc", "{99999999999999999999}\r\n", "NILx", "x"] {
            assert_eq!(Value::parse(broken.as_bytes()), None, "{broken}");
        }
        assert_eq!(Value::parse(&vec![b'('; 100_000]), None, "no deeper than the stack");
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Value::parse(&bytes);
        }
    }
}
