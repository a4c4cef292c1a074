//! A whole session of SMTP, submission or LMTP: the first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailstore::face::Protocol;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let [mode, script @ ..] = data else { return };
    let protocol = match mode % 3 {
        0 => Protocol::Smtp,
        1 => Protocol::Submission,
        _ => Protocol::Lmtp,
    };
    let said = fuzz::drive(smtp::Session::new(Arc::new(smtp::Limits::default())), protocol, script);
    fuzz::assert_smtp(&said);
});
