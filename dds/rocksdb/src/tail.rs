//! Tells a torn end of the write-ahead log from damage, before RocksDB reads it.
//!
//! A power failure may keep any part of what was written and not yet synced. Our one writer begins a record of the log only
//! when the one before is synced, so only the *last* record can have holes. RocksDB knows no such order: its strict mode takes
//! a hole with bytes behind it for corruption, yet drops in silence whatever follows a bad length in the last block; its
//! lenient mode drops whatever follows any damage. So this module decides:
//! - **torn**: the first bad place is in the last record, and bytes are missing there: the file ends, or has a hole;
//! - **damaged**: a later record has begun, in the same file or a newer one, or the bytes are there and wrong.
//!
//! The format of the log is RocksDB's (`db/log_format.h`): blocks of 32 KiB with fragments that have a checksum, a length
//! and a type; a record is one `FULL` fragment, or `FIRST`, some `MIDDLE` and `LAST`; it is a batch that begins with a
//! sequence number. Not known here: recycled and compressed logs, which the options rule out; they count as damaged.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What the logs of a store look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// No fragment is bad.
    Whole,
    /// The last record is incomplete; everything before it is whole.
    Torn(Place),
    /// Something that was synced is bad.
    Damaged(Place),
}

/// Where a log is bad first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub log: PathBuf,
    /// Bytes before the first bad fragment.
    pub offset: u64,
}

const BLOCK_BYTES: usize = 32 * 1024;
/// Checksum (4), length (2), type (1).
const HEADER_BYTES: usize = 7;
/// A record begins with a sequence number (8) and a count (4).
const BATCH_HEADER_BYTES: usize = 12;
/// Zeros in a row that are a hole and no content: what the smallest sector holds.
const HOLE_BYTES: usize = 512;
/// Zeros at the very end that are one: more than a record ends with by itself.
const HOLE_AT_END_BYTES: usize = 8;

/// Reads all logs in `database`.
///
/// # Errors
/// The disk's.
pub fn examine(database: &Path) -> io::Result<Tail> {
    let mut scan = Scan::default();
    for log in logs(database)? {
        let mut file = File::open(&log)?;
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        let mut offset = 0;
        loop {
            block.clear();
            file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
            if block.is_empty() {
                break;
            }
            if let Err(Damage(place)) = scan.block(&log, offset, &block) {
                return Ok(Tail::Damaged(place));
            }
            offset += block.len() as u64;
        }
    }
    Ok(scan.torn.map_or(Tail::Whole, Tail::Torn))
}

/// The logs, the oldest first.
fn logs(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(database)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|is| is == "log")
        {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

#[derive(Debug, Default)]
struct Scan {
    /// The first bad place; from then on only the beginning of another record is looked for.
    torn: Option<Place>,
    /// The sequence number of the last record that began.
    sequence: u64,
}

/// What stands at one place of a block.
enum Found {
    /// The rest is too short for a header, or there is no rest.
    End,
    Fragment {
        begins: Option<u64>,
        bytes: usize,
    },
    Bad,
}

/// Synced bytes are bad.
struct Damage(Place);

impl Scan {
    fn block(&mut self, log: &Path, offset: u64, block: &[u8]) -> Result<(), Damage> {
        let mut at = 0;
        while self.torn.is_none() {
            match look(block, at) {
                Found::End => return Ok(()),
                Found::Fragment { begins, bytes } => {
                    self.sequence = begins.unwrap_or(self.sequence);
                    at += bytes;
                }
                Found::Bad => {
                    let place = Place { log: log.into(), offset: offset + at as u64 };
                    if !is_hole(&block[at..]) && !is_cut(block, at) {
                        return Err(Damage(place));
                    }
                    self.torn = Some(place);
                }
            }
        }
        // Lengths can't be trusted any more: every place may be where another record begins.
        let another = |at: usize| match look(block, at) {
            Found::Fragment { begins: Some(sequence), .. } => sequence > self.sequence,
            Found::Fragment { begins: None, .. } | Found::End | Found::Bad => false,
        };
        match &self.torn {
            Some(place) if (at..block.len()).any(another) => Err(Damage(place.clone())),
            Some(_) | None => Ok(()),
        }
    }
}

fn look(block: &[u8], at: usize) -> Found {
    let Some((header, rest)) = block.get(at..).and_then(|it| it.split_at_checked(HEADER_BYTES))
    else {
        return Found::End;
    };
    let &[c0, c1, c2, c3, l0, l1, kind] = header else { return Found::End };
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    // FULL, FIRST, MIDDLE, LAST.
    let (true, Some(payload)) = (matches!(kind, 1..=4), rest.get(..length)) else {
        return Found::Bad;
    };
    let begins = match (kind, payload.first_chunk()) {
        (1 | 2, Some(sequence)) if length >= BATCH_HEADER_BYTES => {
            Some(u64::from_le_bytes(*sequence))
        }
        _ => None,
    };
    let sum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload);
    if masked(sum) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Found::Bad;
    }
    Found::Fragment { begins, bytes: HEADER_BYTES + length }
}

/// How RocksDB writes a checksum (`util/crc32c.h`).
fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// Whether bytes are missing: zeros for the length of a sector, or at the end.
fn is_hole(bytes: &[u8]) -> bool {
    let mut zeros = 0;
    for byte in bytes {
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        if zeros >= HOLE_BYTES {
            return true;
        }
    }
    zeros == bytes.len() || zeros >= HOLE_AT_END_BYTES
}

/// Whether the file ends before the fragment at `at` does.
fn is_cut(block: &[u8], at: usize) -> bool {
    let length =
        block.get(at + 4..at + 6).map_or(0, |it| usize::from(it[0]) | usize::from(it[1]) << 8);
    block.len() < BLOCK_BYTES && at + HEADER_BYTES + length > block.len()
}
