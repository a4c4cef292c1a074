//! A whole IMAP session: commands in every state, with completions, refusals, notices and timers in
//! between.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailstore::face::Protocol;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let said =
        fuzz::drive(imap::Session::new(Arc::new(imap::Limits::default())), Protocol::Imap, data);
    fuzz::assert_imap(&said);
});
