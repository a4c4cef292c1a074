//! Commands, parsed by hand and borrowed from the line. An error is the reply it gets.

use super::Path;
use super::path::parse_path;
use super::reply::{self, Reply};

/// One command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Hello {
        verb: Hello,
        client: &'a str,
    },
    StartTls,
    /// `initial` as it stands, in base64; RFC 4954 section 4: `=` is an empty one.
    Auth {
        mechanism: &'a [u8],
        initial: Option<&'a [u8]>,
    },
    Mail {
        path: Path<'a>,
        params: MailParams,
    },
    Rcpt {
        path: Path<'a>,
    },
    Data,
    Bdat {
        bytes: u64,
        last: LastChunk,
    },
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
}

/// How the client greets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    Helo,
    Ehlo,
    Lhlo,
}

/// RFC 3030 section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastChunk {
    Last,
    MoreFollow,
}

/// Parameters of MAIL that are understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParams {
    /// RFC 1870 section 3.
    pub size: Option<u64>,
    /// RFC 6531 3.4: addresses and header may hold UTF-8.
    pub smtputf8: bool,
}

/// Octets of the name a client greets with. RFC 5321 4.5.3.1.2: 255.
const CLIENT_NAME_BYTES_MAX: usize = 255;

/// Parses a line without its CRLF.
///
/// # Errors
/// The reply to a line that is no command of ours, or not a well-formed one.
pub fn parse(line: &[u8]) -> Result<Command<'_>, Reply> {
    // RFC 5321 4.1.1: trailing white space is tolerated.
    let line = line.trim_ascii_end();
    let space = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (verb, rest) = line.split_at(space);
    let rest = rest.trim_ascii_start();
    let mut upper = [0_u8; 8];
    let Some(upper) = upper.get_mut(..verb.len()) else { return Err(reply::UNKNOWN_COMMAND) };
    upper.copy_from_slice(verb);
    upper.make_ascii_uppercase();
    match &*upper {
        b"MAIL" => parse_mail(rest),
        b"RCPT" => parse_rcpt(rest),
        b"DATA" => bare(Command::Data, rest),
        b"BDAT" => parse_bdat(rest),
        b"EHLO" => parse_hello(Hello::Ehlo, rest),
        b"HELO" => parse_hello(Hello::Helo, rest),
        b"LHLO" => parse_hello(Hello::Lhlo, rest),
        b"QUIT" => bare(Command::Quit, rest),
        b"RSET" => bare(Command::Rset, rest),
        // RFC 5321 4.1.1.9: NOOP ignores its parameter.
        b"NOOP" => Ok(Command::Noop),
        b"HELP" => Ok(Command::Help),
        b"VRFY" if rest.is_empty() => Err(reply::BAD_SYNTAX),
        b"VRFY" => Ok(Command::Vrfy),
        b"STARTTLS" => bare(Command::StartTls, rest),
        b"AUTH" => parse_auth(rest),
        b"EXPN" | b"TURN" | b"ETRN" | b"BURL" => Err(reply::NOT_IMPLEMENTED),
        _ => Err(reply::UNKNOWN_COMMAND),
    }
}

fn bare<'a>(command: Command<'a>, rest: &[u8]) -> Result<Command<'a>, Reply> {
    if rest.is_empty() { Ok(command) } else { Err(reply::BAD_SYNTAX) }
}

fn parse_hello(verb: Hello, rest: &[u8]) -> Result<Command<'_>, Reply> {
    let client = std::str::from_utf8(rest).map_err(|_| reply::BAD_SYNTAX)?;
    let harmless = |c: char| !c.is_control() && !c.is_whitespace();
    if client.is_empty() || client.len() > CLIENT_NAME_BYTES_MAX || !client.chars().all(harmless) {
        return Err(reply::BAD_SYNTAX);
    }
    Ok(Command::Hello { verb, client })
}

fn parse_mail(rest: &[u8]) -> Result<Command<'_>, Reply> {
    let rest = after_keyword(rest, b"FROM:")?;
    let (path, rest) = parse_path(rest).ok_or(reply::BAD_SENDER)?;
    let mut params = MailParams::default();
    for_each_param(rest, |name, value| mail_param(&mut params, name, value))?;
    Ok(Command::Mail { path, params })
}

fn mail_param(params: &mut MailParams, name: &[u8], value: Option<&[u8]>) -> Result<(), Reply> {
    match value {
        Some(value) if name.eq_ignore_ascii_case(b"SIZE") => {
            // RFC 1870 section 3: 1 to 20 digits. What overflows is larger than any limit.
            let digits = value.len() <= 20;
            params.size = Some(number(value).filter(|_| digits).ok_or(reply::BAD_SYNTAX)?);
            Ok(())
        }
        // RFC 6152 section 2. BINARYMIME is not announced: 555.
        Some(value) if name.eq_ignore_ascii_case(b"BODY") => {
            let known = [b"7BIT".as_slice(), b"8BITMIME"];
            let is_known = known.iter().any(|kind| value.eq_ignore_ascii_case(kind));
            if is_known { Ok(()) } else { Err(reply::UNKNOWN_PARAMETER) }
        }
        // RFC 4954 section 5: parsed, and of no consequence, since nobody is trusted to vouch for others.
        Some(_) if name.eq_ignore_ascii_case(b"AUTH") => Ok(()),
        None if name.eq_ignore_ascii_case(b"SMTPUTF8") => {
            params.smtputf8 = true;
            Ok(())
        }
        Some(_) | None => Err(reply::UNKNOWN_PARAMETER),
    }
}

