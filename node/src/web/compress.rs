//! Pages and what they load, compressed on their way: `deflate` is the zlib format (RFC 9110 8.4.1.2).
//!
//! The length of a compressed page tells what repeats in it, to whom can make it repeat a guess. So the one secret that every
//! page shows, the token of its forms, is masked anew for each: see `html::browser::Cookie::form_token`.

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// Shorter ones are left alone. Our choice: they fit a packet.
const FROM_BYTES: u64 = 1024;
/// Longer ones are left alone. Our choice: the time is the request's own.
const UP_TO_BYTES: u64 = 4 << 20;
/// Of 10. Our choice: beyond it pages get hardly shorter.
const LEVEL: u8 = 4;

/// Whether the browser takes it (RFC 9110 12.5.3).
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    codings.map(str::trim).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").and_then(|it| it.parse().ok()) == Some(0.0);
        name.trim().eq_ignore_ascii_case("deflate") && !refused
    })
}

fn is_worth_it(response: &Response) -> bool {
    let headers = response.headers();
    let media = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let text = media.is_some_and(|media| {
        ["text/html", "text/css", "text/javascript", "image/svg+xml", "application/json"]
            .iter()
            .any(|it| media.starts_with(it))
    });
    let bytes = response.body().size_hint().exact();
    text && !headers.contains_key(header::CONTENT_ENCODING)
        && bytes.is_some_and(|bytes| (FROM_BYTES..=UP_TO_BYTES).contains(&bytes))
}

pub async fn compressed(response: Response) -> Response {
    if !is_worth_it(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let most = usize::try_from(UP_TO_BYTES).unwrap_or(usize::MAX);
    let Ok(bytes) = axum::body::to_bytes(body, most).await else {
        return axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let body = miniz_oxide::deflate::compress_to_vec_zlib(&bytes, LEVEL);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("deflate"));
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        is_accepted(&headers)
    }

    #[test]
    fn what_browsers_accept() {
        assert!(accepts("gzip, deflate, br") && accepts("Deflate;q=0.5"));
        assert!(!accepts("gzip") && !accepts("deflate;q=0") && !accepts(""));
    }

    #[tokio::test]
    async fn texts_get_shorter_and_come_back() {
        let page = "<p>again</p>".repeat(500);
        let media = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        let response = compressed((media, page.clone()).into_response()).await;
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "deflate");
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
        assert!(bytes.len() < page.len() / 10);
        let back = miniz_oxide::inflate::decompress_to_vec_zlib(&bytes).expect("zlib");
        assert_eq!(back, page.as_bytes());
        let picture = ([(header::CONTENT_TYPE, "image/png")], page).into_response();
        assert!(!compressed(picture).await.headers().contains_key(header::CONTENT_ENCODING));
    }
}
