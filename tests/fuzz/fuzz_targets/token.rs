//! Fuzzes `entry::token` of admission; see the README beside this folder.

#![no_main]

#[path = "../../admission/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::token(bytes));
