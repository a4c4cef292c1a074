//! Postfix asks (`socketmap_table(5)`): does this recipient exist, and which node should get its mail?
//!
//! A request is a netstring `MAP KEY`, an answer a netstring that begins with OK, NOTFOUND, TEMP or PERM. Maps: `recipient`, whose
//! answer is the key itself, and `transport`, whose answer is the LMTP listener of the node that is the master of the recipient.

use super::bridge::Bridge;
use super::control::NodeControl;
use crate::config::{Address, Config, NodeEntry, Service};
use bytes::{Buf, BytesMut};
use dds::PartitionId;
use dds::cluster::NodeId;
use mailstore::face::{Completion, DirectoryDone, DirectoryTask, Recipient, Resolved, Task};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of a request. Our choice: above every address; Postfix takes answers of 100,000.
const REQUEST_BYTES_MAX: usize = 4096;

/// A connection that asks nothing for so long ends; Postfix makes a new one. Its own default is 100 s.
const IDLE_TIME: Duration = Duration::from_secs(300);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Map {
    Recipient,
    Transport,
}

/// Serves every configured listener until the node ends.
///
/// # Errors
/// When a listener can't be opened.
pub async fn serve(control: &Arc<NodeControl>, config: &Config) -> anyhow::Result<()> {
    use anyhow::Context;
    for listener in &config.listen.listeners {
        if listener.service != Service::Socketmap {
            continue;
        }
        let at = &listener.address;
        let failed = || format!("socketmap can't listen on {at}: change listen.socketmap");
        match at {
            Address::Tcp(address) => {
                let listener = tokio::net::TcpListener::bind(address).await.with_context(failed)?;
                println!("listening socketmap {}", listener.local_addr()?);
                let control = Arc::clone(control);
                tokio::spawn(async move {
                    loop {
                        if let Ok((socket, _)) = listener.accept().await {
                            tokio::spawn(converse(socket, Arc::clone(&control)));
                        } else {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                });
            }
            Address::Unix(path) => {
                // What an earlier run left behind.
                let _gone = std::fs::remove_file(path);
                let bound = tokio::net::UnixListener::bind(path).with_context(failed)?;
                if let Some(mode) = listener.mode {
                    use std::os::unix::fs::PermissionsExt;
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
                }
                println!("listening socketmap {at}");
                let control = Arc::clone(control);
                tokio::spawn(async move {
                    loop {
                        if let Ok((socket, _)) = bound.accept().await {
                            tokio::spawn(converse(socket, Arc::clone(&control)));
                        } else {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                });
            }
        }
    }
    Ok(())
}

/// Answers one client until it ends, or says what is no request.
async fn converse(mut socket: impl AsyncRead + AsyncWrite + Unpin, control: Arc<NodeControl>) {
    let mut buffer = BytesMut::new();
    loop {
        match take_netstring(&mut buffer) {
            Ok(Some(request)) => {
                let answer = answer(&control, &request).await;
                let framed = format!("{}:{answer},", answer.len());
                if socket.write_all(framed.as_bytes()).await.is_err() {
                    return;
                }
            }
            Ok(None) => match tokio::time::timeout(IDLE_TIME, socket.read_buf(&mut buffer)).await {
                Ok(Ok(read)) if read > 0 => {}
                Ok(Ok(_) | Err(_)) | Err(_) => return,
            },
            Err(NoNetstring) => return,
        }
    }
}

/// What came is no netstring of a request's size.
#[derive(Debug, PartialEq, Eq)]
struct NoNetstring;

/// The next netstring, when the whole of it is there.
fn take_netstring(buffer: &mut BytesMut) -> Result<Option<Vec<u8>>, NoNetstring> {
    let digits = buffer.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    match buffer.get(digits) {
        None if digits < 6 => return Ok(None),
        Some(b':') if digits > 0 => {}
        None | Some(_) => return Err(NoNetstring),
    }
    let text = std::str::from_utf8(&buffer[..digits]).map_err(|_| NoNetstring)?;
    let length: usize = text.parse().map_err(|_| NoNetstring)?;
    if length > REQUEST_BYTES_MAX {
        return Err(NoNetstring);
    }
    let from = digits + 1;
    if buffer.len() < from + length + 1 {
        return Ok(None);
    }
    if buffer[from + length] != b',' {
        return Err(NoNetstring);
    }
    let request = buffer[from..from + length].to_vec();
    buffer.advance(from + length + 1);
    Ok(Some(request))
}

fn split(request: &[u8]) -> Option<(Map, &[u8])> {
    let space = request.iter().position(|byte| *byte == b' ')?;
    let map = match &request[..space] {
        b"recipient" => Map::Recipient,
        b"transport" => Map::Transport,
        _ => return None,
    };
    Some((map, &request[space + 1..]))
}

async fn answer(control: &NodeControl, request: &[u8]) -> String {
    let Some((map, key)) = split(request) else {
        return "PERM no such map: ask recipient or transport".to_owned();
    };
    // Postfix also asks for domains and for parts of addresses.
    if key.iter().filter(|byte| **byte == b'@').count() != 1 || key.starts_with(b"@") {
        return "NOTFOUND ".to_owned();
    }
    let session = crate::control::Control::open_session(control);
    let task = DirectoryTask::Resolve { address: bytes::Bytes::copy_from_slice(key) };
    let done = control.bridge.submit(session, Task::Directory(task)).await;
    crate::control::Control::close_session(control, session);
    match done {
        Some(Completion::Directory(DirectoryDone::Resolved(Resolved::Local(recipients)))) => {
            match map {
                Map::Recipient => format!("OK {}", String::from_utf8_lossy(key)),
                Map::Transport => transport(control, &recipients),
            }
        }
        Some(Completion::Directory(DirectoryDone::Resolved(
            Resolved::Unknown | Resolved::NotLocal | Resolved::Malformed,
        ))) => "NOTFOUND ".to_owned(),
        // It exists; LMTP says what is wrong with it.
        Some(Completion::Directory(DirectoryDone::Resolved(Resolved::Disabled))) => match map {
            Map::Recipient => format!("OK {}", String::from_utf8_lossy(key)),
            Map::Transport => own(control),
        },
        Some(_) | None => "TEMP the directory can't be reached now".to_owned(),
    }
}

/// Mail for several users goes to any node.
fn transport(control: &NodeControl, recipients: &[Recipient]) -> String {
    let [one] = recipients else { return own(control) };
    let partition = control.map.partition_of(&mailstore::mailbox::route(one.user).0);
    match master(control, partition) {
        Some(node) if node.0 != control.node => {
            let at = usize::from(node.0).checked_sub(1);
            let entry = at.and_then(|at| control.config.node.get(at));
            match entry.and_then(|entry| lmtp_of(&control.config, entry)) {
                Some(address) => told(address),
                None => own(control),
            }
        }
        Some(_) | None => own(control),
    }
}

fn master(control: &NodeControl, partition: PartitionId) -> Option<NodeId> {
    let map = control.bridge.cluster().map;
    map.group(partition).and_then(|group| group.primary).filter(|node| map.is_up(*node))
}

/// This node takes everybody's mail.
fn own(control: &NodeControl) -> String {
    let bridge: &Bridge = &control.bridge;
    let lmtp = bridge.listeners.iter().find(|state| state.config.service == Service::Lmtp);
    match lmtp.map(|state| (state.address.parse::<SocketAddr>(), &state.address)) {
        Some((Ok(mut address), _)) => {
            let own = usize::from(control.node).checked_sub(1);
            let own = own.and_then(|at| control.config.node.get(at)?.address);
            if let Some(own) = own.filter(|_| address.ip().is_unspecified()) {
                address.set_ip(own.ip());
            }
            told(address)
        }
        Some((Err(_), path)) => format!("OK lmtp:{path}"),
        None => "TEMP no listener for LMTP is configured: set listen.lmtp".to_owned(),
    }
}

fn told(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => format!("OK lmtp:inet:{}:{}", address.ip(), address.port()),
        SocketAddr::V6(address) => format!("OK lmtp:inet:[{}]:{}", address.ip(), address.port()),
    }
}

/// Where another node takes mail, by the file that all nodes have in common: nowhere, when it listens for its own host alone.
fn lmtp_of(config: &Config, node: &NodeEntry) -> Option<SocketAddr> {
    let host = node.address?.ip();
    match &config.listen.first(Service::Lmtp)?.address {
        Address::Tcp(address)
            if address.port() != 0
                && (address.ip().is_unspecified() || config.listen.follows_nodes()) =>
        {
            Some(SocketAddr::new(host, address.port()))
        }
        Address::Tcp(_) | Address::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netstrings_come_in_pieces_and_one_after_the_other() {
        let mut buffer = BytesMut::from(&b"11:recip"[..]);
        assert_eq!(take_netstring(&mut buffer), Ok(None));
        buffer.extend_from_slice(b"ient a,3:x y,");
        assert_eq!(take_netstring(&mut buffer), Ok(Some(b"recipient a".to_vec())));
        assert_eq!(take_netstring(&mut buffer), Ok(Some(b"x y".to_vec())));
        assert_eq!(take_netstring(&mut buffer), Ok(None));
        assert_eq!(split(b"recipient a b"), Some((Map::Recipient, &b"a b"[..])));
        assert_eq!(split(b"transport "), Some((Map::Transport, &b""[..])));
        assert_eq!(split(b"other a"), None);
    }

    #[test]
    fn what_is_no_netstring_ends_the_connection() {
        for garbage in [&b":x,"[..], b"3:abcd", b"x", b"99999:a", b"9999999", b"-1:a,"] {
            let mut buffer = BytesMut::from(garbage);
            assert_eq!(take_netstring(&mut buffer), Err(NoNetstring), "{garbage:?}");
        }
    }
}
