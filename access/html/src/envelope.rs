//! ENVELOPE, as the MailStore keeps it, for people: names and subjects decoded (RFC 2047).

use crate::value::Value;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

/// RFC 9051 7.5.2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The Date header as it stands.
    pub date: String,
    pub subject: String,
    pub from: Vec<Address>,
    pub reply_to: Vec<Address>,
    pub to: Vec<Address>,
    pub cc: Vec<Address>,
    pub bcc: Vec<Address>,
    /// With angle brackets.
    pub in_reply_to: String,
    pub message_id: String,
}

/// A mailbox of a header field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Empty when there is none.
    pub name: String,
    pub mailbox: String,
}

impl Envelope {
    /// What can't be read is left empty: a page with gaps is better than none.
    #[must_use]
    pub fn read(column: &[u8]) -> Self {
        let value = Value::parse(column).unwrap_or(Value::Nil);
        let list = |index| addresses(value.at(index));
        Self {
            date: value.at(0).text(),
            subject: decoded(value.at(1).bytes()),
            from: list(2),
            reply_to: list(4),
            to: list(5),
            cc: list(6),
            bcc: list(7),
            in_reply_to: value.at(8).text(),
            message_id: value.at(9).text(),
        }
    }
}

impl Address {
    /// The name, or the address when there is none.
    #[must_use]
    pub fn shown(&self) -> &str {
        if self.name.is_empty() { &self.mailbox } else { &self.name }
    }

    /// As in a header field.
    #[must_use]
    pub fn full(&self) -> String {
        if self.name.is_empty() {
            return self.mailbox.clone();
        }
        let plain = |c: char| c.is_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
        if self.name.chars().all(plain) {
            format!("{} <{}>", self.name, self.mailbox)
        } else {
            let quoted = self.name.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{quoted}\" <{}>", self.mailbox)
        }
    }
}

/// Several as in a header field.
#[must_use]
pub fn joined(addresses: &[Address]) -> String {
    addresses.iter().map(Address::full).collect::<Vec<_>>().join(", ")
}

fn addresses(list: &Value) -> Vec<Address> {
    let of = |it: &Value| {
        let (local, host) = (it.at(2).text(), it.at(3));
        // RFC 9051 7.5.2: without a host it begins or ends a group.
        if *host == Value::Nil {
            return None;
        }
        Some(Address {
            name: decoded(it.at(0).bytes()),
            mailbox: format!("{local}@{}", host.text()),
        })
    };
    list.items().iter().filter_map(of).collect()
}

/// Encoded words and raw 8-bit text as UTF-8; control characters go.
#[must_use]
pub fn decoded(raw: &[u8]) -> String {
    // The parser ends a field at a line break.
    let mut field: Vec<u8> =
        raw.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }).collect();
    field.push(b'\n');
    let text = match MessageStream::new(&field).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        _ => String::new(),
    };
    text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_and_groups_left_out() {
        let column = b"(\"Mon, 1 Jan 2024 00:00:00 +0000\" \"=?utf-8?Q?Gr=C3=BC=C3=9Fe?=\" \
            ((\"=?iso-8859-1?Q?J=F6rg?=\" NIL \"joerg\" \"x.example\")) NIL NIL \
            ((NIL NIL \"friends\" NIL)(NIL NIL \"a\" \"y\")(NIL NIL NIL NIL)) NIL NIL NIL \"<1@x>\")";
        let envelope = Envelope::read(column);
        assert_eq!(envelope.subject, "Gr\u{fc}\u{df}e");
        assert_eq!(envelope.from[0].full(), "J\u{f6}rg <joerg@x.example>");
        assert_eq!(joined(&envelope.to), "a@y");
        assert_eq!(envelope.message_id, "<1@x>");
        assert_eq!(Envelope::read(b"nonsense"), Envelope::default());
    }

    #[test]
    fn a_name_can_not_end_its_quotes() {
        let name = "a\" <b@c>, \"d".to_owned();
        let address = Address { name, mailbox: "m@x".into() };
        assert_eq!(address.full(), "\"a\\\" <b@c>, \\\"d\" <m@x>");
        assert_eq!(decoded(b"one\r\n two\0"), "one   two");
    }
}
