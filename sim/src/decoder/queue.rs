//! What the delivery queue holds: acceptances that are not delivered to all recipients yet.

use super::cursor::{Cursor, Unreadable};
use super::image::Image;

/// One acceptance that waits.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The message; `None` when its blob is gone.
    pub text: Option<Vec<u8>>,
    pub blob: Option<u128>,
}

/// All acceptances.
///
/// # Errors
/// A record of another form.
pub fn queue(image: &Image) -> Result<Vec<Queued>, Unreadable> {
    let mut found = Vec::new();
    let routes = image.routes.iter().filter(|(route, _)| route.starts_with(b"delivery"));
    for (key, value) in routes
        .flat_map(|(_, route)| route.iter().map(move |kv| (route, kv)))
        .filter(|(_, (key, _))| key.first() == Some(&b'h'))
        .map(|(route, (key, value))| ((route, key), value))
    {
        let (route, key) = key;
        let mut cursor = Cursor::versioned(value, "head of an acceptance")?;
        cursor.signed()?;
        let (text, blob) = match cursor.byte()? {
            0 => {
                let body = [&[0x80], &key[1..]].concat();
                (route.get(&body[..]).map(|body| body.to_vec()), None)
            }
            1 => {
                // This format keeps wide numbers big-endian.
                let blob = super::cursor::big_endian(cursor.take(16)?);
                let len = cursor.number()?;
                (image.blob_range(blob, 0, len), Some(blob))
            }
            _ => return cursor.fail("body"),
        };
        found.push(Queued { text, blob });
    }
    Ok(found)
}
