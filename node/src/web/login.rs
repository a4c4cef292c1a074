//! Log-ins of browsers.

use super::asking::unexpected;
use super::form::Fields;
use super::present::{Key, Visit};
use super::{Came, Shared, Trouble, Web, query_of, see};
use crate::admin::OwnSession;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use html::browser::{self, Browser, Cookie, SECRET_BYTES, SESSIONS_MAX, TOKEN_BYTES};
use html::date::{self, Dates};
use html::pages::{LoginPage, Notice};
use html::settings::Settings;
use mailstore::face::{
    AdminDone, AdminTask, AuthRefusal, Authenticate, Collection, Completion, DirectoryDone,
    DirectoryTask, Protocol, RecordName, RecordTask, RecordsDone, Task, UserDone, UserError,
    UserTask,
};
use std::sync::Arc;
use std::time::Instant;

/// Log-ins of one user whose code is due; the oldest make way. Our choice.
const CODES_DUE_MAX: usize = 8;

/// Whose password it was.
#[derive(Debug)]
pub struct Proved {
    pub account: mailstore::face::Account,
    /// It is not enough.
    pub code_due: bool,
}

/// A request of somebody who is logged in.
pub struct Login {
    pub web: Arc<Web>,
    pub own: OwnSession,
    pub cookie: Cookie,
    pub browser: Browser,
    pub came: Came,
}

impl FromRequestParts<Arc<Web>> for Login {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Trouble> {
        let came = *parts.extensions.get::<Came>().ok_or_else(unexpected)?;
        let next = match parts.method {
            axum::http::Method::GET => parts.uri.path_and_query().map_or("/", |it| it.as_str()),
            _ => "/",
        };
        let out = || Trouble::LoggedOut { next: next.to_owned() };
        let cookie = cookie_of(&parts.headers, came).ok_or_else(out)?;
        let own = OwnSession::open(&web.control);
        let browser = Browser::default();
        let mut login = Self { web: Arc::clone(web), own, cookie, browser, came };
        let browser = login.kept_browser().await?.filter(|browser| !browser.code_due);
        login.browser = browser.ok_or_else(|| {
            // It was ended at another node.
            web.present.forget(&login.key());
            out()
        })?;
        login.note_use().await?;
        login.web.present.saw(login.key(), login.visit(), Instant::now());
        Ok(login)
    }
}

impl Login {
    /// The log-in that the cookie proves, if it still counts. Whether its code is still due is for the caller to see.
    pub(super) async fn kept_browser(&self) -> Result<Option<Browser>, Trouble> {
        let (collection, name) = (Collection::BrowserSessions, self.cookie.record_name());
        let task = UserTask::Records(RecordTask::Get { collection, name });
        let task = Task::User { user: self.cookie.user, task };
        let record = match self.own.ask(task).await? {
            Completion::User(UserDone::Records(RecordsDone::Page { records, .. })) => {
                records.into_iter().next()
            }
            // A user that never was, or is no more.
            Completion::User(UserDone::Failed(UserError::Disabled)) => None,
            Completion::User(UserDone::Failed(error)) => return Err(error.into()),
            Completion::Refused(refusal) => return Err(refusal.into()),
            _ => return Err(unexpected()),
        };
        let browser = record.and_then(|record| Browser::read(&record.value));
        Ok(browser.filter(|browser| browser.is_live(now())))
    }

    /// Names the log-in.
    pub(super) fn key(&self) -> Key {
        (self.cookie.user, self.cookie.record_name())
    }

    fn visit(&self) -> Visit {
        let tls = match self.came.tls {
            Some((version, cipher)) => Some(format!("{version} {cipher}")),
            None => self.came.secure.then(|| "at a proxy".to_owned()),
        };
        let (account, ip) = (self.browser.address.clone(), self.came.ip);
        Visit { session: self.own.id(), account, ip, tls }
    }

    /// Ends a log-in of the user, this or another one.
    pub(super) async fn sign_out(&self, name: RecordName) -> Result<(), Trouble> {
        self.put((Collection::BrowserSessions, name.clone()), None).await?;
        self.web.present.forget(&(self.cookie.user, name));
        Ok(())
    }

    async fn note_use(&mut self) -> Result<(), Trouble> {
        if self.browser.is_stale(now()) {
            self.browser.used = now();
            self.browser.ip = self.came.ip.to_string();
            let key = (Collection::BrowserSessions, self.cookie.record_name());
            self.put(key, Some(self.browser.written())).await?;
        }
        Ok(())
    }

    pub async fn settings(&self) -> Result<Settings, Trouble> {
        let record = self.record(Collection::Settings, Settings::record_name()).await?;
        Ok(record.map_or_else(Settings::default, |record| Settings::read(&record.value)))
    }

    /// Where and how dates are shown.
    pub fn dates(&self, settings: &Settings) -> Dates {
        let style = settings.dates.unwrap_or(self.came.dates);
        Dates { zone: date::zone(&settings.time_zone), now: jiff::Timestamp::now(), style }
    }

