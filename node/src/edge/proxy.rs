//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`), from peers that are configured to speak it.
//!
//! The header is read byte-exact: nothing behind it is taken from the connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::net::TcpStream;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 1 headers end within 107 bytes (section 2.1).
const V1_BYTES_MAX: usize = 107;
/// Longest address block we look into; longer ones (with extensions) are read and ignored.
const V2_BYTES_MAX: usize = 4096;

/// Reads the header; the client's address, or `None` when the proxy speaks for itself.
///
/// # Errors
/// When there is no valid header.
pub async fn read_header(stream: &TcpStream) -> io::Result<Option<IpAddr>> {
    let mut start = [0; 12];
    read_exact(stream, &mut start).await?;
    if start == SIGNATURE {
        let mut rest = [0; 4];
        read_exact(stream, &mut rest).await?;
        let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if rest[0] >> 4 != 2 || len > V2_BYTES_MAX {
            return Err(malformed());
        }
        let mut block = vec![0; len];
        read_exact(stream, &mut block).await?;
        return parse_v2(rest[0] & 0xF, rest[1], &block);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= V1_BYTES_MAX {
            return Err(malformed());
        }
        let mut byte = [0];
        read_exact(stream, &mut byte).await?;
        line.push(byte[0]);
    }
    parse_v1(&line)
}

async fn read_exact(stream: &TcpStream, into: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < into.len() {
        stream.readable().await?;
        match stream.try_read(&mut into[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no valid PROXY protocol header")
}

fn parse_v1(line: &[u8]) -> io::Result<Option<IpAddr>> {
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    let mut words = text.trim_end().split(' ');
    match (words.next(), words.next()) {
        (Some("PROXY"), Some("UNKNOWN")) => Ok(None),
        (Some("PROXY"), Some("TCP4" | "TCP6")) => {
            let source = words.next().and_then(|word| word.parse().ok());
            source.map(Some).ok_or_else(malformed)
        }
        (_, _) => Err(malformed()),
    }
}

fn parse_v2(command: u8, family: u8, block: &[u8]) -> io::Result<Option<IpAddr>> {
    match (command, family >> 4) {
        // LOCAL: a health check of the proxy itself.
        (0, _) | (1, 0 | 3) => Ok(None),
        (1, 1) => {
            let source: [u8; 4] = block.first_chunk().copied().ok_or_else(malformed)?;
            Ok(Some(IpAddr::V4(Ipv4Addr::from(source))))
        }
        (1, 2) => {
            let source: [u8; 16] = block.first_chunk().copied().ok_or_else(malformed)?;
            Ok(Some(IpAddr::V6(Ipv6Addr::from(source))))
        }
        (_, _) => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_name_the_client() {
        let line = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 25\r\n";
        assert_eq!(parse_v1(line).ok(), Some(Some("203.0.113.7".parse().expect("valid"))));
        assert_eq!(parse_v1(b"PROXY UNKNOWN\r\n").ok(), Some(None));
        assert!(parse_v1(b"EHLO there\r\n").is_err());
        let block = [203, 0, 113, 7, 127, 0, 0, 1, 0x12, 0x67, 0, 25];
        let source = parse_v2(1, 0x11, &block).ok();
        assert_eq!(source, Some(Some("203.0.113.7".parse().expect("valid"))));
        assert!(parse_v2(1, 0x11, &block[..3]).is_err());
        assert_eq!(parse_v2(0, 0, &[]).ok(), Some(None));
    }
}
