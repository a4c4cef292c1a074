//! Puts a message's tags in order before the sanitiser sees them: what comes out is balanced, no deeper and no larger than the
//! limits, and holds only elements and attributes of the lists. Its style sheets are taken out.
//!
//! Invariants: each tag on `open` has its start tag in `out` and gets its end tag; an element that the tree builder of the
//! sanitiser would close or move is closed here first, so that it builds what is written and its lists stay short.
//!
//! It is no sanitiser: values of attributes pass as they are. It must not know what a link or an image may refer to.

use super::allowed::{self, Kind};
use super::limits::{Limits, REOPENED_MAX};
use super::scanner::{Attribute, Scanner, Token};

/// The class of the mark behind a link that claims another host. A message that brings one forges it.
pub(crate) const REAL_HOST: &str = "real-host";

/// The class of the handle of a folded quotation. A message that brings one forges it.
pub(crate) const QUOTE_HANDLE: &str = "quote-handle";

#[derive(Debug)]
pub(crate) struct Outlined {
    pub html: String,
    /// The style sheets of the message as they are, one behind the other.
    pub sheets: String,
    pub truncated: bool,
    /// Bytes read and elements looked at: what the work is measured by.
    pub work: u64,
}

#[derive(Debug)]
struct Open {
    name: &'static str,
    kind: Kind,
    /// The start tag in `out`, to open the element again.
    tag: std::ops::Range<usize>,
}

#[derive(Debug)]
struct Outline<'a> {
    limits: &'a Limits,
    scanner: Scanner<'a>,
    out: String,
    sheets: String,
    open: Vec<Open>,
    /// Start tags left out because they were too deep, less their end tags.
    beyond: usize,
    elements: u32,
    truncated: bool,
    looked_at: u64,
}

/// Reads `html` once.
pub(crate) fn outline(html: &str, limits: &Limits) -> Outlined {
    let input = &html[..html.floor_char_boundary(limits.input_bytes_max)];
    let mut outline = Outline {
        limits,
        scanner: Scanner::new(input, limits.attributes_max),
        out: String::with_capacity(input.len()),
        sheets: String::new(),
        open: Vec::new(),
        beyond: 0,
        elements: 0,
        truncated: input.len() < html.len(),
        looked_at: 0,
    };
    outline.run();
    Outlined {
        work: outline.scanner.position() as u64 + outline.looked_at,
        html: outline.out,
        sheets: outline.sheets,
        truncated: outline.truncated,
    }
}

