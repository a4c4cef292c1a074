//! Messages as they are shown: whatever they hold, what comes out is made of listed elements, attributes and addresses, and
//! sanitising it again changes nothing; so with text, senders and parts.
#![no_main]

#[path = "../../access/html/tests/checker/mod.rs"]
mod checker;

use html::reading::attachment::Part;
use html::reading::{
    FileName, Flowed, Limits, Options, Remote, Sender, sanitise, serve, text_html,
};
use libfuzzer_sys::fuzz_target;

fn markup(html: &str, remote: Remote, limits: Limits) {
    let how = Options { remote, cid: &|_| None, limits };
    let once = sanitise(html, &how);
    let checked = checker::check(&once.html);
    assert!(remote == Remote::Allowed || checked.fetched.is_empty());
    assert!(checked.depth <= limits.depth_max + 8);
    assert!(checked.elements <= limits.elements_max as usize + 16);
    if !once.truncated {
        assert_eq!(sanitise(&once.html, &how).html, once.html);
    }
}

fn part(said: &str, first_bytes: &[u8]) {
    let (declared, name) = said.split_once('\n').unwrap_or((said, ""));
    let served = serve(&Part { declared, name: Some(name), first_bytes });
    assert!(served.content_disposition.bytes().all(|b| (0x20..0x7f).contains(&b)));
    let cleaned = served.name.as_str();
    assert!(
        !cleaned.is_empty()
            && cleaned.len() <= 256
            && !cleaned.contains(['/', '\\', '\0', '\n', '\u{202e}'])
    );
    assert_eq!(FileName::clean(cleaned), served.name);
    assert_eq!(served.preview.is_none(), served.content_type == "application/octet-stream");
}

fuzz_target!(|data: &[u8]| {
    let [how, rest @ ..] = data else { return };
    let text = String::from_utf8_lossy(rest);
    let remote = if how & 1 == 0 { Remote::Blocked } else { Remote::Allowed };
    let depth_max = if how & 2 == 0 { Limits::default().depth_max } else { 3 };
    match how >> 6 {
        0 | 1 => markup(&text, remote, Limits { depth_max, ..Limits::default() }),
        2 => {
            let flowed =
                if how & 1 == 0 { Flowed::No } else { Flowed::Yes { del_sp: how & 2 == 0 } };
            let checked = checker::check(&text_html(&text, flowed));
            assert!(checked.fetched.is_empty());
        }
        _ => {
            part(&text, rest);
            let (name, address) = text.split_once('\n').unwrap_or((&text, ""));
            let shown = checker::check(&Sender::new(name, address).html());
            assert!(shown.text.contains('<'));
        }
    }
});
