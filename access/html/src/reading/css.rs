//! Filters styles: declarations of an element and whole style sheets.
//!
//! What is kept is written anew from its tokens, and a token is kept only when it is of a listed kind: so there is no way to
//! name a resource (`url()`, a string outside of `font-family`, `image-set()`, `@import`, `attr()`, `var()`), to leave the place
//! in the flow (`position`, `transform`, negative margins), or to write an escape. A declaration with anything else in it
//! is dropped as a whole, a rule with anything else in its selector too.
//!
//! The result holds neither `<` nor `&`, so that it can stand in a `style` element as well as in an attribute.

use cssparser::{Delimiter, ParseError, Parser, Token};

use super::limits::{Limits, MEDIA_DEPTH_MAX, PRELUDE_BYTES_MAX, STYLE_DEPTH_MAX};

/// Before the names of classes and ids of a message, so that none is one of the frame's.
pub(crate) const PREFIX: &str = "m-";

const PROPERTIES: &[&str] = &[
    "align-items",
    "background",
    "background-color",
    "border",
    "border-bottom",
    "border-bottom-color",
    "border-bottom-left-radius",
    "border-bottom-right-radius",
    "border-bottom-style",
    "border-bottom-width",
    "border-collapse",
    "border-color",
    "border-left",
    "border-left-color",
    "border-left-style",
    "border-left-width",
    "border-radius",
    "border-right",
    "border-right-color",
    "border-right-style",
    "border-right-width",
    "border-spacing",
    "border-style",
    "border-top",
    "border-top-color",
    "border-top-left-radius",
    "border-top-right-radius",
    "border-top-style",
    "border-top-width",
    "border-width",
    "box-sizing",
    "caption-side",
    "clear",
    "color",
    "direction",
    "display",
    "empty-cells",
    "flex",
    "flex-direction",
    "flex-wrap",
    "float",
    "font",
    "font-family",
    "font-size",
    "font-stretch",
    "font-style",
    "font-variant",
    "font-weight",
    "gap",
    "height",
    "hyphens",
    "justify-content",
    "letter-spacing",
    "line-height",
    "list-style",
    "list-style-position",
    "list-style-type",
    "margin",
    "margin-bottom",
    "margin-left",
    "margin-right",
    "margin-top",
    "max-width",
    "min-width",
    "opacity",
    "overflow-wrap",
    "padding",
    "padding-bottom",
    "padding-left",
    "padding-right",
    "padding-top",
    "ruby-position",
    "table-layout",
    "text-align",
    "text-align-last",
    "text-decoration",
    "text-decoration-color",
    "text-decoration-line",
    "text-decoration-style",
    "text-emphasis",
    "text-transform",
    "text-underline-offset",
    "vertical-align",
    "visibility",
    "white-space",
    "width",
    "word-break",
    "word-spacing",
    "word-wrap",
    "writing-mode",
];

/// None of them takes an address.
const FUNCTIONS: &[&str] = &[
    "calc",
    "clamp",
    "hsl",
    "hsla",
    "hwb",
    "lab",
    "lch",
    "linear-gradient",
    "max",
    "min",
    "oklab",
    "oklch",
    "radial-gradient",
    "rgb",
    "rgba",
];

const PSEUDO_CLASSES: &[&str] = &[
    "active",
    "empty",
    "first-child",
    "first-of-type",
    "hover",
    "last-child",
    "last-of-type",
    "link",
    "only-child",
    "root",
    "visited",
];

type Parsed<T> = Result<T, ParseError<()>>;

fn refused<T>() -> Parsed<T> {
    Err(ParseError::custom(()))
}

/// The declarations of a `style` attribute that may stay.
pub(crate) fn declarations(style: &str) -> String {
    let mut out = String::new();
    push_declarations(&mut Parser::new(style), &mut out);
    out
}

/// The rules of style sheets that may stay: style rules, also in `@media`. Every other at-rule is dropped.
pub(crate) fn sheet(css: &str, limits: &Limits) -> String {
    let mut sheet = Sheet { out: String::new(), rules_left: limits.rules_max };
    sheet.push_rules(&mut Parser::new(css), 0);
    sheet.out
}

/// A class or id as the message's sheets and elements name it; nothing if it needs an escape.
pub(crate) fn prefixed(name: &str) -> Option<String> {
    let fine = !name.is_empty() && name.chars().all(is_name);
    fine.then(|| if name.starts_with(PREFIX) { name.to_owned() } else { format!("{PREFIX}{name}") })
}

/// A family's name as it may stand between quotes.
pub(crate) fn is_family(name: &str) -> bool {
    name.chars().all(|c| is_name(c) || matches!(c, ' ' | ',' | '.'))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || (!c.is_ascii() && c.is_alphanumeric())
}

