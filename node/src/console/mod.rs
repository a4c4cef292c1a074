//! The operator's console over HTTP, on the admin address: log-ins by the admin token, pages, and what their forms order.
//! What a page looks like is the business of the crate `operator-console`.
//!
//! Invariants: every page and every form is answered by the calls of the admin API, so that scripts can do all of it; nothing is
//! changed by a GET; every POST proves that a page of ours sent it, by Origin, by Sec-Fetch-Site and, once signed in, by a token.

mod accounts;
mod acts;
mod call;
mod domains;
mod guard;
mod show;
mod signed;
mod trouble;

use crate::admin::{Service, Token};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use operator_console::assets;
use operator_console::sign_in::SignIns;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use trouble::Trouble;

/// Bytes of a form. Our choice: an alias may have many targets.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// What requests need of the node.
pub struct Console {
    service: Service,
    token: Token,
    /// For the page that asks for it.
    token_file: String,
    node: String,
    cluster: String,
    /// Of this node alone: browsers keep one jar for all ports of a host.
    cookie: String,
    signed: Mutex<SignIns>,
    started: Instant,
}

/// What a console is of.
pub struct Setup {
    pub service: Service,
    pub token: Token,
    pub token_file: String,
    pub node: String,
    pub cluster: String,
}

impl Console {
    #[must_use]
    pub fn new(Setup { service, token, token_file, node, cluster }: Setup) -> Self {
        let cookie = format!("hikyaku-console-{}", token.mark());
        let (signed, started) = (Mutex::default(), Instant::now());
        Self { service, token, token_file, node, cluster, cookie, signed, started }
    }

    fn signed(&self) -> MutexGuard<'_, SignIns> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds of the clock of sign-ins.
    fn now(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    pub ip: IpAddr,
    pub secure: bool,
}

/// The pages. Requests carry [`Came`] as an extension.
pub fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/", get(show::overview))
        .route("/login", get(signed::show).post(signed::submit))
        .route("/logout", post(signed::leave))
        .route("/nodes", get(show::nodes))
        .route("/nodes/{name}", get(show::node))
        .route("/nodes/{name}/{act}", get(acts::ask_node).post(acts::do_node))
        .route("/partitions", get(show::partitions))
        .route("/scrub", get(acts::ask_scrub).post(acts::do_scrub))
        .route("/accounts", get(accounts::list).post(accounts::add))
        .route("/accounts/{address}", get(accounts::show).post(accounts::change))
        .route("/accounts/{address}/{act}", get(accounts::ask).post(accounts::act))
        .route("/domains", get(domains::list).post(domains::add))
        .route("/domains/{domain}", get(domains::show).post(domains::set))
        .route("/domains/{domain}/remove", get(domains::ask_remove).post(domains::remove))
        .route("/aliases", post(domains::add_alias))
        .route("/aliases/{alias}/remove", get(domains::ask_alias).post(domains::remove_alias))
        .route("/sessions", get(show::sessions).post(acts::end_sessions))
        .route("/events", get(show::events))
        .route("/assets/{name}", get(asset))
        .layer(axum::middleware::from_fn(guard::guard))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(console)
}

/// For whoever asks for something else.
pub fn no_such_page() -> Response {
    let mut response = Trouble::NotFound("There is no such page.".to_owned()).into_response();
    guard::dress(&mut response);
    response
}

async fn asset(Path(name): Path<String>) -> Response {
    match assets::find(&format!("/assets/{name}")) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, asset.bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A page, rendered.
fn page(template: &impl askama::Template) -> Result<Response, Trouble> {
    let text = template.render().map_err(|error| Trouble::Broken(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response())
}

/// After a form: the next page is got, not posted again.
fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// A part of a path.
fn escaped(text: &str) -> String {
    operator_console::filters::path(text).unwrap_or_default()
}

/// Names and values of a form or a query.
#[derive(Debug, Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    fn of_query(uri: &axum::http::Uri) -> Self {
        Self::read(uri.query().unwrap_or_default().as_bytes())
    }

    /// Without blanks at its ends; empty when there is none.
    fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    fn raw(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or(0)
    }
}

/// An address of this console with a query.
fn address(path: &str, query: &[(&str, &str)]) -> String {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        encoded.append_pair(name, value);
    }
    let encoded = encoded.finish();
    if encoded.is_empty() { path.to_owned() } else { format!("{path}?{encoded}") }
}
