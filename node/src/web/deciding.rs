//! A message of the webmail is decided about as one that is submitted by SMTP: the same question, the same words, the same rule when its
//! recipients don't agree.

use super::login::Login;
use bytes::Bytes;
use dds::CHUNK_BYTES;
use mailstore::face::{AskedMailbox, Decision, Filing, Protocol, Question, Verdict, settle};
use std::sync::Arc;

/// What deciding extensions say of a message; nothing where there are none.
pub async fn ask(
    login: &Login,
    (reverse_path, mailboxes): (&str, &[AskedMailbox]),
    message: Bytes,
) -> Vec<Decision> {
    let Some(deciding) = login.web.control.deciding() else { return Vec::new() };
    let question = Question {
        protocol: Protocol::Http,
        ip: login.came.ip,
        helo: String::new(),
        submitter: Some(login.browser.address.as_str().into()),
        reverse_path: reverse_path.into(),
        mailboxes: mailboxes.to_vec(),
        bytes: message.len() as u64,
        head: message.slice(..message.len().min(CHUNK_BYTES)),
    };
    deciding.decide(Arc::new(question)).await
}

/// What is done with the copy of each mailbox.
///
/// # Errors
/// For the person: nothing is sent.
pub fn filings(mailboxes: &[AskedMailbox], said: &[Decision]) -> Result<Vec<Filing>, String> {
    let why = match settle(mailboxes, said) {
        (Verdict::Kept, filings) => return Ok(filings),
        (Verdict::Refused, _) => "A filter of this service refuses the message. Nothing was sent.",
        (Verdict::Deferred, _) => {
            "A filter of this service does not take the message now. Nothing was sent: try again in some minutes."
        }
    };
    Err(why.to_owned())
}
