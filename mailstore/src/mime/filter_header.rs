//! HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 9051 6.4.5).

use super::header::FieldIter;
use bytes::{Bytes, BytesMut};

/// The fields of a header whose names (in any case) are in `names`, or with [`Keep::Others`] those
/// whose names are not, folds as they were, and the empty line.
#[must_use]
pub fn filter_header(header: &[u8], names: &[Bytes], keep: Keep) -> Bytes {
    let mut names: Vec<Vec<u8>> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    let mut lowered = Vec::new();
    let mut out = BytesMut::with_capacity(256);
    let mut fields = FieldIter::new(header);
    while let Some(raw) = fields.next_raw() {
        let named = raw.split().is_some_and(|field| {
            lowered.clear();
            lowered.extend_from_slice(field.name);
            lowered.make_ascii_lowercase();
            names.binary_search(&lowered).is_ok()
        });
        let wanted = match keep {
            Keep::Named => named,
            Keep::Others => !named,
        };
        if wanted {
            out.extend_from_slice(raw.bytes);
            if !raw.bytes.ends_with(b"\n") {
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    // RFC 9051 6.4.5: the delimiting blank line is included in a subset of the header, whatever it
    // is.
    out.extend_from_slice(b"\r\n");
    out.freeze()
}

/// Which fields stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// HEADER.FIELDS
    Named,
    /// HEADER.FIELDS.NOT
    Others,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_by_name_with_their_folds() {
        let header = b"To: a,\r\n b\r\nX: y\r\nno field\r\ntO : c\r\nCc: d\r\n\r\n";
        let names = [Bytes::from("TO"), Bytes::from("bcc")];
        assert_eq!(filter_header(header, &names, Keep::Named), "To: a,\r\n b\r\ntO : c\r\n\r\n");
        assert_eq!(
            filter_header(header, &names, Keep::Others),
            "X: y\r\nno field\r\nCc: d\r\n\r\n"
        );
        assert_eq!(filter_header(b"", &names, Keep::Others), "\r\n");
        assert_eq!(filter_header(b"To: x", &names, Keep::Named), "To: x\r\n\r\n");
        assert_eq!(filter_header(header, &[], Keep::Named), "\r\n");
    }
}
