//! A message, from a form; and the form of an answer, from a message.

use crate::envelope::{Address, Envelope, joined};
use crate::reading::rich;
use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address as Built;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::MimePart;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

/// Recipients of one message. `protocols.md` allows SMTP more; people who want more want a list.
pub const RECIPIENTS_MAX: usize = 100;

/// What stands in the form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The address it is sent from; empty: that of the account.
    pub from: String,
    pub to: String,
    pub cc: String,
    pub bcc: String,
    pub subject: String,
    /// Lines end with LF.
    pub text: String,
    /// The same with markup ([`rich`]); then `text` is made of it.
    pub html: Option<String>,
    /// Message-ID of what it answers, with angle brackets; empty when nothing.
    pub in_reply_to: String,
    /// Message-IDs, oldest first, separated by spaces.
    pub references: String,
    pub attachments: Vec<Attachment>,
}

/// The media type of a message as an attachment.
pub const MESSAGE_MEDIA: &str = "message/rfc822";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub name: String,
    /// As in `image/png`.
    pub media: String,
    pub bytes: Vec<u8>,
}

/// Who gets a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    pub to: Vec<Address>,
    pub cc: Vec<Address>,
    pub bcc: Vec<Address>,
}

impl Recipients {
    /// Reads the three fields.
    ///
    /// # Errors
    /// What a person has to mend.
    pub fn read(draft: &Draft) -> Result<Self, String> {
        let all = Self {
            to: addresses(&draft.to)?,
            cc: addresses(&draft.cc)?,
            bcc: addresses(&draft.bcc)?,
        };
        match all.iter().count() {
            0 => Err("Nobody to send it to: fill in To.".into()),
            count if count > RECIPIENTS_MAX => {
                Err(format!("{count} recipients are too many: at most {RECIPIENTS_MAX}."))
            }
            _ => Ok(all),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Address> {
        self.to.iter().chain(&self.cc).chain(&self.bcc)
    }
}

/// Reads addresses as people type them, separated by commas, semicolons or line breaks.
///
/// # Errors
/// Names what is no address.
pub fn addresses(typed: &str) -> Result<Vec<Address>, String> {
    let mut found = Vec::new();
    for piece in pieces(typed) {
        let mut field = piece.replace(|c: char| c.is_control(), " ").into_bytes();
        field.push(b'\n');
        let parsed = match MessageStream::new(&field).parse_address() {
            HeaderValue::Address(parsed) => parsed,
            _ => return Err(not_an_address(piece)),
        };
        let before = found.len();
        for it in parsed.iter() {
            let mailbox = it.address.as_deref().unwrap_or_default();
            let well_formed = mailbox
                .rsplit_once('@')
                .is_some_and(|(local, host)| !local.is_empty() && !host.is_empty())
                && !mailbox.contains(char::is_whitespace);
            if !well_formed {
                return Err(not_an_address(piece));
            }
            let name = it.name.as_deref().unwrap_or_default().trim().to_owned();
            found.push(Address { name, mailbox: mailbox.to_owned() });
        }
        if found.len() == before {
            return Err(not_an_address(piece));
        }
    }
    Ok(found)
}

fn not_an_address(piece: &str) -> String {
    format!("“{piece}” is no mail address: write it as name@example.org.")
}

/// Splits at what separates addresses, outside quotes and angle brackets.
fn pieces(typed: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let split = move |c: char| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '\\' if quoted && !was_escaped => escaped = true,
            '"' if !was_escaped => quoted = !quoted,
            ',' | ';' | '\n' if !quoted => return true,
            _ => {}
        }
        false
    };
    typed.split(split).map(str::trim).filter(|piece| !piece.is_empty())
}

/// What the node adds to a form.
#[derive(Clone, Debug)]
pub struct Sender {
    pub from: Address,
    /// Without angle brackets.
    pub message_id: String,
    /// Seconds since 1970.
    pub date: i64,
}

/// Whether a copy shows the blind recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blind {
    /// The sender's own copy, or a draft.
    Shown,
    Hidden,
}

