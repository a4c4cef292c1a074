//! A whole POP3 session.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailstore::face::Protocol;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let said =
        fuzz::drive(pop3::Session::new(Arc::new(pop3::Limits::default())), Protocol::Pop3, data);
    fuzz::assert_pop3(&said);
});
