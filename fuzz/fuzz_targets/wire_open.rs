//! See `bodies::wire_open`. Run: `cargo +nightly fuzz run wire_open`.
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code)] // each target uses one of the bodies
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bodies::wire_open(data);
});
