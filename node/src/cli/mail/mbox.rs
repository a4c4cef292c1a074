//! The mbox format, as mboxrd writes it: messages behind `From ` lines, `>From ` quoted with one more `>`. The older mboxo
//! reads the same, but for lines that were quoted in the original.

use super::source::{FilePart, Found};
use crate::admin::api;
use mailstore::face::InternalDate;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Whether a file begins like an mbox.
pub fn is_mbox(path: &Path) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    let mut start = Vec::new();
    File::open(path)?.take(5).read_to_end(&mut start)?;
    Ok(start == b"From ")
}

/// A message while its end is looked for.
struct Open {
    offset: u64,
    date: Option<api::InternalDate>,
    flags: Vec<String>,
    in_header: bool,
}

/// Adds the messages of an mbox; their bytes are read later.
pub fn find(path: &Path, folder: &str, found: &mut Vec<Found>) -> io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut offset, mut line) = (0_u64, Vec::new());
    let mut open: Option<Open> = None;
    // Bytes of the empty line just read: it belongs to the `From ` line that may follow.
    let mut empty_line = 0;
    let mut finish = |open: Option<Open>, end: u64| {
        if let Some(Open { offset, date, flags, .. }) = open {
            let part = FilePart::Mbox { offset, len: end.saturating_sub(offset) };
            let (path, folder) = (path.to_path_buf(), folder.to_owned());
            found.push(Found { path, part, folder, flags, date });
        }
    };
    loop {
        line.clear();
        let len = file.read_until(b'\n', &mut line)? as u64;
        if len == 0 {
            finish(open, offset.saturating_sub(empty_line));
            return Ok(());
        }
        let text = line.trim_ascii_end();
        let date = line.starts_with(b"From ").then(|| date_of(&String::from_utf8_lossy(text)));
        // Text may begin with "From " too, where it was written without quoting: a separator has a date.
        let is_separator = match date {
            Some(Some(_)) => offset == 0 || empty_line > 0,
            Some(None) => offset == 0,
            None => false,
        };
        if is_separator {
            finish(open.take(), offset.saturating_sub(empty_line));
            let (date, flags) = (date.flatten(), Vec::new());
            open = Some(Open { offset: offset + len, date, flags, in_header: true });
        } else if let Some(open) = &mut open
            && open.in_header
        {
            open.in_header = !text.is_empty();
            status_flags(text, &mut open.flags);
        }
        offset += len;
        empty_line = if text.is_empty() { len } else { 0 };
    }
}

/// `Status: RO`, `X-Status: AF`: what mail readers write into an mbox.
fn status_flags(line: &[u8], flags: &mut Vec<String>) {
    let line = String::from_utf8_lossy(line);
    let Some((name, value)) = line.split_once(':') else { return };
    let letters: &[(char, &str)] = match name.to_ascii_lowercase().as_str() {
        "status" => &[('R', "\\Seen")],
        "x-status" => {
            &[('A', "\\Answered"), ('F', "\\Flagged"), ('D', "\\Deleted"), ('T', "\\Draft")]
        }
        _ => return,
    };
    for (letter, flag) in letters {
        if value.contains(*letter) {
            flags.push((*flag).to_owned());
        }
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The date of `From ann@example.org Thu Jan  1 09:00:00 2026 +0100`: asctime, in UTC unless a zone follows.
fn date_of(line: &str) -> Option<api::InternalDate> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    // The address may hold blanks: the time is the first word with two colons.
    let at = words.iter().position(|word| word.matches(':').count() == 2)?;
    let month = MONTHS
        .iter()
        .position(|month| at.checked_sub(2).and_then(|at| words.get(at)) == Some(month))?;
    let day: u32 = words.get(at.checked_sub(1)?)?.parse().ok()?;
    let mut clock = words.get(at)?.split(':').map(str::parse::<u32>);
    let mut next = || clock.next()?.ok();
    let clock = (next()?, next()?, next()?);
    let (mut year, mut zone_minutes) = (None, 0);
    for word in words.get(at + 1..)?.iter().take(2) {
        match word.strip_prefix(['+', '-']) {
            Some(zone) if zone.len() == 4 => {
                let number: i16 = zone.parse().ok()?;
                let minutes = number / 100 * 60 + number % 100;
                zone_minutes = if word.starts_with('-') { -minutes } else { minutes };
            }
            Some(_) | None => year = year.or(word.parse::<i64>().ok()),
        }
    }
    let month = u32::try_from(month).ok()? + 1;
    let date = InternalDate::from_civil((year?, month, day), clock, zone_minutes)?;
    Some(api::InternalDate {
        unix_seconds: date.unix_seconds,
        zone_minutes: i32::from(date.zone_minutes),
    })
}

/// Takes one `>` from lines that are `>From `, `>>From ` and so on.
pub fn unquote(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.windows(6).any(|window| window == b">From ") {
        return bytes;
    }
    let mut plain = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let quotes = line.iter().take_while(|byte| **byte == b'>').count();
        let is_quoted = quotes > 0 && line[quotes..].starts_with(b"From ");
        plain.extend_from_slice(&line[usize::from(is_quoted)..]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: &str = "From ann@example.org Thu Jan  1 09:00:00 2026\nSubject: one\nStatus: RO\n\
        X-Status: AF\n\nFrom here on\n>From quoted\n>>From twice\n\nFrom \"b c\"@x Fri Feb  6 \
        10:11:12 +0130 2026\r\nSubject: two\r\n\r\nbody\r\n\r\nFrom x Sat Feb  7 00:00:00 2026\nno header\n\n\n";

    #[test]
    fn messages_end_at_an_empty_line_and_from() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), BOX).expect("written");
        let mut found = Vec::new();
        find(file.path(), "INBOX", &mut found).expect("read");
        let texts: Vec<String> = found
            .iter()
            .map(|it| String::from_utf8(it.read().expect("read")).expect("UTF-8"))
            .collect();
        assert_eq!(
            texts,
            [
                "Subject: one\nStatus: RO\nX-Status: AF\n\nFrom here on\nFrom quoted\n>From twice\n",
                "Subject: two\r\n\r\nbody\r\n",
                "no header\n\n",
            ]
        );
        assert_eq!(found[0].flags, ["\\Seen", "\\Answered", "\\Flagged"]);
        let dates: Vec<_> = found.iter().map(|it| it.date).collect();
        let date =
            |unix_seconds, zone_minutes| Some(api::InternalDate { unix_seconds, zone_minutes });
        assert_eq!(
            dates,
            [date(1_767_258_000, 0), date(1_770_367_272, 90), date(1_770_422_400, 0)]
        );
    }

    #[test]
    fn only_a_file_that_begins_with_from_is_an_mbox() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (text, is) in [("From a\n", true), ("From: a\n", false), ("", false)] {
            std::fs::write(file.path(), text).expect("written");
            assert_eq!(is_mbox(file.path()).expect("readable"), is);
        }
    }
}
