//! The page of the rules: what is done with arriving mail. All rules are one record; a form changes it on the version it was
//! made from, so that two windows never undo each other's work unseen.

use super::asking::{Folder, unexpected};
use super::form::Fields;
use super::list::frame;
use super::login::Login;
use super::{Trouble, apply, page as shown, query_of, see};
use axum::body::Bytes;
use axum::extract::Request;
use axum::response::Response;
use html::pages::{ConditionLine, Notice, RuleForm, RuleLine, RulesPage};
use mailstore::face::{
    Collection, Expect, FolderId, ModSeq, RecordChange, RecordName, RecordTask, RecordsDone,
    UserDone, UserTask,
};
use mailstore::rules::{
    Action, CONDITIONS_MAX, Condition, Joined, Place, RECORD_NAME, Rule, Rules, Subject, Test, Then,
};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Empty lines for further conditions in a form.
const MORE_CONDITIONS: usize = 3;

/// What a form is told that was made from other rules.
const CHANGED: &str = "The rules were changed in another window. Look at them, and try again.";

/// The rules, and the version they are of.
struct Kept {
    rules: Rules,
    version: Option<ModSeq>,
}

impl Kept {
    /// 0: there is no record.
    fn number(&self) -> u64 {
        self.version.map_or(0, |version| version.0)
    }
}

fn record_name() -> Result<RecordName, Trouble> {
    RecordName::new(RECORD_NAME).ok_or_else(unexpected)
}

async fn kept(login: &Login) -> Result<Kept, Trouble> {
    let Some(record) = login.record(Collection::Rules, record_name()?).await? else {
        return Ok(Kept { rules: Rules::default(), version: None });
    };
    let rules = Rules::decode(record.value).map_err(|error| {
        Trouble::Wrong(format!("Your rules can't be read ({error}): a newer release wrote them."))
    })?;
    Ok(Kept { rules, version: Some(record.version) })
}

/// Writes them if nobody else did meanwhile. The inner error is for the person.
async fn keep(
    login: &Login,
    mut kept: Kept,
    folders: &[Folder],
) -> Result<Result<(), String>, Trouble> {
    for place in kept.rules.0.iter_mut().filter_map(|rule| rule.action.place.as_mut()) {
        // As of now, so that what a rule says of a folder that is gone is what it was called last.
        if let Some(folder) = place_in(place, folders) {
            *place = Place::Known { id: folder.id, name: folder.name.clone() };
        }
    }
    let value = match kept.rules.encode() {
        Ok(value) => value,
        Err(error) => return Ok(Err(super::trouble::capital(&error.to_string()))),
    };
    let expect = kept.version.map_or(Expect::Absent, Expect::Version);
    let (collection, name) = (Collection::Rules, record_name()?);
    let change = RecordChange { collection, name, expect, value: Some(value) };
    match login.user(UserTask::Records(RecordTask::Write(vec![change]))).await? {
        UserDone::Records(RecordsDone::Written { .. }) => Ok(Ok(())),
        UserDone::Records(RecordsDone::Conflict { .. }) => Ok(Err(CHANGED.into())),
        _ => Err(unexpected()),
    }
}

pub async fn page(login: Login, request: Request) -> Result<Response, Trouble> {
    let fields = query_of(&request);
    let (_, folders) = login.folders().await?;
    let kept = kept(&login).await?;
    let at = fields.number("edit").map(|at| at as usize);
    let form = match at.and_then(|at| kept.rules.0.get(at).map(|rule| (at, rule))) {
        Some((at, rule)) => form_of(Some(at), rule, &folders),
        None => form_of(None, &fresh(&fields), &folders),
    };
    listed(&login, (kept, form), None).await
}

/// A new rule, perhaps for mail like that of a link.
fn fresh(fields: &Fields) -> Rule {
    let given = |name| Some(fields.get(name).trim().to_owned()).filter(|text| !text.is_empty());
    let from = given("from").map(|from| Subject::From(Test::Is(from)));
    let subject = given("subject").map(|text| Subject::Subject(Test::Contains(text)));
    let subjects = from.into_iter().chain(subject);
    Rule {
        name: String::new(),
        enabled: true,
        joined: Joined::All,
        conditions: subjects.map(|subject| Condition { subject, not: false }).collect(),
        action: Action::default(),
        then: Then::GoOn,
    }
}

/// As the user called it, or its number.
fn name_of(at: usize, rule: &Rule) -> String {
    if rule.name.is_empty() { format!("Rule {}", at + 1) } else { rule.name.clone() }
}

/// The folder that a rule names. Rules of before name it as it was called then.
pub fn place_in<'a>(place: &Place, folders: &'a [Folder]) -> Option<&'a Folder> {
    folders.iter().find(|it| match place {
        Place::Known { id, .. } => it.id == *id,
        Place::Folder(name) => it.name == *name,
        Place::Junk | Place::Trash => false,
    })
}

