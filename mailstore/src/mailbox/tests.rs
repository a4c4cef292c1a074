//! The master driven by hand: tasks in, answers out, over a hash table in memory that can fail, forget and crash.

mod basics;
mod blobs;
mod events;
mod expected;
mod expiry;
mod filing;
mod golden;
mod model;
mod partial;
mod quiet;
mod records;
mod removed;
mod restored;
mod searches;
mod sections;
mod staging;
mod together;
mod volume;
pub mod world;
