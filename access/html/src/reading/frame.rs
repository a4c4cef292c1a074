//! The document of the sandboxed frame that shows one part, and the policy it is served with.
//!
//! Its own style stands in a cascade layer: a message's styles come after it, save for what is `!important` here, which a
//! message can't undo (CSS Cascading 5, 6.4.4).

use super::sanitise::Remote;

/// The `sandbox` attribute of the frame element. No script, no form, no origin, no way to lead the page elsewhere; a link opens a
/// page of its own, which is not sandboxed.
pub const SANDBOX: &str = "allow-popups allow-popups-to-escape-sandbox";

/// The policy while remote images are blocked. `'unsafe-inline'` lets in filtered styles alone: an attribute can't have a hash.
/// `'self'` is where the parts of the message are served. The sandbox holds without the frame, too.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; \
    form-action 'none'; base-uri 'none'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox";

/// The policy when the reader asked for remote images.
pub const CONTENT_SECURITY_POLICY_REMOTE: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    img-src 'self' https: http:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'; \
    sandbox allow-popups allow-popups-to-escape-sandbox";

/// Served with the document beside its policy. Without the second the browser would look up the hosts of links.
pub const HEADERS: [(&str, &str); 3] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-DNS-Prefetch-Control", "off"),
    ("Referrer-Policy", "no-referrer"),
];

/// The value of `Content-Security-Policy`.
pub fn content_security_policy(remote: Remote) -> &'static str {
    match remote {
        Remote::Blocked => CONTENT_SECURITY_POLICY,
        Remote::Allowed => CONTENT_SECURITY_POLICY_REMOTE,
    }
}

/// What the reader prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// As the reader's system has it.
    System,
    Light,
    Dark,
}

/// What a part is shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paper {
    /// It sets no colour: light or dark as the theme is.
    Plain,
    /// It sets colours, and was written to be read on white: it is, in the dark too.
    White,
}

impl Paper {
    /// For [`Sanitised::coloured`](super::Sanitised).
    pub fn for_colours(coloured: bool) -> Self {
        if coloured { Self::White } else { Self::Plain }
    }
}

/// The whole document. `fragment` comes from [`sanitise`](super::sanitise()) or [`text_html`](super::text_html): nothing is
/// escaped here.
pub fn frame(fragment: &str, paper: Paper, theme: Theme) -> String {
    let scheme = match (paper, theme) {
        (Paper::White, _) => "white",
        (Paper::Plain, Theme::System) => "system",
        (Paper::Plain, Theme::Light) => "light",
        (Paper::Plain, Theme::Dark) => "dark",
    };
    format!(
        "<!doctype html>\n<html class=\"{scheme}\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"x-dns-prefetch-control\" content=\"off\">\
         <meta name=\"referrer\" content=\"no-referrer\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Message</title><style>{STYLE}</style></head><body dir=\"auto\">{fragment}</body></html>\n"
    )
}

const STYLE: &str = include_str!("frame.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_let_nothing_in_but_styles_and_images() {
        for policy in [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REMOTE] {
            let directives: Vec<&str> = policy.split("; ").collect();
            assert!(directives.contains(&"default-src 'none'"));
            assert!(directives.contains(&"form-action 'none'"));
            assert!(directives.contains(&"base-uri 'none'"));
            assert!(directives.contains(&"frame-ancestors 'self'"));
            assert!(directives.contains(&format!("sandbox {SANDBOX}").as_str()));
            assert!(
                !policy.contains("script")
                    && !policy.contains("same-origin")
                    && !policy.contains("data:")
            );
        }
        assert!(!content_security_policy(Remote::Blocked).contains("http"));
    }

    #[test]
    fn coloured_mail_is_on_white_in_the_dark() {
        assert!(
            frame("x", Paper::for_colours(true), Theme::Dark).contains("<html class=\"white\">")
        );
        assert!(
            frame("x", Paper::for_colours(false), Theme::Dark).contains("<html class=\"dark\">")
        );
    }

    #[test]
    fn the_style_asks_for_nothing() {
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains('<'));
    }
}
