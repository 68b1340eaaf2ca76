//! How the hot thread waits for packets, and why. Spinning answers a packet in microseconds and costs a core; on a core
//! that others use too it is *slower* than blocking (measured: 396 against 32 us at the median under load), so it is
//! only chosen where a core was set aside.

use super::PollMode;

/// The mode chosen and the reason, as it is said at start and in `llts status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Never [`PollMode::Auto`].
    pub mode: PollMode,
    /// Why, one clause.
    pub reason: String,
}

/// Chooses the poll mode. `cpu` is the core named by the operator, `isolated` the cores that the kernel keeps free of
/// other work, `cores` how many there are.
#[must_use]
pub fn choose(asked: PollMode, cpu: Option<usize>, isolated: &[usize], cores: usize) -> Chosen {
    let chosen = |mode, reason: String| Chosen { mode, reason };
    match (asked, cpu) {
        (PollMode::Auto, Some(cpu)) if isolated.contains(&cpu) => {
            chosen(PollMode::Busy, format!("core {cpu} is named and isolated"))
        }
        (PollMode::Auto, Some(_)) if cores < 2 => {
            chosen(PollMode::Hybrid, "the only core of this machine cannot be given away".to_owned())
        }
        (PollMode::Auto, Some(cpu)) => chosen(PollMode::Busy, format!("core {cpu} is named for it")),
        (PollMode::Auto, None) => chosen(
            PollMode::Hybrid,
            "no core is named (--cpu N): it spins 50 us after a packet, then blocks".to_owned(),
        ),
        (mode, _) => chosen(mode, "asked for".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_only_spun_on_when_it_was_named() {
        assert_eq!(choose(PollMode::Auto, None, &[3], 4).mode, PollMode::Hybrid);
        assert_eq!(choose(PollMode::Auto, Some(3), &[3], 4).mode, PollMode::Busy);
        assert_eq!(choose(PollMode::Auto, Some(1), &[], 4).mode, PollMode::Busy);
        assert_eq!(choose(PollMode::Auto, Some(0), &[], 1).mode, PollMode::Hybrid);
    }

    #[test]
    fn what_is_asked_for_is_done() {
        for mode in [PollMode::Busy, PollMode::Hybrid, PollMode::Block] {
            assert_eq!(choose(mode, None, &[], 1).mode, mode);
        }
    }
}
