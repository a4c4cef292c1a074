//! The pages. Everything is escaped where it is shown; a field of type [`Safe`] holds HTML that was made to be shown.

mod also;
mod rules;
mod writing;

pub use also::{Also, AlsoLine};
pub use rules::{ApplyPage, ConditionLine, RuleForm, RuleLine, RulesPage};
pub use writing::{ComposePage, ConfirmPage, HeldPage, KeptLine};

use crate::assets::{ICON, ICON_NEW, SCRIPT, STYLE};
use crate::date::DateStyle;
use crate::settings::{EXPIRY_DAYS, Language, PAGE_SIZES, Settings, UNDO_SECONDS};
use askama::Template;

/// HTML that is shown as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Safe(pub String);

/// What every page of a log-in shows around its own.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub title: String,
    pub address: String,
    pub theme: &'static str,
    pub language: Language,
    pub form_token: String,
    pub folders: Vec<FolderLine>,
    /// The folder that is shown.
    pub folder: Option<u32>,
    pub quota: Option<Quota>,
    pub notice: Option<Notice>,
    /// What stands in the search box.
    pub query: String,
}

impl Frame {
    fn is_here(&self, id: &u32) -> bool {
        self.folder == Some(*id)
    }

    /// Unread messages of INBOX.
    #[must_use]
    pub fn unread_inbox(&self) -> u32 {
        self.folders.iter().find(|it| it.icon == "inbox").map_or(0, |inbox| inbox.unread)
    }
}

/// Something to tell at the top of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub text: String,
    pub kind: NoticeKind,
    /// A form that takes back what was done.
    pub undo: Option<Undo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    Done,
    Failed,
}

impl Notice {
    #[must_use]
    pub fn done(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: NoticeKind::Done, undo: None }
    }

    #[must_use]
    pub fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: NoticeKind::Failed, undo: None }
    }

    fn class(&self) -> &'static str {
        match self.kind {
            NoticeKind::Done => "done",
            NoticeKind::Failed => "failed",
        }
    }
}

/// Messages that were moved, and where they go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// Where they are.
    pub folder: u32,
    pub uids: String,
    /// Where they came from.
    pub back: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Quota {
    /// 0 to 100.
    pub percent: u8,
    pub text: String,
}

/// A folder beside the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderLine {
    /// `None`: only a parent of others.
    pub id: Option<u32>,
    /// The last level of its name.
    pub label: String,
    /// All of it, as pages show it; of the user's own as it is.
    pub name: String,
    /// As in `inbox`, `sent`; `folder` for the others.
    pub icon: &'static str,
    pub depth: usize,
    pub unread: u32,
    pub messages: u32,
    /// May be renamed and deleted.
    pub own: bool,
}

/// The log-in.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "login.html")]
pub struct LoginPage {
    pub notice: Option<Notice>,
    pub address: String,
    pub remember: bool,
    /// Where to go then: a path of this site.
    pub next: String,
}

/// The second step of a log-in.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "code.html")]
pub struct CodePage {
    pub notice: Option<Notice>,
    pub address: String,
    pub form_token: String,
    pub next: String,
}

/// A folder, and perhaps a message of it.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "mail.html")]
pub struct MailPage {
    pub frame: Frame,
    pub list: List,
    pub message: Option<MessagePane>,
}

/// A page of a folder, or of what was found in it.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub folder: u32,
    pub title: String,
    pub lines: Vec<Line>,
    /// The first and last shown, counted from 1, of how many messages.
    pub first: usize,
    pub last: usize,
    pub total: usize,
    /// Which page it is, of how many.
    pub page: usize,
    pub pages: usize,
    pub newer: Option<String>,
    pub older: Option<String>,
    pub unread_only: bool,
    /// Its own address, and those of the same list with all messages, and with the unread ones.
    pub here: String,
    pub all_href: String,
    pub unread_href: String,
    /// What is to be done with its messages.
    pub kind: FolderKind,
    /// Why there was no search.
    pub unclear: Option<String>,
    pub also: Also,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FolderKind {
    #[default]
    Usual,
    Archive,
    Trash,
    Junk,
    Drafts,
    Sent,
}

impl List {
    fn may_be_emptied(&self) -> bool {
        matches!(self.kind, FolderKind::Trash | FolderKind::Junk) && self.total > 0
    }

    fn may_archive(&self) -> bool {
        matches!(self.kind, FolderKind::Usual | FolderKind::Sent)
    }

