//! SMTP, submission and LMTP.
#![forbid(unsafe_code)]

pub mod codec;
mod limits;
pub use limits::Limits;
