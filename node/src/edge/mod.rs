//! Sockets: listeners, connections, TLS, and the thread of each worker group.
//!
//! Absences: no protocol is spoken here, no decision about mail is taken here.

mod conn;
mod group;
mod hub;
mod listener;
mod proxy;
mod stream;

pub use conn::settled;
pub use group::{Arrival, Entrance, run};
pub use hub::Service;
pub use listener::{Bound, Doorkeeper, ListenerState, bind};
