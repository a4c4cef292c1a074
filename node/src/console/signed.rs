//! Signing in with the admin token, and out.

use super::{Came, Console, Fields, Trouble, page, see};
use crate::config::LogLevel;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use operator_console::pages::{Frame, Part, SignInPage};
use operator_console::sign_in::{SECRET_BYTES, Secret, Use};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// A request of somebody who is signed in.
#[derive(Debug)]
pub struct Signed {
    pub console: Arc<Console>,
    pub secret: Secret,
    came: Came,
    purpose: Use,
}

impl FromRequestParts<Arc<Console>> for Signed {
    type Rejection = Trouble;

    async fn from_request_parts(
        parts: &mut Parts,
        console: &Arc<Console>,
    ) -> Result<Self, Trouble> {
        let came = came_of(parts)?;
        let next = match parts.method {
            Method::GET => parts.uri.path_and_query().map_or("/", |it| it.as_str()),
            _ => "/",
        };
        let out = || Trouble::SignedOut { next: next.to_owned() };
        let secret = secret_of(&parts.headers, &console.cookie_name(came)).ok_or_else(out)?;
        let refreshes = parts.headers.contains_key("x-refresh");
        let purpose = if refreshes { Use::Refresh } else { Use::Person };
        if !console.signed().is_live(&secret, console.now(), purpose) {
            return Err(out());
        }
        Ok(Self { console: Arc::clone(console), secret, came, purpose })
    }
}

fn came_of(parts: &Parts) -> Result<Came, Trouble> {
    let came = parts.extensions.get::<Came>().copied();
    came.ok_or_else(|| Trouble::Broken("a request from nowhere".to_owned()))
}

impl Console {
    /// Over TLS the name makes browsers keep it to this host (RFC 6265bis 4.1.3.2).
    fn cookie_name(&self, came: Came) -> String {
        if came.secure { format!("__Host-{}", self.cookie) } else { self.cookie.clone() }
    }

    fn set_cookie(&self, came: Came, value: &str, more: &str) -> Result<HeaderValue, Trouble> {
        let secure = if came.secure { "; Secure" } else { "" };
        let name = self.cookie_name(came);
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}");
        HeaderValue::from_str(&text).map_err(|error| Trouble::Broken(error.to_string()))
    }

    fn sign_in_page(&self, next: &str, refused: Option<&str>) -> Result<Response, Trouble> {
        page(&SignInPage {
            refused: refused.map(str::to_owned),
            token_file: self.token_file.clone(),
            node: self.node.clone(),
            next: next.to_owned(),
        })
    }
}

fn secret_of(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(it, _)| *it == name).and_then(|(_, value)| Secret::read(value))
}

impl Signed {
    /// What is around a page of this sign-in.
    pub fn frame(&self, part: Part, title: &str) -> Frame {
        let notice = match self.purpose {
            Use::Person => self.console.signed().take_notice(&self.secret),
            Use::Refresh => None,
        };
        Frame {
            title: title.to_owned(),
            part,
            cluster: self.console.cluster.clone(),
            node: self.console.node.clone(),
            form_token: self.secret.form_token(),
            notice,
        }
    }

    /// The fields of a form that a page of this sign-in sent.
    pub fn form(&self, body: &Bytes) -> Result<Fields, Trouble> {
        let fields = Fields::read(body);
        let token = self.secret.form_token();
        let own = fields.raw("token").as_bytes().ct_eq(token.as_bytes());
        if bool::from(own) { Ok(fields) } else { Err(Trouble::Foreign) }
    }

    /// For the log: what an operator did here.
    pub fn note(&self, what: &'static str, mut fields: Vec<(&'static str, String)>) {
        fields.insert(0, ("ip", self.came.ip.to_string()));
        crate::log::note(LogLevel::Info, what, fields);
    }
}

/// A path of this site, and nothing else, so that signing in leads nowhere else.
fn own_path(next: &str) -> &str {
    let own =
        next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n']);
    if own { next } else { "/" }
}

pub async fn show(State(console): State<Arc<Console>>, uri: Uri) -> Result<Response, Trouble> {
    console.sign_in_page(own_path(Fields::of_query(&uri).get("next")), None)
}

pub async fn submit(
    State(console): State<Arc<Console>>,
    axum::Extension(came): axum::Extension<Came>,
    body: Bytes,
) -> Result<Response, Trouble> {
    let form = Fields::read(&body);
    let (next, now) = (own_path(form.get("next")), console.now());
    let refuse = |status: StatusCode, reason: &str, text: &str| -> Result<Response, Trouble> {
        log_refusal(came, reason);
        Ok((status, console.sign_in_page(next, Some(text))?).into_response())
    };
    if !console.signed().may_try(came.ip, now) {
        let text = "Too many wrong tokens came from this address: wait a minute, then try again.";
        return refuse(StatusCode::TOO_MANY_REQUESTS, "throttled", text);
    }
    if !console.token.is(form.get("secret")) {
        console.signed().on_wrong(came.ip, now);
        let text = "This is not the admin token of this node. Every node has its own.";
        return refuse(StatusCode::UNAUTHORIZED, "wrong-credentials", text);
    }
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Trouble::Broken(error.to_string()))?;
    let secret = Secret::new(bytes);
    console.signed().begin(&secret, now);
    let fields = vec![
        ("proto", "console".to_owned()),
        ("user", "admin".to_owned()),
        ("ip", came.ip.to_string()),
    ];
    crate::log::note(LogLevel::Info, "auth", fields);
    let cookie = console.set_cookie(came, &secret.value(), "")?;
    Ok(([(header::SET_COOKIE, cookie)], see(next)).into_response())
}

/// For fail2ban, as the mail protocols have it.
fn log_refusal(came: Came, reason: &str) {
    let fields = vec![
        ("proto", "console".to_owned()),
        ("user", "admin".to_owned()),
        ("ip", came.ip.to_string()),
        ("reason", reason.to_owned()),
    ];
    crate::log::note(LogLevel::Warn, "auth failed", fields);
}

pub async fn leave(signed: Signed, body: Bytes) -> Result<Response, Trouble> {
    signed.form(&body)?;
    signed.console.signed().end(&signed.secret);
    let cookie = signed.console.set_cookie(signed.came, "", "; Max-Age=0")?;
    Ok(([(header::SET_COOKIE, cookie)], see("/login")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_this_site_alone() {
        for (next, path) in [
            ("/nodes/a?x=1", "/nodes/a?x=1"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("", "/"),
        ] {
            assert_eq!(own_path(next), path, "{next}");
        }
    }

    #[test]
    fn cookies_of_other_nodes_do_not_count() {
        let secret = Secret::new([7; SECRET_BYTES]);
        let mut headers = HeaderMap::new();
        let both = format!("hikyaku-console-b=x; hikyaku-console-a={}; y=2", secret.value());
        headers.insert(header::COOKIE, both.parse().expect("a header"));
        assert_eq!(secret_of(&headers, "hikyaku-console-a"), Some(secret));
        assert_eq!(secret_of(&headers, "hikyaku-console-b"), None);
        assert_eq!(secret_of(&headers, "hikyaku-console-c"), None);
    }
}
