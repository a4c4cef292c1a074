//! What of HTML a message may keep: the elements, how each takes part in nesting, and the attributes.
//!
//! The outline builds with these lists and the sanitiser enforces them; what stands on neither is gone.

/// How an element nests (HTML standard 13.2.6.4.7 and following).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No content, no end tag.
    Void,
    /// Text level, and opened again when an outer element ends first.
    Formatting,
    /// Text level.
    Inline,
    /// Closes an open paragraph, and text-level end tags do not reach past it.
    Block,
    Heading,
    Item,
    Term,
    Ruby,
    Table,
    /// `caption`, and the rows and columns below.
    Caption,
    ColumnGroup,
    Column,
    RowGroup,
    Row,
    Cell,
}

impl Kind {
    /// Stands only in a table.
    pub(crate) fn is_table_part(self) -> bool {
        use Kind::{Caption, Cell, Column, ColumnGroup, Row, RowGroup};
        matches!(self, Caption | ColumnGroup | Column | RowGroup | Row | Cell)
    }

    /// Takes table parts and nothing else.
    pub(crate) fn holds_table_parts(self) -> bool {
        matches!(self, Kind::Table | Kind::ColumnGroup | Kind::RowGroup | Kind::Row)
    }

    /// End tags of what was opened outside do not reach inside (the default scope of the standard).
    pub(crate) fn is_scope(self) -> bool {
        matches!(self, Kind::Table | Kind::Caption | Kind::Cell)
    }

    pub(crate) fn is_text_level(self) -> bool {
        matches!(self, Kind::Formatting | Kind::Inline | Kind::Ruby)
    }
}

const KINDS: &[(Kind, &[&str])] = &[
    (Kind::Void, &["br", "hr", "img", "wbr"]),
    (
        Kind::Formatting,
        &["a", "b", "big", "code", "em", "font", "i", "s", "small", "strike", "strong", "tt", "u"],
    ),
    (
        Kind::Inline,
        &[
            "abbr", "acronym", "bdi", "cite", "del", "dfn", "ins", "kbd", "mark", "q", "samp",
            "span", "sub", "sup", "time", "var",
        ],
    ),
    (
        Kind::Block,
        &[
            "address",
            "article",
            "aside",
            "blockquote",
            "center",
            "dir",
            "div",
            "dl",
            "figcaption",
            "figure",
            "footer",
            "header",
            "main",
            "menu",
            "nav",
            "ol",
            "p",
            "pre",
            "section",
            "ul",
        ],
    ),
    (Kind::Heading, &["h1", "h2", "h3", "h4", "h5", "h6"]),
    (Kind::Item, &["li"]),
    (Kind::Term, &["dd", "dt"]),
    (Kind::Ruby, &["rp", "rt", "ruby"]),
    (Kind::Table, &["table"]),
    (Kind::Caption, &["caption"]),
    (Kind::ColumnGroup, &["colgroup"]),
    (Kind::Column, &["col"]),
    (Kind::RowGroup, &["tbody", "tfoot", "thead"]),
    (Kind::Row, &["tr"]),
    (Kind::Cell, &["td", "th"]),
];

/// Elements that go with all they hold: their content is no text of the message, or belongs to a form.
pub(crate) const DROPPED_WHOLE: &[&str] = &[
    "iframe", "noembed", "noframes", "noscript", "option", "script", "select", "style", "template",
    "textarea", "title",
];

pub(crate) fn is_dropped_whole(name: &str) -> bool {
    DROPPED_WHOLE.contains(&name)
}

/// The name as it stands in the list, and how it nests.
pub(crate) fn element(name: &str) -> Option<(&'static str, Kind)> {
    KINDS.iter().find_map(|(kind, names)| names.iter().find(|n| **n == name).map(|n| (*n, *kind)))
}

pub(crate) fn elements() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|(_, names)| names.iter().copied())
}

/// On any element.
pub(crate) const ATTRIBUTES: &[&str] = &["class", "dir", "id", "lang", "style"];

const TABLE_COLOURS: &[&str] = &["align", "bgcolor", "height", "valign", "width"];

/// On these alone.
pub(crate) const ATTRIBUTES_OF: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("blockquote", &["type"]),
    ("col", &["align", "span", "valign", "width"]),
    ("colgroup", &["align", "span", "valign", "width"]),
    ("caption", &["align"]),
    ("div", &["align"]),
    ("font", &["color", "face", "size"]),
    ("h1", &["align"]),
    ("h2", &["align"]),
    ("h3", &["align"]),
    ("h4", &["align"]),
    ("h5", &["align"]),
    ("h6", &["align"]),
    ("hr", &["align", "color", "noshade", "size", "width"]),
    ("img", &["align", "alt", "border", "height", "hspace", "src", "title", "vspace", "width"]),
    ("li", &["type", "value"]),
    ("ol", &["reversed", "start", "type"]),
    ("p", &["align"]),
    (
        "table",
        &[
            "align",
            "bgcolor",
            "border",
            "cellpadding",
            "cellspacing",
            "height",
            "rules",
            "summary",
            "width",
        ],
    ),
    ("tbody", TABLE_COLOURS),
    (
        "td",
        &["align", "bgcolor", "colspan", "height", "nowrap", "rowspan", "scope", "valign", "width"],
    ),
    ("tfoot", TABLE_COLOURS),
    (
        "th",
        &["align", "bgcolor", "colspan", "height", "nowrap", "rowspan", "scope", "valign", "width"],
    ),
    ("thead", TABLE_COLOURS),
    ("tr", TABLE_COLOURS),
    ("ul", &["type"]),
    ("abbr", &["title"]),
    ("acronym", &["title"]),
    ("span", &["title"]),
];

/// The attribute's name as it stands in the list, if `element` may have it.
pub(crate) fn attribute(element: &str, name: &str) -> Option<&'static str> {
    let same = |known: &&&'static str| known.eq_ignore_ascii_case(name);
    let own =
        ATTRIBUTES_OF.iter().filter(|(e, _)| *e == element).flat_map(|(_, names)| names.iter());
    ATTRIBUTES.iter().chain(own).find(same).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_both_kept_and_dropped() {
        for name in DROPPED_WHOLE {
            assert_eq!(element(name), None, "{name}");
        }
    }

    #[test]
    fn attributes_belong_to_kept_elements_and_none_is_a_handler() {
        for (name, attributes) in ATTRIBUTES_OF {
            assert!(element(name).is_some(), "{name}");
            assert!(attributes.iter().all(|a| !a.starts_with("on")), "{name}");
        }
        assert_eq!(attribute("IMG", "src"), None);
        assert_eq!(attribute("img", "SRC"), Some("src"));
        assert_eq!(attribute("p", "src"), None);
    }
}
