//! CPU time of this process, by thread.

use std::collections::BTreeMap;
use std::time::Duration;

/// Linux counts in hundredths of a second, whatever the kernel's own clock does.
const TICK_MS: u64 = 10;

/// User and system time so far, by the name of the thread; threads with equal names are summed.
pub fn cpu_by_thread() -> std::io::Result<BTreeMap<String, Duration>> {
    let mut sums = BTreeMap::new();
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread may end between the two looks.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        let Some((name, fields)) = name_and_fields(&stat) else { continue };
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        *sums.entry(name.to_owned()).or_default() += Duration::from_millis(ticks * TICK_MS);
    }
    Ok(sums)
}

/// The name stands in parentheses and may contain some itself; times are fields 14 and 15.
fn name_and_fields(stat: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    Some((name, tail.split_whitespace().skip(11).take(2)))
}

/// What was used since `before`, by thread.
pub fn used_since(before: &BTreeMap<String, Duration>) -> std::io::Result<Vec<(String, Duration)>> {
    let now = cpu_by_thread()?;
    let used = now.into_iter().map(|(name, time)| {
        let earlier = before.get(&name).copied().unwrap_or_default();
        let used = time.saturating_sub(earlier);
        (name, used)
    });
    Ok(used.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_are_told_from_the_fields() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0";
        let (name, fields) = name_and_fields(stat).expect("well formed");
        assert_eq!((name, fields.collect::<Vec<_>>()), ("a (b) c", vec!["150", "25"]));
    }
}
