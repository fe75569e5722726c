//! Fuzzes `entry::schema` of the shell; see the README beside this folder.

#![no_main]

#[path = "../../upstream/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::schema(bytes));
