//! What a user chooses.

use super::asking::unexpected;
use super::form::Fields;
use super::list::frame;
use super::login::Login;
use super::{Trouble, drafts, page as shown};
use axum::body::Bytes;
use axum::response::Response;
use html::date::DateStyle;
use html::pages::{Notice, SettingsPage};
use html::settings::{EXPIRY_DAYS, IDENTITIES_MAX, Identity, Language, Settings, Theme};
use mailstore::expiry::{self, Expiry};
use mailstore::face::{Collection, RecordName};

pub async fn page(login: Login) -> Result<Response, Trouble> {
    listed(&login, None).await
}

async fn listed(login: &Login, notice: Option<Notice>) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "Settings · Hikyaku".into();
    frame.notice = notice;
    let zones = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let expiry = expiry(login).await?;
    shown(&SettingsPage { frame, settings, zones, expiry })
}

fn expiry_record() -> Result<RecordName, Trouble> {
    RecordName::new(expiry::RECORD_NAME).ok_or_else(unexpected)
}

/// When mail goes from Trash and Junk.
async fn expiry(login: &Login) -> Result<Expiry, Trouble> {
    let Some(record) = login.record(Collection::Settings, expiry_record()?).await? else {
        return Ok(Expiry::default());
    };
    // What can't be read makes nothing go: that is how the mailbox takes it, too.
    let never = Expiry { trash_days: 0, junk_days: 0, since: 0 };
    Ok(Expiry::decode(record.value).unwrap_or(never))
}

/// Keeps what was chosen, if it is something else than before: it holds for mail that is there, too.
async fn choose_expiry(login: &Login, form: &Fields) -> Result<(), Trouble> {
    let before = expiry(login).await?;
    let days = |name, before| match form.get(name).parse() {
        Ok(days) if EXPIRY_DAYS.contains(&days) => days,
        _ => before,
    };
    let trash_days = days("trash_days", before.trash_days);
    let junk_days = days("junk_days", before.junk_days);
    if (trash_days, junk_days) != (before.trash_days, before.junk_days) {
        let value = Expiry { trash_days, junk_days, since: 0 }.encode();
        login.put((Collection::Settings, expiry_record()?), Some(value.to_vec())).await?;
    }
    Ok(())
}

pub async fn submit(login: Login, body: Bytes) -> Result<Response, Trouble> {
    let form = Fields::of_form(&login, &body)?;
    let notice = match form.get("do") {
        "save" => {
            let settings = Settings {
                display_name: form.get("display_name").to_owned(),
                signature: form.get("signature").replace("\r\n", "\n"),
                page_size: form.get("page_size").parse().unwrap_or_default(),
                theme: Theme::of(form.get("theme")),
                time_zone: form.get("time_zone").trim().to_owned(),
                language: Language::of(form.get("language")),
                dates: DateStyle::of(form.get("dates")),
                identities: Vec::new(),
                undo_seconds: form.get("undo_seconds").parse().unwrap_or(u8::MAX),
            };
            match identities(&login, form.get("identities")).await? {
                Ok(identities) => {
                    let value = Settings { identities, ..settings }.cleaned().written();
                    login.put((Collection::Settings, Settings::record_name()), Some(value)).await?;
                    choose_expiry(&login, &form).await?;
                    Notice::done("Saved.")
                }
                Err(why) => Notice::failed(format!("Nothing was saved. {why}")),
            }
        }
        _ => return Err(Trouble::Wrong("There is no such setting.".into())),
    };
    listed(&login, Some(notice)).await
}

/// The inner error is for the person.
async fn identities(login: &Login, typed: &str) -> Result<Result<Vec<Identity>, String>, Trouble> {
    let found = match html::compose::addresses(typed) {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    if found.len() > IDENTITIES_MAX {
        return Ok(Err(format!("{IDENTITIES_MAX} further addresses are the most.")));
    }
    for it in &found {
        if !drafts::is_own(login, &it.mailbox).await? {
            return Ok(Err(format!(
                "{}: this address does not lead to you. Who runs the mail here can make an alias of it.",
                it.mailbox
            )));
        }
    }
    let identity = |it: html::envelope::Address| Identity { name: it.name, address: it.mailbox };
    Ok(Ok(found.into_iter().map(identity).collect()))
}