/// The folder of a rule, when there is no such folder any more.
pub fn gone<'a>(rule: &'a Rule, folders: &[Folder]) -> Option<&'a str> {
    match rule.action.place.as_ref()? {
        place @ (Place::Folder(name) | Place::Known { name, .. }) => {
            place_in(place, folders).is_none().then_some(name.as_str())
        }
        Place::Junk | Place::Trash => None,
    }
}

/// Tells a rule from what another window made of it.
fn mark_of(rule: &Rule) -> String {
    let mut hasher = DefaultHasher::new();
    Rules(vec![rule.clone()]).encode().unwrap_or_default().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

async fn listed(
    login: &Login,
    (kept, form): (Kept, RuleForm),
    notice: Option<Notice>,
) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "Rules · Hikyaku".into();
    frame.notice = notice;
    let version = kept.number();
    let lines = kept.rules.0.iter().enumerate().map(|(at, rule)| RuleLine {
        name: name_of(at, rule),
        enabled: rule.enabled,
        says: says(rule, &folders),
        gone: gone(rule, &folders).map(str::to_owned),
    });
    let lines = lines.collect();
    // In the order of the list beside: the inbox first.
    let folders = frame.folders.iter().filter_map(|it| Some((it.id?, it.name.clone())));
    let folders = folders.collect();
    shown(&RulesPage { rules: lines, frame, version, form, folders })
}

/// A rule in words.
fn says(rule: &Rule, folders: &[Folder]) -> String {
    let conditions: Vec<String> = rule.conditions.iter().map(condition_says).collect();
    let join = if rule.joined == Joined::All { " and " } else { " or " };
    let when = if conditions.is_empty() { "all mail".to_owned() } else { conditions.join(join) };
    let mut does = Vec::new();
    match &rule.action.place {
        Some(place @ (Place::Folder(name) | Place::Known { name, .. })) => {
            let name = place_in(place, folders).map_or(name, |folder| &folder.name);
            does.push(format!("to {}", name.as_str()));
        }
        Some(Place::Junk) => does.push("to Junk".into()),
        Some(Place::Trash) => does.push("to Trash".into()),
        None => {}
    }
    if rule.action.seen {
        does.push("mark read".into());
    }
    if rule.action.flagged {
        does.push("flag".into());
    }
    does.extend(rule.action.keywords.iter().map(|it| format!("tag {}", it.as_str())));
    if rule.then == Then::Stop {
        does.push("stop".into());
    }
    let does = if does.is_empty() { "nothing".to_owned() } else { does.join(", ") };
    format!("{when}: {does}")
}

fn condition_says(condition: &Condition) -> String {
    let verb = |yes, no| if condition.not { no } else { yes };
    let contains = || verb("contains", "does not contain");
    let test = |what: &str, test: &Test| match test {
        Test::Contains(text) => format!("{what} {} “{text}”", contains()),
        Test::Is(text) => format!("{what} {} “{text}”", verb("is", "is not")),
    };
    // As it was typed.
    let size = |bytes: u64| format!("{} KiB", bytes / 1024);
    match &condition.subject {
        Subject::From(it) => test("From", it),
        Subject::To(it) => test("To or Cc", it),
        Subject::Subject(it) => test("Subject", it),
        Subject::Header { name, text } if text.is_empty() => {
            format!("{} {name}", verb("there is", "there is no"))
        }
        Subject::Header { name, text } => format!("{name} {} “{text}”", contains()),
        Subject::Larger(bytes) => format!("{} than {}", verb("larger", "not larger"), size(*bytes)),
        Subject::Smaller(bytes) => {
            format!("{} than {}", verb("smaller", "not smaller"), size(*bytes))
        }
    }
}

fn form_of(at: Option<usize>, rule: &Rule, folders: &[Folder]) -> RuleForm {
    let mut conditions: Vec<ConditionLine> = rule.conditions.iter().map(line_of).collect();
    let lines = (conditions.len() + MORE_CONDITIONS).min(CONDITIONS_MAX);
    conditions.resize_with(lines, ConditionLine::default);
    let place = match &rule.action.place {
        None => String::new(),
        Some(Place::Junk) => "junk".into(),
        Some(Place::Trash) => "trash".into(),
        Some(place @ (Place::Folder(_) | Place::Known { .. })) => {
            place_in(place, folders).map_or_else(|| "gone".into(), |it| it.id.0.to_string())
        }
    };
    RuleForm {
        at: at.map_or_else(String::new, |at| at.to_string()),
        mark: at.map_or_else(String::new, |_| mark_of(rule)),
        name: rule.name.clone(),
        any: rule.joined == Joined::Any,
        conditions,
        place,
        gone: gone(rule, folders).map(str::to_owned),
        seen: rule.action.seen,
        flagged: rule.action.flagged,
        keywords: rule.action.keywords.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(" "),
        stop: rule.then == Then::Stop,
    }
}

