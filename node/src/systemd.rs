//! Tells systemd how far the service is: sd_notify(3), one datagram to `NOTIFY_SOCKET`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `state`, as in `READY=1`. Without a manager that listens nothing happens.
pub fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(&name),
    };
    // The service runs as well when its manager can't be told.
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _sent = socket.send_to_addr(state.as_bytes(), &address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_manager_nothing_happens() {
        assert!(std::env::var_os("NOTIFY_SOCKET").is_none(), "tests run without one");
        notify("READY=1");
    }
}
