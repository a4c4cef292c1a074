//! BODYSTRUCTURE, as the MailStore keeps it: which parts are shown, and which are attachments.

use crate::envelope::decoded;
use crate::value::Value;

/// A leaf of the message: what has bytes of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Part numbers, outermost first (RFC 9051 6.4.5).
    pub path: Vec<u32>,
    /// Lower case, as in `text/plain`.
    pub media: String,
    pub charset: String,
    /// `format=flowed`, and `delsp=yes` (RFC 3676).
    pub flowed: bool,
    pub del_sp: bool,
    /// Empty when there is none.
    pub file_name: String,
    /// Without angle brackets.
    pub content_id: String,
    /// Bytes as encoded.
    pub bytes: u64,
    pub disposition: Disposition,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disposition {
    #[default]
    Unstated,
    Inline,
    Attachment,
}

/// What a page does with a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Texts in their order.
    pub shown: Vec<Part>,
    pub attachments: Vec<Part>,
    /// Parts that an HTML text may refer to by `cid:`.
    pub related: Vec<Part>,
}

impl Part {
    /// As in a URL.
    #[must_use]
    pub fn number(&self) -> String {
        self.path.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
    }

    /// The part numbers of a URL; `None`: they are none.
    #[must_use]
    pub fn path_of(number: &str) -> Option<Vec<u32>> {
        let path = number.split('.').map(|part| part.parse().ok().filter(|part| *part > 0));
        let path: Option<Vec<u32>> = path.take(DEPTH_MAX + 1).collect();
        path.filter(|path| path.len() <= DEPTH_MAX)
    }

    #[must_use]
    pub fn is_html(&self) -> bool {
        self.media == "text/html"
    }

    fn is_text(&self) -> bool {
        matches!(self.media.as_str(), "text/plain" | "text/html")
    }

    /// A name to save it under.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.file_name.is_empty(), self.media.as_str()) {
            (false, _) => self.file_name.clone(),
            (true, "message/rfc822" | "message/global") => "message.eml".into(),
            (true, "text/plain") => "text.txt".into(),
            (true, "text/html") => "text.html".into(),
            (true, "text/calendar") => "invitation.ics".into(),
            (true, _) => format!("part-{}", self.number()),
        }
    }
}

/// Parts nest no deeper in a URL.
const DEPTH_MAX: usize = 64;

/// Texts shown in one page. Our choice: the others are attachments.
const SHOWN_MAX: usize = 16;

impl Plan {
    /// What can't be read has no parts.
    #[must_use]
    pub fn read(column: &[u8]) -> Self {
        let mut plan = Self::default();
        if let Some(value) = Value::parse(column) {
            plan.take(&value, &mut Vec::new());
        }
        plan
    }

    /// A part by its numbers.
    #[must_use]
    pub fn find(&self, path: &[u32]) -> Option<&Part> {
        let parts = self.shown.iter().chain(&self.attachments).chain(&self.related);
        parts.into_iter().find(|part| part.path == path)
    }

    fn take(&mut self, value: &Value, path: &mut Vec<u32>) {
        let parts = parts_of(value);
        if parts.is_empty() {
            // RFC 9051 6.4.5: the only part of a message is number 1.
            let path = if path.is_empty() { vec![1] } else { path.clone() };
            return self.leaf(leaf(value, path));
        }
        match value.at(parts.len()).text().to_ascii_lowercase().as_str() {
            "alternative" => self.alternative(parts, path),
            "related" => self.related(parts, path),
            _ => each(parts, path, |part, path| self.take(part, path)),
        }
    }

