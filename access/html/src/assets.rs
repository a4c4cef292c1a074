//! What pages load beside themselves. Addresses carry a hash of the contents, so that browsers keep them for good.

use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// One file.
#[derive(Debug)]
pub struct Asset {
    /// The path of its address.
    pub path: String,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

impl Asset {
    fn new(stem: &str, ending: &str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        let hash = Sha256::digest(bytes);
        let hash: String = hash[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { path: format!("/assets/{stem}.{hash}.{ending}"), content_type, bytes }
    }
}

pub static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../assets/style.css");
    Asset::new("style", "css", "text/css; charset=utf-8", bytes)
});

pub static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../assets/script.js");
    Asset::new("script", "js", "text/javascript; charset=utf-8", bytes)
});

pub static ICON: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("icon", "svg", "image/svg+xml", include_bytes!("../assets/icon.svg"))
});

/// The icon while INBOX has unread messages.
pub static ICON_NEW: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("icon-new", "svg", "image/svg+xml", include_bytes!("../assets/icon-new.svg"))
});

/// By the path of its address.
#[must_use]
pub fn find(path: &str) -> Option<&'static Asset> {
    [&*STYLE, &*SCRIPT, &*ICON, &*ICON_NEW].into_iter().find(|asset| asset.path == path)
}
