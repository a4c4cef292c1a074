//! What a user chooses; the password; where the user is logged in.

use super::form::Fields;
use super::list::frame;
use super::login::Login;
use super::{Trouble, page as shown, see};
use axum::body::Bytes;
use axum::response::Response;
use html::date::{self, Dates};
use html::pages::{BrowserLine, Notice, SettingsPage};
use html::settings::{Settings, Theme};
use mailstore::face::{
    AdminDone, AdminTask, AuthRefusal, Collection, DirectoryDone, DirectoryTask, InternalDate,
    RecordName,
};

/// Shortest new password, in characters. NIST SP 800-63B 5.1.1.2.
const PASSWORD_CHARS_MIN: usize = 8;

pub async fn page(login: Login) -> Result<Response, Trouble> {
    listed(&login, None).await
}

async fn listed(login: &Login, notice: Option<Notice>) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "Settings · Hikyaku".into();
    frame.notice = notice;
    let dates = Dates { zone: date::zone(&settings.time_zone), now: jiff::Timestamp::now() };
    let mut browsers = login.browsers().await?;
    browsers.sort_by_key(|(_, browser)| std::cmp::Reverse(browser.used));
    let own = login.cookie.record_name();
    let browsers = browsers.into_iter().map(|(name, browser)| BrowserLine {
        here: name == own,
        id: name.as_str().to_owned(),
        used: dates.long(InternalDate { unix_seconds: browser.used, ..InternalDate::default() }),
        agent: browser.agent,
        ip: browser.ip,
    });
    let zones = jiff::tz::db().available().map(|name| name.to_string()).collect();
    shown(&SettingsPage { browsers: browsers.collect(), frame, settings, zones })
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
            };
            let value = settings.cleaned().written();
            login.put((Collection::Settings, Settings::record_name()), Some(value)).await?;
            Notice::done("Saved.")
        }
        "password" => match change_password(&login, &form).await? {
            Ok(()) => {
                Notice::done("The password is changed. Everywhere else you have to sign in again.")
            }
            Err(why) => Notice::failed(why),
        },
        "end" => {
            if let Some(name) = RecordName::new(form.get("id")) {
                login.put((Collection::BrowserSessions, name), None).await?;
            }
            return Ok(see("/settings"));
        }
        "end-others" => {
            end_others(&login).await?;
            Notice::done("Signed out everywhere else.")
        }
        _ => return Err(Trouble::Wrong("There is no such setting.".into())),
    };
    listed(&login, Some(notice)).await
}

async fn end_others(login: &Login) -> Result<(), Trouble> {
    let own = login.cookie.record_name();
    for (name, _) in login.browsers().await? {
        if name != own {
            login.put((Collection::BrowserSessions, name), None).await?;
        }
    }
    Ok(())
}

/// The inner error is for the person.
async fn change_password(login: &Login, form: &Fields) -> Result<Result<(), String>, Trouble> {
    let (old, fresh) = (form.get("old"), form.get("fresh"));
    if fresh != form.get("again") {
        return Ok(Err("The two new passwords differ.".into()));
    }
    if fresh.chars().count() < PASSWORD_CHARS_MIN {
        return Ok(Err(format!(
            "The new password needs {PASSWORD_CHARS_MIN} characters at least."
        )));
    }
    // A form of the operator's that names a stored hash is not for users.
    if fresh.starts_with('{') {
        return Ok(Err("The new password must not begin with a brace.".into()));
    }
    let address = login.browser.address.clone();
    match Login::authenticate(&login.own, login.came, (&address, old)).await? {
        Ok(account) if account.user == login.cookie.user => {}
        Ok(_) => return Ok(Err("The account is another one now: sign in again.".into())),
        Err(AuthRefusal::WrongCredentials | AuthRefusal::Disabled) => {
            return Ok(Err("That is not the password you have.".into()));
        }
        Err(AuthRefusal::Throttled | AuthRefusal::Unavailable) => {
            return Ok(Err("Not now: wait a minute, then try again.".into()));
        }
    }
    let phc = match crate::admin::stored_form(&login.web.hashes, fresh).await {
        Ok(phc) => phc,
        Err(status) => return Ok(Err(super::trouble::capital(status.message()))),
    };
    let task = DirectoryTask::Admin(AdminTask::AccountPassword { address, phc });
    match login.directory(task).await? {
        DirectoryDone::Admin(AdminDone::Done) => {}
        DirectoryDone::Admin(AdminDone::Refused(why)) => return Ok(Err(why)),
        _ => return Err(super::asking::unexpected()),
    }
    end_others(login).await?;
    Ok(Ok(()))
}
