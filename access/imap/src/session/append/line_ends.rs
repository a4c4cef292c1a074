//! Line ends of an appended message: a bare CR or LF becomes CRLF, NUL is refused (`protocols.md`).

/// What happens to line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnds {
    /// Text: made CRLF. `after_cr`: the last byte was a CR.
    Made { after_cr: bool },
    /// RFC 3516 literal8: bytes stay as they are.
    Kept,
}

/// A NUL byte in the message: RFC 9051 4.3.1, RFC 3516 4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nul;

impl LineEnds {
    /// Gives `piece` to `put`, line ends corrected, in as few slices as can be.
    ///
    /// # Errors
    /// A NUL; what came before it may have been given.
    pub fn push(&mut self, piece: &[u8], mut put: impl FnMut(&[u8])) -> Result<(), Nul> {
        match self {
            Self::Kept => {
                if memchr::memchr(0, piece).is_some() {
                    return Err(Nul);
                }
                put(piece);
                Ok(())
            }
            Self::Made { after_cr } => {
                let Some(&first) = piece.first() else { return Ok(()) };
                if *after_cr && first != b'\n' {
                    put(b"\n");
                }
                *after_cr = push_text(piece, *after_cr && first == b'\n', &mut put)?;
                Ok(())
            }
        }
    }

    /// The message has ended.
    pub fn finish(&mut self, mut put: impl FnMut(&[u8])) {
        match self {
            Self::Made { after_cr: true } => put(b"\n"),
            Self::Made { after_cr: false } | Self::Kept => {}
        }
    }
}

/// Returns whether the piece ends with CR. `lf_belongs`: the first byte is the LF of a CR given
/// before.
fn push_text(piece: &[u8], lf_belongs: bool, put: &mut impl FnMut(&[u8])) -> Result<bool, Nul> {
    let mut start = 0;
    let mut at = usize::from(lf_belongs);
    while let Some(found) = piece.get(at..).and_then(|rest| memchr::memchr3(b'\r', b'\n', 0, rest))
    {
        let here = at + found;
        match (piece[here], piece.get(here + 1)) {
            (0, _) => return Err(Nul),
            (b'\r', Some(b'\n')) => at = here + 2,
            (b'\r', None) => {
                put(&piece[start..]);
                return Ok(true);
            }
            (b'\r', Some(_)) => {
                put(&piece[start..=here]);
                put(b"\n");
                (start, at) = (here + 1, here + 1);
            }
            // Only LF is left.
            (_, _) => {
                put(&piece[start..here]);
                put(b"\r\n");
                (start, at) = (here + 1, here + 1);
            }
        }
    }
    if start < piece.len() {
        put(&piece[start..]);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plain way: byte by byte.
    fn slowly(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, &byte) in text.iter().enumerate() {
            match byte {
                b'\n' if at > 0 && text[at - 1] == b'\r' => out.push(b'\n'),
                b'\n' => out.extend_from_slice(b"\r\n"),
                b'\r' if text.get(at + 1) == Some(&b'\n') => out.push(b'\r'),
                b'\r' => out.extend_from_slice(b"\r\n"),
                _ => out.push(byte),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            text in prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..40),
            cuts in prop::collection::vec(1_usize..6, 0..40),
        ) {
            let mut ends = LineEnds::Made { after_cr: false };
            let mut out = Vec::new();
            let mut rest = &text[..];
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() {
                let cut = cuts.next().unwrap_or(rest.len()).min(rest.len());
                let (piece, tail) = rest.split_at(cut);
                rest = tail;
                prop_assert_eq!(ends.push(piece, |bytes| out.extend_from_slice(bytes)), Ok(()));
            }
            ends.finish(|bytes| out.extend_from_slice(bytes));
            prop_assert_eq!(out, slowly(&text));
        }
    }

    #[test]
    fn nul_is_refused_in_both_forms() {
        for mut ends in [LineEnds::Kept, LineEnds::Made { after_cr: false }] {
            assert_eq!(ends.push(b"a\0b", |_| {}), Err(Nul));
        }
    }
}
