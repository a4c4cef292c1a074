//! What may be in the HTML of a message, in lists of its own: parses what the sanitiser made as a browser would and looks at
//! each element, attribute and address.

use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, QualName, local_name, ns, parse_fragment};
use markup5ever_rcdom::{Handle, NodeData, RcDom};

/// Where the parts of the message are served in tests.
pub const PART: &str = "/part/";

const ELEMENTS: &str = " a abbr acronym address article aside b bdi big blockquote br caption center cite code col colgroup dd del \
    details dfn dir div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark menu nav ol p \
    pre q rp rt ruby s samp section small span strike strong style sub summary sup table tbody td tfoot th thead time tr tt u ul \
    var wbr ";

const ATTRIBUTES: &str = " align alt bgcolor border cellpadding cellspacing class color colspan dir face height href hspace id lang \
    noshade nowrap rel referrerpolicy reversed rowspan rules scope size span src start style summary target title type valign value \
    vspace width open data-depth ";

/// Classes that are not a message's.
const OWN_CLASSES: &str = " real-host quote quote-handle text signature cut sender sender-name sender-address sender-domain doubtful ";

#[derive(Debug, Default)]
pub struct Checked {
    pub text: String,
    /// Remote addresses that a browser would fetch.
    pub fetched: Vec<String>,
    pub elements: usize,
    pub depth: usize,
}

fn listed(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|w| w == word)
}

/// Fails with the reason if `html` holds anything that it may not.
pub fn check(html: &str) -> Checked {
    let context = QualName::new(None, ns!(html), local_name!("body"));
    let dom =
        parse_fragment(RcDom::default(), ParseOpts::default(), context, vec![], true).one(html);
    let mut checked = Checked::default();
    let mut todo: Vec<(Handle, usize)> = vec![(dom.document.clone(), 0)];
    while let Some((node, depth)) = todo.pop() {
        checked.depth = checked.depth.max(depth);
        match &node.data {
            NodeData::Document => {}
            NodeData::Text { contents } => checked.text.push_str(&contents.borrow()),
            NodeData::Element { name, attrs, .. } if &*name.local == "html" => {
                assert!(attrs.borrow().is_empty())
            }
            NodeData::Element { name, attrs, .. } => {
                checked.elements += 1;
                check_element(name, &attrs.borrow(), &mut checked);
            }
            other => panic!("neither element nor text: {other:?}"),
        }
        if matches!(&node.data, NodeData::Element { name, .. } if &*name.local == "style") {
            node.children.borrow().iter().for_each(check_sheet);
            continue;
        }
        todo.extend(node.children.borrow().iter().rev().map(|child| (child.clone(), depth + 1)));
    }
    checked
}

fn check_element(name: &QualName, attributes: &[html5ever::Attribute], checked: &mut Checked) {
    let element = &*name.local;
    assert_eq!(name.ns, ns!(html), "{element} is foreign");
    assert!(listed(ELEMENTS, element), "element {element}");
    let value = |wanted: &str| {
        attributes.iter().find(|a| &*a.name.local == wanted).map(|a| a.value.to_string())
    };
    for attribute in attributes {
        let name = &*attribute.name.local;
        let value = attribute.value.to_string();
        assert!(listed(ATTRIBUTES, name), "attribute {name} of {element}");
        match name {
            "href" => check_href(element, &value),
            "src" => check_src(element, &value, checked),
            "style" => check_style(&value),
            "class" => {
                let fine = |class: &str| class.starts_with("m-") || listed(OWN_CLASSES, class);
                assert!(value.split_whitespace().all(fine), "class {value}");
            }
            "id" => assert!(value.starts_with("m-"), "id {value}"),
            "alt" | "title" | "summary" => {}
            _ => assert!(!value.contains(':') && !value.contains("//"), "{name}={value}"),
        }
    }
    if element == "a" {
        let rel = value("rel").unwrap_or_default();
        assert!(
            ["noopener", "noreferrer", "nofollow"].iter().all(|r| rel.contains(r)),
            "rel {rel}"
        );
        assert_eq!(value("target").as_deref(), Some("_blank"));
        assert_eq!(value("title").is_some(), value("href").is_some());
    }
    if element == "img" {
        assert_eq!(value("referrerpolicy").as_deref(), Some("no-referrer"));
    }
}