impl Outline<'_> {
    fn run(&mut self) {
        while let Some(token) = self.scanner.next() {
            match token {
                Token::Text(text) => self.on_text(text),
                // In a drawing or in XHTML nothing of it follows; in HTML no author meant the rest.
                Token::Start { name, closed: true, .. } if allowed::is_dropped_whole(&name) => {}
                Token::Start { name, attributes, .. } => self.on_start(&name, &attributes),
                Token::End { name } => self.on_end(&name),
            }
            let full = self.out.len() > self.limits.output_bytes_max
                || self.elements >= self.limits.elements_max;
            if full {
                self.truncated = true;
                break;
            }
        }
        self.close_down_to(0);
    }

    fn on_text(&mut self, text: &str) {
        let in_table = self.open.last().is_some_and(|top| top.kind.holds_table_parts());
        if in_table && text.bytes().all(|b| b.is_ascii_whitespace() || b == 0) {
            return;
        }
        self.ensure_flow();
        push_escaped(&mut self.out, text);
    }

    fn on_start(&mut self, name: &str, attributes: &[Attribute<'_>]) {
        if allowed::is_dropped_whole(name) {
            let content = self.scanner.raw_text(name);
            if name == "style" && self.sheets.len() + content.len() < self.limits.sheet_bytes_max {
                self.sheets.push_str(content);
                self.sheets.push('\n');
            }
            return;
        }
        match name {
            "body" => return self.on_body(attributes),
            "plaintext" | "xmp" | "listing" => return self.on_verbatim(name),
            _ => {}
        }
        for (element, class) in [("span", REAL_HOST), ("summary", QUOTE_HANDLE)] {
            if name == element && attributes.iter().any(|(n, v)| *n == "class" && *v == class) {
                self.scanner.raw_text(element);
                return;
            }
        }
        if let Some((name, kind)) = allowed::element(name) {
            self.on_element(name, kind, attributes);
        }
    }

    /// The body's colours are the message's: they stay, on an element of their own.
    fn on_body(&mut self, attributes: &[Attribute<'_>]) {
        let value = |name: &str| {
            attributes.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v)
        };
        let mut style = String::new();
        for (name, property) in [("bgcolor", "background-color"), ("text", "color")] {
            if let Some(value) = value(name) {
                style.push_str(&format!("{property}:{value};"));
            }
        }
        style.push_str(value("style").unwrap_or_default());
        let class = format!("body {}", value("class").unwrap_or_default());
        let mut kept: Vec<Attribute<'_>> = vec![("class", &class), ("style", &style)];
        let others = ["dir", "id", "lang"];
        kept.extend(
            attributes.iter().filter(|(n, _)| others.iter().any(|o| n.eq_ignore_ascii_case(o))),
        );
        self.on_element("div", Kind::Block, &kept);
    }

    /// Elements of old whose content is text, tags and all.
    fn on_verbatim(&mut self, name: &str) {
        let text = match name {
            "plaintext" => self.scanner.rest(),
            _ => self.scanner.raw_text(name),
        };
        self.on_element("pre", Kind::Block, &[]);
        push_escaped(&mut self.out, &text.replace('&', "&amp;"));
        self.on_end("pre");
    }

    fn on_element(&mut self, name: &'static str, kind: Kind, attributes: &[Attribute<'_>]) {
        if !self.make_way(name, kind) {
            return;
        }
        // Where a table may stand its parts may, written or implied.
        let is_deep = self.open.len() >= self.limits.depth_max && !kind.is_table_part();
        if kind != Kind::Void && is_deep {
            self.beyond += 1;
            self.truncated = true;
            return;
        }
        self.elements += 1;
        let start = self.out.len();
        self.push_tag(name, attributes);
        if kind != Kind::Void && kind != Kind::Column {
            self.open.push(Open { name, kind, tag: start..self.out.len() });
        }
    }

    /// Closes and opens what the tree builder would before this start tag; false when it would ignore the tag.
    fn make_way(&mut self, name: &str, kind: Kind) -> bool {
        match kind {
            _ if kind.is_table_part() => return self.make_way_in_table(kind),
            Kind::Void if name == "hr" => self.close_paragraph(),
            Kind::Formatting if name == "a" => {
                if let Some(at) = self.find(|o| o.name == "a", |o| o.kind.is_scope()) {
                    self.close_down_to(at);
                }
            }
            Kind::Ruby if name != "ruby" => {
                while self.open.last().is_some_and(|o| matches!(o.name, "rp" | "rt")) {
                    self.close_top();
                }
            }
            Kind::Item | Kind::Term => {
                let passable =
                    |o: &Open| o.kind.is_text_level() || matches!(o.name, "address" | "div" | "p");
                if let Some(at) = self.find(|o| o.kind == kind, |o| !passable(o)) {
                    self.close_down_to(at);
                }
                self.close_paragraph();
            }
            Kind::Block | Kind::Table | Kind::Heading => self.close_paragraph(),
            _ => {}
        }
        if kind == Kind::Heading && self.open.last().is_some_and(|o| o.kind == Kind::Heading) {
            self.close_top();
        }
        self.ensure_flow();
        true
    }

    fn make_way_in_table(&mut self, kind: Kind) -> bool {
        let Some(table) = self.find(|o| o.kind == Kind::Table, |_| false) else { return false };
        let parents: &[Kind] = match kind {
            Kind::Cell => &[Kind::Row, Kind::RowGroup],
            Kind::Row => &[Kind::RowGroup],
            Kind::Column => &[Kind::ColumnGroup],
            _ => &[],
        };
        let mut parent = table;
        for wanted in parents {
            if let Some(at) = self.find(|o| o.kind == *wanted, |o| o.kind == Kind::Table) {
                parent = at;
                break;
            }
        }
        self.close_down_to(parent + 1);
        self.open_implied(kind);
        true
    }

    /// What a table part stands in when it is not written.
    fn open_implied(&mut self, kind: Kind) {
        let top = self.open.last().map(|o| o.kind);
        match kind {
            Kind::Column if top == Some(Kind::Table) => {
                self.open_bare("colgroup", Kind::ColumnGroup);
            }
            Kind::Row | Kind::Cell if top == Some(Kind::Table) => {
                self.open_bare("tbody", Kind::RowGroup);
            }
            _ => {}
        }
        if kind == Kind::Cell && self.open.last().is_some_and(|o| o.kind == Kind::RowGroup) {
            self.open_bare("tr", Kind::Row);
        }
    }

    /// Content straight inside a table or row stands in a cell, where the tree builder would move it before the table.
    fn ensure_flow(&mut self) {
        if self.open.last().is_some_and(|o| o.kind == Kind::ColumnGroup) {
            self.close_top();
        }
        if self.open.last().is_some_and(|o| o.kind.holds_table_parts()) {
            self.open_implied(Kind::Cell);
            self.open_bare("td", Kind::Cell);
        }
    }

    fn open_bare(&mut self, name: &'static str, kind: Kind) {
        let start = self.out.len();
        self.push_tag(name, &[]);
        self.elements += 1;
        self.open.push(Open { name, kind, tag: start..self.out.len() });
    }

    fn on_end(&mut self, name: &str) {
        if name == "br" {
            return self.on_element("br", Kind::Void, &[]);
        }
        let name = if name == "body" { "div" } else { name };
        let Some((name, kind)) = allowed::element(name) else { return };
        if self.beyond > 0 {
            self.beyond -= 1;
            return;
        }
        let target = match kind {
            Kind::Void | Kind::Column => None,
            Kind::Table => self.find(|o| o.kind == Kind::Table, |_| false),
            _ if kind.is_table_part() => self.find(|o| o.name == name, |o| o.kind == Kind::Table),
            Kind::Heading => self.find(|o| o.kind == Kind::Heading, |o| o.kind.is_scope()),
            Kind::Item => self
                .find(|o| o.name == name, |o| o.kind.is_scope() || matches!(o.name, "ol" | "ul")),
            Kind::Inline | Kind::Ruby => self.find(|o| o.name == name, |o| !o.kind.is_text_level()),
            _ => self.find(|o| o.name == name, |o| o.kind.is_scope()),
        };
        let Some(at) = target else { return };
        if kind == Kind::Formatting {
            self.close_and_reopen(at);
        } else {
            self.close_down_to(at);
        }
    }

    /// `<b><p>x</b>y`: the paragraph goes on without the `b`.
    fn close_and_reopen(&mut self, at: usize) {
        let inner: Vec<Open> = self.open.drain(at + 1..).collect();
        for open in inner.iter().rev() {
            self.push_end(open.name);
        }
        self.close_down_to(at);
        if inner.len() > REOPENED_MAX {
            return;
        }
        for open in inner {
            let start = self.out.len();
            self.out.extend_from_within(open.tag);
            self.elements += 1;
            self.open.push(Open { name: open.name, kind: open.kind, tag: start..self.out.len() });
        }
    }

    fn close_paragraph(&mut self) {
        if let Some(at) = self.find(|o| o.name == "p", |o| o.kind.is_scope()) {
            self.close_down_to(at);
        }
    }

    /// The innermost open element that `is`, unless one that is a `barrier` stands inside of it.
    fn find(
        &mut self,
        is: impl Fn(&Open) -> bool,
        barrier: impl Fn(&Open) -> bool,
    ) -> Option<usize> {
        for (at, open) in self.open.iter().enumerate().rev() {
            self.looked_at += 1;
            if is(open) {
                return Some(at);
            }
            if barrier(open) {
                return None;
            }
        }
        None
    }

    fn close_down_to(&mut self, depth: usize) {
        while self.open.len() > depth {
            self.close_top();
        }
    }

    fn close_top(&mut self) {
        if let Some(open) = self.open.pop() {
            self.push_end(open.name);
            self.beyond = 0;
        }
    }

    fn push_end(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    fn push_tag(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.out.push('<');
        self.out.push_str(name);
        let mut seen: Vec<&'static str> = Vec::new();
        for (written, value) in attributes {
            self.looked_at += 1;
            let Some(attribute) = allowed::attribute(name, written) else { continue };
            if seen.contains(&attribute) {
                continue;
            }
            seen.push(attribute);
            if value.len() > self.limits.attribute_bytes_max {
                self.truncated = true;
                continue;
            }
            self.out.push(' ');
            self.out.push_str(attribute);
            self.out.push_str("=\"");
            push_escaped(&mut self.out, value);
            self.out.push('"');
        }
        self.out.push('>');
    }
}

