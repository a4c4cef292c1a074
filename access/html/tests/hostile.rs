//! Messages made to run something, to ask for something or to deceive: one file each. A file says which of its words must still
//! be read, and how many images wait for the reader.

mod checker;

use std::path::PathBuf;

use html::reading::attachment::{self, Part, Preview};
use html::reading::{Limits, Options, Remote, Sanitised, sanitise, serve, text_html};

use checker::{PART, check};

fn files(extension: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of the cases")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| {
            (
                path.file_stem().expect("a name").to_string_lossy().into_owned(),
                std::fs::read(&path).expect("a case"),
            )
        })
        .collect();
    files.sort();
    files
}

fn pages() -> Vec<(String, String)> {
    files("html")
        .into_iter()
        .map(|(name, bytes)| (name, String::from_utf8(bytes).expect("UTF-8")))
        .collect()
}

fn safe(html: &str, remote: Remote) -> Sanitised {
    let cid = |id: &str| {
        (id != "missing")
            .then(|| format!("{PART}{}", id.replace(|c: char| !c.is_ascii_alphanumeric(), "_")))
    };
    sanitise(html, &Options { remote, cid: &cid, limits: Limits::default() })
}

/// The value of `<!-- name: value -->` at the top of a case.
fn said<'a>(page: &'a str, name: &str) -> &'a str {
    let start =
        page.find(&format!("<!-- {name}: ")).expect("a case says what it keeps") + name.len() + 7;
    &page[start..start + page[start..].find(" -->").expect("the end of the line")]
}

#[test]
fn there_are_cases() {
    assert!(pages().len() >= 90 && files("part").len() >= 25);
}

#[test]
fn nothing_runs_and_nothing_leaves() {
    for (name, page) in pages() {
        println!("{name}");
        let shown = safe(&page, Remote::Blocked);
        let checked = check(&shown.html);
        assert!(checked.elements > 0, "{name}");
        assert_eq!(checked.fetched, Vec::<String>::new(), "{name}: {}", shown.html);
        let blocked: u32 = said(&page, "blocked").parse().expect("a number");
        assert_eq!(shown.remote_blocked, blocked, "{name}: {}", shown.html);
    }
}

#[test]
fn what_may_be_read_is_still_there() {
    for (name, page) in pages() {
        let text = check(&safe(&page, Remote::Blocked).html).text;
        for words in said(&page, "keeps").split('|') {
            assert!(text.contains(words), "{name}: {words:?} is not in {text:?}");
        }
    }
}

#[test]
fn allowed_images_are_those_that_were_counted() {
    for (name, page) in pages() {
        let allowed = safe(&page, Remote::Allowed);
        assert_eq!(allowed.remote_blocked, 0, "{name}");
        let blocked = safe(&page, Remote::Blocked).remote_blocked as usize;
        assert_eq!(check(&allowed.html).fetched.len(), blocked, "{name}: {}", allowed.html);
    }
}

#[test]
fn twice_is_once() {
    for (name, page) in pages() {
        for remote in [Remote::Blocked, Remote::Allowed] {
            // Addresses of parts are not a message's to name, so none is given here.
            let how = Options { remote, cid: &|_| None, limits: Limits::default() };
            let once = sanitise(&page, &how);
            let twice = sanitise(&once.html, &how);
            assert_eq!(once.html, twice.html, "{name}");
        }
    }
}

#[test]
fn as_text_they_are_text() {
    for (name, page) in pages() {
        for flowed in [html::reading::Flowed::No, html::reading::Flowed::Yes { del_sp: true }] {
            let checked = check(&text_html(&page, flowed));
            assert!(checked.fetched.is_empty(), "{name}");
        }
    }
}

#[test]
fn a_mark_tells_the_host_that_a_text_denies() {
    let marked = |html: &str| {
        safe(html, Remote::Blocked)
            .html
            .contains("<span class=\"real-host\" dir=\"ltr\">evil.example</span></a>")
    };
    let pages = pages();
    for name in
        ["credentials_in_link", "forged_real_host", "homograph_and_override", "css_hide_real_host"]
    {
        let (_, page) = pages.iter().find(|(n, _)| n == name).expect("a case");
        assert!(marked(page), "{name}");
    }
    assert!(!marked("<a href=https://evil.example/>here</a>"));
}

#[test]
fn parts_are_what_they_are() {
    for (name, bytes) in files("part") {
        let mut lines = bytes.splitn(4, |b| *b == b'\n');
        let mut line = || {
            String::from_utf8(lines.next().expect("a line").to_vec())
                .expect("UTF-8")
                .replace("\\r\\n", "\r\n")
        };
        let (declared, file, expected) = (line(), line(), line());
        let first_bytes = lines.next().expect("content");
        let served = serve(&Part { declared: &declared, name: Some(&file), first_bytes });
        let shown = match served.preview {
            Some(_) => format!("inline {}", served.content_type),
            None => "attachment".to_owned(),
        };
        assert_eq!(shown, expected, "{name}");
        assert!(
            served.content_disposition.starts_with(shown.split(' ').next().expect("a word")),
            "{name}"
        );
        assert!(
            served.content_disposition.chars().all(|c| c.is_ascii() && !c.is_ascii_control()),
            "{name}"
        );
        if served.preview.is_none() {
            assert_eq!(served.content_type, "application/octet-stream", "{name}");
        }
        assert_eq!(
            served.preview == Some(Preview::Image),
            served.content_type.starts_with("image/"),
            "{name}"
        );
    }
    assert!(attachment::HEADERS.contains(&("X-Content-Type-Options", "nosniff")));
}
