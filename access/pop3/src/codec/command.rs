//! Commands of RFC 1939, 2449, 2595 and 5034, borrowed from the line.

/// One command line. Message numbers are as given, not yet checked against the maildrop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    User(&'a [u8]),
    Pass(&'a [u8]),
    /// Without a mechanism the offered ones are listed, as old clients expect.
    Auth {
        mechanism: Option<&'a [u8]>,
        initial: Option<&'a [u8]>,
    },
    Stls,
    Capa,
    Stat,
    List(Option<u64>),
    Uidl(Option<u64>),
    Retr(u64),
    Top {
        message: u64,
        lines: u64,
    },
    Dele(u64),
    Noop,
    Rset,
    Quit,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    Unknown,
    /// Arguments are missing, too many, or no numbers.
    Syntax,
}

/// Parses a line without its end.
///
/// # Errors
/// It is no command of ours, or not a well-formed one.
pub fn parse(line: &[u8]) -> Result<Command<'_>, Mistake> {
    let space = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (verb, rest) = line.split_at(space);
    let mut upper = [0_u8; 4];
    // RFC 1939 section 3: keywords are three or four characters, in any case.
    let upper = upper.get_mut(..verb.len()).ok_or(Mistake::Unknown)?;
    upper.copy_from_slice(verb);
    upper.make_ascii_uppercase();
    let text = rest.trim_ascii();
    match &*upper {
        b"USER" => filled(text).map(Command::User),
        // RFC 1939 section 7: PASS has one argument, so that spaces belong to the password.
        b"PASS" => filled(rest.get(1..).unwrap_or_default()).map(Command::Pass),
        b"AUTH" => auth(text),
        b"STLS" => bare(Command::Stls, text),
        b"CAPA" => bare(Command::Capa, text),
        b"STAT" => bare(Command::Stat, text),
        b"LIST" => optional(text).map(Command::List),
        b"UIDL" => optional(text).map(Command::Uidl),
        b"RETR" => number(text).map(Command::Retr),
        b"DELE" => number(text).map(Command::Dele),
        b"TOP" => top(text),
        b"NOOP" => bare(Command::Noop, text),
        b"RSET" => bare(Command::Rset, text),
        b"QUIT" => bare(Command::Quit, text),
        _ => Err(Mistake::Unknown),
    }
}

fn bare<'a>(command: Command<'a>, text: &[u8]) -> Result<Command<'a>, Mistake> {
    if text.is_empty() { Ok(command) } else { Err(Mistake::Syntax) }
}

fn filled(text: &[u8]) -> Result<&[u8], Mistake> {
    if text.is_empty() { Err(Mistake::Syntax) } else { Ok(text) }
}

fn optional(text: &[u8]) -> Result<Option<u64>, Mistake> {
    if text.is_empty() { Ok(None) } else { number(text).map(Some) }
}

/// RFC 5034 section 4: `AUTH mechanism [initial-response]`.
fn auth(text: &[u8]) -> Result<Command<'_>, Mistake> {
    let mut words = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let (mechanism, initial) = (words.next(), words.next());
    match words.next() {
        None => Ok(Command::Auth { mechanism, initial }),
        Some(_) => Err(Mistake::Syntax),
    }
}

/// RFC 1939 section 7: `TOP msg n`.
fn top(text: &[u8]) -> Result<Command<'_>, Mistake> {
    let space = memchr::memchr(b' ', text).ok_or(Mistake::Syntax)?;
    let (message, lines) = text.split_at(space);
    Ok(Command::Top { message: number(message)?, lines: number(lines.trim_ascii_start())? })
}

/// Decimal digits only; saturates, since no maildrop has so many messages.
fn number(digits: &[u8]) -> Result<u64, Mistake> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Mistake::Syntax);
    }
    let add =
        |sum: u64, &digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Ok(digits.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands() {
        assert_eq!(parse(b"stat"), Ok(Command::Stat));
        assert_eq!(parse(b"List 12 "), Ok(Command::List(Some(12))));
        assert_eq!(parse(b"LIST"), Ok(Command::List(None)));
        assert_eq!(parse(b"TOP 1 0"), Ok(Command::Top { message: 1, lines: 0 }));
        assert_eq!(parse(b"PASS  two words "), Ok(Command::Pass(b" two words ")));
        assert_eq!(parse(b"AUTH"), Ok(Command::Auth { mechanism: None, initial: None }));
        let plain = Command::Auth { mechanism: Some(b"PLAIN"), initial: Some(b"=") };
        assert_eq!(parse(b"AUTH PLAIN ="), Ok(plain));
    }

    #[test]
    fn mistakes() {
        for syntax in
            ["RETR", "RETR x", "RETR -1", "TOP 1", "TOP 1 x", "USER ", "STAT 1", "AUTH a b c"]
        {
            assert_eq!(parse(syntax.as_bytes()), Err(Mistake::Syntax), "{syntax}");
        }
        for unknown in ["", " ", "APOP ann x", "RETRIEVE 1", "XTND"] {
            assert_eq!(parse(unknown.as_bytes()), Err(Mistake::Unknown), "{unknown}");
        }
        assert_eq!(parse(b"DELE 99999999999999999999999"), Ok(Command::Dele(u64::MAX)));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&line);
        }
    }
}
