//! One entrance under the fuzzer: which, the binary's name says.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| keywheel_tests::hostile::hand_in(env!("CARGO_BIN_NAME"), data));