    /// RFC 2046 5.1.4: the last that can be shown.
    fn alternative(&mut self, parts: &[Value], path: &mut Vec<u32>) {
        let mut ways = Vec::new();
        each(parts, path, |part, path| {
            let mut way = Self::default();
            way.take(part, path);
            ways.push(way);
        });
        let best = ways.iter().rposition(|way| way.shown.iter().any(Part::is_html));
        let best = best.or_else(|| ways.iter().rposition(|way| !way.shown.is_empty()));
        for (index, way) in ways.into_iter().enumerate() {
            if Some(index) == best || best.is_none() {
                self.shown.extend(way.shown);
                self.related.extend(way.related);
                self.attachments.extend(way.attachments);
            } else {
                // An invitation beside its text is not to be lost.
                self.attachments.extend(way.attachments);
            }
        }
    }

    /// RFC 2387: the first is shown, the others are what it refers to.
    fn related(&mut self, parts: &[Value], path: &mut Vec<u32>) {
        let mut first = true;
        each(parts, path, |part, path| {
            if std::mem::take(&mut first) {
                return self.take(part, path);
            }
            let mut other = Self::default();
            other.take(part, path);
            let others = other.shown.into_iter().chain(other.attachments).chain(other.related);
            for part in others {
                if part.content_id.is_empty() {
                    self.attachments.push(part);
                } else {
                    self.related.push(part);
                }
            }
        });
    }

    fn leaf(&mut self, part: Part) {
        let named = !part.file_name.is_empty() && part.media != "text/html";
        let attached = part.disposition == Disposition::Attachment
            || named && part.disposition != Disposition::Inline;
        if part.is_text() && !attached && self.shown.len() < SHOWN_MAX {
            self.shown.push(part);
        } else {
            self.attachments.push(part);
        }
    }
}

fn each(parts: &[Value], path: &mut Vec<u32>, mut take: impl FnMut(&Value, &mut Vec<u32>)) {
    for (number, part) in (1..).zip(parts) {
        path.push(number);
        take(part, path);
        path.pop();
    }
}

/// The parts of a multipart; none of a leaf.
fn parts_of(value: &Value) -> &[Value] {
    let items = value.items();
    let count = items.iter().take_while(|item| matches!(item, Value::List(_))).count();
    &items[..count]
}

fn leaf(value: &Value, path: Vec<u32>) -> Part {
    let lower = |value: &Value| value.text().to_ascii_lowercase();
    let media = format!("{}/{}", lower(value.at(0)), lower(value.at(1)));
    let params = Params(value.at(2));
    // RFC 9051 7.5.2: what comes between differs by type, then MD5, disposition, language, location.
    let extension = match media.as_str() {
        "message/rfc822" | "message/global" => 10,
        _ if media.starts_with("text/") => 8,
        _ => 7,
    };
    let disposition = value.at(extension + 1);
    let named = Params(disposition.at(1)).get("filename").or_else(|| params.get("name"));
    Part {
        path,
        charset: params.get("charset").unwrap_or_default(),
        flowed: params.get("format").is_some_and(|it| it.eq_ignore_ascii_case("flowed")),
        del_sp: params.get("delsp").is_some_and(|it| it.eq_ignore_ascii_case("yes")),
        file_name: named.unwrap_or_default(),
        content_id: value.at(3).text().trim_matches(['<', '>']).to_owned(),
        bytes: value.at(6).number(),
        disposition: match lower(disposition.at(0)).as_str() {
            "" => Disposition::Unstated,
            "inline" => Disposition::Inline,
            // RFC 2183 2.8: what is not known is an attachment.
            _ => Disposition::Attachment,
        },
        media,
    }
}

/// Parameters of a part: names and values in turn.
struct Params<'a>(&'a Value);

