//! Limits of one SMTP, submission or LMTP session.

use fsm::Duration;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Octets of a message after dots are un-stuffed; announced by SIZE (RFC 1870). `protocols.md`.
    pub message_bytes_max: u64,
    /// Octets of a command line, CRLF included. RFC 5321 4.5.3.1.4 asks for 512; extensions add parameters, SMTPUTF8 longer
    /// paths.
    pub command_bytes_max: usize,
    /// Octets of a line of an AUTH exchange, CRLF included. RFC 4954 section 4: 12,288.
    pub auth_bytes_max: usize,
    /// Octets of one line of the message's header. RFC 5322 2.1.1 asks for 998; generators of long, unfolded References exist.
    pub header_line_bytes_max: usize,
    /// Octets of the whole header. Our choice: ten times what Postfix keeps (`header_size_limit`).
    pub header_bytes_max: usize,
    /// Received fields before a message counts as looping. RFC 5321 6.3: at least 100.
    pub received_fields_max: u32,
    /// Recipients of one transaction; announced by LIMITS RCPTMAX (RFC 9422). RFC 5321 4.5.3.1.8 demands 100.
    pub recipients_max: usize,
    /// Addresses in From of a submitted message. Our choice; each other than the sender's own is looked up.
    pub authors_max: usize,
    /// Octets that wait while an answer is under way, before reading pauses. Our choice: some hundred pipelined commands.
    pub pipelined_bytes_max: usize,
    /// Octets of replies held together before they are sent. RFC 2920 3.2 lets a server group them.
    pub grouped_reply_bytes_max: usize,
    /// Chunks of one body being written before reading pauses. Our choice: one on its way while the next fills.
    pub chunks_in_flight_max: usize,
    /// How long a chunk lives that nobody refers to yet. Our choice: longer than any transaction may last (`fruitless`), and no
    /// longer than what refers to it keeps it at once, so that deleted mail frees its space soon.
    pub chunk_life: Duration,
    /// How long deciding extensions may take over a message; `None`: there are none, and nothing is asked.
    pub deciding: Option<Duration>,
    /// Of what is read of each message's structure.
    pub mime: mailstore::mime::Limits,
    /// Without a complete command, or `content_progress_bytes` of content, for so long, the session ends. RFC 5321 4.5.3.2.7:
    /// 5 minutes.
    pub idle: Duration,
    /// Content that counts as progress: a slower client than this per `idle` is cut off. Our choice: 55 octets a second.
    pub content_progress_bytes: u64,
    /// Without a message taken for so long, however busy, the session ends. Our choice: 50 MiB over a line of
    /// 128 kbit/s.
    pub fruitless: Duration,
    /// From the greeting to a successful log-in, where one is required. `protocols.md`: 60 s in all.
    pub login: Duration,
    /// Commands in error since the last message, before 421. Postfix's `smtpd_hard_error_limit`.
    pub errors_max: u32,
    /// Refused recipients since the last message, before 421: against address harvesting. Our choice; not for LMTP.
    pub refused_recipients_max: u32,
    /// Commands since the last message that lead to none (NOOP, RSET, VRFY, HELP), before 421. Postfix's
    /// `smtpd_junk_command_limit`.
    pub idle_commands_max: u32,
    /// Failed log-ins before 421. Our choice; RFC 4954 section 4 sets none.
    pub failed_logins_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 50 * 1024 * 1024,
            command_bytes_max: 4096,
            auth_bytes_max: 12_288,
            header_line_bytes_max: 64 * 1024,
            header_bytes_max: 1024 * 1024,
            received_fields_max: 100,
            recipients_max: 1000,
            authors_max: 16,
            pipelined_bytes_max: 32 * 1024,
            grouped_reply_bytes_max: 8 * 1024,
            chunks_in_flight_max: 2,
            chunk_life: mailstore::face::BLOB_LIFE,
            deciding: None,
            mime: mailstore::mime::Limits::default(),
            idle: Duration::from_secs(300),
            content_progress_bytes: 16 * 1024,
            fruitless: Duration::from_secs(3600),
            login: Duration::from_secs(60),
            errors_max: 20,
            refused_recipients_max: 100,
            idle_commands_max: 100,
            failed_logins_max: 3,
        }
    }
}
