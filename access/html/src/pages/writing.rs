//! Writing, a message on its way out, and the question before something is gone for good.

use super::{Frame, icon, icon_new, script, style};
use askama::Template;

/// Writing.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "compose.html")]
pub struct ComposePage {
    pub frame: Frame,
    /// Addresses to send from: as the form names them, as people read them, whether chosen.
    pub senders: Vec<(String, String, bool)>,
    pub draft: crate::compose::Draft,
    /// UID of the saved draft in its folder; 0: none.
    pub draft_uid: u32,
    /// Of the message that is answered: its folder and UID, so that it is marked.
    pub answers: String,
    pub forwards: String,
    /// What the form has attached already.
    pub kept: Vec<KeptLine>,
    /// What attachments may have together, in words and in bytes.
    pub attachment_limit: String,
    pub attachment_bytes_max: u64,
    /// Asks once whether something was forgotten.
    pub warned: bool,
    /// Tells what this window saves from what others do.
    pub window: String,
}

/// An attachment that is in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptLine {
    /// As the form names it.
    pub place: String,
    pub name: String,
    pub size: String,
    pub bytes: u64,
}

/// A message that is sent in a moment.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "held.html")]
pub struct HeldPage {
    pub frame: Frame,
    pub draft_uid: u32,
    pub subject: String,
    pub seconds: u8,
    /// Where to go on.
    pub back: String,
}

/// Asks before something is gone for good.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "confirm.html")]
pub struct ConfirmPage {
    pub frame: Frame,
    pub question: String,
    /// What the button says.
    pub button: String,
    /// The form, as it came.
    pub action: String,
    pub fields: Vec<(String, String)>,
    /// Where to go on without.
    pub back: String,
}