fn check_href(element: &str, value: &str) {
    assert_eq!(element, "a");
    if let Some(mail) = value.strip_prefix(html::reading::opened::COMPOSER) {
        let encoded = |b: u8| b.is_ascii_alphanumeric() || b"*-._+%".contains(&b);
        return assert!(mail.starts_with("mailto%3A") && mail.bytes().all(encoded), "href {value}");
    }
    let scheme = value.split_once(':').map(|(scheme, _)| scheme);
    assert!(matches!(scheme, Some("http" | "https" | "mailto")), "href {value}");
    assert!(value.chars().all(|c| !c.is_control() && !c.is_whitespace()), "href {value:?}");
    let authority = value.split('/').nth(2).unwrap_or_default();
    assert!(!authority.contains('@'), "credentials in {value}");
}

fn check_src(element: &str, value: &str, checked: &mut Checked) {
    assert_eq!(element, "img");
    if value.starts_with("http://") || value.starts_with("https://") {
        checked.fetched.push(value.to_owned());
    } else {
        assert!(value.starts_with(PART), "src {value}");
    }
}

/// No way to name a resource, to leave the flow, or to write either in disguise.
fn check_style(style: &str) {
    // A family may be called anything: it is between quotes. Some listed words hold one that is not.
    let mut plain: String = style.to_lowercase().split('\'').step_by(2).collect();
    for word in
        ["justify-content", "list-style-position", "ruby-position", "text-transform", "!important"]
    {
        plain = plain.replace(word, "");
    }
    for word in ["\\", "\"", "<", "&", "/*", "//", "margin:-"] {
        assert!(!plain.contains(word), "{word} in {style}");
    }
    check_calls(&plain);
    for declaration in plain.split(';') {
        let property = declaration.split(':').next().unwrap_or_default();
        for word in PROPERTY_WORDS {
            assert!(!property.contains(word), "{word} in {property} of {style}");
        }
    }
}

/// A word of a value means nothing unless it is called, and no address is written without a call.
fn check_calls(plain: &str) {
    for (before, _) in plain.match_indices('(') {
        let name =
            plain[..before].rsplit(|c: char| !c.is_alphanumeric() && !"-_".contains(c)).next();
        assert!(name.is_some_and(|name| CALLED.contains(&name)), "{name:?} is called in {plain}");
    }
}

/// Functions that take no address; the empty name groups.
const CALLED: &[&str] = &[
    "",
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

/// In the names of properties that take an address, leave the flow, or make others.
const PROPERTY_WORDS: &[&str] = &[
    "url",
    "image",
    "import",
    "src",
    "expression",
    "behavior",
    "binding",
    "position",
    "cursor",
    "content",
    "filter",
    "mask",
    "clip",
    "transform",
    "z-index",
    "animation",
    "bidi",
    "--",
];

fn check_sheet(node: &Handle) {
    let NodeData::Text { contents } = &node.data else { panic!("an element in a style") };
    let sheet = contents.borrow().to_string();
    for (before, _) in sheet.match_indices('@') {
        assert!(sheet[before..].starts_with("@media "), "{sheet}");
    }
    assert!(!sheet.contains('<') && !sheet.contains('\\') && !sheet.contains('['), "{sheet}");
    let mut rest = sheet.as_str();
    while let Some(open) = rest.find('{') {
        rest = &rest[open + 1..];
        let body = &rest[..rest.find(['{', '}']).unwrap_or(rest.len())];
        if body.contains(':') && !body.contains('.') && !body.contains('#') {
            check_style(body);
        }
    }
    check_calls(&sheet.to_lowercase().split('\'').step_by(2).collect::<String>());
}
