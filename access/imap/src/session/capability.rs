//! What is announced, and when (RFC 9051 6.1.1).

use super::output::Output;
use super::shared::{Login, Shared};
use mailstore::face::Protocol;

/// Announced in every state.
const ALWAYS: &str = "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE";

/// Announced after log-in: what does something only there, and is complete.
const AFTER_LOGIN: &str = "IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN SPECIAL-USE \
    CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE ESEARCH SEARCHRES CONDSTORE QRESYNC \
    MULTIAPPEND BINARY UTF8=ACCEPT QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE WITHIN OBJECTID \
    SAVEDATE";

/// Whether a password may cross the connection now.
pub fn may_log_in(shared: &Shared) -> bool {
    shared.tls.is_some() || shared.peer.plaintext_auth
}

/// Whether STARTTLS does something.
pub fn may_start_tls(shared: &Shared) -> bool {
    shared.peer.tls_available && shared.tls.is_none() && shared.peer.protocol == Protocol::Imap
}

/// Appends the capabilities without brackets.
pub fn put_capabilities(shared: &mut Shared) {
    let (log_in, start_tls) = (may_log_in(shared), may_start_tls(shared));
    let append_limit = shared.limits.append_bytes_max;
    let output: &mut Output = &mut shared.output;
    output.put(ALWAYS);
    match &shared.login {
        Login::NotAuthenticated => {
            if start_tls {
                output.put(" STARTTLS");
            }
            // RFC 9051 6.2.3, `protocols.md`: no password without TLS off loopback.
            output.put(if log_in { " AUTH=PLAIN AUTH=LOGIN" } else { " LOGINDISABLED" });
        }
        Login::Authenticated { .. } | Login::Selected { .. } => {
            output.put(" ").put(AFTER_LOGIN).put(" APPENDLIMIT=").number(append_limit);
        }
    }
}
