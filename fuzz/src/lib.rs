//! What the targets share: a driver that plays the node around one session machine, and a small
//! world that answers its tasks.

mod drive;
mod responses;
mod world;

pub use drive::drive;
pub use responses::{assert_imap, assert_pop3, assert_smtp};
pub use world::World;
