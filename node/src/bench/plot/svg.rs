//! The few shapes that a chart needs, as SVG.

use std::fmt::Write;

/// A drawing under way. Lengths are pixels, the origin is the upper left corner.
#[derive(Debug)]
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text stands beside its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    #[must_use]
    pub fn new(width: f64, height: f64) -> Self {
        let mut svg = Self { width, height, body: String::new() };
        svg.rect((0.0, 0.0), (width, height), "#ffffff");
        svg
    }

    pub fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        self.push(&format!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}"/>"#
        ));
    }

    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str) {
        self.push(&format!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{stroke}"/>"#
        ));
    }

    /// A line through points, each marked.
    pub fn curve(&mut self, points: &[(f64, f64)], stroke: &str) {
        let mut path = String::new();
        for (x, y) in points {
            let _infallible = write!(path, "{x:.1},{y:.1} ");
        }
        let path = path.trim_end();
        self.push(&format!(
            r#"<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="2"/>"#
        ));
        for (x, y) in points {
            self.push(&format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{stroke}"/>"#));
        }
    }

    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        self.text_with("", (x, y), anchor, text);
    }

    pub fn heading(&mut self, at: (f64, f64), text: &str) {
        self.text_with(r#" font-weight="bold""#, at, Anchor::Start, text);
    }

    fn text_with(&mut self, with: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.push(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}"{with}>{text}</text>"#
        ));
    }

    fn push(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// The whole document.
    #[must_use]
    pub fn finish(self) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" font-family=\"sans-serif\" \
             font-size=\"12\" fill=\"#222222\">\n{body}</svg>\n"
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_holds_its_shapes_and_escapes_its_text() {
        let mut svg = Svg::new(100.0, 50.0);
        svg.curve(&[(1.0, 2.0), (3.25, 4.0)], "#123456");
        svg.text((5.0, 6.0), Anchor::End, "a < b & c");
        let text = svg.finish();
        assert!(text.starts_with("<svg xmlns=") && text.ends_with("</svg>\n"));
        assert!(text.contains(r#"points="1.0,2.0 3.2,4.0""#), "{text}");
        assert!(text.contains(r#"text-anchor="end">a &lt; b &amp; c</text>"#), "{text}");
        assert_eq!(text.matches("<circle").count(), 2);
    }
}
