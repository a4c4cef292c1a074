//! Reading responses the plain way: lines and literals into values.

use super::{Checked, wrong};

/// A word, a string, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Atom(String),
    /// A quoted string or a literal.
    Text(Vec<u8>),
    List(Vec<Value>),
}

impl Value {
    pub fn atom(&self) -> Option<&str> {
        match self {
            Self::Atom(atom) => Some(atom),
            Self::Text(_) | Self::List(_) => None,
        }
    }

    pub fn number(&self) -> Option<u32> {
        self.atom()?.parse().ok()
    }
}

/// Bytes of the first whole response, literals and final CRLF included.
pub fn response_len(bytes: &[u8]) -> Checked<Option<usize>> {
    let mut at = 0;
    loop {
        let Some(end) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(None);
        };
        let line = &bytes[at..at + end];
        at += end + 2;
        match literal(line)? {
            None => return Ok(Some(at)),
            Some(len) if bytes.len() < at + len => return Ok(None),
            Some(len) => at += len,
        }
    }
}

/// `{n}` at the end of a line.
fn literal(line: &[u8]) -> Checked<Option<usize>> {
    let Some(head) = line.strip_suffix(b"}") else { return Ok(None) };
    let Some(open) = head.iter().rposition(|&byte| byte == b'{') else { return Ok(None) };
    let digits = std::str::from_utf8(&head[open + 1..]).unwrap_or_default();
    match digits.parse() {
        Ok(len) => Ok(Some(len)),
        Err(_) => wrong("a literal without a length"),
    }
}

/// The values of one whole response.
pub fn parse(response: &[u8]) -> Checked<Vec<Value>> {
    let mut rest = response.strip_suffix(b"\r\n").unwrap_or(response);
    let mut stack: Vec<Vec<Value>> = vec![Vec::new()];
    while let Some(&byte) = rest.first() {
        let value = match byte {
            b' ' => {
                rest = &rest[1..];
                continue;
            }
            b'(' => {
                rest = &rest[1..];
                stack.push(Vec::new());
                continue;
            }
            b')' => {
                rest = &rest[1..];
                // Free text may hold what it likes.
                if stack.len() == 1 {
                    continue;
                }
                Value::List(stack.pop().unwrap_or_default())
            }
            b'"' => quoted(&mut rest)?,
            b'{' | b'~' if is_literal(rest) => text(&mut rest)?,
            _ => atom(&mut rest),
        };
        if let Some(top) = stack.last_mut() {
            top.push(value);
        }
    }
    Ok(stack.swap_remove(0))
}

fn is_literal(rest: &[u8]) -> bool {
    let rest = rest.strip_prefix(b"~").unwrap_or(rest);
    let end = rest.iter().position(|&byte| byte == b'}');
    end.is_some_and(|end| {
        rest.starts_with(b"{")
            && rest[1..end].iter().all(u8::is_ascii_digit)
            && rest[end + 1..].starts_with(b"\r\n")
    })
}

fn text(rest: &mut &[u8]) -> Checked<Value> {
    let end = rest.iter().position(|&byte| byte == b'}').unwrap_or(0);
    let Some(len) = literal(&rest[..=end])? else { return wrong("a broken literal") };
    let from = end + 3;
    let Some(bytes) = rest.get(from..from + len) else { return wrong("a short literal") };
    let value = Value::Text(bytes.to_vec());
    *rest = &rest[from + len..];
    Ok(value)
}

fn quoted(rest: &mut &[u8]) -> Checked<Value> {
    let mut out = Vec::new();
    let mut at = 1;
    while let Some(&byte) = rest.get(at) {
        match byte {
            b'"' => {
                *rest = &rest[at + 1..];
                return Ok(Value::Text(out));
            }
            b'\\' => {
                out.extend(rest.get(at + 1));
                at += 2;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    // Free text with a lone quote.
    *rest = &[];
    Ok(Value::Text(out))
}

/// An atom; brackets in it hide blanks and parentheses.
fn atom(rest: &mut &[u8]) -> Value {
    let mut in_brackets = false;
    let is_item = rest.starts_with(b"BODY[") || rest.starts_with(b"BINARY");
    let end = rest
        .iter()
        .position(|&byte| {
            match byte {
                b'[' => in_brackets = is_item,
                b']' => in_brackets = false,
                _ => {}
            }
            !in_brackets && matches!(byte, b' ' | b'(' | b')')
        })
        .unwrap_or(rest.len());
    let (word, tail) = rest.split_at(end);
    *rest = tail;
    Value::Atom(String::from_utf8_lossy(word).into_owned())
}

/// The numbers of a set, `1:3,7`.
pub fn numbers(set: &str) -> Checked<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in set.split(',') {
        let (from, to) = range.split_once(':').unwrap_or((range, range));
        match (from.parse::<u32>(), to.parse::<u32>()) {
            (Ok(from), Ok(to)) if from <= to && to - from < 1_000_000 => numbers.extend(from..=to),
            _ => return wrong(format!("a wrong set: {set}")),
        }
    }
    Ok(numbers)
}