    /// Log-ins of the user that still count, by their records' names.
    pub async fn browsers(&self) -> Result<Vec<(mailstore::face::RecordName, Browser)>, Trouble> {
        let records = self.records(Collection::BrowserSessions).await?;
        let live = |browser: &Browser| browser.is_live(now()) && !browser.code_due;
        let read = records
            .into_iter()
            .filter_map(|record| Some((record.name, Browser::read(&record.value).filter(live)?)));
        Ok(read.collect())
    }

    /// Whether this is the password of the account.
    pub async fn authenticate(
        own: &OwnSession,
        came: Came,
        (name, secret): (&str, &str),
    ) -> Result<Result<Proved, AuthRefusal>, Trouble> {
        let authenticate = Authenticate {
            protocol: Protocol::Http,
            peer: came.ip,
            name: name.to_owned().into(),
            secret: secret.to_owned().into(),
        };
        match own.ask(Task::Directory(DirectoryTask::Authenticate(authenticate))).await? {
            Completion::Directory(DirectoryDone::Authenticated(account)) => {
                Ok(Ok(Proved { account, code_due: false }))
            }
            Completion::Directory(DirectoryDone::SecondFactorDue(account)) => {
                Ok(Ok(Proved { account, code_due: true }))
            }
            Completion::Directory(DirectoryDone::AuthRefused(refusal)) => Ok(Err(refusal)),
            Completion::Refused(_) => Ok(Err(AuthRefusal::Unavailable)),
            _ => Err(unexpected()),
        }
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Over TLS the name makes browsers keep it to this host (RFC 6265bis 4.1.3.2). On loopback there is no TLS to ask for.
fn cookie_name(came: Came) -> &'static str {
    if came.secure { "__Host-hikyaku" } else { "hikyaku" }
}

pub(super) fn cookie_of(headers: &HeaderMap, came: Came) -> Option<Cookie> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == cookie_name(came));
    ours.find_map(|(_, value)| Cookie::read(value))
}

fn set_cookie(came: Came, value: &str, seconds: Option<i64>) -> Result<HeaderValue, Trouble> {
    let secure = if came.secure { "; Secure" } else { "" };
    let age = seconds.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
    let name = cookie_name(came);
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}");
    HeaderValue::from_str(&text).map_err(|error| Trouble::Broken(error.to_string()))
}

/// A path of this site, and nothing else, so that a log-in leads nowhere else.
pub(super) fn own_path(next: &str) -> &str {
    let own =
        next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n']);
    if own { next } else { "/" }
}

pub async fn page(request: Request) -> Result<Response, Trouble> {
    let next = own_path(query_of(&request).get("next")).to_owned();
    super::page(&LoginPage { next, ..LoginPage::default() })
}

pub async fn submit(
    State(web): Shared,
    axum::Extension(came): axum::Extension<Came>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Trouble> {
    let form = Fields::read(&body);
    let (address, remember) = (form.get("address").trim(), form.get("remember") == "1");
    let own = OwnSession::open(&web.control);
    let proved = match Login::authenticate(&own, came, (address, form.get("password"))).await? {
        Ok(proved) => proved,
        Err(refusal) => {
            log_refusal(address, came, refusal);
            let (status, text) = told(refusal);
            let notice = Some(Notice::failed(text));
            let (address, next) = (address.to_owned(), own_path(form.get("next")).to_owned());
            let shown = super::page(&LoginPage { notice, address, remember, next })?;
            return Ok((status, shown).into_response());
        }
    };
    let Proved { account, code_due } = proved;
    let agent = headers.get(header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let browser = Browser {
        address: account.address.to_string(),
        created: now(),
        used: now(),
        remembered: remember,
        agent: browser::agent_name(agent),
        ip: came.ip.to_string(),
        code_due,
    };
    let cookie = Cookie::new(account.user, fresh_secret()?);
    let login = Login { web, own, cookie, browser, came };
    if !code_due {
        // The next time will do as well.
        let _begun = login.begin_settings(form.get("zone")).await;
    }
    login.enter(own_path(form.get("next"))).await
}

pub(super) fn fresh_secret() -> Result<[u8; SECRET_BYTES], Trouble> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| Trouble::Broken(error.to_string()))?;
    Ok(secret)
}

impl Login {
    /// Settings that nobody has chosen yet begin with the name of the account, and the time zone of the browser.
    async fn begin_settings(&self, zone: &str) -> Result<(), Trouble> {
        let name = Settings::record_name();
        if self.record(Collection::Settings, name.clone()).await?.is_some() {
            return Ok(());
        }
        let show = AdminTask::AccountShow { address: self.browser.address.clone() };
        let display_name = match self.directory(DirectoryTask::Admin(show)).await? {
            DirectoryDone::Admin(AdminDone::Accounts(mut accounts)) => {
                accounts.pop().map(|it| it.display_name).unwrap_or_default()
            }
            _ => return Err(unexpected()),
        };
        let begun = Settings { display_name, time_zone: zone.to_owned(), ..Settings::default() };
        let begun = begun.cleaned();
        if begun == Settings::default() {
            return Ok(());
        }
        self.put((Collection::Settings, name), Some(begun.written())).await
    }

