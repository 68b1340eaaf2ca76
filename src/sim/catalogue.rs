//! The scenarios that come with the program, held inside it so that `llts sim` works wherever the program is. Their
//! place is tests/scenarios; this list and that folder are held equal by a test.

macro_rules! catalogue {
    ($($name:literal),* $(,)?) => {
        /// Name and text of every shipped scenario.
        pub const CATALOGUE: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../tests/scenarios/", $name, ".toml")))),*];
    };
}

catalogue![
    "101-hw-mesh-3",
    "102-hw-mesh-10",
    "103-lan-mesh-10",
    "104-mix-mesh-10",
    "105-lan-mesh-10-slow",
    "106-hw-mesh-10-slow",
    "107-lan-mesh-3",
    "108-hw-mesh-10-wander",
    "201-pair-exp10",
    "202-pair-normal30",
    "203-pair-exp200",
    "204-pair-heavy",
    "205-pair-wan",
    "206-pair-lopsided",
    "301-loss-third",
    "302-late-join",
    "303-restart",
    "304-partition-merge",
    "305-suspend",
    "306-migrate",
    "307-quantised",
    "308-correlated-queues",
    "309-stamps-missing",
    "310-temperature",
    "311-duplicates-and-disorder",
    "312-pause",
    "401-liar-edge-4",
    "402-liars-edge-10",
    "403-liars-random-10",
    "404-liars-two-faced-10",
    "405-liars-smart-drag-10",
    "406-liars-slow-drag-10",
    "407-liar-delays",
    "408-liar-replays",
    "409-liar-stamps-10",
    "501-one-way",
    "502-wrong-key",
    "503-observer",
    "601-overlay-100",
    "602-two-sites",
];
