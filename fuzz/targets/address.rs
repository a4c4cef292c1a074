//! Addresses and paths: what is read can be shown and read again, and means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailstore::address::{Address, Path, parse_path, parse_unbracketed};

fn shown_again(address: &Address) {
    let shown = address.to_string();
    let again = Address::parse(shown.as_bytes()).expect("what was shown");
    assert_eq!(again.to_string(), shown);
    assert_eq!(again.canonical(), address.canonical());
    let canonical = Address::parse(address.canonical().as_bytes()).expect("canonical");
    assert_eq!(canonical.canonical(), address.canonical());
    let _ = address.without_detail('+').map(|user| shown_again(&user));
}

fuzz_target!(|data: &[u8]| {
    if let Ok(address) = Address::parse(data) {
        shown_again(&address);
    }
    if let Ok((path, used)) = parse_path(data) {
        assert!(used <= data.len() && data[used - 1] == b'>');
        if let Path::Mailbox(address) = path {
            shown_again(&address);
        }
    }
    let _ = parse_unbracketed(data);
});
