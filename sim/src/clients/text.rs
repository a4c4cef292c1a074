//! The messages that clients send.

use bytes::Bytes;
use fsm::Rng;

/// A message that carries its number. `large`: too large to be kept inline.
#[must_use]
pub fn message(id: u64, rng: &mut Rng, large: bool) -> Bytes {
    let mut text = format!(
        "From: <sender{}@example.net>\r\nTo: <u@example.org>\r\nMessage-ID: <{id}@sim.example.net>\r\n\
         X-Sim-Id: {id}\r\nSubject: message {id} of a simulation\r\n\
         Date: Sat, 21 Nov 2026 05:00:00 +0000\r\n\r\n",
        rng.below(9)
    )
    .into_bytes();
    let lines = if large { 700 + rng.below(3_000) } else { rng.below(20) };
    let mut line = [b'.'; 78];
    for (byte, place) in line.iter_mut().zip(0_u8..).skip(usize::from(!rng.chance(1, 4))) {
        *byte = b'a' + place % 26;
    }
    for number in 0..lines {
        let len = if large { 78 } else { usize::try_from(rng.below(79)).unwrap_or(0) };
        // No two lines alike, so that a chunk in the wrong place shows.
        text.extend_from_slice(&line[..len]);
        text.extend_from_slice(format!("{number}\r\n").as_bytes());
    }
    text.into()
}

/// RFC 5321 4.5.2: dots at the beginning of lines are doubled, and a dot ends the text.
#[must_use]
pub fn dotted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// The first whole line, without its CRLF, and what stands behind it.
#[must_use]
pub fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_with_a_line_and_carry_their_number() {
        let mut rng = Rng::new(1, 1);
        for large in [false, true] {
            let text = message(42, &mut rng, large);
            assert!(text.ends_with(b"\r\n"));
            assert_eq!(crate::ledger::id_in(&text), Some(42));
        }
        assert_eq!(dotted(b".a\r\nb\r\n"), b"..a\r\nb\r\n.\r\n");
    }
}