    fn total_shown(&self) -> String {
        grouped(self.total)
    }
}

/// One message of a list, or the newest of a conversation.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub uid: u32,
    /// All that is chosen with it, as ranges.
    pub uids: String,
    /// Messages of the conversation.
    pub count: usize,
    pub href: String,
    /// What it is, for who does not see it.
    pub label: String,
    pub who: Safe,
    pub subject: Safe,
    pub preview: Safe,
    pub date: String,
    pub date_long: String,
    pub date_machine: String,
    pub size: String,
    pub unread: bool,
    pub flagged: bool,
    pub answered: bool,
    pub attachment: bool,
    /// It is the one that is shown.
    pub here: bool,
}

/// A message and its conversation. Also alone, for a page that has the rest already.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "message.html")]
pub struct MessagePane {
    pub frame: Frame,
    pub folder: u32,
    pub uid: u32,
    /// What an act takes in: the messages of the conversation in this folder, as ranges.
    pub uids: String,
    pub subject: String,
    /// What was searched for is marked in it.
    pub subject_shown: Safe,
    pub flagged: bool,
    /// By date; one of them is the main one.
    pub letters: Vec<Letter>,
    /// Messages of the conversation that are left out.
    pub omitted: usize,
    pub newer: Option<String>,
    pub older: Option<String>,
    pub back: String,
    pub kind: FolderKind,
}

impl MessagePane {
    fn is_elsewhere(&self, folder: &u32) -> bool {
        self.folder != *folder
    }

    /// Where a rule for such mail is made.
    fn rule_href(&self) -> String {
        let main = self.letters.iter().find(|it| it.main);
        let from = main.and_then(|it| it.from.first()).map_or("", |it| it.mailbox.as_str());
        let subject = crate::conversation::plain_subject(&self.subject);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("from", from).append_pair("subject", subject);
        format!("/rules?{}#rule", query.finish())
    }
}

/// A message within its conversation.
#[derive(Clone, Debug, Default)]
pub struct Letter {
    pub folder: u32,
    pub uid: u32,
    /// The one that was asked for.
    pub main: bool,
    /// Another one, shown at once.
    pub open: bool,
    pub unread: bool,
    pub who: String,
    pub preview: String,
    pub from: Vec<crate::envelope::Address>,
    pub to: Vec<crate::envelope::Address>,
    pub cc: Vec<crate::envelope::Address>,
    pub bcc: Vec<crate::envelope::Address>,
    pub date: String,
    pub date_short: String,
    pub date_machine: String,
    pub shown: Vec<Shown>,
    pub attachments: Vec<AttachmentLine>,
    /// Pictures from elsewhere that were not fetched, and where to get them.
    pub remote_blocked: u32,
    pub load_href: String,
    /// Places that say what was searched for, and the way to the first.
    pub hits: usize,
    pub first_hit: FirstHit,
}

/// The way to a place in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstHit {
    pub href: String,
    /// The frame that it is in; empty: the page itself.
    pub frame: String,
}

