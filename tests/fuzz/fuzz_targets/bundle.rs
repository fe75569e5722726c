//! Fuzzes `entry::bundle`; see the README beside this folder.

#![no_main]

#[path = "../../../proto/tests/entry/mod.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::bundle(bytes));
