//! The HTML of a message, made safe to show.
//!
//! Three steps, each over the whole: [`outline`](super::outline) balances and cuts, `ammonia` lets through what the lists allow
//! and asks here about each value, [`marks`](super::marks) adds what is ours. After the sanitiser nothing is added but
//! constant tags and escaped values.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::limits::Limits;
use super::link::Link;
use super::{allowed, css, marks, outline};

/// Whether images may be fetched from where the message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    Blocked,
    /// The reader asked for them, for this message.
    Allowed,
}

pub struct Options<'a> {
    pub remote: Remote,
    /// The address under which this message's part of a content id (RFC 2392, without `cid:` and decoded) is served; nothing
    /// if there is no such part. The frame has an origin of its own, so no cookie comes with the request.
    pub cid: &'a dyn Fn(&str) -> Option<String>,
    pub limits: Limits,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("remote", &self.remote)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sanitised {
    /// For the body of [`frame`](super::frame()), and nowhere else.
    pub html: String,
    /// Images that would be fetched if the reader asked for them.
    pub remote_blocked: u32,
    /// Something was cut by a limit.
    pub truncated: bool,
    /// The message brings colours of its own: in the dark it needs paper under it.
    pub coloured: bool,
    /// Bytes read and elements looked at before the sanitiser: at most the size times the depth of the limits.
    pub work: u64,
}

/// `html` is decoded to UTF-8; what of it is not HTML is read as a browser would.
pub fn sanitise(html: &str, how: &Options<'_>) -> Sanitised {
    let outlined = outline::outline(html, &how.limits);
    let blocked = Arc::new(AtomicU32::new(0));
    let clean = sanitiser(how.remote, Arc::clone(&blocked)).clean(&outlined.html).to_string();
    let sheet = css::sheet(&outlined.sheets, &how.limits);
    let mut out = String::with_capacity(clean.len() + sheet.len());
    if !sheet.is_empty() {
        out.push_str("<style>");
        out.push_str(&sheet);
        out.push_str("</style>");
    }
    let marked = marks::mark(&clean, how.cid, &mut out);
    Sanitised {
        html: out,
        remote_blocked: blocked.load(Ordering::Relaxed),
        truncated: outlined.truncated,
        coloured: marked.coloured || sheet.contains("color") || sheet.contains("background"),
        work: outlined.work,
    }
}

fn sanitiser(remote: Remote, blocked: Arc<AtomicU32>) -> ammonia::Builder<'static> {
    let own = allowed::ATTRIBUTES_OF.iter();
    let mut builder = ammonia::Builder::empty();
    builder
        .tags(allowed::elements().collect())
        .clean_content_tags(allowed::DROPPED_WHOLE.iter().copied().collect())
        .generic_attributes(allowed::ATTRIBUTES.iter().copied().collect())
        .tag_attributes(own.map(|(name, of)| (*name, of.iter().copied().collect())).collect())
        .url_schemes(["http", "https", "mailto", "cid"].into_iter().collect())
        .url_relative(ammonia::UrlRelative::Deny)
        // `marks` sets it, with what else is ours.
        .link_rel(None)
        .attribute_filter(move |element, attribute, value| match (element, attribute) {
            ("img", "src") => source(value, remote, &blocked),
            _ => filter(attribute, value),
        });
    builder
}

/// Where an image comes from: a part of the message, or a server when the reader allowed it.
fn source<'v>(value: &'v str, remote: Remote, blocked: &AtomicU32) -> Option<Cow<'v, str>> {
    let value = value.trim();
    if value.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid:")) {
        return Some(Cow::Borrowed(value));
    }
    let link = Link::parse(value).filter(Link::is_web)?;
    match remote {
        Remote::Allowed => Some(Cow::Owned(link.as_str().to_owned())),
        Remote::Blocked => {
            blocked.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

fn filter<'v>(attribute: &str, value: &'v str) -> Option<Cow<'v, str>> {
    let own = |value: String| (!value.is_empty()).then_some(Cow::Owned(value));
    let when = |fine: bool| fine.then_some(Cow::Borrowed(value));
    match attribute {
        "href" => own(Link::parse(value)?.as_str().to_owned()),
        "style" => own(css::declarations(value)),
        "class" => own(value
            .split_ascii_whitespace()
            .filter_map(css::prefixed)
            .collect::<Vec<_>>()
            .join(" ")),
        "id" => css::prefixed(value).map(Cow::Owned),
        "dir" => when(["ltr", "rtl", "auto"].iter().any(|d| value.eq_ignore_ascii_case(d))),
        "lang" => {
            when(value.len() <= 35 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        }
        "face" => when(css::is_family(value)),
        "alt" | "title" | "summary" => when(true),
        // Lengths, colours and words.
        _ => when(
            value.len() <= 32
                && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"#%.-+* ".contains(&b)),
        ),
    }
}