/// A text of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Text(Safe),
    /// HTML, in a frame of its own.
    Html {
        src: String,
        /// Of the frame.
        name: String,
    },
    /// It can't be shown, and why.
    Not(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachmentLine {
    pub name: String,
    pub media: String,
    pub size: String,
    pub href: String,
    /// It can be looked at in the browser.
    pub preview: bool,
    pub picture: bool,
}

/// Folders: made, renamed, deleted.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "folders.html")]
pub struct FoldersPage {
    pub frame: Frame,
}

/// The address book.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "contacts.html")]
pub struct ContactsPage {
    pub frame: Frame,
    pub contacts: Vec<crate::envelope::Address>,
}

/// What a user chooses.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "settings.html")]
pub struct SettingsPage {
    pub frame: Frame,
    pub settings: Settings,
    pub zones: Vec<String>,
    pub expiry: mailstore::expiry::Expiry,
}

impl SettingsPage {
    fn page_sizes(&self) -> [u16; 4] {
        PAGE_SIZES
    }

    fn undo_seconds(&self) -> [u8; 5] {
        UNDO_SECONDS
    }

    /// One a line, as they are typed.
    fn identities(&self) -> String {
        let full = |it: &crate::settings::Identity| {
            let (name, mailbox) = (it.name.clone(), it.address.clone());
            crate::envelope::Address { name, mailbox }.full()
        };
        self.settings.identities.iter().map(full).collect::<Vec<_>>().join("\n")
    }

    fn languages(&self) -> [Language; 1] {
        Language::ALL
    }

    fn date_styles(&self) -> [DateStyle; 3] {
        DateStyle::ALL
    }

    fn has_dates(&self, style: &DateStyle) -> bool {
        self.settings.dates == Some(*style)
    }

    /// Those to choose from, and the one that is chosen.
    fn days(&self, chosen: &u16) -> Vec<u16> {
        let mut days = EXPIRY_DAYS.to_vec();
        if let Err(at) = days.binary_search(chosen) {
            days.insert(at, *chosen);
        }
        days
    }

    fn has_theme(&self, name: &str) -> bool {
        self.settings.theme.name() == name
    }
}

/// Who gets in, and where somebody is logged in.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "security.html")]
pub struct SecurityPage {
    pub frame: Frame,
    pub browsers: Vec<BrowserLine>,
    pub factor: Option<FactorLine>,
    pub app_passwords: Vec<AppPasswordLine>,
    /// Label and secret of an app password that was made just now.
    pub fresh: Option<(String, String)>,
}

/// A secret for an app, to be confirmed.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "second_factor.html")]
pub struct FactorPage {
    pub frame: Frame,
    pub secret: String,
    /// The secret as people read it.
    pub letters: String,
    pub link: String,
    pub qr: Option<Safe>,
}

/// Recovery codes, shown once.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "recovery.html")]
pub struct CodesPage {
    pub frame: Frame,
    pub codes: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct FactorLine {
    pub since: String,
    pub recovery_left: u32,
}

#[derive(Clone, Debug, Default)]
pub struct AppPasswordLine {
    pub label: String,
    pub scopes: String,
    pub created: String,
    pub used: String,
}

#[derive(Clone, Debug, Default)]
pub struct BrowserLine {
    /// Name of its record.
    pub id: String,
    pub agent: String,
    pub ip: String,
    pub used: String,
    pub here: bool,
}

/// Something went wrong.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    pub theme: &'static str,
    pub title: String,
    pub text: String,
    /// Where to go from here.
    pub back: String,
}

fn style() -> &'static str {
    &STYLE.path
}

fn script() -> &'static str {
    &SCRIPT.path
}

fn icon() -> &'static str {
    &ICON.path
}

fn icon_new() -> &'static str {
    &ICON_NEW.path
}

/// A number as people read it.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Text with what was looked for marked, escaped.
#[must_use]
pub fn marked(text: &str, words: &[String]) -> Safe {
    let lower = text.to_lowercase();
    // Lower case may be longer or shorter: then positions do not fit, and nothing is marked.
    let fits = lower.len() == text.len();
    let mut marks = vec![false; if fits { text.len() } else { 0 }];
    for word in words.iter().filter(|word| fits && !word.is_empty()) {
        for (at, found) in lower.match_indices(&word.to_lowercase()) {
            marks[at..at + found.len()].fill(true);
        }
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut inside = false;
    for (at, c) in text.char_indices() {
        let mark = marks.get(at).copied().unwrap_or(false);
        if mark != inside {
            out.push_str(if mark { "<mark>" } else { "</mark>" });
            inside = mark;
        }
        escape_into(c, &mut out);
    }
    if inside {
        out.push_str("</mark>");
    }
    Safe(out)
}

/// Text as HTML.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| escape_into(c, &mut out));
    out
}

fn escape_into(c: char, out: &mut String) {
    match c {
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '&' => out.push_str("&amp;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_do_not_open_a_way_in() {
        let words = ["<b".to_owned(), "X".to_owned()];
        assert_eq!(marked("a<b>x", &words).0, "a<mark>&lt;b</mark>&gt;<mark>x</mark>");
        assert_eq!(marked("İx", &words).0, "İx", "lower case of another length");
        assert_eq!(marked("naïve", &["ï".to_owned()]).0, "na<mark>ï</mark>ve");
    }

    #[test]
    fn numbers_in_groups() {
        assert_eq!([7, 999, 1000, 1_234_567].map(grouped), ["7", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_page_escapes_what_mail_brings() {
        let line = Line { label: "<script>".into(), ..Line::default() };
        let list = List { lines: vec![line], title: "<i>".into(), ..List::default() };
        let page = MailPage { list, ..MailPage::default() }.render().expect("a page");
        assert!(!page.contains("<script>") && !page.contains("<i>"), "{page}");
        assert!(page.contains("&#60;script&#62;") || page.contains("&lt;script&gt;"), "{page}");
    }
}
