//! What goes wrong on the way to a page, and the page that says so.

use super::{address, page};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use operator_console::pages::ErrorPage;

/// Why there is no page.
#[derive(Debug)]
pub enum Trouble {
    /// Nobody is signed in: that comes first, then this path.
    SignedOut {
        next: String,
    },
    NotFound(String),
    /// It did not come from a page of ours.
    Foreign,
    /// The admin API refused it.
    Refused(tonic::Status),
    /// A bug.
    Broken(String),
}

impl From<tonic::Status> for Trouble {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(status)
    }
}

/// Text that begins and ends as a sentence does.
pub fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let (status, title, text) = match self {
            Self::SignedOut { next } => {
                return Redirect::to(&address("/login", &[("next", &next)])).into_response();
            }
            Self::NotFound(text) => (StatusCode::NOT_FOUND, "Not here", text),
            Self::Foreign => (
                StatusCode::FORBIDDEN,
                "Not from here",
                "The request did not come from a page of this console, or the page was too old. Open it again and repeat \
                 what you did."
                    .to_owned(),
            ),
            Self::Refused(status) => refused(&status),
            Self::Broken(text) => {
                crate::log::note(crate::config::LogLevel::Error, "console", vec![("reason", text)]);
                let text = "That is a bug. It was written to the log.".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "Something broke", text)
            }
        };
        match page(&ErrorPage { title: title.to_owned(), text }) {
            Ok(page) => (status, page).into_response(),
            Err(_) => status.into_response(),
        }
    }
}

fn refused(status: &tonic::Status) -> (StatusCode, &'static str, String) {
    use tonic::Code;
    let text = sentence(status.message());
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => {
            (StatusCode::SERVICE_UNAVAILABLE, "Not now", text)
        }
        Code::FailedPrecondition | Code::InvalidArgument => {
            (StatusCode::BAD_REQUEST, "That can't be done", text)
        }
        _ => (StatusCode::BAD_GATEWAY, "That did not work", text),
    }
}
