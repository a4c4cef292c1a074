//! Limits of one POP3 session.

use fsm::Duration;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Octets of a command line, line end included. RFC 2449 section 4 asks for 255; passwords of programs may be longer.
    pub command_bytes_max: usize,
    /// Octets of a line of an AUTH exchange, line end included. RFC 5034 section 4 refers to RFC 4422; RFC 4954: 12,288.
    pub auth_bytes_max: usize,
    /// Octets that wait while an answer is under way, before reading pauses. Our choice: a thousand pipelined commands.
    pub pipelined_bytes_max: usize,
    /// Octets sent before the client must have taken them. `mailstore::face::SessionEffect::AwaitDrained`: 256 KiB.
    pub output_bytes_max: usize,
    /// Octets of a message asked for at once. `mailstore::face::SECTION_PAGE_BYTES_MAX`.
    pub page_bytes: u64,
    /// Octets asked for at once by TOP, which mostly wants the header. Our choice.
    pub top_page_bytes: u64,
    /// Octets of one piece of a listing, made in one go. Our choice: a thousand messages, some 100 us.
    pub listing_bytes: usize,
    /// Without a command for so long the session ends. RFC 1939 section 3: at least 10 minutes.
    pub idle: Duration,
    /// From the greeting to a successful log-in. `protocols.md`: 60 s in all.
    pub login: Duration,
    /// Failed log-ins before the connection is closed. Our choice; RFC 1939 sets none.
    pub failed_logins_max: u32,
    /// Commands in error before the connection is closed. Our choice.
    pub errors_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_bytes_max: 1024,
            auth_bytes_max: 12_288,
            pipelined_bytes_max: 16 * 1024,
            output_bytes_max: 256 * 1024,
            page_bytes: mailstore::face::SECTION_PAGE_BYTES_MAX,
            top_page_bytes: 16 * 1024,
            listing_bytes: 16 * 1024,
            idle: Duration::from_secs(600),
            login: Duration::from_secs(60),
            failed_logins_max: 3,
            errors_max: 50,
        }
    }
}