fn push_declarations(parser: &mut Parser<'_>, out: &mut String) {
    loop {
        parser.skip_whitespace();
        let property = match parser.next() {
            Err(_) => return,
            Ok(Token::Semicolon) => continue,
            Ok(Token::Ident(name)) => {
                PROPERTIES.iter().find(|p| p.eq_ignore_ascii_case(name)).copied()
            }
            Ok(_) => None,
        };
        let mut value = String::new();
        let read: Parsed<()> = parser.parse_until_after(Delimiter::Semicolon, |parser| {
            let Some(property) = property else { return refused() };
            parser.expect_colon().map_err(ParseError::from)?;
            push_value(parser, property, &mut value, 0)
        });
        let value = value.trim();
        if let (Ok(()), Some(property), false) = (read, property, value.is_empty()) {
            if !out.is_empty() && !out.ends_with('{') {
                out.push(';');
            }
            out.push_str(property);
            out.push(':');
            out.push_str(value);
        }
    }
}

fn push_value(parser: &mut Parser<'_>, property: &str, out: &mut String, depth: u8) -> Parsed<()> {
    if depth > STYLE_DEPTH_MAX {
        return refused();
    }
    loop {
        let start = parser.position();
        let nested = match parser.next_including_whitespace_and_comments() {
            Err(_) => return Ok(()),
            // A comment ends a token as a space does.
            Ok(Token::WhiteSpace(_) | Token::Comment(_)) => {
                push_space(out);
                continue;
            }
            Ok(Token::Number { value, .. } | Token::Dimension { value, .. }) if *value < 0.0 => {
                if property.starts_with("margin") {
                    return refused();
                }
                false
            }
            Ok(Token::Percentage { unit_value, .. }) if *unit_value < 0.0 => {
                if property.starts_with("margin") {
                    return refused();
                }
                false
            }
            Ok(Token::QuotedString(name)) if matches!(property, "font-family" | "font") => {
                if !is_family(name) {
                    return refused();
                }
                out.push('\'');
                out.push_str(name);
                out.push('\'');
                continue;
            }
            Ok(Token::Ident(_) | Token::Number { .. } | Token::Percentage { .. }) => false,
            Ok(Token::Dimension { .. } | Token::Hash(_) | Token::IDHash(_) | Token::Comma) => false,
            Ok(Token::Delim('/' | '*' | '+' | '-' | '!')) => false,
            Ok(Token::Function(name)) if FUNCTIONS.iter().any(|f| f.eq_ignore_ascii_case(name)) => {
                true
            }
            Ok(Token::ParenthesisBlock) if depth > 0 => true,
            Ok(_) => return refused(),
        };
        let written = parser.slice_from(start);
        if !written
            .chars()
            .all(|c| is_name(c) || matches!(c, '#' | '.' | '%' | ',' | '/' | '*' | '+' | '(' | '!'))
        {
            return refused();
        }
        out.push_str(written);
        if nested {
            parser.parse_nested_block(|parser| push_value(parser, property, out, depth + 1))?;
            out.push(')');
        }
    }
}

fn push_space(out: &mut String) {
    if !out.is_empty() && !out.ends_with([' ', '(', ',']) {
        out.push(' ');
    }
}

#[derive(Debug)]
struct Sheet {
    out: String,
    rules_left: u32,
}

impl Sheet {
    fn push_rules(&mut self, parser: &mut Parser<'_>, depth: u8) {
        loop {
            let start = parser.state();
            let at_rule = match parser.next() {
                Err(_) => return,
                Ok(Token::CDO | Token::CDC | Token::Semicolon) => continue,
                Ok(Token::AtKeyword(name)) => Some(name.eq_ignore_ascii_case("media")),
                Ok(_) => None,
            };
            match at_rule {
                Some(true) => self.push_media(parser, depth),
                Some(false) => skip_at_rule(parser),
                None => {
                    parser.reset(&start);
                    self.push_rule(parser);
                }
            }
        }
    }

    fn push_media(&mut self, parser: &mut Parser<'_>, depth: u8) {
        let mut query = String::new();
        let prelude: Parsed<()> = parser
            .parse_until_before(Delimiter::CurlyBracketBlock | Delimiter::Semicolon, |parser| {
                push_query(parser, &mut query, 0)
            });
        if !matches!(parser.next(), Ok(Token::CurlyBracketBlock)) {
            return;
        }
        if prelude.is_err() || depth >= MEDIA_DEPTH_MAX || query.len() > PRELUDE_BYTES_MAX {
            return;
        }
        let start = self.out.len();
        self.out.push_str("@media ");
        self.out.push_str(query.trim());
        self.out.push('{');
        let inside = self.out.len();
        let _: Parsed<()> = parser.parse_nested_block(|parser| {
            self.push_rules(parser, depth + 1);
            Ok(())
        });
        if self.out.len() == inside {
            self.out.truncate(start);
        } else {
            self.out.push_str("}\n");
        }
    }