fn parse_rcpt(rest: &[u8]) -> Result<Command<'_>, Reply> {
    let rest = after_keyword(rest, b"TO:")?;
    let (path, rest) = parse_path(rest).ok_or(reply::BAD_RECIPIENT)?;
    // RFC 5321 4.1.1.11: no parameter of RCPT is announced.
    for_each_param(rest, |_, _| Err(reply::UNKNOWN_PARAMETER))?;
    // RFC 5321 4.1.1.3: a forward path is never null.
    if path.address.is_empty() {
        return Err(reply::BAD_RECIPIENT);
    }
    Ok(Command::Rcpt { path })
}

/// What follows `FROM:` or `TO:`. A space behind the colon is wrong and common.
fn after_keyword<'a>(rest: &'a [u8], keyword: &[u8]) -> Result<&'a [u8], Reply> {
    match rest.split_at_checked(keyword.len()) {
        Some((found, rest)) if found.eq_ignore_ascii_case(keyword) => Ok(rest.trim_ascii_start()),
        Some(_) | None => Err(reply::BAD_SYNTAX),
    }
}

/// RFC 5321 4.1.2: `SP keyword ["=" value]`, any number of times.
fn for_each_param(
    rest: &[u8],
    mut judge: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), Reply>,
) -> Result<(), Reply> {
    if !rest.is_empty() && rest[0] != b' ' {
        return Err(reply::BAD_SYNTAX);
    }
    for param in rest.split(|&byte| byte == b' ').filter(|param| !param.is_empty()) {
        if !param.iter().all(u8::is_ascii_graphic) {
            return Err(reply::BAD_SYNTAX);
        }
        match memchr::memchr(b'=', param) {
            Some(equals) => judge(&param[..equals], Some(&param[equals + 1..]))?,
            None => judge(param, None)?,
        }
    }
    Ok(())
}

/// RFC 3030 section 2: `BDAT SP chunk-size [SP LAST]`.
fn parse_bdat(rest: &[u8]) -> Result<Command<'_>, Reply> {
    let space = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let (size, rest) = rest.split_at(space);
    let bytes = number(size).ok_or(reply::BAD_SYNTAX)?;
    let rest = rest.trim_ascii();
    let last = if rest.is_empty() {
        LastChunk::MoreFollow
    } else if rest.eq_ignore_ascii_case(b"LAST") {
        LastChunk::Last
    } else {
        return Err(reply::BAD_SYNTAX);
    };
    Ok(Command::Bdat { bytes, last })
}

fn parse_auth(rest: &[u8]) -> Result<Command<'_>, Reply> {
    let space = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let (mechanism, initial) = rest.split_at(space);
    let initial = initial.trim_ascii_start();
    if mechanism.is_empty() || memchr::memchr(b' ', initial).is_some() {
        return Err(reply::BAD_SYNTAX);
    }
    Ok(Command::Auth { mechanism, initial: (!initial.is_empty()).then_some(initial) })
}

/// Decimal digits only; saturates, since a number beyond 64 bits is over every limit.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add =
        |sum: u64, &digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_are_case_insensitive_and_tolerate_trailing_space() {
        assert_eq!(parse(b"data "), Ok(Command::Data));
        assert_eq!(parse(b"Noop what ever"), Ok(Command::Noop));
        assert_eq!(parse(b"DATA x"), Err(reply::BAD_SYNTAX));
        assert_eq!(parse(b""), Err(reply::UNKNOWN_COMMAND));
        assert_eq!(parse(b"MAILFROM:<a@b>"), Err(reply::UNKNOWN_COMMAND));
    }

    #[test]
    fn mail_with_parameters() {
        let path = Path { address: "a@b" };
        let params = MailParams { size: Some(12), smtputf8: true };
        let line = b"mail from:<a@b> size=12 body=8bitmime SMTPUTF8 AUTH=<>";
        assert_eq!(parse(line), Ok(Command::Mail { path, params }));
        assert_eq!(parse(b"MAIL FROM:<a@b> RET=HDRS"), Err(reply::UNKNOWN_PARAMETER));
        assert_eq!(parse(b"MAIL FROM:<a@b> BODY=BINARYMIME"), Err(reply::UNKNOWN_PARAMETER));
        assert_eq!(parse(b"MAIL FROM:<a@b>SIZE=1"), Err(reply::BAD_SYNTAX));
        assert_eq!(parse(b"MAIL FROM:<a@b> SIZE=-1"), Err(reply::BAD_SYNTAX));
        assert_eq!(parse(b"MAIL FROM:a@b"), Err(reply::BAD_SENDER));
        let huge = MailParams { size: Some(u64::MAX), smtputf8: false };
        let line = b"MAIL FROM: <a@b> SIZE=99999999999999999999";
        assert_eq!(parse(line), Ok(Command::Mail { path, params: huge }));
    }

    #[test]
    fn bdat_and_auth() {
        let chunk = |bytes, last| Ok(Command::Bdat { bytes, last });
        assert_eq!(parse(b"BDAT 12"), chunk(12, LastChunk::MoreFollow));
        assert_eq!(parse(b"BDAT 0 last"), chunk(0, LastChunk::Last));
        assert_eq!(parse(b"BDAT 0 LEAST"), Err(reply::BAD_SYNTAX));
        assert_eq!(parse(b"BDAT"), Err(reply::BAD_SYNTAX));
        let auth = Command::Auth { mechanism: b"PLAIN", initial: Some(b"=") };
        assert_eq!(parse(b"AUTH PLAIN ="), Ok(auth));
        assert_eq!(parse(b"AUTH"), Err(reply::BAD_SYNTAX));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..80), verb in 0_usize..8) {
            let verbs = ["", "MAIL FROM:<", "RCPT TO:<", "BDAT ", "EHLO ", "AUTH ", "MAIL FROM:<> ", "VRFY "];
            let _ = parse(&line);
            let _ = parse(&[verbs[verb].as_bytes(), &line].concat());
        }
    }
}
