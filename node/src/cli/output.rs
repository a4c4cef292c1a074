//! Standard output: text, tables and JSON. A closed pipe ends the program quietly.

use serde::Serialize;
use std::io::{self, Write};

/// Writes text as it is.
pub fn text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `hikyaku ... | head`: nobody wants the rest.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result,
    }
}

/// Writes one value as indented JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut shown = serde_json::to_string_pretty(value)?;
    shown.push('\n');
    Ok(text(&shown)?)
}

/// Writes rows in columns as wide as their widest cell.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(header.get(column).map_or(0, |name| name.chars().count()))
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut shown = String::new();
    let names: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&names).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        shown.push_str(line.trim_end());
        shown.push('\n');
    }
    text(&shown)
}

/// `1536` as `1.5 KiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
