//! `serve --demo`: a domain with three accounts and mail to look at, as people really get it.
//!
//! The messages stand in `mail/` as files. They are put there once: a data directory that has the domain already is left alone.

use crate::admin::api::{InternalDate, MessageHeader};
use crate::admin::{import_all, make_account};
use crate::control::Control;
use crate::passwords::HashPool;
use anyhow::Context;
use mailstore::face::AdminTask;
use std::fmt::Write;
use std::sync::Arc;

/// The domain, reserved for such uses (RFC 6761 6.2).
pub const DOMAIN: &str = "demo.test";
/// Address, password and name.
pub const ACCOUNTS: [(&str, &str, &str); 3] = [
    ("ann@demo.test", "ann-demo", "Ann Ames"),
    ("bob@demo.test", "bob-demo", "Bob Baker"),
    ("carol@demo.test", "carol-demo", "Carol Chen"),
];

/// A message, where it goes and how it is marked.
struct Letter {
    account: &'static str,
    folder: &'static str,
    flags: &'static [&'static str],
    text: &'static [u8],
}

macro_rules! letters {
    ($($account:literal $folder:literal [$($flag:literal),*] $file:literal;)*) => {
        [$(Letter {
            account: $account,
            folder: $folder,
            flags: &[$($flag),*],
            text: include_bytes!(concat!("mail/", $file)),
        }),*]
    };
}

const LETTERS: [Letter; 22] = letters![
    "ann@demo.test" "INBOX" [] "01-welcome.eml";
    "ann@demo.test" "INBOX" ["\\Seen", "\\Flagged", "\\Answered"] "02-photograph.eml";
    "ann@demo.test" "INBOX" ["\\Seen"] "03-invoice.eml";
    "ann@demo.test" "INBOX" [] "04-invitation.eml";
    "ann@demo.test" "Newsletters" [] "05-newsletter.eml";
    "ann@demo.test" "Lists/stages" ["\\Seen"] "06-list-1.eml";
    "ann@demo.test" "Lists/stages" ["\\Seen"] "07-list-2.eml";
    "ann@demo.test" "Lists/stages" ["\\Seen"] "08-list-3.eml";
    "ann@demo.test" "Lists/stages" [] "09-list-4.eml";
    "ann@demo.test" "INBOX" ["\\Seen"] "10-japanese.eml";
    "ann@demo.test" "INBOX" [] "11-russian.eml";
    "ann@demo.test" "INBOX" [] "12-chinese.eml";
    "ann@demo.test" "INBOX" [] "13-arabic.eml";
    "ann@demo.test" "INBOX" ["\\Seen"] "14-hebrew.eml";
    "ann@demo.test" "INBOX" ["\\Seen", "$Forwarded"] "15-forwarded.eml";
    "ann@demo.test" "INBOX" [] "16-bounce.eml";
    "ann@demo.test" "Drafts" ["\\Seen", "\\Draft"] "17-draft.eml";
    "ann@demo.test" "Sent" ["\\Seen"] "18-sent.eml";
    "bob@demo.test" "Sent" ["\\Seen"] "02-photograph.eml";
    "bob@demo.test" "INBOX" [] "18-sent.eml";
    "carol@demo.test" "INBOX" [] "04-invitation.eml";
    "carol@demo.test" "Sent" ["\\Seen"] "15-forwarded.eml";
];

/// Makes the domain, its accounts and their mail, unless the domain is there.
///
/// # Errors
/// The node refused something.
pub async fn install(control: &Arc<dyn Control>, hashes: &Arc<HashPool>) -> anyhow::Result<()> {
    let domain = DOMAIN.to_owned();
    if crate::admin::order(control, AdminTask::DomainAdd { domain }).await.is_err() {
        return Ok(());
    }
    for (address, password, name) in ACCOUNTS {
        make_account(control, hashes, (address, password), name)
            .await
            .with_context(|| format!("the demonstration account {address}"))?;
        let letters = LETTERS.iter().filter(|letter| letter.account == address);
        let messages = letters.map(|letter| (header(letter), letter.text.to_vec())).collect();
        import_all(control, address, messages)
            .await
            .with_context(|| format!("the demonstration mail of {address}"))?;
    }
    let (alias, targets) = ("accounts@demo.test".to_owned(), vec!["ann@demo.test".to_owned()]);
    crate::admin::order(control, AdminTask::AliasAdd { alias, targets }).await?;
    Ok(())
}

/// What a person needs to look at the demonstration: the addresses of the listeners.
#[must_use]
pub fn greeting(webmail: &str, imap: &str, smtp: &str, submission: &str) -> String {
    let mut text = format!("\nA domain {DOMAIN} to try, with mail in it:\n");
    for (address, password, name) in ACCOUNTS {
        writeln!(text, "  {name:<11} {address:<16} password {password}").expect("a string");
    }
    write!(
        text,
        "\nOpen:  {webmail} in a browser\n\
         Read:  curl -u ann@demo.test:ann-demo 'imap://{imap}/INBOX;MAILINDEX=1'\n\
         Send:  swaks --server {smtp} --from bob@demo.test --to ann@demo.test\n\
         Or add the account to a mail client: IMAP on {imap}, submission on {submission}.\n"
    )
    .expect("a string");
    text
}

fn header(letter: &Letter) -> MessageHeader {
    let parsed = mail_parser::MessageParser::default().parse(letter.text);
    let date = parsed.as_ref().and_then(|message| message.date());
    MessageHeader {
        folder: letter.folder.to_owned(),
        flags: letter.flags.iter().map(|flag| (*flag).to_owned()).collect(),
        internal_date: date.map(|date| InternalDate {
            unix_seconds: date.to_timestamp(),
            zone_minutes: (i32::from(date.tz_hour) * 60 + i32::from(date.tz_minute))
                * if date.tz_before_gmt { -1 } else { 1 },
        }),
        bytes: letter.text.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::{MessageParser, MimeHeaders};

    #[test]
    fn every_letter_is_a_whole_message_with_a_date_and_crlf() {
        for letter in LETTERS {
            let parsed = MessageParser::default().parse(letter.text).expect("a message");
            assert!(parsed.subject().is_some_and(|it| !it.contains('\u{fffd}')));
            assert!(header(&letter).internal_date.is_some());
            let bare = letter.text.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
            assert!(!bare && letter.text.ends_with(b"\r\n"));
            let text = parsed.body_text(0).expect("a text");
            assert!(!text.contains('\u{fffd}'), "{text}");
        }
    }

    #[test]
    fn charsets_and_attachments_read_as_meant() {
        let parse = |at: usize| MessageParser::default().parse(LETTERS[at].text).expect("parses");
        assert!(parse(9).body_text(0).expect("a text").contains("写真は無事に届きました"));
        assert!(parse(10).body_text(0).expect("a text").contains("Почтовые"));
        assert!(parse(11).body_text(0).expect("a text").contains("快马一日可行三百里"));
        let invoice = parse(2);
        let pdf = invoice.attachment(0).expect("attached");
        assert_eq!(pdf.attachment_name(), Some("Factura de la campaña 2026-114.pdf"));
        assert!(pdf.contents().starts_with(b"%PDF-1.4"));
        assert!(parse(1).attachment(0).expect("attached").contents().starts_with(b"\x89PNG"));
    }
}
