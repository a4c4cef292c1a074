//! How a part of a message may leave the server when a reader opens it.
//!
//! Pictures and plain text may be looked at; everything else is saved. What a part is, its first bytes say: what it is called
//! counts against it, never for it.

use super::file_name::FileName;

/// What decides. Fields as decoded from the message; nothing in them is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The value of Content-Type, with its parameters; empty if there is none.
    pub declared: &'a str,
    pub name: Option<&'a str>,
    /// Of the decoded content; [`FIRST_BYTES`] of them, or all.
    pub first_bytes: &'a [u8],
}

/// How much of a part [`serve`] looks at.
pub const FIRST_BYTES: usize = 1_024;

/// Served with every part. The sandbox takes scripts and origin from whatever a browser would make of it.
pub const HEADERS: [(&str, &str); 3] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'self'; sandbox"),
    ("Referrer-Policy", "no-referrer"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `Content-Type`: ours, never the message's own words.
    pub content_type: String,
    /// `Content-Disposition`.
    pub content_disposition: String,
    /// It may be shown in place: a picture, or text.
    pub preview: Option<Preview>,
    pub name: FileName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preview {
    Image,
    Text,
}

/// Decides how `part` is served.
pub fn serve(part: &Part<'_>) -> Served {
    let name = FileName::clean(part.name.unwrap_or_default());
    let declared = MediaType::parse(part.declared);
    let found = image(part, &declared)
        .map(|kind| (Preview::Image, kind.to_owned()))
        .or_else(|| text(part, &declared, &name).map(|kind| (Preview::Text, kind)));
    match found {
        Some((preview, content_type)) => Served {
            content_type,
            content_disposition: name.disposition("inline"),
            preview: Some(preview),
            name,
        },
        None => Served {
            content_type: "application/octet-stream".to_owned(),
            content_disposition: name.disposition("attachment"),
            preview: None,
            name,
        },
    }
}

/// In lower case.
#[derive(Debug)]
struct MediaType {
    kind: String,
    charset: Option<String>,
}

impl MediaType {
    /// RFC 2045 5.1, as far as it matters here: a charset with a quoted semicolon is none that is served.
    fn parse(declared: &str) -> Self {
        let mut pieces = declared.split(';').map(|piece| piece.trim().to_ascii_lowercase());
        let kind = pieces.next().unwrap_or_default();
        let charset = pieces.find_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            (name.trim() == "charset").then(|| value.trim().trim_matches('"').to_owned())
        });
        Self { kind, charset }
    }
}

/// The type that the first bytes tell, if the message does not call it something else altogether.
fn image(part: &Part<'_>, declared: &MediaType) -> Option<&'static str> {
    let called_image = declared.kind.starts_with("image/") && !declared.kind.contains("svg");
    if !called_image && declared.kind != "application/octet-stream" {
        return None;
    }
    let bytes = part.first_bytes;
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if starts(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        Some("image/gif")
    } else if starts(b"RIFF") && bytes.get(8..14) == Some(b"WEBPVP") {
        Some("image/webp")
    } else {
        None
    }
}

/// Encodings in which each byte below 0x80 is its own letter, or that a browser reads so in text alone.
const CHARSETS: &[&str] = &[
    "utf-8",
    "us-ascii",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-3",
    "iso-8859-4",
    "iso-8859-5",
    "iso-8859-6",
    "iso-8859-7",
    "iso-8859-8",
    "iso-8859-9",
    "iso-8859-10",
    "iso-8859-13",
    "iso-8859-14",
    "iso-8859-15",
    "iso-8859-16",
    "windows-874",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
    "koi8-r",
    "koi8-u",
    "big5",
    "euc-jp",
    "euc-kr",
    "gb18030",
    "gb2312",
    "gbk",
    "iso-2022-jp",
    "shift_jis",
    "tis-620",
];

/// Subtypes of `text` that a browser, or what is installed beside it, could run or interpret.
const ACTIVE_TEXT: &[&str] =
    &["html", "xml", "xsl", "script", "rtf", "svg", "css", "vbs", "scriptlet", "component"];

const ACTIVE_EXTENSIONS: &[&str] = &[
    "htm", "html", "xhtml", "xht", "shtml", "mht", "mhtml", "svg", "svgz", "xml", "xsl", "xslt",
    "hta", "js", "mjs",
];

/// How markup begins that some program would take for a document.
const MARKUP: &[&str] = &[
    "<!doctype",
    "<html",
    "<head",
    "<body",
    "<script",
    "<svg",
    "<?xml",
    "<iframe",
    "<math",
    "<!--",
];

fn text(part: &Part<'_>, declared: &MediaType, name: &FileName) -> Option<String> {
    let subtype = declared.kind.strip_prefix("text/")?;
    if !subtype.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._+".contains(&b)) {
        return None;
    }
    if ACTIVE_TEXT.iter().any(|active| subtype.contains(active))
        || ACTIVE_EXTENSIONS.contains(&name.extension().as_str())
    {
        return None;
    }
    let charset = declared.charset.as_deref().unwrap_or("utf-8");
    let charset = CHARSETS.iter().find(|known| **known == charset)?;
    let bytes = part.first_bytes;
    let is_text =
        |b: &u8| *b >= 0x20 && *b != 0x7f || matches!(b, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    if !bytes.iter().all(is_text) {
        return None;
    }
    let start = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let markup =
        |tag: &&str| start.get(..tag.len()).is_some_and(|s| s.eq_ignore_ascii_case(tag.as_bytes()));
    (!MARKUP.iter().any(markup)).then(|| format!("text/plain; charset={charset}"))
}
