//! What goes wrong on the way to a page, and the page that says so.

use super::page;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use html::pages::ErrorPage;
use mailstore::face::{TaskRefusal, UserError};

/// Why there is no page.
#[derive(Debug)]
pub enum Trouble {
    /// Nobody is logged in: the log-in comes first, then this path.
    LoggedOut {
        next: String,
    },
    NotFound(String),
    /// The request itself is wrong.
    Wrong(String),
    /// It did not come from a page of ours.
    Foreign,
    /// It may work later.
    Later(String),
    /// A bug.
    Broken(String),
}

impl From<UserError> for Trouble {
    fn from(error: UserError) -> Self {
        match error {
            UserError::NoSuchFolder => Self::NotFound("There is no such folder.".into()),
            UserError::Expunged => Self::NotFound("The message is gone.".into()),
            UserError::Disabled => Self::LoggedOut { next: "/".into() },
            error => Self::Wrong(capital(&error.to_string())),
        }
    }
}

impl From<TaskRefusal> for Trouble {
    fn from(refusal: TaskRefusal) -> Self {
        Self::Later(capital(&refusal.to_string()))
    }
}

/// Text that begins a sentence.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

impl Trouble {
    /// In words, where there is no page to tell it.
    pub fn text(&self) -> &str {
        match self {
            Self::LoggedOut { .. } => "you were signed out.",
            Self::NotFound(text) | Self::Wrong(text) | Self::Later(text) => text,
            Self::Foreign => "the request did not come from here.",
            Self::Broken(_) => "something broke.",
        }
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let (status, title, text) = match self {
            Self::LoggedOut { next } => {
                let next: String =
                    form_urlencoded::Serializer::new(String::new()).append_pair("next", &next).finish();
                return Redirect::to(&format!("/login?{next}")).into_response();
            }
            Self::NotFound(text) => (StatusCode::NOT_FOUND, "Not here", text),
            Self::Wrong(text) => (StatusCode::BAD_REQUEST, "That can't be done", text),
            Self::Foreign => (
                StatusCode::FORBIDDEN,
                "Not from here",
                "The request did not come from a page of this webmail, or the page was too old. Open it again and \
                 repeat what you did. Behind a proxy, http.public_url has to be the address that browsers use."
                    .into(),
            ),
            Self::Later(text) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Not now",
                format!("{text} Nothing was lost; try again in a moment."),
            ),
            Self::Broken(text) => {
                let fields = vec![("reason", text)];
                crate::log::note(crate::config::LogLevel::Error, "webmail", fields);
                let text = "That is a bug. It was written to the log.".into();
                (StatusCode::INTERNAL_SERVER_ERROR, "Something broke", text)
            }
        };
        let shown = ErrorPage { theme: "auto", title: title.into(), text, back: "/".into() };
        match page(&shown) {
            Ok(page) => (status, page).into_response(),
            Err(_) => status.into_response(),
        }
    }
}
