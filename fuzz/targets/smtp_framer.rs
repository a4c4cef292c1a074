//! The framing of DATA and BDAT, the command lines and their parser: cuts change nothing, only
//! CRLF.CRLF ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtp::codec::{Framer, Framing, LineEndings, LineReader, NextLine, Progress, parse};

/// The text, where it ended, and what was wrong with it.
fn framed(
    (framing, endings): (Framing, LineEndings),
    content: &[u8],
    cut: usize,
) -> (Vec<u8>, Option<usize>, bool, bool) {
    let (mut framer, mut text) = (Framer::new(framing, endings), Vec::new());
    let (mut before, mut ended) = (0, None);
    for piece in content.chunks(cut) {
        match framer.push(piece, &mut |bytes| text.extend_from_slice(bytes)) {
            Progress::More => before += piece.len(),
            Progress::Ended { used } => {
                ended = Some(before + used);
                break;
            }
        }
    }
    if framing == Framing::Counted {
        framer.finish(&mut |bytes| text.extend_from_slice(bytes));
    }
    (text, ended, framer.is_broken(), framer.has_nul())
}

fn lines(input: &[u8], limit: usize) {
    let mut reader = LineReader::default();
    let mut rest = input;
    loop {
        let used = match reader.next(rest, limit) {
            NextLine::Line { line, used } => {
                assert!(used <= limit);
                let _ = parse(line);
                used
            }
            NextLine::BareLineFeed { used } | NextLine::TooLong { used } => used,
            NextLine::More { used } => {
                assert!(rest.len() - used < limit, "no more than a line is kept");
                return;
            }
        };
        rest = &rest[used..];
    }
}

fuzz_target!(|data: &[u8]| {
    let [options, content @ ..] = data else { return };
    let framing = if options & 1 == 0 { Framing::Dotted } else { Framing::Counted };
    let endings = if options & 2 == 0 { LineEndings::Strict } else { LineEndings::Repair };
    let cut = 1 + usize::from(options >> 2);
    let whole = framed((framing, endings), content, content.len().max(1));
    assert_eq!(whole, framed((framing, endings), content, cut));
    if let (text, Some(end), false, _) = &whole {
        assert!(content[..*end].ends_with(b".\r\n"));
        assert!(text.is_empty() || text.ends_with(b"\r\n"));
    }
    lines(content, 16 << (options >> 5));
});
