//! The index against the oracle: a scan of the decoded text.

mod following;
mod leaks;
mod oracle;
mod survival;
mod world;
