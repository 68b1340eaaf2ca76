//! See `bodies::saturn_datagrams`. Run: `cargo +nightly fuzz run saturn_datagrams`.
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code)] // each target uses one of the bodies
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bodies::saturn_datagrams(data);
});