impl Params<'_> {
    /// A parameter; in the forms of RFC 2231 too, decoded.
    fn get(&self, name: &str) -> Option<String> {
        let pairs = self.0.items().chunks_exact(2);
        let mut pieces: Vec<(u32, bool, Vec<u8>)> = Vec::new();
        for pair in pairs {
            let key = pair[0].text().to_ascii_lowercase();
            let Some(rest) = key.strip_prefix(name) else { continue };
            if rest.is_empty() {
                return Some(decoded(pair[1].bytes()));
            }
            let Some(rest) = rest.strip_prefix('*') else { continue };
            let (number, extended) = match rest.strip_suffix('*') {
                Some(number) => (number, true),
                None => (rest, rest.is_empty()),
            };
            let number = if number.is_empty() { Some(0) } else { number.parse().ok() };
            pieces.push((number?, extended, pair[1].bytes().to_vec()));
        }
        pieces.sort_by_key(|(number, _, _)| *number);
        let mut charset = String::new();
        let mut bytes = Vec::new();
        for (number, extended, value) in pieces {
            let value = if number == 0 && extended {
                let mut fields = value.splitn(3, |byte| *byte == b'\'');
                let (first, _language) = (fields.next()?, fields.next());
                match fields.next() {
                    Some(text) => {
                        charset = String::from_utf8_lossy(first).into_owned();
                        text.to_vec()
                    }
                    None => first.to_vec(),
                }
            } else {
                value
            };
            bytes.extend(if extended { percent_decoded(&value) } else { value });
        }
        if bytes.is_empty() {
            return None;
        }
        let decode = mail_parser::decoders::charsets::map::charset_decoder(charset.as_bytes());
        let text = match decode {
            Some(decode) => decode(&bytes),
            None => String::from_utf8_lossy(&bytes).into_owned(),
        };
        Some(text.chars().filter(|c| !c.is_control()).collect())
    }
}

fn percent_decoded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%');
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailstore::mime::{Limits, Scanner};

    fn plan(message: &str) -> Plan {
        let mut scanner = Scanner::new(&Limits::default());
        scanner.push(message.replace('\n', "\r\n").as_bytes());
        Plan::read(&scanner.finish().structure)
    }

    fn media(parts: &[Part]) -> Vec<(String, &str)> {
        parts.iter().map(|part| (part.number(), part.media.as_str())).collect()
    }

    fn is(parts: &[Part], expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(n, m)| ((*n).to_owned(), *m)).collect();
        assert_eq!(media(parts), expected);
    }

    #[test]
    fn a_lone_text() {
        let plan =
            plan("Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes\n\nHi\n");
        is(&plan.shown, &[("1", "text/plain")]);
        assert!(plan.shown[0].flowed && plan.shown[0].del_sp);
        assert_eq!(plan.shown[0].charset, "utf-8");
    }

    #[test]
    fn the_richest_alternative_with_its_pictures_and_what_is_attached() {
        let message = "Content-Type: multipart/mixed; boundary=m\n\n--m\n\
            Content-Type: multipart/alternative; boundary=a\n\n--a\n\nplain\n--a\n\
            Content-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<b>\n--r\n\
            Content-Type: image/png\nContent-ID: <p@x>\nContent-Disposition: inline; filename=p.png\n\nx\n--r--\n\
            --a--\n--m\nContent-Type: application/pdf\n\
            Content-Disposition: attachment; filename*0*=utf-8''r%C3%A9; filename*1=sum.pdf\n\ny\n--m\n\
            Content-Type: message/rfc822\n\nSubject: inner\n\nbody\n--m--\n";
        let plan = plan(message);
        is(&plan.shown, &[("1.2.1", "text/html")]);
        is(&plan.related, &[("1.2.2", "image/png")]);
        assert_eq!(plan.related[0].content_id, "p@x");
        is(&plan.attachments, &[("2", "application/pdf"), ("3", "message/rfc822")]);
        assert_eq!(plan.attachments[0].file_name, "r\u{e9}sum.pdf");
        assert_eq!(plan.attachments[1].name(), "message.eml");
        assert_eq!(plan.find(&[1, 2, 2]).map(|part| part.file_name.as_str()), Some("p.png"));
    }

    #[test]
    fn numbers_of_parts() {
        assert_eq!(Part::path_of("1.2.3"), Some(vec![1, 2, 3]));
        for wrong in ["", "0", "1..2", "x", "1.-2", &"1.".repeat(100)] {
            assert_eq!(Part::path_of(wrong), None, "{wrong}");
        }
    }
}
