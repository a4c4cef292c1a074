//! Makes the frame of one HTML part, to look at it in a browser:
//! `cargo run --release -p html --example frame -- blocked < part.html > frame.html`. With `allowed` remote images stay;
//! the policy that the frame is served with goes to the standard error.

use std::io::Read;

use html::reading::frame::{Paper, Theme, content_security_policy};
use html::reading::{Limits, Options, Remote, frame, sanitise};

fn main() -> std::io::Result<()> {
    let remote = match std::env::args().nth(1).as_deref() {
        Some("allowed") => Remote::Allowed,
        _ => Remote::Blocked,
    };
    let mut part = Vec::new();
    std::io::stdin().read_to_end(&mut part)?;
    let cid = |id: &str| Some(format!("/part/{id}"));
    let how = Options { remote, cid: &cid, limits: Limits::default() };
    let shown = sanitise(&String::from_utf8_lossy(&part), &how);
    print!("{}", frame(&shown.html, Paper::for_colours(shown.coloured), Theme::System));
    eprintln!("{}", content_security_policy(remote));
    Ok(())
}
