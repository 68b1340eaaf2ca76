//! The scenarios that come with the program, held inside it so that `llts sim` works wherever the program is. Their place
//! is tests/scenarios; this list and that folder are held equal by a test.

macro_rules! catalogue {
    ($($name:literal),* $(,)?) => {
        /// Name and text of every shipped scenario.
        pub const CATALOGUE: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../tests/scenarios/", $name, ".toml")))),*];
    };
}

catalogue!["101-hw-mesh-3", "102-hw-mesh-10", "103-lan-mesh-10",];
