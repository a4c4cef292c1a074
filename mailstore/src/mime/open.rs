//! The entities that are open while a message is scanned, and the delimiter lines of the multiparts
//! among them.

use super::content::DefaultType;

/// What follows a delimiter line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Part,
    Epilogue,
}

/// An entity that has begun and not ended.
#[derive(Debug)]
pub(super) struct Open {
    /// Its place in `noted`.
    pub index: usize,
    /// Line feeds before its body.
    pub lines_before: u64,
    pub inside: Inside,
}

#[derive(Debug)]
pub(super) enum Inside {
    Leaf,
    Message,
    Multipart { boundary: Boundary, children: DefaultType },
}

#[derive(Debug)]
pub(super) enum Boundary {
    Active(Vec<u8>),
    /// Its close delimiter went by: what follows is the epilogue.
    Closed,
}

/// The open multipart whose delimiter the line is.
pub(super) fn find_delimiter(open: &[Open], line: &[u8]) -> Option<(usize, Next)> {
    let text = line.strip_prefix(b"--")?;
    let trimmed = text.trim_ascii_end();
    let mut starts: Option<(usize, &[u8])> = None;
    for (level, open) in open.iter().enumerate().rev() {
        let Inside::Multipart { boundary: Boundary::Active(boundary), .. } = &open.inside else {
            continue;
        };
        match trimmed.strip_prefix(&boundary[..]) {
            // The line as it should be goes before one that begins with another boundary.
            Some(b"") => return Some((level, Next::Part)),
            Some(b"--") => return Some((level, Next::Epilogue)),
            // RFC 2046 5.1.1: it is enough that the line begins with the boundary. The longest one
            // wins.
            Some(_) if starts.is_none_or(|(_, other)| other.len() < boundary.len()) => {
                starts = Some((level, boundary));
            }
            Some(_) | None => {}
        }
    }
    starts.map(|(level, boundary)| {
        let closes = trimmed[boundary.len()..].starts_with(b"--");
        (level, if closes { Next::Epilogue } else { Next::Part })
    })
}
