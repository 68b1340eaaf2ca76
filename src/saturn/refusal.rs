//! Why a datagram was refused, as a list of reasons and a counter for each. A refused datagram changes its counter and
//! nothing else.

/// Why a datagram was refused. In the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Refusal {
    /// It came from another address than the master's (slaves only).
    WrongAddress,
    /// Longer than any datagram of this protocol.
    TooLong,
    /// No protobuf, or cut off.
    Unparsable,
    /// No id, or nothing said that this version knows.
    Invalid,
    /// The signature is not that of our key.
    BadSignature,
    /// The id of a transaction that was here and has ended: a late packet, or a replay.
    Replayed,
    /// A report or an end for a transaction that was never here.
    UnknownTransaction,
    /// Not the number that is next: a duplicate, a packet out of order, or one that was lost before it.
    WrongSeq,
    /// The right number on the wrong kind of message.
    WrongKind,
    /// Fields that no clock and no honest program can have written.
    Absurd,
    /// As many transactions as can be live are live.
    TableFull,
}

/// Every reason, in the order of its number.
const ALL: [Refusal; 11] = [
    Refusal::WrongAddress,
    Refusal::TooLong,
    Refusal::Unparsable,
    Refusal::Invalid,
    Refusal::BadSignature,
    Refusal::Replayed,
    Refusal::UnknownTransaction,
    Refusal::WrongSeq,
    Refusal::WrongKind,
    Refusal::Absurd,
    Refusal::TableFull,
];

impl Refusal {
    /// The word shown to people and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::WrongAddress => "wrong_address",
            Refusal::TooLong => "too_long",
            Refusal::Unparsable => "unparsable",
            Refusal::Invalid => "invalid",
            Refusal::BadSignature => "bad_signature",
            Refusal::Replayed => "replayed",
            Refusal::UnknownTransaction => "unknown_transaction",
            Refusal::WrongSeq => "wrong_seq",
            Refusal::WrongKind => "wrong_kind",
            Refusal::Absurd => "absurd",
            Refusal::TableFull => "table_full",
        }
    }
}

/// How often each reason came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    counts: [u64; ALL.len()],
}

impl Refusals {
    /// Counts one.
    pub fn count(&mut self, reason: Refusal) {
        self.counts[reason as usize] += 1;
    }

    /// How often each came up since `before`, an earlier state of the same.
    #[must_use]
    pub fn since(&self, before: &Refusals) -> Refusals {
        Refusals { counts: std::array::from_fn(|n| self.counts[n] - before.counts[n]) }
    }

    /// How often `reason` came up.
    #[must_use]
    pub const fn of(&self, reason: Refusal) -> u64 {
        self.counts[reason as usize]
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        ALL.into_iter().map(|reason| (reason, self.of(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_and_a_word_of_its_own() {
        let mut refusals = Refusals::default();
        for (n, reason) in ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n);
            (0..=n).for_each(|_| refusals.count(reason));
        }
        assert!(refusals.iter().enumerate().all(|(n, (_, count))| count == n as u64 + 1));
        let words: std::collections::HashSet<_> = ALL.map(Refusal::as_str).into();
        assert_eq!(words.len(), ALL.len());
        assert_eq!(refusals.total(), 66);
        let before = refusals;
        refusals.count(Refusal::Absurd);
        let since = refusals.since(&before);
        assert_eq!((since.of(Refusal::Absurd), since.total()), (1, 1));
    }
}
