//! What is done with arriving mail: the list of rules, the form of one, and a rule on its way over a folder.

use super::{Frame, grouped, icon, icon_new, script, style};
use askama::Template;

/// All rules, and one in its form.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "rules.html")]
pub struct RulesPage {
    pub frame: Frame,
    pub rules: Vec<RuleLine>,
    /// Of the record that they stand in; 0: there is none.
    pub version: u64,
    pub form: RuleForm,
    /// Folders that mail can be put into.
    pub folders: Vec<(u32, String)>,
}

impl RulesPage {
    fn whats(&self) -> [(&'static str, &'static str); 7] {
        [
            ("", "choose…"),
            ("from", "From"),
            ("to", "To or Cc"),
            ("subject", "Subject"),
            ("header", "the field"),
            ("larger", "larger than (KiB)"),
            ("smaller", "smaller than (KiB)"),
        ]
    }

    fn hows(&self) -> [(&'static str, &'static str); 4] {
        [("has", "contains"), ("has-not", "does not contain"), ("is", "is"), ("is-not", "is not")]
    }

    fn is_place(&self, id: &u32) -> bool {
        self.form.place == id.to_string()
    }
}

/// A rule as the list shows it.
#[derive(Clone, Debug, Default)]
pub struct RuleLine {
    /// As the user called it, or its number.
    pub name: String,
    pub enabled: bool,
    /// In words.
    pub says: String,
    /// Its folder, when there is no such folder any more.
    pub gone: Option<String>,
}

/// A rule in its form.
#[derive(Clone, Debug, Default)]
pub struct RuleForm {
    /// Its place in the list; empty: a new one.
    pub at: String,
    /// Tells it from what another window made of it.
    pub mark: String,
    pub name: String,
    pub any: bool,
    pub conditions: Vec<ConditionLine>,
    /// A folder's number, `junk`, `trash`, `gone`, or empty.
    pub place: String,
    /// Its folder, when there is no such folder any more.
    pub gone: Option<String>,
    pub seen: bool,
    pub flagged: bool,
    pub keywords: String,
    pub stop: bool,
}

/// A line of a form: what is compared, how, and with what.
#[derive(Clone, Debug, Default)]
pub struct ConditionLine {
    pub what: &'static str,
    pub how: &'static str,
    /// Of a header field.
    pub name: String,
    pub text: String,
}

/// A rule on its way over a folder: it goes on with the next form.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "apply.html")]
pub struct ApplyPage {
    pub frame: Frame,
    pub rule: String,
    pub at: usize,
    pub version: u64,
    pub folder: u32,
    pub folder_name: String,
    /// It goes on behind this UID, and ends with `until`.
    pub after: u32,
    pub until: u32,
    /// Messages it has gone over, of how many, and for how many it was.
    pub looked: u64,
    pub total: u64,
    pub matched: u64,
}

impl ApplyPage {
    fn number(&self, number: &u64) -> String {
        grouped(usize::try_from(*number).unwrap_or(usize::MAX))
    }
}
