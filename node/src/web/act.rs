//! What is done with chosen messages.

use super::asking::{Folder, unexpected};
use super::form::{Fields, ranges};
use super::list::frame;
use super::login::Login;
use super::{Trouble, page as shown, see};
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::Response;
use html::pages::ConfirmPage;
use mailstore::face::{
    FlagChange, FolderId, FolderName, OpenMode, SpecialUse, SystemFlag, SystemFlags, UidSet,
    UserDone, UserTask,
};

/// Bytes of a list of messages that travels in an address, so that they can be brought back.
const UNDO_BYTES_MAX: usize = 1500;

/// What the next page tells.
struct Told {
    what: &'static str,
    count: u64,
    /// Where the messages are now.
    at: Option<(FolderId, UidSet)>,
}

pub async fn act(login: Login, Path(folder): Path<u32>, body: Bytes) -> Result<Response, Trouble> {
    let form = Fields::of_form(&login, &body)?;
    let (_, folders) = login.folders().await?;
    let id = FolderId(folder);
    let here = folders.iter().find(|it| it.id == id).cloned();
    let here = here.ok_or_else(|| Trouble::NotFound("There is no such folder.".into()))?;
    if let Some(asked) = question(&form, &here) {
        return ask(&login, (&here, asked), &form).await;
    }
    let act = Act { login: &login, folders: &folders, here: &here };
    let told = act.run(&form).await?;
    let then = match form.number("then") {
        Some(then) => format!("/f/{then}"),
        None => list_of(folder, form.get("list")),
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(told) = told {
        query.append_pair("told", told.what).append_pair("n", &told.count.to_string());
        let back = told.at.map(|(at, uids)| (at, ranges(&uids)));
        if let Some((at, uids)) = back.filter(|(_, uids)| uids.len() <= UNDO_BYTES_MAX) {
            query.append_pair("at", &at.0.to_string()).append_pair("uids", &uids);
        }
    }
    let query = query.finish();
    let join = match (query.is_empty(), then.contains('?')) {
        (true, _) => "",
        (false, true) => "&",
        (false, false) => "?",
    };
    Ok(see(&format!("{then}{join}{query}")))
}

/// Where the act was asked for: a list of this folder, and nothing else.
fn list_of(folder: u32, asked: &str) -> String {
    let own = format!("/f/{folder}");
    let rest = asked.strip_prefix(&own).filter(|rest| rest.is_empty() || rest.starts_with('?'));
    if rest.is_some_and(|rest| !rest.contains(char::is_control)) { asked.to_owned() } else { own }
}

/// What is asked before something is gone for good, and what the button says. The script asks by itself.
fn question(form: &Fields, here: &Folder) -> Option<(String, &'static str)> {
    if form.get("sure") == "1" {
        return None;
    }
    let (is_trash, is_junk) =
        (here.special_use == Some(SpecialUse::Trash), here.special_use == Some(SpecialUse::Junk));
    match form.get("do") {
        "empty" if is_trash || is_junk => {
            Some((format!("Delete all messages in {}?", here.name.as_str()), "Delete all"))
        }
        "delete" if is_trash => match form.uids().len() {
            0 => None,
            1 => Some(("Delete this message for good?".into(), "Delete for good")),
            some => Some((format!("Delete {some} messages for good?"), "Delete for good")),
        },
        _ => None,
    }
}

/// The same form once more, behind a question.
async fn ask(
    login: &Login,
    (here, (question, button)): (&Folder, (String, &str)),
    form: &Fields,
) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = format!("{question} · Hikyaku");
    frame.folder = Some(here.id.0);
    let fields = ["do", "uids", "uid", "list", "then"]
        .into_iter()
        .flat_map(|name| form.all(name).map(move |value| (name.to_owned(), value.to_owned())));
    shown(&ConfirmPage {
        frame,
        question,
        button: button.to_owned(),
        action: format!("/f/{}/act", here.id.0),
        fields: fields.collect(),
        back: list_of(here.id.0, form.get("list")),
    })
}

struct Act<'a> {
    login: &'a Login,
    folders: &'a [Folder],
    here: &'a Folder,
}

