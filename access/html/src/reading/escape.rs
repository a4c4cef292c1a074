//! Text into HTML, and the characters in text that deceive.

use std::ops::Range;

/// For text and for attributes in double quotes.
pub(crate) fn push_text(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\0' => {}
            c if is_override(c) => {}
            c => out.push(c),
        }
    }
}

/// The references that [`push_text`] and the sanitiser write.
const REFERENCES: [(&str, char); 6] = [
    ("&amp;", '&'),
    ("&lt;", '<'),
    ("&gt;", '>'),
    ("&quot;", '"'),
    ("&#39;", '\''),
    ("&nbsp;", '\u{a0}'),
];

/// The characters of what [`push_text`] or the sanitiser wrote, each with the bytes it takes there.
pub(crate) fn characters(html: &str) -> impl Iterator<Item = (Range<usize>, char)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &html[at..];
        let first = rest.chars().next()?;
        let reference = REFERENCES.iter().find(|(name, _)| first == '&' && rest.starts_with(name));
        let (len, c) = reference.map_or((first.len_utf8(), first), |(name, c)| (name.len(), *c));
        at += len;
        Some((at - len..at, c))
    })
}

/// The value of what [`push_text`] or the sanitiser wrote.
pub(crate) fn unescape(html: &str) -> String {
    characters(html).map(|(_, c)| c).collect()
}

/// Shows letters in another order than they have (UAX 9, LRO and RLO): no script needs it, and `moc.elpmaxe` reads otherwise.
pub(crate) fn is_override(c: char) -> bool {
    matches!(c, '\u{202d}' | '\u{202e}')
}

/// Embeddings, overrides, isolates and marks (UAX 9).
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Takes no room on the screen: two texts may look the same and differ in these.
pub(crate) fn is_invisible(c: char) -> bool {
    is_bidi_control(c)
        || matches!(
            c,
            '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
                | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let text = "a<b>&amp;'\"\u{a0}";
        let mut out = String::new();
        push_text(&mut out, text);
        assert_eq!(out, "a&lt;b&gt;&amp;amp;&#39;&quot;\u{a0}");
        assert_eq!(unescape(&out), text);
        assert_eq!(unescape("&x&"), "&x&");
    }

    #[test]
    fn overrides_are_left_out() {
        let mut out = String::new();
        push_text(&mut out, "\u{202e}moc\u{202c}");
        assert_eq!(out, "moc\u{202c}");
    }
}