fn line_of(condition: &Condition) -> ConditionLine {
    let of = |what, how, text: &str, name: &str| ConditionLine {
        what,
        how: match (how, condition.not) {
            ("is", false) => "is",
            ("is", true) => "is-not",
            (_, false) => "has",
            (_, true) => "has-not",
        },
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let test = |what, test: &Test| match test {
        Test::Contains(text) => of(what, "has", text, ""),
        Test::Is(text) => of(what, "is", text, ""),
    };
    match &condition.subject {
        Subject::From(it) => test("from", it),
        Subject::To(it) => test("to", it),
        Subject::Subject(it) => test("subject", it),
        Subject::Header { name, text } => of("header", "has", text, name),
        Subject::Larger(bytes) => of("larger", "has", &(bytes / 1024).to_string(), ""),
        Subject::Smaller(bytes) => of("smaller", "has", &(bytes / 1024).to_string(), ""),
    }
}

/// The rule of a form. The error is for the person.
fn rule_of(form: &Fields, enabled: bool, folders: &[Folder]) -> Result<Rule, String> {
    let place = match form.get("place") {
        "" => None,
        "junk" => Some(Place::Junk),
        "trash" => Some(Place::Trash),
        id => {
            let id = id.parse().ok().map(FolderId);
            let chosen = folders.iter().find(|it| Some(it.id) == id);
            let chosen = chosen.ok_or("That folder is gone: choose another.")?;
            Some(Place::Known { id: chosen.id, name: chosen.name.clone() })
        }
    };
    let keywords = form.get("keywords").split_whitespace().map(|word| {
        mailstore::face::Keyword::new(word.as_bytes())
            .ok_or_else(|| format!("“{word}” can't be a tag: use letters, digits and hyphens."))
    });
    let action = Action {
        place,
        seen: form.get("seen") == "1",
        flagged: form.get("flagged") == "1",
        keywords: keywords.collect::<Result<_, String>>()?,
    };
    let stop = form.get("stop") == "1";
    if action == Action::default() && !stop {
        return Err("The rule does nothing: choose a folder, a mark or a tag.".into());
    }
    let fields = ["what", "how", "field", "text"].map(|name| form.all(name).collect::<Vec<_>>());
    let [whats, hows, names, texts] = &fields;
    let mut conditions = Vec::new();
    for (((what, how), name), text) in whats.iter().zip(hows).zip(names).zip(texts) {
        conditions.extend(condition_of(what, how, (name.trim(), text.trim()))?);
    }
    let name: String = form.get("name").chars().filter(|c| !c.is_control()).collect();
    Ok(Rule {
        name: name.trim().to_owned(),
        enabled,
        joined: if form.get("any") == "1" { Joined::Any } else { Joined::All },
        conditions,
        action,
        then: if stop { Then::Stop } else { Then::GoOn },
    })
}

/// `None`: the line is empty.
fn condition_of(
    what: &str,
    how: &str,
    (name, text): (&str, &str),
) -> Result<Option<Condition>, String> {
    let test = || match how {
        "is" | "is-not" => Test::Is(text.to_owned()),
        _ => Test::Contains(text.to_owned()),
    };
    let bytes = || {
        let kib: Option<u64> = text.parse().ok();
        let bytes = kib.and_then(|kib| kib.checked_mul(1024));
        bytes.ok_or_else(|| format!("“{text}” is no size: write it in KiB."))
    };
    let subject = match what {
        "from" | "to" | "subject" if text.is_empty() => return Ok(None),
        "from" => Subject::From(test()),
        "to" => Subject::To(test()),
        "subject" => Subject::Subject(test()),
        "header" if name.is_empty() => return Err("A header field needs its name.".into()),
        "header" => Subject::Header { name: name.to_owned(), text: text.to_owned() },
        "larger" => Subject::Larger(bytes()?),
        "smaller" => Subject::Smaller(bytes()?),
        _ => return Ok(None),
    };
    let not = matches!(how, "has-not" | "is-not");
    Ok(Some(Condition { subject, not }))
}

pub async fn submit(login: Login, body: Bytes) -> Result<Response, Trouble> {
    let form = Fields::of_form(&login, &body)?;
    let (_, folders) = login.folders().await?;
    let mut kept = kept(&login).await?;
    let at: Option<usize> = form.get("at").parse().ok();
    let changed = if form.get("version").parse() != Ok(kept.number()) {
        Err(CHANGED.into())
    } else if form.get("do") == "apply" {
        let rule = at.and_then(|at| Some((at, kept.rules.0.get(at)?)));
        match rule {
            Some((at, rule)) => {
                let course = apply::Course::of(&form, &folders)?;
                let rule = apply::Applied { at, name: name_of(at, rule), rule };
                return applied(&login, (rule, course), &folders).await;
            }
            None => Err(CHANGED.into()),
        }
    } else {
        change(&mut kept.rules.0, (&form, at), &folders)
    };
    let done = match changed {
        Ok(()) => keep(&login, kept, &folders).await?,
        Err(why) => Err(why),
    };
    match done {
        Ok(()) => Ok(see("/rules")),
        Err(why) => refused(&login, &form, why).await,
    }
}

/// The rules as they are, and what was typed.
async fn refused(login: &Login, form: &Fields, why: String) -> Result<Response, Trouble> {
    let (_, folders) = login.folders().await?;
    let kept = kept(login).await?;
    let form = match form.get("do") {
        "save" => form_again(form, &kept.rules.0, &folders),
        _ => form_of(None, &fresh(&Fields::default()), &folders),
    };
    listed(login, (kept, form), Some(Notice::failed(why))).await
}

/// A rule goes over a folder, as far as one request carries it.
async fn applied(
    login: &Login,
    (applied, course): (apply::Applied<'_>, apply::Course),
    folders: &[Folder],
) -> Result<Response, Trouble> {
    let notice = match apply::go_on(login, &applied, course, folders).await? {
        Ok(apply::Went::On(course)) => {
            let settings = login.settings().await?;
            let (infos, folders) = login.folders().await?;
            let mut frame = frame(login, &settings, (&infos, &folders)).await?;
            frame.title = "Rules · Hikyaku".into();
            let version = kept(login).await?.number();
            return shown(&course.page(frame, &applied, version));
        }
        Ok(apply::Went::Through(course)) => Notice::done(course.says(&applied.name)),
        Err(why) => Notice::failed(why),
    };
    let form = form_of(None, &fresh(&Fields::default()), folders);
    let kept = kept(login).await?;
    listed(login, (kept, form), Some(notice)).await
}

fn change(
    rules: &mut Vec<Rule>,
    (form, at): (&Fields, Option<usize>),
    folders: &[Folder],
) -> Result<(), String> {
    let known = at.filter(|at| *at < rules.len());
    match (form.get("do"), known) {
        ("save", Some(at)) => rules[at] = rule_of(form, rules[at].enabled, folders)?,
        ("save", None) => rules.push(rule_of(form, true, folders)?),
        ("remove", Some(at)) => drop(rules.remove(at)),
        ("switch", Some(at)) => rules[at].enabled = !rules[at].enabled,
        ("up", Some(at)) if at > 0 => rules.swap(at - 1, at),
        ("down", Some(at)) if at + 1 < rules.len() => rules.swap(at, at + 1),
        ("up" | "down", Some(_)) => {}
        _ => return Err("There is no such rule any more.".into()),
    }
    Ok(())
}

/// What was typed, so that nothing of it is lost. It is about the rule that it was about, wherever that stands now; what
/// became another rule meanwhile stays, and what was typed is a new one.
fn form_again(form: &Fields, rules: &[Rule], folders: &[Folder]) -> RuleForm {
    let mark = form.get("mark");
    let is_it = |rule: &Rule| !mark.is_empty() && mark_of(rule) == mark;
    let at: Option<usize> = form.get("at").parse().ok();
    let at = at.filter(|at| rules.get(*at).is_some_and(is_it));
    let at = at.or_else(|| rules.iter().position(is_it));
    let known = |text: &str, names: &[&'static str]| {
        names.iter().find(|name| **name == text).copied().unwrap_or_default()
    };
    let whats = form.all("what").zip(form.all("how")).zip(form.all("field")).zip(form.all("text"));
    let conditions = whats.map(|(((what, how), name), text)| ConditionLine {
        what: known(what, &["from", "to", "subject", "header", "larger", "smaller"]),
        how: known(how, &["has", "has-not", "is", "is-not"]),
        name: name.to_owned(),
        text: text.to_owned(),
    });
    let mut conditions: Vec<ConditionLine> = conditions.take(CONDITIONS_MAX).collect();
    if conditions.is_empty() {
        conditions.resize_with(MORE_CONDITIONS, ConditionLine::default);
    }
    RuleForm {
        at: at.map_or_else(String::new, |at| at.to_string()),
        mark: at.map_or_else(String::new, |_| mark.to_owned()),
        name: form.get("name").to_owned(),
        any: form.get("any") == "1",
        conditions,
        place: form.get("place").to_owned(),
        gone: at.and_then(|at| gone(rules.get(at)?, folders)).map(str::to_owned),
        seen: form.get("seen") == "1",
        flagged: form.get("flagged") == "1",
        keywords: form.get("keywords").to_owned(),
        stop: form.get("stop") == "1",
    }
}
