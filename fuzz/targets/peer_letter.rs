//! Letters of other nodes: any bytes are read or refused, and what was read is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vspace::Letter;

fuzz_target!(|data: &[u8]| {
    if let Ok(letter) = Letter::decode(data) {
        let again = Letter::decode(&letter.encode()).expect("what was written");
        assert_eq!(again, letter);
    }
});
