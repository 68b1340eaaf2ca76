//! See `bodies::scenario_text`. Run: `cargo +nightly fuzz run scenario_text`.
#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code)] // each target uses one of the bodies
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bodies::scenario_text(data);
});