    fn push_rule(&mut self, parser: &mut Parser<'_>) {
        let mut selector = String::new();
        let prelude: Parsed<()> = parser
            .parse_until_before(Delimiter::CurlyBracketBlock, |parser| {
                push_selector(parser, &mut selector)
            });
        if !matches!(parser.next(), Ok(Token::CurlyBracketBlock)) {
            return;
        }
        let selector = selector.trim();
        let fine = prelude.is_ok() && !selector.is_empty() && selector.len() <= PRELUDE_BYTES_MAX;
        if !fine || self.rules_left == 0 {
            return;
        }
        let start = self.out.len();
        self.out.push_str(selector);
        self.out.push('{');
        let inside = self.out.len();
        let _: Parsed<()> = parser.parse_nested_block(|parser| {
            push_declarations(parser, &mut self.out);
            Ok(())
        });
        if self.out.len() == inside {
            self.out.truncate(start);
        } else {
            self.rules_left -= 1;
            self.out.push_str("}\n");
        }
    }
}

/// An at-rule ends with its block, or at a semicolon before one.
fn skip_at_rule(parser: &mut Parser<'_>) {
    while let Ok(token) = parser.next() {
        if matches!(token, Token::Semicolon | Token::CurlyBracketBlock) {
            return;
        }
    }
}

/// Types, classes, ids, combinators and pseudo-classes of the list. No attribute selector: mail needs none.
fn push_selector(parser: &mut Parser<'_>, out: &mut String) -> Parsed<()> {
    loop {
        let name = match parser.next_including_whitespace() {
            Err(_) => return Ok(()),
            Ok(Token::WhiteSpace(_)) => {
                push_space(out);
                continue;
            }
            Ok(Token::Comma) => ",".to_owned(),
            Ok(Token::Delim(c @ ('*' | '>' | '+' | '~'))) => c.to_string(),
            Ok(Token::Ident(name)) if name.chars().all(is_name) => match name.as_ref() {
                // The message's body is an element here.
                "body" => format!(".{PREFIX}body"),
                "html" => ":root".to_owned(),
                name => name.to_owned(),
            },
            Ok(Token::IDHash(name)) => match prefixed(name) {
                Some(name) => format!("#{name}"),
                None => return refused(),
            },
            Ok(Token::Delim('.')) => match parser.next_including_whitespace() {
                Ok(Token::Ident(name)) => match prefixed(name) {
                    Some(name) => format!(".{name}"),
                    None => return refused(),
                },
                _ => return refused(),
            },
            Ok(Token::Colon) => match parser.next_including_whitespace() {
                Ok(Token::Ident(name)) if PSEUDO_CLASSES.contains(&name.as_ref()) => {
                    format!(":{name}")
                }
                _ => return refused(),
            },
            Ok(_) => return refused(),
        };
        out.push_str(&name);
    }
}

