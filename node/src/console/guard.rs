//! What every answer says to the browser, and where requests may come from.

use super::{Came, Trouble};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Pages run our script and show our style, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What no answer goes without. With no referrer at all browsers would not say either where our own forms come from (Fetch 3.2). A handler that needs something else has set it already.
const ALWAYS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
];

/// Around every request.
pub async fn guard(
    axum::Extension(came): axum::Extension<Came>,
    request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if reads || is_own(came, request.uri(), request.headers()) {
        next.run(request).await
    } else {
        Trouble::Foreign.into_response()
    };
    dress(&mut response);
    response
}

pub fn dress(response: &mut Response) {
    for (name, value) in ALWAYS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Whether a page of ours sent it. Browsers say where a request comes from; what says nothing is no browser, and has no
/// cookie that it did not put there itself.
fn is_own(came: Came, uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return false;
    }
    let Some(origin) = text("origin") else { return true };
    let scheme = if came.secure { "https" } else { "http" };
    // HTTP/2 says it in the address (RFC 9113 8.3.1).
    let host = text("host").or(uri.authority().map(|it| it.as_str())).unwrap_or_default();
    origin.eq_ignore_ascii_case(&format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_ours_send_forms() {
        let came = Came { ip: [127, 0, 0, 1].into(), secure: false };
        let judge = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("127.0.0.1:2700"));
            for (name, value) in pairs {
                headers.insert(*name, value.parse().expect("a value"));
            }
            is_own(came, &Uri::from_static("/nodes"), &headers)
        };
        assert!(judge(&[]), "a script without a browser");
        assert!(judge(&[("origin", "http://127.0.0.1:2700"), ("sec-fetch-site", "same-origin")]));
        assert!(!judge(&[("origin", "http://127.0.0.1:2080")]), "another port");
        assert!(!judge(&[("origin", "https://127.0.0.1:2700")]), "another scheme");
        assert!(!judge(&[("origin", "null")]), "a sandboxed frame");
        assert!(!judge(&[("sec-fetch-site", "same-site")]));
        assert!(!judge(&[("sec-fetch-site", "cross-site")]));
        let came = Came { secure: true, ..came };
        let headers =
            |origin| HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(origin))]);
        let uri = Uri::from_static("https://mx.example:2700/nodes");
        assert!(is_own(came, &uri, &headers("https://mx.example:2700")), "HTTP/2 has no Host");
        assert!(!is_own(came, &uri, &headers("https://evil.example")));
    }
}