/// Character references stay: `&` is not escaped.
fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\0' => {}
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(input: &str) -> String {
        outline(input, &Limits::default()).html
    }

    #[test]
    fn tags_are_balanced() {
        assert_eq!(html("<div><b>x"), "<div><b>x</b></div>");
        assert_eq!(html("x</div></p></b>"), "x");
        assert_eq!(html("<p>a<p>b<div>c"), "<p>a</p><p>b</p><div>c</div>");
        assert_eq!(html("<b><p>x</b>y"), "<b><p>x</p></b><p>y</p>");
        assert_eq!(html("<b><i>x</b>y</i>"), "<b><i>x</i></b><i>y</i>");
        assert_eq!(html("<span><div>x</span>y</div>"), "<span><div>xy</div></span>");
        assert_eq!(html("<h1>a<h2>b</h1>"), "<h1>a</h1><h2>b</h2>");
        assert_eq!(html("<a href=x>a<a href=y>b"), "<a href=\"x\">a</a><a href=\"y\">b</a>");
    }

    #[test]
    fn lists() {
        assert_eq!(
            html("<ul><li>a<li>b<ul><li>c</ul>"),
            "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"
        );
        assert_eq!(html("<dl><dt>a<dd>b"), "<dl><dt>a</dt><dd>b</dd></dl>");
    }

    #[test]
    fn tables() {
        let row = "<table><tbody><tr><td>a</td><td>b</td></tr></tbody></table>";
        assert_eq!(html("<table><tr><td>a<td>b"), row);
        assert_eq!(html("<table> <td>a</td><td>b</td></table>"), row);
        assert_eq!(html(row), row);
        assert_eq!(
            html("<table>x<tr><td>a"),
            "<table><tbody><tr><td>x</td></tr><tr><td>a</td></tr></tbody></table>"
        );
        assert_eq!(html("<td>a</td>"), "a");
        assert_eq!(
            html("<table><col><tr><td><table><td>i</table></b></td></table>"),
            "<table><colgroup><col></colgroup><tbody><tr><td><table><tbody><tr><td>i</td></tr></tbody></table></td></tr></tbody></table>"
        );
        assert_eq!(
            html("<table><thead><th>h<tbody><td>b<tfoot><tr><td>f"),
            "<table><thead><tr><th>h</th></tr></thead><tbody><tr><td>b</td></tr></tbody><tfoot><tr><td>f</td></tr></tfoot></table>"
        );
        assert_eq!(
            html("<table><caption>c<tr>"),
            "<table><caption>c</caption><tbody><tr></tr></tbody></table>"
        );
    }

    #[test]
    fn what_is_not_allowed_is_left_out() {
        assert_eq!(html("a<script>b</script>c<form><input>d</form>"), "acd");
        assert_eq!(html("<svg><title><b></title><a href=x>y</a></svg>"), "<a href=\"x\">y</a>");
        assert_eq!(html("<p onclick=x STYLE=a style=b>"), "<p style=\"a\"></p>");
        assert_eq!(html("<xmp><b>&amp;</xmp>"), "<pre>&lt;b&gt;&amp;amp;</pre>");
        assert_eq!(html("<span class=real-host>x</span>y"), "y");
        assert_eq!(html("<svg><script href=x /></svg>a<title/>b<script/x>c</script>d"), "abd");
    }

    #[test]
    fn the_body_is_an_element_and_its_sheets_are_apart() {
        let outlined = outline(
            "<head><style>a{}</style><body bgcolor=red text=\"'blue\" style='margin:0'>x",
            &Limits::default(),
        );
        assert_eq!(
            outlined.html,
            "<div class=\"body \" style=\"background-color:red;color:'blue;margin:0\">x</div>"
        );
        assert_eq!(outlined.sheets, "a{}\n");
    }

    #[test]
    fn deep_nesting_is_cut_and_its_text_stays() {
        let limits = Limits { depth_max: 2, ..Limits::default() };
        let outlined = outline("<div><div><div><div>x</div></div>y</div>z</div>w", &limits);
        assert_eq!(outlined.html, "<div><div>xy</div>z</div>w");
        assert!(outlined.truncated);
    }

    #[test]
    fn a_table_at_the_limit_is_the_same_again() {
        let limits = Limits { depth_max: 1, ..Limits::default() };
        let cell = "<table><tbody><tr><td>";
        for (input, expected) in [
            ("<table>\0<col>x", "<table><colgroup><col></colgroup><tbody><tr><td>x".to_owned()),
            (
                "<table>\u{202e}<col><td>x",
                format!(
                    "{cell}\u{202e}</td></tr></tbody><colgroup><col></colgroup><tbody><tr><td>x"
                ),
            ),
            ("<table><td><b>x</b><td>y", format!("{cell}x</td><td>y")),
        ] {
            let once = outline(input, &limits).html;
            assert_eq!(once, format!("{expected}</td></tr></tbody></table>"));
            assert_eq!(outline(&once, &limits).html, once);
        }
    }

    /// Inputs that make a parser slow, `n` times as long.
    fn slow(n: usize) -> Vec<String> {
        let mut all: Vec<String> = [
            "<div>",
            "</div>",
            "<p>",
            "<b>",
            "<b><p></b>",
            "<table>",
            "<td>",
            "<table><td>",
            "<li>",
            "<a href=x>",
            "<select>",
            "<",
            "</",
            "<!--",
            "<!-- -",
            "<style>",
            "</style",
            "<xmp></xm",
            "<a b=\"",
            "<a b='",
            "&",
            "<svg>",
            "<font x=1 x=1>",
            "<i></b>",
            "<span class=real-host>",
            "<summary class=quote-handle>",
            "<b><i><u><s><p></b>",
            "<table>x",
            "<h1>",
            "<ruby><rt>",
        ]
        .iter()
        .map(|piece| piece.repeat(n))
        .collect();
        all.push(format!("{}{}", "<div>".repeat(n), "</div>".repeat(n)));
        all.push(format!("{}{}", "<b>".repeat(n), "<p>".repeat(n)));
        all.push(format!("<a {}>", (0..n).map(|i| format!("a{i} ")).collect::<String>()));
        all.push(format!("<a {}>", "style=x ".repeat(n)));
        all.push(format!("<p style=\"{}\">", "x".repeat(n)));
        all
    }

    #[test]
    fn the_work_grows_as_the_input() {
        let limits = Limits {
            input_bytes_max: usize::MAX,
            elements_max: u32::MAX,
            output_bytes_max: usize::MAX,
            ..Limits::default()
        };
        for (small, large) in slow(50_000).iter().zip(slow(100_000)) {
            let (few, many) = (outline(small, &limits), outline(&large, &limits));
            let name: String = small.chars().take(30).collect();
            assert!(many.work <= 2 * few.work + 100_000, "{name}: {} then {}", few.work, many.work);
            assert!(many.work <= (limits.depth_max * large.len()) as u64, "{name}: {}", many.work);
            assert!(many.html.len() <= 20 * large.len(), "{name}: {}", many.html.len());
        }
    }

    #[test]
    fn every_limit_is_kept() {
        let limits = Limits {
            input_bytes_max: 1_000,
            output_bytes_max: 500,
            elements_max: 20,
            ..Limits::default()
        };
        for input in slow(1_000) {
            let outlined = outline(&input, &limits);
            // One token may go over, and everything open is closed.
            assert!(
                outlined.html.len() <= 500 + limits.attribute_bytes_max + 20 * 20,
                "{}",
                outlined.html.len()
            );
            assert!(outlined.html.matches("</").count() <= 20 + REOPENED_MAX);
            assert!(outlined.truncated);
        }
    }
}
