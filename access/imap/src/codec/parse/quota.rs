//! QUOTA (RFC 9208).

use super::cursor::{Cursor, Parsed};
use crate::codec::CommandBody;

/// `SETQUOTA root (STORAGE 512 ...)`, behind the verb's space.
pub(super) fn set_quota(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let root = cursor.astring()?;
    cursor.space()?;
    let mut limits = Vec::new();
    cursor.list(0, |cursor| {
        let resource = cursor.atom()?.to_ascii_uppercase();
        cursor.space()?;
        limits.push((resource.into(), cursor.number64()?));
        Ok(())
    })?;
    Ok(CommandBody::SetQuota { root, limits })
}