/// The message of a form, with CRLF.
#[must_use]
pub fn message(draft: &Draft, recipients: &Recipients, sender: &Sender, blind: Blind) -> Vec<u8> {
    let mut built = MessageBuilder::new()
        .from(one(&sender.from))
        .message_id(sender.message_id.clone())
        .date(sender.date)
        .subject(draft.subject.replace(|c: char| c.is_control(), " "))
        .text_body(draft.text.replace("\r\n", "\n"));
    if !recipients.to.is_empty() {
        built = built.to(several(&recipients.to));
    }
    if !recipients.cc.is_empty() {
        built = built.cc(several(&recipients.cc));
    }
    if blind == Blind::Shown && !recipients.bcc.is_empty() {
        built = built.bcc(several(&recipients.bcc));
    }
    let ids = |text: &str| -> Vec<String> {
        let bare = |id: &str| id.trim_matches(['<', '>']).to_owned();
        text.split_whitespace().map(bare).filter(|id| !id.is_empty()).collect()
    };
    let answered = ids(&draft.in_reply_to);
    if !answered.is_empty() {
        built = built.in_reply_to(answered).references(ids(&draft.references));
    }
    // RFC 2046 5.1.4: the plainest form first.
    if let Some(html) = &draft.html {
        built = built.html_body(rich::document(html));
    }
    if !draft.attachments.is_empty() {
        built.attachments = Some(draft.attachments.iter().map(attached).collect());
    }
    built.write_to_vec().unwrap_or_default()
}

fn attached(attachment: &Attachment) -> MimePart<'static> {
    let Attachment { name, media, bytes } = attachment;
    let part = MimePart::new(media.clone(), bytes.clone()).attachment(name.clone());
    // RFC 2046 5.2.1: a message within a message is never encoded.
    match media.as_str() {
        MESSAGE_MEDIA => part.header("Content-Transfer-Encoding", Raw::new("8bit")),
        _ => part,
    }
}

fn one(address: &Address) -> Built<'static> {
    let name = Some(address.name.clone()).filter(|name| !name.is_empty());
    Built::new_address(name, address.mailbox.clone())
}

fn several(addresses: &[Address]) -> Built<'static> {
    Built::new_list(addresses.iter().map(one).collect())
}

/// How a message is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Reply,
    ReplyAll,
    Forward,
}

/// The form of an answer. `text` is the text of the message, `date` as people read it, `own` the addresses of the one who
/// answers, `references` those of the message.
#[must_use]
pub fn answer(
    how: Answer,
    (envelope, references): (&Envelope, &str),
    (text, date): (&str, &str),
    own: &[String],
) -> Draft {
    let author = envelope.from.first().map(Address::shown).unwrap_or_default();
    if how == Answer::Forward {
        let head = format!(
            "\n\n---------- Forwarded message ----------\nFrom: {}\nDate: {date}\nSubject: {}\nTo: {}\n\n",
            joined(&envelope.from),
            envelope.subject,
            joined(&envelope.to),
        );
        let subject = prefixed("Fwd: ", &envelope.subject);
        return Draft { subject, text: format!("{head}{text}"), ..Draft::default() };
    }
    let is_own = |it: &Address| own.iter().any(|own| own.eq_ignore_ascii_case(&it.mailbox));
    let wrote = if envelope.reply_to.is_empty() { &envelope.from } else { &envelope.reply_to };
    // An answer to one's own message goes where that went.
    let to = if wrote.iter().all(is_own) { &envelope.to } else { wrote };
    let mut draft = Draft {
        to: joined(to),
        subject: prefixed("Re: ", &envelope.subject),
        text: format!("\n\nOn {date}, {author} wrote:\n{}", quoted(text)),
        in_reply_to: envelope.message_id.clone(),
        references: format!("{} {}", parents(references, envelope), envelope.message_id)
            .trim()
            .to_owned(),
        ..Draft::default()
    };
    if how == Answer::ReplyAll {
        let mut others: Vec<Address> = Vec::new();
        for it in envelope.to.iter().chain(&envelope.cc) {
            let same = |other: &Address| other.mailbox.eq_ignore_ascii_case(&it.mailbox);
            if !is_own(it) && !to.iter().any(same) && !others.iter().any(same) {
                others.push(it.clone());
            }
        }
        draft.cc = joined(&others);
    }
    draft
}

/// RFC 5322 3.6.4: the References of the message, else its In-Reply-To when that names one message.
fn parents<'a>(references: &'a str, envelope: &'a Envelope) -> &'a str {
    let one = envelope.in_reply_to.split_whitespace().count() == 1;
    if references.is_empty() && one { envelope.in_reply_to.trim() } else { references }
}

