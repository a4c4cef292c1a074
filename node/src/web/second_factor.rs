//! The second factor: its code at a log-in, and the page that sets it up.
//!
//! Until the code is right a log-in is kept as one whose code is due: it opens nothing, ends soon, and gets another secret then.

use super::asking::unexpected;
use super::form::Fields;
use super::list::frame;
use super::login::{Login, cookie_of, fresh_secret, log_refusal, now, own_path, told};
use super::{Came, Shared, Trouble, page as shown, query_of, see};
use crate::admin::OwnSession;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use html::browser::{Browser, Cookie};
use html::pages::{CodePage, FactorPage, Notice, Safe};
use html::security::{base32, grouped, otpauth_link, qr_svg};
use mailstore::face::{
    AuthRefusal, CheckCode, Completion, DirectoryDone, DirectoryTask, TOTP_SECRET_BYTES, Task,
};

/// A log-in whose code is due; `None`: the password comes first.
async fn due(
    web: std::sync::Arc<super::Web>,
    came: Came,
    headers: &HeaderMap,
) -> Result<Option<Login>, Trouble> {
    let Some(cookie) = cookie_of(headers, came) else { return Ok(None) };
    let own = OwnSession::open(&web.control);
    let mut login = Login { web, own, cookie, browser: Browser::default(), came };
    match login.kept_browser().await?.filter(|browser| browser.code_due) {
        Some(browser) => {
            login.browser = browser;
            Ok(Some(login))
        }
        None => Ok(None),
    }
}

pub async fn page(
    State(web): Shared,
    axum::Extension(came): axum::Extension<Came>,
    request: Request,
) -> Result<Response, Trouble> {
    let next = own_path(query_of(&request).get("next")).to_owned();
    match due(web, came, request.headers()).await? {
        Some(login) => asked(&login, next, None),
        None => Err(Trouble::LoggedOut { next }),
    }
}

fn asked(login: &Login, next: String, notice: Option<Notice>) -> Result<Response, Trouble> {
    let address = login.browser.address.clone();
    shown(&CodePage { notice, address, form_token: login.form_token()?, next })
}

pub async fn submit(
    State(web): Shared,
    axum::Extension(came): axum::Extension<Came>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Trouble> {
    let form = Fields::read(&body);
    let next = own_path(form.get("next")).to_owned();
    let Some(mut login) = due(web, came, &headers).await? else {
        return Err(Trouble::LoggedOut { next });
    };
    let form = form.checked(&login)?;
    let pending = login.cookie.record_name();
    if form.get("do") == "cancel" {
        login.sign_out(pending).await?;
        return Ok(see("/login"));
    }
    if let Err(refusal) = check(&login, form.get("code")).await? {
        log_refusal(&login.browser.address, came, refusal);
        let (status, text) = match refusal {
            AuthRefusal::WrongCredentials => (
                StatusCode::UNAUTHORIZED,
                "That code is not right, or was used already: wait for the next one, or take a recovery code.",
            ),
            refusal => told(refusal),
        };
        let page = asked(&login, next, Some(Notice::failed(text)))?;
        return Ok((status, page).into_response());
    }
    // What was known before the code was right is worth nothing behind it.
    login.cookie = Cookie::new(login.cookie.user, fresh_secret()?);
    login.browser = Browser { code_due: false, created: now(), used: now(), ..login.browser };
    login.sign_out(pending).await?;
    login.enter(&next).await
}

/// Uses a code up.
pub async fn check(login: &Login, code: &str) -> Result<Result<(), AuthRefusal>, Trouble> {
    let (user, peer) = (login.cookie.user, login.came.ip);
    let check = CheckCode { user, peer, code: code.to_owned().into() };
    match login.own.ask(Task::Directory(DirectoryTask::CheckCode(check))).await? {
        Completion::Directory(DirectoryDone::Authenticated(_)) => Ok(Ok(())),
        Completion::Directory(DirectoryDone::AuthRefused(refusal)) => Ok(Err(refusal)),
        Completion::Refused(_) => Ok(Err(AuthRefusal::Unavailable)),
        _ => Err(unexpected()),
    }
}

/// A secret that nobody has yet: the form brings it back with a code that shows that an app has it.
pub async fn set_up(login: Login) -> Result<Response, Trouble> {
    let mut secret = [0; TOTP_SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| Trouble::Broken(error.to_string()))?;
    offered(&login, base32(&secret), None).await
}

pub async fn offered(
    login: &Login,
    secret: String,
    notice: Option<Notice>,
) -> Result<Response, Trouble> {
    let settings = login.settings().await?;
    let (infos, folders) = login.folders().await?;
    let mut frame = frame(login, &settings, (&infos, &folders)).await?;
    frame.title = "Second factor · Hikyaku".into();
    frame.notice = notice;
    let link = otpauth_link((&login.web.hostname, &login.browser.address), &secret);
    let qr = qr_svg(&link).map(Safe);
    shown(&FactorPage { frame, letters: grouped(&secret, ' '), secret, link, qr })
}