fn push_query(parser: &mut Parser<'_>, out: &mut String, depth: u8) -> Parsed<()> {
    if depth > STYLE_DEPTH_MAX {
        return refused();
    }
    loop {
        let start = parser.position();
        let nested = match parser.next_including_whitespace_and_comments() {
            Err(_) => return Ok(()),
            // A comment ends a token as a space does.
            Ok(Token::WhiteSpace(_) | Token::Comment(_)) => {
                push_space(out);
                continue;
            }
            Ok(Token::ParenthesisBlock) => true,
            Ok(Token::Ident(_) | Token::Number { .. } | Token::Dimension { .. }) => false,
            Ok(Token::Comma | Token::Colon | Token::Delim('/')) => false,
            Ok(_) => return refused(),
        };
        let written = parser.slice_from(start);
        if !written.chars().all(|c| is_name(c) || matches!(c, '.' | ',' | ':' | '/' | '(' | '+')) {
            return refused();
        }
        out.push_str(written);
        if nested {
            parser.parse_nested_block(|parser| push_query(parser, out, depth + 1))?;
            out.push(')');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_declarations_stay() {
        for kept in [
            "color:red",
            "color:#ffffff;background:rgb(1,2,3)",
            "font-family:Arial,'Segoe UI',sans-serif",
            "font:bold 12px/1.5 'A B'",
            "margin:0 auto",
            "width:calc(100% - 10px)",
            "background:linear-gradient(to right,red 0%,blue 100%)",
            "letter-spacing:-1px",
            "color:red!important",
        ] {
            assert_eq!(declarations(kept), kept);
            assert_eq!(declarations(&declarations(kept)), kept);
        }
        assert_eq!(
            declarations(" COLOR : red ;; /* x */ width: 1px /* y */ ; "),
            "color:red;width:1px"
        );
    }

    #[test]
    fn what_could_leave_goes_with_its_declaration() {
        for dropped in [
            "background:url(http://e/)",
            "background:url('http://e/')",
            "background:URL(http://e/)",
            "background:u\\72l(http://e/)",
            "background:\\75\\72\\6c(http://e/)",
            "background-image:url(http://e/)",
            "background:image-set('http://e/' 1x)",
            "background:-webkit-image-set(url(x) 1x)",
            "background:cross-fade(url(x),red)",
            "background:image('http://e/')",
            "background:src('http://e/')",
            "background:linear-gradient(red,url(x))",
            "list-style:url(x)",
            "list-style-image:url(x)",
            "cursor:url(x),auto",
            "content:url(x)",
            "color:var(--x)",
            "--x:url(x)",
            "width:expression(alert(1))",
            "width:exp/**/ression(alert(1))",
            "behavior:url(x)",
            "-moz-binding:url(x)",
            "filter:url(x#y)",
            "color:attr(href)",
            "position:fixed",
            "position:absolute;",
            "pos\\69tion:fixed",
            "margin-left:-9999px",
            "margin:0 -10%",
            "transform:scale(99)",
            "z-index:9",
            "unicode-bidi:bidi-override",
            "animation:x 1s",
            "font-family:'x',url(x)",
            "font-family:'</style>'",
            "color:red\\3c",
            "color:{red}",
            "color:[red]",
            "src:url(x)",
            "@import 'x'",
            "color:(red)",
            "color:'red",
        ] {
            assert_eq!(declarations(dropped), "", "{dropped}");
        }
    }

    #[test]
    fn what_follows_a_dropped_declaration_stays() {
        assert_eq!(declarations("background:url(a;b);color:red"), "color:red");
        assert_eq!(declarations("x{a:b;c};color:red"), "color:red");
        assert_eq!(declarations("}color:blue;color:red"), "color:red");
        assert_eq!(declarations("content:'a;color:blue';color:red"), "color:red");
        assert_eq!(declarations("color;:x;color:red"), "color:red");
        assert_eq!(declarations("color:r/**/ed;width:/* ; */1px"), "color:r ed;width:1px");
    }

    fn sheet(css: &str) -> String {
        super::sheet(css, &Limits::default())
    }

    #[test]
    fn rules_keep_what_they_may() {
        assert_eq!(sheet("<!-- .a, #b > P{color:red;x:y} -->"), ".m-a,#m-b > P{color:red}\n");
        assert_eq!(
            sheet("body{margin:0}html a:hover{color:red}"),
            ".m-body{margin:0}\n:root a:hover{color:red}\n"
        );
        assert_eq!(
            sheet("@media only screen and (max-width:600px){.a{width:100%}b{x:y}}"),
            "@media only screen and (max-width:600px){.m-a{width:100%}\n}\n"
        );
        let once = sheet(".a{color:red}@media print{#c{color:red}}");
        assert_eq!(sheet(&once), once);
    }

    #[test]
    fn rules_that_name_or_ask_are_dropped() {
        for dropped in [
            "@import url(x);",
            "@import 'x';",
            "@charset 'x';",
            "@namespace url(x);",
            "@font-face{font-family:x;src:url(x)}",
            "@supports (color:red){a{color:red}}",
            "@page{margin:0}",
            "@keyframes x{from{color:red}}",
            "@media x{@import 'y';@font-face{src:url(x)}}",
            "input[value^=a]{color:red}",
            "a[href]{color:red}",
            "a::before{content:'x'}",
            "a:not(.b){color:red}",
            "a{background:url(x)}",
            "a\\3c{color:red}",
            "a{b{color:red}}",
            "a|b{color:red}",
            "& a{color:red}",
            "</style><script>{color:red}",
        ] {
            assert_eq!(sheet(dropped), "", "{dropped}");
        }
        assert_eq!(sheet("@import 'x';a{color:red}"), "a{color:red}\n");
        assert_eq!(sheet("@import 'x' a{color:blue}b{color:red}"), "b{color:red}\n");
    }

    #[test]
    fn rules_and_nesting_have_limits() {
        let limits = Limits { rules_max: 2, ..Limits::default() };
        assert_eq!(
            super::sheet("a{color:red}b{color:red}i{color:red}", &limits),
            "a{color:red}\nb{color:red}\n"
        );
        assert_eq!(sheet(&"@media x{".repeat(9)), "");
        assert_eq!(declarations(&format!("width:{}", "calc(".repeat(100_000))), "");
    }
}
