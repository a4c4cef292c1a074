//! The client face of the MailStore: what access modules ask, what they get back, and how a session talks to its node.

mod date;
mod deciding;
mod delivery;
mod directory;
mod events;
mod flags;
mod folder;
mod ids;
mod log_event;
mod message;
mod records;
mod search;
mod section;
mod session;
mod task;
mod uid_map;
mod uid_set;
mod user;

pub use date::InternalDate;
pub use deciding::*;
pub use delivery::*;
pub use directory::*;
pub use events::*;
pub use flags::{FlagChange, Flags, Keyword, SystemFlag, SystemFlags};
pub use folder::*;
pub use ids::*;
pub use log_event::*;
pub use message::*;
pub use records::*;
pub use search::*;
pub use section::*;
pub use session::*;
pub use task::*;
pub use uid_map::UidMap;
pub use uid_set::UidSet;
pub use user::*;
