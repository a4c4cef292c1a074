//! A client's connection to a server of lines.

use anyhow::{Context, bail, ensure};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A longer line is no line of these protocols.
const LINE_BYTES_MAX: usize = 1 << 20;
/// A literal over it is not asked for by any of our commands.
const LITERAL_BYTES_MAX: u64 = 1 << 30;
/// A server that takes longer is broken: RFC 5321 4.5.3.2 allows minutes, a measurement does not.
const REPLY_TIME_MAX: Duration = Duration::from_secs(120);

pub struct Wire {
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
    pub bytes_in: u64,
}

impl Wire {
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.with_context(|| format!("{address} does not take connections"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(32 * 1024, stream),
            line: Vec::new(),
            bytes_in: 0,
        })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.get_mut().write_all(bytes).await?)
    }

    /// The next line without its end.
    pub async fn line(&mut self) -> anyhow::Result<&[u8]> {
        self.line.clear();
        loop {
            let read = tokio::time::timeout(REPLY_TIME_MAX, self.stream.fill_buf()).await;
            let buffer = read.context("no reply in time")??;
            ensure!(!buffer.is_empty(), "the server closed the connection");
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(buffer.len(), |at| at + 1);
            self.line.extend_from_slice(&buffer[..taken]);
            self.stream.consume(taken);
            self.bytes_in += taken as u64;
            if end.is_some() {
                let ended = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
                return Ok(ended.strip_suffix(b"\r").unwrap_or(ended));
            }
            ensure!(self.line.len() <= LINE_BYTES_MAX, "a line without end");
        }
    }

    /// Reads `bytes` and forgets them.
    async fn skip(&mut self, bytes: u64) -> anyhow::Result<()> {
        ensure!(bytes <= LITERAL_BYTES_MAX, "a literal of {bytes} bytes");
        let mut left = bytes;
        let mut buffer = [0; 16 * 1024];
        while left > 0 {
            let room = usize::try_from(left.min(buffer.len() as u64))?;
            let read = self.stream.read(&mut buffer[..room]).await?;
            ensure!(read > 0, "the server closed the connection");
            left -= read as u64;
        }
        self.bytes_in += bytes;
        Ok(())
    }

    /// A reply of SMTP or LMTP, its continuation lines included. RFC 5321 4.2.1.
    pub async fn smtp_reply(&mut self, expected: &[u8]) -> anyhow::Result<()> {
        loop {
            let line = self.line().await?;
            ensure!(line.len() >= 3, "a reply that is none: {}", shown(line));
            if line.get(3) == Some(&b'-') {
                continue;
            }
            if !line.starts_with(expected) {
                bail!("the server said: {}", shown(line));
            }
            return Ok(());
        }
    }

    /// A status line of POP3; what follows `+OK`. RFC 1939 3.
    pub async fn pop3_status(&mut self) -> anyhow::Result<String> {
        let line = self.line().await?;
        match line.strip_prefix(b"+OK") {
            Some(rest) => Ok(shown(rest)),
            None => bail!("the server said: {}", shown(line)),
        }
    }

    /// The lines of a POP3 multi-line response; their bytes.
    pub async fn pop3_lines(&mut self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        loop {
            let line = self.line().await?;
            if line == b"." {
                return Ok(bytes);
            }
            bytes += line.len() as u64 + 2;
        }
    }

    /// Everything up to the tagged line of an IMAP command; untagged lines go to `each`. RFC 9051 2.2.2.
    pub async fn imap_done(
        &mut self,
        tag: &str,
        mut each: impl FnMut(&[u8]),
    ) -> anyhow::Result<()> {
        loop {
            let line = self.line().await?;
            if let Some(rest) = line.strip_prefix(tag.as_bytes())
                && let Some(status) = rest.strip_prefix(b" ")
            {
                if status.get(..2).is_some_and(|word| word.eq_ignore_ascii_case(b"OK")) {
                    return Ok(());
                }
                bail!("the server said: {}", shown(line));
            }
            each(line);
            if let Some(bytes) = literal(line) {
                self.skip(bytes).await?;
            }
        }
    }
}

/// The size of the literal that a line announces. RFC 9051 4.3.
fn literal(line: &[u8]) -> Option<u64> {
    let digits = line.strip_suffix(b"}")?;
    let open = digits.iter().rposition(|&byte| byte == b'{')?;
    std::str::from_utf8(digits.get(open + 1..)?).ok()?.parse().ok()
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line.get(..200).unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_announced_at_the_end_of_a_line() {
        assert_eq!(literal(b"* 1 FETCH (BODY[] {342}"), Some(342));
        assert_eq!(literal(b"* 1 FETCH (BODY[] {x}"), None);
        assert_eq!(literal(b"* 1 FETCH (FLAGS ())"), None);
        assert_eq!(literal(b"}"), None);
    }
}
