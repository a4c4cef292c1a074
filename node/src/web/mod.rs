//! Webmail over HTTP: sockets, log-ins of browsers, and the tasks behind each page. What a page looks like is the business of
//! the crate `html`.
//!
//! Invariants: nothing is changed by a GET but what reading means (`\Seen`); every other request proves that a page of ours
//! sent it, by Origin, by Sec-Fetch-Site and by a token of the log-in; every page carries the headers of [`headers`].

mod act;
mod apply;
mod asking;
mod carry;
mod compose;
mod compress;
mod contacts;
mod conversation;
mod deciding;
mod drafts;
mod folders;
mod form;
mod headers;
mod list;
mod live;
mod login;
mod message;
mod places;
mod present;
mod rules;
mod second_factor;
mod security;
mod send;
mod sending;
mod server;
mod settings;
mod trouble;

pub use present::Present;
pub use sending::HELD_MAX;
pub use server::{WebServer, serve};

use crate::control::Control;
use crate::passwords::HashPool;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use html::date::DateStyle;
use std::net::IpAddr;
use std::sync::Arc;
use trouble::Trouble;

/// What requests need of the node.
pub struct Web {
    pub control: Arc<dyn Control>,
    pub hashes: Arc<HashPool>,
    pub present: Arc<Present>,
    /// For Received and Message-ID.
    pub hostname: Arc<str>,
    /// `[http] public_url`: the Origin behind a proxy, without a slash at its end.
    pub public_url: Option<String>,
    pub trusted_proxies: Vec<crate::config::Network>,
    /// Requests with files in memory.
    pub uploads: tokio::sync::Semaphore,
    /// Room for messages that are held for a moment ([`HELD_MAX`]).
    pub holding: Arc<tokio::sync::Semaphore>,
    /// The node stops.
    pub stopped: tokio::sync::watch::Receiver<bool>,
}

/// Uploads in memory at once. Our choice: each may hold twice the largest message.
pub const UPLOADS_MAX: usize = 4;

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    pub ip: IpAddr,
    /// Over TLS, here or at a trusted proxy.
    pub secure: bool,
    /// Version and cipher suite; `None`: there is none up to here.
    pub tls: Option<(&'static str, &'static str)>,
    /// What the language of the browser is used to.
    pub dates: DateStyle,
}

type Shared = State<Arc<Web>>;

fn router(web: Arc<Web>) -> Router {
    // A form carries base64 at worst, and its own fields.
    let body_max = usize::try_from(web.control.message_bytes_max()).unwrap_or(usize::MAX);
    Router::new()
        .route("/", get(list::front))
        .route("/login", get(login::page).post(login::submit))
        .route("/login/code", get(second_factor::page).post(second_factor::submit))
        .route("/logout", post(login::leave))
        .route("/f/{folder}", get(list::folder))
        .route("/f/{folder}/export", get(carry::export))
        .route(
            "/folders/import",
            post(carry::import).layer(DefaultBodyLimit::max(carry::FILE_BYTES_MAX)),
        )
        .route("/f/{folder}/act", post(act::act))
        .route("/f/{folder}/m/{uid}", get(message::message))
        .route("/f/{folder}/m/{uid}/source", get(message::source))
        .route("/f/{folder}/m/{uid}/html/{part}", get(message::html))
        .route("/f/{folder}/m/{uid}/part/{part}", get(message::part))
        .route("/compose", get(compose::page).post(compose::submit))
        .route("/compose/undo", post(sending::undo))
        .route("/folders", get(folders::page).post(folders::submit))
        .route("/contacts", get(contacts::page).post(contacts::submit))
        .route("/contacts/export/{name}", get(contacts::export))
        .route("/contacts/import", post(contacts::import))
        .route("/contacts/complete", get(contacts::complete))
        .route("/settings", get(settings::page).post(settings::submit))
        .route("/rules", get(rules::page).post(rules::submit))
        .route("/security", get(security::page).post(security::submit))
        .route("/security/second-factor", get(second_factor::set_up))
        .route("/live", get(live::live))
        .route("/assets/{name}", get(asset))
        .fallback(|| async { Trouble::NotFound("There is no such page.".into()) })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&web), headers::guard))
        .layer(DefaultBodyLimit::max(body_max.saturating_add(1 << 20)))
        .with_state(web)
}

async fn asset(Path(name): Path<String>) -> Response {
    match html::assets::find(&format!("/assets/{name}")) {
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

/// The pairs of the query of a request.
fn query_of(request: &Request) -> form::Fields {
    form::Fields::read(request.uri().query().unwrap_or_default().as_bytes())
}