impl Act<'_> {
    async fn run(&self, form: &Fields) -> Result<Option<Told>, Trouble> {
        let what = form.get("do");
        if matches!(what, "all-seen" | "empty") {
            return self.on_all(what).await;
        }
        let uids = form.uids();
        if uids.is_empty() {
            return Ok(Some(Told { what: "none", count: 0, at: None }));
        }
        let flag = |flag, change| self.flag(&uids, flag, change);
        match what {
            "seen" => flag(SystemFlag::Seen, FlagChange::Add).await,
            "unseen" => flag(SystemFlag::Seen, FlagChange::Remove).await,
            "flag" => flag(SystemFlag::Flagged, FlagChange::Add).await,
            "unflag" => flag(SystemFlag::Flagged, FlagChange::Remove).await,
            "archive" => self.send_to("archived", SpecialUse::Archive, uids).await,
            "junk" => self.send_to("junk", SpecialUse::Junk, uids).await,
            "delete" if self.here.special_use == Some(SpecialUse::Trash) => {
                self.remove(Some(uids)).await
            }
            "delete" => self.send_to("deleted", SpecialUse::Trash, uids).await,
            "inbox" => self.copy(("moved", true), FolderName::inbox(), uids).await,
            "move" | "copy" => {
                let to = form.number("to").map(FolderId);
                let to = self.folders.iter().find(|folder| Some(folder.id) == to);
                let to = to.ok_or_else(|| Trouble::NotFound("There is no such folder.".into()))?;
                let how = if what == "move" { ("moved", true) } else { ("copied", false) };
                self.copy(how, to.name.clone(), uids).await
            }
            _ => Err(Trouble::Wrong("No such thing can be done with messages.".into())),
        }
    }

    async fn on_all(&self, what: &str) -> Result<Option<Told>, Trouble> {
        let open = UserTask::OpenFolder {
            name: self.here.name.clone(),
            mode: OpenMode::ReadOnly,
            known: None,
        };
        let UserDone::Opened(opened) = self.login.user(open).await? else {
            return Err(unexpected());
        };
        let all = UidSet::clone(&opened.uids);
        if all.is_empty() {
            return Ok(None);
        }
        let disposable = [Some(SpecialUse::Trash), Some(SpecialUse::Junk)];
        match what {
            "all-seen" => self.flag(&all, SystemFlag::Seen, FlagChange::Add).await,
            _ if disposable.contains(&self.here.special_use) => self.remove(Some(all)).await,
            _ => Err(Trouble::Wrong("Only Trash and Junk can be emptied.".into())),
        }
    }

    async fn flag(
        &self,
        uids: &UidSet,
        flag: SystemFlag,
        change: FlagChange,
    ) -> Result<Option<Told>, Trouble> {
        let task = UserTask::Store {
            folder: self.here.id,
            uids: uids.clone(),
            change,
            flags: SystemFlags::default().with(flag),
            keywords: Vec::new(),
            unchanged_since: None,
        };
        self.login.user(task).await.map(|_| None)
    }

    async fn send_to(
        &self,
        told: &'static str,
        wanted: SpecialUse,
        uids: UidSet,
    ) -> Result<Option<Told>, Trouble> {
        let (id, name) = self.login.folder_for(self.folders, wanted).await?;
        if id == self.here.id {
            return Ok(None);
        }
        self.copy((told, true), name, uids).await
    }

    async fn copy(
        &self,
        (told, remove_source): (&'static str, bool),
        to: FolderName,
        uids: UidSet,
    ) -> Result<Option<Told>, Trouble> {
        let target = self.folders.iter().find(|folder| folder.name == to).map(|folder| folder.id);
        if remove_source && target == Some(self.here.id) {
            return Ok(None);
        }
        let task = UserTask::Copy { folder: self.here.id, uids, to, remove_source };
        let UserDone::Copied(copied) = self.login.user(task).await? else {
            return Err(unexpected());
        };
        let count = copied.target.len();
        let at = target.filter(|_| remove_source).map(|target| (target, copied.target));
        Ok(Some(Told { what: told, count, at }))
    }

    /// For good.
    async fn remove(&self, uids: Option<UidSet>) -> Result<Option<Told>, Trouble> {
        if let Some(uids) = &uids {
            self.flag(uids, SystemFlag::Deleted, FlagChange::Add).await?;
        }
        match self.login.user(UserTask::Expunge { folder: self.here.id, uids }).await? {
            UserDone::Expunged { uids, .. } => {
                Ok(Some(Told { what: "gone", count: uids.len(), at: None }))
            }
            _ => Err(unexpected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_leads_back_to_its_list() {
        for (asked, then) in [
            ("/f/7?q=x&page=2", "/f/7?q=x&page=2"),
            ("/f/7", "/f/7"),
            ("/f/71", "/f/7"),
            ("https://evil.example", "/f/7"),
            ("/f/7?a\r\nb: c", "/f/7"),
            ("", "/f/7"),
        ] {
            assert_eq!(list_of(7, asked), then, "{asked}");
        }
    }
}
