//! The bodies of the fuzz targets (fuzz/) on stable Rust, a fixed number of cases each: cargo-fuzz looks deeper, this
//! holds the floor.

#[path = "../fuzz/bodies.rs"]
mod bodies;

/// Bytes that look like nothing, from a seed (splitmix64).
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb).to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn whatever_the_parser_is_given_it_refuses_or_understands() {
    for seed in 0..20_000 {
        bodies::wire_open(&bytes(seed, (seed % 353) as usize));
    }
}

#[test]
fn whatever_happens_to_the_protocol_it_stays_within_its_bounds() {
    let exchanges: u64 =
        (0..3_000).map(|seed| bodies::protocol_datagrams(&bytes(seed, 200 + (seed % 2_000) as usize))).sum();
    assert!(exchanges > 3_000, "only {exchanges} exchanges came of it: the scripts lead nowhere");
}

#[test]
fn whatever_saturn_is_told_it_refuses_or_answers() {
    let finished: u64 =
        (0..3_000).map(|seed| bodies::saturn_datagrams(&bytes(seed, 100 + (seed % 1_000) as usize))).sum();
    assert!(finished > 1_000, "only {finished} transactions came of it: the scripts lead nowhere");
}

#[test]
fn whatever_a_scenario_says_it_is_refused_in_one_line_or_runs_to_its_end() {
    let taken = (0..1_500).filter(|seed| bodies::scenario_text(&bytes(*seed, 120 + (*seed % 80) as usize))).count();
    assert!(taken > 300, "only {taken} were taken: the scripts lead nowhere");
}