fn prefixed(prefix: &str, subject: &str) -> String {
    let has = subject
        .get(..prefix.len() - 1)
        .is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.trim()));
    if has { subject.to_owned() } else { format!("{prefix}{subject}") }
}

/// RFC 3676 4.5: one mark more in front of each line.
fn quoted(text: &str) -> String {
    let line = |line: &str| {
        if line.starts_with('>') { format!(">{line}\n") } else { format!("> {line}\n") }
    };
    text.trim_end().lines().map(line).collect()
}

/// Whether the text speaks of something attached, and nothing is. English and German for now.
#[must_use]
pub fn forgot_attachment(draft: &Draft) -> bool {
    let own = draft.text.lines().filter(|line| !line.starts_with('>'));
    let text = own.collect::<Vec<_>>().join(" ").to_lowercase();
    let marks = ["attached", "attachment", "enclosed", "angehängt", "anhang", "im anhang", "anbei"];
    draft.attachments.is_empty() && marks.iter().any(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailboxes(typed: &str) -> Vec<String> {
        addresses(typed).expect("addresses").iter().map(Address::full).collect()
    }

    #[test]
    fn addresses_as_typed() {
        let typed = "ann@x.example; Bob <b@y.example>,\n\"Lee, Ann\" <lee@z.example>, ";
        let expected = ["ann@x.example", "Bob <b@y.example>", "\"Lee, Ann\" <lee@z.example>"];
        assert_eq!(mailboxes(typed), expected);
        assert_eq!(mailboxes(" "), Vec::<String>::new());
        for wrong in ["ann", "@x", "ann@", "a b@x", "Ann <ann>"] {
            assert!(addresses(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_message_shows_what_it_should_and_no_field_can_be_smuggled_in() {
        let draft = Draft {
            to: "Ann <ann@x.example>".into(),
            bcc: "spy@x.example".into(),
            subject: "Hi\r\nX-Evil: 1".into(),
            text: "Grüße\n.\nend".into(),
            in_reply_to: "<1@x>".into(),
            references: "<0@x> <1@x>".into(),
            attachments: vec![Attachment {
                name: "a\"b.txt".into(),
                media: "text/plain".into(),
                bytes: b"attached".to_vec(),
            }],
            ..Draft::default()
        };
        let recipients = Recipients::read(&draft).expect("recipients");
        let sender = Sender {
            from: Address { name: "Bob".into(), mailbox: "bob@x.example".into() },
            message_id: "new@x.example".into(),
            date: 0,
        };
        let text =
            |blind| String::from_utf8(message(&draft, &recipients, &sender, blind)).expect("ASCII");
        let hidden = text(Blind::Hidden);
        assert!(!hidden.contains("spy@"), "{hidden}");
        assert!(text(Blind::Shown).contains("spy@x.example"));
        assert!(!hidden.lines().any(|line| line.starts_with("X-Evil")), "{hidden}");
        let parsed =
            mail_parser::MessageParser::default().parse(hidden.as_bytes()).expect("a message");
        assert_eq!(parsed.subject(), Some("Hi  X-Evil: 1"));
        assert_eq!(
            parsed.body_text(0).expect("a text").replace("\r\n", "\n").trim_end(),
            "Grüße\n.\nend"
        );
        assert_eq!(parsed.message_id(), Some("new@x.example"));
        assert_eq!(parsed.references().as_text_list().map(<[_]>::len), Some(2));
        assert_eq!(parsed.attachment_count(), 1);
    }

    #[test]
    fn text_with_markup_is_one_of_two_forms() {
        let html = "<div>a <b>b</b></div>".to_owned();
        let attachments = vec![Attachment {
            name: "a.txt".into(),
            media: "text/plain".into(),
            bytes: b"attached".to_vec(),
        }];
        let draft =
            Draft { text: rich::text(&html), html: Some(html), attachments, ..Draft::default() };
        let sender = Sender { from: of("me"), message_id: "1@x".into(), date: 0 };
        let media = |draft: &Draft| {
            let out = message(draft, &Recipients::default(), &sender, Blind::Hidden);
            let parsed = mail_parser::MessageParser::default().parse(&out).expect("a message");
            let part = |part: &mail_parser::MessagePart<'_>| {
                let media = mail_parser::MimeHeaders::content_type(part).expect("a type");
                media.subtype().unwrap_or_default().to_owned()
            };
            parsed.parts.iter().map(part).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(media(&draft), "mixed alternative plain html plain");
        let draft = Draft { attachments: Vec::new(), ..draft };
        assert_eq!(media(&draft), "alternative plain html");
        assert_eq!(media(&Draft { html: None, ..draft }), "plain");
    }

    #[test]
    fn a_message_within_a_message_is_not_encoded() {
        let inner = b"Subject: in\r\nMIME-Version: 1.0\r\n\r\nGr\xC3\xBC\xC3\x9Fe\r\n".to_vec();
        let media = MESSAGE_MEDIA.to_owned();
        let attachments = vec![Attachment { name: "in.eml".into(), media, bytes: inner.clone() }];
        let draft = Draft { text: "see".into(), attachments, ..Draft::default() };
        let sender = Sender { from: of("me"), message_id: "1@x".into(), date: 0 };
        let out = message(&draft, &Recipients::default(), &sender, Blind::Hidden);
        assert!(out.windows(inner.len()).any(|window| window == inner), "as it is");
        let parsed = mail_parser::MessageParser::default().parse(&out).expect("a message");
        let within = parsed.attachment(0).and_then(|part| part.message()).expect("within");
        assert_eq!(within.subject(), Some("in"));
    }

    #[test]
    fn nobody_and_too_many() {
        assert!(Recipients::read(&Draft::default()).is_err());
        let to = (0..101).map(|n| format!("u{n}@x.example")).collect::<Vec<_>>().join(",");
        assert!(Recipients::read(&Draft { to, ..Draft::default() }).is_err());
    }

    fn of(name: &str) -> Address {
        Address { name: String::new(), mailbox: format!("{name}@x") }
    }

    #[test]
    fn answers_go_to_the_others() {
        let envelope = Envelope {
            subject: "Plan".into(),
            from: vec![of("ann")],
            to: vec![of("me"), of("bob")],
            cc: vec![of("carl")],
            message_id: "<2@x>".into(),
            ..Envelope::default()
        };
        let own = ["me@x".to_owned()];
        let with = |how| answer(how, (&envelope, "<1@x>"), ("one\n> two\n", "Monday"), &own);
        let reply = with(Answer::Reply);
        assert_eq!((reply.to.as_str(), reply.cc.as_str()), ("ann@x", ""));
        assert_eq!(reply.subject, "Re: Plan");
        assert_eq!(reply.text, "\n\nOn Monday, ann@x wrote:\n> one\n>> two\n");
        assert_eq!(reply.references, "<1@x> <2@x>");
        let all = with(Answer::ReplyAll);
        assert_eq!((all.to.as_str(), all.cc.as_str()), ("ann@x", "bob@x, carl@x"));
        let forward = with(Answer::Forward);
        assert_eq!((forward.to.as_str(), forward.subject.as_str()), ("", "Fwd: Plan"));
        let orphan = Envelope { in_reply_to: "<0@x>".into(), ..envelope.clone() };
        let reply = answer(Answer::Reply, (&orphan, ""), ("", ""), &own);
        assert_eq!(
            (reply.references.as_str(), reply.in_reply_to.as_str()),
            ("<0@x> <2@x>", "<2@x>")
        );
        let list = Envelope {
            reply_to: vec![of("list")],
            to: vec![of("LIST"), of("Me"), of("bob")],
            cc: vec![of("Bob"), of("carl")],
            ..envelope.clone()
        };
        let all = answer(Answer::ReplyAll, (&list, ""), ("", ""), &own);
        assert_eq!((all.to.as_str(), all.cc.as_str()), ("list@x", "bob@x, carl@x"), "each once");
        let own_mail = Envelope { from: vec![of("me")], to: vec![of("bob")], ..envelope.clone() };
        assert_eq!(answer(Answer::Reply, (&own_mail, ""), ("", ""), &own).to, "bob@x");
        let again = Envelope { subject: "RE: Plan".into(), ..envelope };
        assert_eq!(answer(Answer::Reply, (&again, ""), ("", ""), &own).subject, "RE: Plan");
    }

    #[test]
    fn a_forgotten_attachment() {
        let says = |text: &str| forgot_attachment(&Draft { text: text.into(), ..Draft::default() });
        assert!(says("See the attached plan."));
        assert!(!says("> See the attached plan.\nThanks"));
    }
}
