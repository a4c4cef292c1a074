//! What the program takes of the machine's memory beyond what it needs.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// After this time the background has done what it does once.
const AFTER_START_TIME: Duration = Duration::from_secs(30);

/// Gives back what starting took, when it is over; and once more what its last parts in the background took.
pub async fn give_back() {
    give_back_code();
    tokio::time::sleep(AFTER_START_TIME).await;
    give_back_code();
}

/// Gives back the pages of the program's code. Starting uses most of the program once, and the system maps whole stretches around
/// what is used: of the 36 MB about 25 stay counted against the process, of which an idle node uses less than 2. What is used
/// again is mapped again from the page cache. Where the system does not say what is mapped, or refuses, nothing changes.
fn give_back_code() {
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for range in code_of(&maps, &program) {
        forget(&range);
    }
}

/// Where the code of `program` is mapped, after proc_pid_maps(5): private, executable, and never writable.
fn code_of(maps: &str, program: &Path) -> Vec<Range<usize>> {
    let code = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let is_code = fields.next()? == "r-xp";
        let path = Path::new(fields.nth(3)?.trim_start());
        let at = |digits| usize::from_str_radix(digits, 16).ok();
        (is_code && path == program).then_some(at(start)?..at(end)?)
    };
    maps.lines().filter_map(code).collect()
}

#[allow(unsafe_code, reason = "the system offers it as a bare call only")]
fn forget(range: &Range<usize>) {
    // SAFETY: The range is one mapping of the file of this program, which stays mapped until the process ends. It is private and
    // not writable, so its pages are those of the file: dropped, they are read from there again, with the same bytes.
    // Relocations are applied to other mappings.
    let _refused =
        unsafe { libc::madvise(range.start as *mut _, range.len(), libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0000000-55d0c0800000 r--p 00000000 fe:00 1234                       /opt/mail server/hikyaku
55d0c0800000-55d0c2a00000 r-xp 00800000 fe:00 1234                       /opt/mail server/hikyaku
55d0c2a00000-55d0c2b00000 rw-p 02a00000 fe:00 1234                       /opt/mail server/hikyaku
7f0000000000-7f0000100000 r-xp 00000000 fe:00 99                         /usr/lib/libc.so.6
7f0000200000-7f0000201000 rw-p 00000000 00:00 0
7f0000300000-7f0000301000 rwxp 00000000 fe:00 1234                       /opt/mail server/hikyaku
";

    #[test]
    fn only_code_of_the_program_is_given_back() {
        let code = code_of(MAPS, Path::new("/opt/mail server/hikyaku"));
        let [only] = code.as_slice() else { panic!("{code:?}") };
        assert_eq!(*only, 0x55d0_c080_0000..0x55d0_c2a0_0000);
        assert!(code_of("nonsense\n\n12-zz r-xp 0 0 0 /x", Path::new("/x")).is_empty());
    }

    /// KiB of the program's code that are mapped.
    fn mapped() -> u64 {
        let program = std::fs::read_link("/proc/self/exe").unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut of_code = false;
        let mut sum = 0;
        for line in maps.lines() {
            if let Some(kib) = line.strip_prefix("Rss:") {
                let kib = kib.trim_end_matches("kB").trim();
                sum += if of_code { kib.parse::<u64>().unwrap() } else { 0 };
            } else if line.split(' ').next().is_some_and(|range| range.contains('-')) {
                of_code = !code_of(line, &program).is_empty();
            }
        }
        sum
    }

    #[test]
    fn what_is_given_back_still_runs() {
        let before = mapped();
        assert!(before > 0);
        give_back_code();
        let after = mapped();
        assert!(after < before, "{before} KiB before, {after} after");
        assert_eq!(std::hint::black_box(format!("{:?}", Some("twice"))), "Some(\"twice\")");
    }
}
