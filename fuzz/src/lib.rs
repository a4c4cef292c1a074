//! What the targets share: a driver that plays the node around one session machine, and a small world that answers its tasks.

mod drive;
mod world;

pub use drive::drive;
pub use world::World;
