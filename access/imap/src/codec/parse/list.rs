//! LIST, LSUB and STATUS.

use super::cursor::{Cursor, Parsed, SyntaxError};
use super::mailbox::{mailbox, pattern, reference};
use crate::codec::limits::LIST_PATTERNS_MAX;
use crate::codec::{
    CommandBody, ListCommand, ListForm, ListReturn, ListSelection, Pattern, StatusItem,
};

/// RFC 5258 section 6 list, behind the verb's space.
pub(super) fn list(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mut form = ListForm::Basic;
    let mut selected = ListSelection::default();
    if cursor.peek() == Some(b'(') {
        form = ListForm::Extended;
        selected = selection(cursor)?;
        cursor.space()?;
    }
    let reference = reference(cursor)?;
    cursor.space()?;
    let patterns = if cursor.peek() == Some(b'(') {
        form = ListForm::Extended;
        patterns(cursor)?
    } else {
        vec![pattern(cursor)?]
    };
    let mut returned = ListReturn::default();
    if cursor.another()? {
        form = ListForm::Extended;
        returned = returns(cursor)?;
    }
    Ok(CommandBody::List(ListCommand {
        form,
        selection: selected,
        reference,
        patterns,
        returns: returned,
    }))
}

fn selection(cursor: &mut Cursor<'_>) -> Parsed<ListSelection> {
    let mut selection = ListSelection::default();
    cursor.list(0, |cursor| {
        match cursor.word()?.as_bytes() {
            b"SUBSCRIBED" => selection.subscribed = true,
            b"REMOTE" => selection.remote = true,
            b"RECURSIVEMATCH" => selection.recursive_match = true,
            b"SPECIAL-USE" => selection.special_use = true,
            _ => return Err(SyntaxError("unknown selection option")),
        }
        Ok(())
    })?;
    // RFC 5258 3.1: RECURSIVEMATCH needs an option that selects by more than the name (REMOTE is
    // none).
    if selection.recursive_match && !selection.subscribed && !selection.special_use {
        return Err(SyntaxError("RECURSIVEMATCH must not stand alone"));
    }
    Ok(selection)
}

fn patterns(cursor: &mut Cursor<'_>) -> Parsed<Vec<Pattern>> {
    let mut patterns = Vec::new();
    cursor.list(1, |cursor| {
        if patterns.len() == LIST_PATTERNS_MAX {
            return Err(SyntaxError("too many patterns"));
        }
        patterns.push(pattern(cursor)?);
        Ok(())
    })?;
    Ok(patterns)
}

fn returns(cursor: &mut Cursor<'_>) -> Parsed<ListReturn> {
    if cursor.word()?.as_bytes() != b"RETURN" {
        return Err(SyntaxError("RETURN expected"));
    }
    cursor.space()?;
    let mut returns = ListReturn::default();
    cursor.list(0, |cursor| {
        match cursor.word()?.as_bytes() {
            b"SUBSCRIBED" => returns.subscribed = true,
            b"CHILDREN" => returns.children = true,
            b"SPECIAL-USE" => returns.special_use = true,
            // RFC 5819 2.
            b"STATUS" => {
                cursor.space()?;
                returns.status = Some(status_items(cursor)?);
            }
            _ => return Err(SyntaxError("unknown return option")),
        }
        Ok(())
    })?;
    Ok(returns)
}

/// LSUB, behind the verb's space.
pub(super) fn lsub(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let reference = reference(cursor)?;
    cursor.space()?;
    Ok(CommandBody::Lsub { reference, pattern: pattern(cursor)? })
}

/// STATUS, behind the verb's space.
pub(super) fn status(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mailbox = mailbox(cursor)?;
    cursor.space()?;
    Ok(CommandBody::Status { mailbox, items: status_items(cursor)? })
}

/// Each item once, in the client's order.
fn status_items(cursor: &mut Cursor<'_>) -> Parsed<Vec<StatusItem>> {
    let mut items = Vec::new();
    cursor.list(1, |cursor| {
        let word = cursor.word()?;
        let item = StatusItem::ALL
            .into_iter()
            .find(|item| item.name().as_bytes() == word.as_bytes())
            .ok_or(SyntaxError("unknown status item"))?;
        if !items.contains(&item) {
            items.push(item);
        }
        Ok(())
    })?;
    Ok(items)
}
