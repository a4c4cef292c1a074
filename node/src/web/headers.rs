//! What every answer says to the browser, and where requests may come from.

use super::{Came, Trouble, Web, compress};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Pages run our script and show our style, and nothing else; frames hold messages alone.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
     frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What no answer goes without. A handler that needs another policy has set it already.
const ALWAYS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
];

/// Around every request.
pub async fn guard(
    State(web): State<Arc<Web>>,
    axum::Extension(came): axum::Extension<Came>,
    request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let squeeze = compress::is_accepted(request.headers());
    let mut response =
        if reads || is_own(web.public_url.as_deref(), came, (request.uri(), request.headers())) {
            next.run(request).await
        } else {
            Trouble::Foreign.into_response()
        };
    if squeeze {
        response = compress::compressed(response).await;
    }
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if came.secure {
        let value = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

/// Whether a page of ours sent it. Browsers say where a request comes from; what says nothing is no browser, and has no
/// cookie that it did not put there itself.
fn is_own(public_url: Option<&str>, came: Came, (uri, headers): (&Uri, &HeaderMap)) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return false;
    }
    let Some(origin) = text("origin") else { return true };
    if origin == "null" {
        // Pages without a referrer send forms so (Fetch 3.2, "append a request Origin header"); so do sandboxed ones, which
        // Sec-Fetch-Site tells apart.
        return text("sec-fetch-site") == Some("same-origin");
    }
    if let Some(public) = public_url {
        return origin.eq_ignore_ascii_case(public);
    }
    let scheme = if came.secure { "https" } else { "http" };
    // HTTP/2 has an authority instead (RFC 9113 8.3.1).
    let host = text("host").or(uri.authority().map(|it| it.as_str())).unwrap_or_default();
    origin.eq_ignore_ascii_case(&format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(public_url: Option<&str>, fields: &[(&'static str, &'static str)]) -> bool {
        let came = Came {
            ip: std::net::IpAddr::from([127, 0, 0, 1]),
            secure: false,
            tls: None,
            dates: Default::default(),
        };
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        is_own(public_url, came, (&Uri::from_static("/"), &fields.collect()))
    }

    #[test]
    fn http_2_names_the_host_in_its_own_way() {
        let came = Came {
            ip: std::net::IpAddr::from([127, 0, 0, 1]),
            secure: true,
            tls: None,
            dates: Default::default(),
        };
        let uri = Uri::from_static("https://mail.example:2443/act");
        let from =
            |origin| HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(origin))]);
        assert!(is_own(None, came, (&uri, &from("https://mail.example:2443"))));
        assert!(!is_own(None, came, (&uri, &from("https://evil.example:2443"))));
    }

    #[test]
    fn requests_from_elsewhere_are_told_by_what_browsers_say() {
        let (host, site) = (("host", "mail.example:2080"), "sec-fetch-site");
        assert!(own(None, &[host]), "no browser");
        assert!(own(None, &[host, ("origin", "http://mail.example:2080"), (site, "same-origin")]));
        assert!(own(None, &[host, ("origin", "null"), (site, "same-origin")]), "a form of ours");
        assert!(!own(None, &[host, ("origin", "null")]));
        assert!(!own(None, &[host, ("origin", "null"), (site, "cross-site")]));
        assert!(!own(None, &[host, ("origin", "http://evil.example"), (site, "cross-site")]));
        assert!(!own(None, &[host, ("origin", "http://evil.example")]));
        let public = Some("https://mail.example");
        assert!(own(public, &[host, ("origin", "https://mail.example")]));
        assert!(!own(public, &[host, ("origin", "http://mail.example:2080")]));
    }
}
