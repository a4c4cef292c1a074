//! Mailbox names on the wire.

use super::output::Output;
use super::shared::Extensions;
use crate::codec::{NameEncoding, encode};
use mailstore::face::FolderName;

/// How the client reads names: RFC 9755 3, UTF-8 once UTF8=ACCEPT is enabled.
pub fn encoding(enabled: Extensions) -> NameEncoding {
    if enabled.utf8 { NameEncoding::Utf8 } else { NameEncoding::Utf7 }
}

/// Appends the name of a folder.
pub fn put_mailbox(output: &mut Output, enabled: Extensions, name: &FolderName) {
    put_name(output, enabled, name.as_str());
}

/// Appends a name, or what a client takes for one.
pub fn put_name(output: &mut Output, enabled: Extensions, name: &str) {
    encode::put_mailbox(output.buffer(), name, encoding(enabled));
}
