//! What the tests of the session machine share: a world with a small master, and transcripts.
#![expect(dead_code, reason = "each test crate uses a part of it")]

pub mod fake;
pub mod folder;
pub mod real;
pub mod transcript;
pub mod world;
