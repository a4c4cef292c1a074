//! Replies that never change. Codes: RFC 5321 4.2; enhanced codes: RFC 2034 and RFC 3463.

/// A complete reply, CRLF included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply(pub &'static str);

impl Reply {
    /// Whether the reply refuses: 4yz or 5yz.
    #[must_use]
    pub fn is_error(self) -> bool {
        self.0.starts_with(['4', '5'])
    }

    /// Whether the client is asked to try again: 4yz.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        self.0.starts_with('4')
    }

    /// Without the line end, for the log.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.0.trim_end()
    }
}

macro_rules! replies {
    ($($name:ident = $text:literal;)*) => {
        $(pub const $name: Reply = Reply(concat!($text, "\r\n"));)*
    };
}

replies! {
    HELP = "214-2.0.0 EHLO HELO LHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\r\n214 2.0.0 See RFC 5321, RFC 2033 and RFC 6409";
    READY_FOR_TLS = "220 2.0.0 Ready to start TLS";
    BYE = "221 2.0.0 Bye";
    LOGGED_IN = "235 2.7.0 Authentication successful";
    OK = "250 2.0.0 Ok";
    SENDER_OK = "250 2.1.0 Ok";
    RECIPIENT_OK = "250 2.1.5 Ok";
    CHUNK_OK = "250 2.0.0 Chunk accepted";
    // RFC 5321 3.5.3: the answer of a server that does not disclose.
    VRFY = "252 2.5.2 Cannot VRFY, but will take mail for existing users";
    GO_AHEAD = "354 End data with <CR><LF>.<CR><LF>";

    SHUTTING_DOWN = "421 4.3.2 Service shutting down, please try again later";
    TOO_SLOW = "421 4.4.2 Timeout, closing the connection";
    TOO_MANY_ERRORS = "421 4.7.0 Too many errors, closing the connection";
    TOO_MANY_IDLE_COMMANDS = "421 4.7.0 Too many commands without mail, closing the connection";
    KICKED = "421 4.7.0 The session was ended by the server";
    BUSY = "451 4.3.2 Too busy at the moment, please try again later";
    UNREACHABLE = "451 4.3.0 The mailbox cannot be reached at the moment, please try again later";
    LOOKUP_FAILED = "451 4.3.0 The address cannot be looked up at the moment, please try again later";
    LOCAL_TROUBLE = "451 4.3.0 Temporary trouble, please try again later";
    DEFERRED = "451 4.7.1 Not now, please try again later";
    NO_SPACE = "452 4.3.1 Insufficient system storage, please try again later";
    TOO_MANY_RECIPIENTS = "452 4.5.3 Too many recipients, send the rest in another transaction";
    OVER_QUOTA = "452 4.2.2 Mailbox is over quota";
    AUTH_UNAVAILABLE = "454 4.7.0 Temporary authentication failure, please try again later";
    TLS_UNAVAILABLE = "454 4.7.0 TLS is not available";

    AUTH_TOO_LONG = "500 5.5.6 Authentication exchange line is too long";
    UNKNOWN_COMMAND = "500 5.5.1 Command not recognized";
    LINE_TOO_LONG = "500 5.5.2 Line too long";
    BARE_LINE_FEED = "500 5.5.2 Lines end with <CR><LF>, not with one of them";
    BAD_SYNTAX = "501 5.5.4 Syntax error in parameters";
    BAD_SENDER = "501 5.1.7 Bad sender address syntax";
    BAD_RECIPIENT = "501 5.1.3 Bad recipient address syntax";
    AUTH_CANCELLED = "501 5.7.0 Authentication cancelled";
    AUTH_BAD_BASE64 = "501 5.5.2 Cannot decode the response";
    NOT_IMPLEMENTED = "502 5.5.1 Command not implemented";
    HELLO_FIRST = "503 5.5.1 Say hello first";
    NESTED_MAIL = "503 5.5.1 Nested MAIL command";
    MAIL_FIRST = "503 5.5.1 MAIL first";
    RECIPIENT_FIRST = "503 5.5.1 RCPT first";
    BDAT_UNDER_WAY = "503 5.5.1 Not while BDAT is under way";
    NOT_IN_TRANSACTION = "503 5.5.1 Not during a mail transaction";
    ALREADY_TLS = "503 5.5.1 TLS is active already";
    ALREADY_LOGGED_IN = "503 5.5.1 Already authenticated";
    UNKNOWN_MECHANISM = "504 5.5.4 Unrecognized authentication mechanism";
    LOGIN_FIRST = "530 5.7.0 Authentication required";
    WRONG_CREDENTIALS = "535 5.7.8 Authentication credentials invalid";
    ACCOUNT_DISABLED = "535 5.7.13 The account is disabled";
    ENCRYPTION_REQUIRED = "538 5.7.11 Encryption required for authentication: STARTTLS first";
    UNKNOWN_USER = "550 5.1.1 User unknown";
    DISABLED_USER = "550 5.2.1 Mailbox disabled";
    NOT_LOCAL = "550 5.7.1 Not a mailbox of this service, and it does not relay";
    REJECTED = "550 5.7.1 The message is rejected";
    RELAY_LATER = "550 5.7.1 This service delivers to its own domains only, outbound delivery is not available";
    BARE_IN_CONTENT = "550 5.6.0 Bare <CR>, <LF> or <NUL> in the message, closing the connection";
    NUL_IN_CONTENT = "554 5.6.0 <NUL> in the message";
    TOO_BIG = "552 5.3.4 Message size exceeds the limit";
    FOREIGN_SENDER = "553 5.7.1 Sender address is not one of the account's";
    FOREIGN_AUTHOR = "553 5.7.1 From is not one of the account's addresses";
    NEEDS_SMTPUTF8 = "553 5.6.7 Address needs SMTPUTF8";
    LMTP_NOT_TRUSTED = "554 5.7.1 LMTP is not open to this address";
    NO_VALID_RECIPIENTS = "554 5.5.1 No valid recipients";
    LOOPING = "554 5.4.6 Too many hops, the message is looping";
    HEADER_TOO_LONG = "554 5.6.0 Header or header line too long";
    BAD_FROM = "554 5.6.0 From cannot be read";
    UNKNOWN_PARAMETER = "555 5.5.4 Unsupported parameter";
}