    /// What the next form of this log-in carries.
    pub(super) fn form_token(&self) -> Result<String, Trouble> {
        let mut pad = [0; TOKEN_BYTES];
        getrandom::fill(&mut pad).map_err(|error| Trouble::Broken(error.to_string()))?;
        Ok(self.cookie.form_token(pad))
    }

    /// Keeps the log-in and hands out its cookie: to go on to `next`, or to the code that is due.
    pub(super) async fn enter(&self, next: &str) -> Result<Response, Trouble> {
        self.keep().await?;
        let value = self.cookie.value();
        if self.browser.code_due {
            let cookie = set_cookie(self.came, &value, Some(browser::CODE_SECONDS))?;
            let query =
                form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
            let to = see(&format!("/login/code?{query}"));
            return Ok(([(header::SET_COOKIE, cookie)], to).into_response());
        }
        let fields = vec![
            ("proto", "http".to_owned()),
            ("user", self.browser.address.clone()),
            ("ip", self.came.ip.to_string()),
        ];
        crate::log::note(crate::config::LogLevel::Info, "log in", fields);
        let seconds = self.browser.remembered.then_some(browser::IDLE_SECONDS);
        let cookie = set_cookie(self.came, &value, seconds)?;
        Ok(([(header::SET_COOKIE, cookie)], see(next)).into_response())
    }

    /// Keeps a new log-in. Those that have ended go, and the oldest when there are too many.
    async fn keep(&self) -> Result<(), Trouble> {
        let records = self.records(Collection::BrowserSessions).await?;
        let read = |value: &[u8]| Browser::read(value).filter(|browser| browser.is_live(now()));
        let mut live = Vec::new();
        let mut gone = Vec::new();
        for record in records {
            match read(&record.value) {
                // Who has only the password pushes nobody out who has the code.
                Some(browser) if browser.code_due == self.browser.code_due => {
                    live.push((browser.used, record.name));
                }
                Some(_) => {}
                None => gone.push(record.name),
            }
        }
        live.sort();
        let most = if self.browser.code_due { CODES_DUE_MAX } else { SESSIONS_MAX };
        let more = (live.len() + 1).saturating_sub(most);
        gone.extend(live.into_iter().take(more).map(|(_, name)| name));
        let key = (Collection::BrowserSessions, self.cookie.record_name());
        self.put(key, Some(self.browser.written())).await?;
        for name in gone {
            self.sign_out(name).await?;
        }
        Ok(())
    }
}

/// As `interface.md` has it, for fail2ban.
pub(super) fn log_refusal(address: &str, came: Came, refusal: AuthRefusal) {
    let reason = match refusal {
        AuthRefusal::WrongCredentials => "wrong credentials",
        AuthRefusal::Disabled => "disabled",
        AuthRefusal::Throttled => "throttled",
        AuthRefusal::Unavailable => "unavailable",
    };
    let fields = vec![
        ("proto", "http".to_owned()),
        ("user", address.chars().take(254).collect()),
        ("ip", came.ip.to_string()),
        ("reason", reason.to_owned()),
    ];
    crate::log::note(crate::config::LogLevel::Warn, "auth failed", fields);
}

pub(super) fn told(refusal: AuthRefusal) -> (StatusCode, &'static str) {
    match refusal {
        AuthRefusal::WrongCredentials => {
            (StatusCode::UNAUTHORIZED, "This address and this password do not go together.")
        }
        AuthRefusal::Disabled => {
            (StatusCode::FORBIDDEN, "The account is disabled: ask who runs the mail here.")
        }
        AuthRefusal::Throttled => {
            (StatusCode::TOO_MANY_REQUESTS, "Too many attempts: wait a minute, then try again.")
        }
        AuthRefusal::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Signing in does not work now: try again in a moment.",
        ),
    }
}

pub async fn leave(login: Login, body: Bytes) -> Result<Response, Trouble> {
    Fields::of_form(&login, &body)?;
    login.sign_out(login.cookie.record_name()).await?;
    let cookie = set_cookie(login.came, "", Some(0))?;
    Ok(([(header::SET_COOKIE, cookie)], see("/login")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_leads_to_this_site_alone() {
        for (next, path) in [
            ("/f/1?page=2", "/f/1?page=2"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("", "/"),
        ] {
            assert_eq!(own_path(next), path, "{next}");
        }
    }

    #[test]
    fn cookies_go_by_the_name_of_their_connection() {
        let came = |secure| Came {
            ip: [127, 0, 0, 1].into(),
            secure,
            tls: None,
            dates: Default::default(),
        };
        let value = Cookie::new(mailstore::face::UserId(1), [1; SECRET_BYTES]).value();
        let mut headers = HeaderMap::new();
        let both = format!("x=1; hikyaku={value}; y=2");
        headers.insert(header::COOKIE, both.parse().expect("a header"));
        assert!(cookie_of(&headers, came(false)).is_some());
        assert!(cookie_of(&headers, came(true)).is_none());
    }
}
