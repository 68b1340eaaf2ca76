//! Leap seconds: what a clock that shows UTC does at the end of some days.

/// The leap second at the end of a UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Leap {
    /// None.
    #[default]
    None = 0,
    /// The day has a second more: a clock shows its last second twice, as kernels do.
    Insert = 1,
    /// The day has a second less: a clock leaves its last second out.
    Delete = 2,
}

impl Leap {
    /// The leap second a two-bit field of a packet stands for; the value without a meaning announces none.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            1 => Leap::Insert,
            2 => Leap::Delete,
            _ => Leap::None,
        }
    }

    /// By how much it moves a clock, s: negative if the clock goes back.
    #[must_use]
    pub const fn step_s(self) -> i64 {
        match self {
            Leap::None => 0,
            Leap::Insert => -1,
            Leap::Delete => 1,
        }
    }
}

/// What a clock has to say of leap seconds when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LeapNews {
    /// What has been announced to it, by whomever, for the end of this UTC day. Stays after the leap until taken back.
    pub announced: Leap,
    /// The leap that it has taken since it was read before.
    pub taken: Leap,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_leap_seconds_are_the_same_and_what_has_no_meaning_announces_none() {
        for leap in [Leap::None, Leap::Insert, Leap::Delete] {
            assert_eq!(Leap::from_bits(leap as u8), leap);
        }
        assert_eq!(Leap::from_bits(3), Leap::None);
    }
}
