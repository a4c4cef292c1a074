//! Whatever a message holds, what is shown is made of listed elements, attributes and addresses, and sanitising it again changes
//! nothing.

mod checker;

use html::reading::{
    Flowed, Limits, Options, Remote, Sanitised, Searched, Sender, opened, rich, sanitise, text_html,
};
use proptest::prelude::*;

use checker::check;

fn safe(html: &str, remote: Remote, limits: Limits) -> Sanitised {
    sanitise(html, &Options { remote, cid: &|_| None, limits })
}

/// Pieces of markup that matter to parsers, in any order.
fn soup() -> impl Strategy<Value = String> {
    let tags = prop::sample::select(vec![
        "a",
        "b",
        "i",
        "p",
        "div",
        "span",
        "table",
        "tbody",
        "tr",
        "td",
        "th",
        "caption",
        "col",
        "colgroup",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "h1",
        "h2",
        "pre",
        "font",
        "blockquote",
        "details",
        "summary",
        "svg",
        "math",
        "mtext",
        "mglyph",
        "style",
        "script",
        "template",
        "noscript",
        "title",
        "textarea",
        "select",
        "option",
        "form",
        "button",
        "body",
        "html",
        "head",
        "center",
        "ruby",
        "rt",
        "img",
        "br",
        "hr",
        "address",
        "section",
        "xmp",
        "plaintext",
        "foreignObject",
        "desc",
        "frameset",
        "nobr",
        "image",
    ]);
    let attributes = prop::sample::select(vec![
        "",
        " href=https://a.example/",
        " href=javascript:x",
        " src=http://b.example/",
        " src=cid:x",
        " style='color:red;background:url(x)'",
        " class='a real-host'",
        " class=real-host",
        " class=quote-handle",
        " id=x",
        " onclick=x",
        " type=cite",
        " dir=rtl",
        " =",
        " x='\"<>'",
        " width=1 height=2",
        " bgcolor=red",
        " style=\"font-family:'<b>'\"",
        " href='mailto:a@b.example'",
        "/",
    ]);
    let open =
        (tags.clone(), attributes).prop_map(|(tag, attributes)| format!("<{tag}{attributes}>"));
    let close = tags.prop_map(|tag| format!("</{tag}>"));
    let text = prop::sample::select(vec![
        "x",
        " ",
        "\n",
        "<",
        ">",
        "&",
        "&lt;",
        "&#10;",
        "&#x202e;",
        "\u{202e}",
        "\0",
        "\"",
        "'",
        "<!--",
        "-->",
        "--!>",
        "<![CDATA[",
        "]]>",
        "<?",
        "bank.example",
        "a{color:red}",
        "@import 'x';",
        "{",
        "}",
        "\u{feff}",
        "\r",
    ])
    .prop_map(str::to_owned);
    let piece = prop_oneof![4 => open, 3 => close, 3 => text];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

const NO_BREAK_SPACE: char = '\u{a0}';

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn markup_is_safe_and_twice_is_once(html in soup(), depth in 1usize..40) {
        let limits = Limits { depth_max: depth, ..Limits::default() };
        for remote in [Remote::Blocked, Remote::Allowed] {
            let once = safe(&html, remote, limits);
            let checked = check(&once.html);
            prop_assert!(remote == Remote::Allowed || checked.fetched.is_empty());
            if depth > 30 && !once.truncated {
                prop_assert_eq!(&safe(&once.html, remote, limits).html, &once.html);
            }
        }
    }

    #[test]
    fn marks_break_nothing(html in soup(), words in prop::collection::vec("[a-c<&= ]{1,3}", 0..4)) {
        let clean = safe(&html, Remote::Allowed, Limits::default()).html;
        let opened = opened(&clean, &Searched { words: &words, id: "m-hit" });
        let (before, after) = (check(&clean), check(&opened.html));
        prop_assert_eq!(before.text, after.text);
        prop_assert!(after.elements >= before.elements + opened.hits);
        prop_assert!(!words.is_empty() || after.elements == before.elements);
    }

    #[test]
    fn what_is_written_is_safe_and_comes_back(html in soup()) {
        if let Some(clean) = rich::clean(&html) {
            prop_assert!(!clean.contains("<script") && !clean.contains("<style"), "{}", clean);
            prop_assert_eq!(rich::clean(&clean), Some(clean.clone()));
            prop_assert_eq!(rich::clean(&rich::document(&clean)), Some(clean.clone()));
            prop_assert!(!rich::text(&clean).contains(NO_BREAK_SPACE));
        }
    }

    #[test]
    fn any_characters_are_safe(html in "\\PC*", style in "\\PC*") {
        check(&safe(&html, Remote::Blocked, Limits::default()).html);
        let styled = format!("<style>{style}</style><p style=\"{}\">x", style.replace('"', "&quot;"));
        check(&safe(&styled, Remote::Blocked, Limits::default()).html);
        check(&text_html(&html, Flowed::No));
        check(&text_html(&html, Flowed::Yes { del_sp: false }));
    }

    #[test]
    fn text_is_kept(text in "[a-z >\n-]{0,80}") {
        let html = text_html(&text, Flowed::No);
        // The handles of quotations are ours.
        let pieces = html.split("<summary").map(|piece| piece.split_once("</summary>").map_or(piece, |(_, rest)| rest));
        let shown = check(&pieces.collect::<String>()).text;
        let letters = |s: &str| s.chars().filter(char::is_ascii_lowercase).collect::<String>();
        prop_assert_eq!(letters(&shown), letters(&text));
    }

    #[test]
    fn a_sender_is_text(name in "\\PC*", address in "\\PC*") {
        let html = Sender::new(&name, &address).html();
        prop_assert_eq!(html.matches('<').count() % 2, 0);
        let turned = html.contains('\u{202e}');
        prop_assert!(!html.contains("<script") && !turned);
        prop_assert!(html.contains("class=\"sender-address\""));
    }
}

#[test]
fn a_large_message_is_cut_and_safe() {
    let piece = "<div style='background:url(http://leak.example/)'><script>x</script><img src=http://leak.example/ onerror=x>text</div>";
    let html = piece.repeat(5_000_000 / piece.len());
    let shown = safe(&html, Remote::Blocked, Limits::default());
    let checked = check(&shown.html);
    assert!(shown.truncated && checked.fetched.is_empty());
    assert!(checked.elements <= Limits::default().elements_max as usize + 8);
    assert!(shown.html.contains("text") && !shown.html.contains("leak.example"));
}

#[test]
fn a_million_levels_are_as_deep_as_the_limit() {
    for tag in [
        "div",
        "b",
        "table",
        "a href=x",
        "font size=1",
        "blockquote type=cite",
        "p",
        "li",
        "td",
        "svg",
        "select",
        "span",
    ] {
        let limits = Limits { input_bytes_max: usize::MAX, ..Limits::default() };
        let name = tag.split(' ').next().expect("a name");
        let html = format!(
            "{}x{}",
            format!("<{tag}>").repeat(1_000_000),
            format!("</{name}>").repeat(1_000_000)
        );
        let shown = safe(&html, Remote::Blocked, limits);
        let checked = check(&shown.html);
        assert!(checked.depth <= limits.depth_max + 8, "{tag}: {}", checked.depth);
    }
}
