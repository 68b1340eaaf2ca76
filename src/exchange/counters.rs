//! What the protocol counts. A counter is the only trace that a refused packet leaves.

use crate::wire::Reject;

/// Everything counted besides refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Tally {
    /// Datagrams received, good or not.
    Received,
    /// Datagrams handed to the socket.
    Sent,
    /// Probes sent.
    Probes,
    /// Exchanges finished.
    Exchanges,
    /// Exchanges finished with the weaker user-space departure because the true one never came.
    TransmitStampMissing,
    /// True departures that came after their exchange was already finished or given up.
    TransmitStampLate,
    /// Probes that nobody answered in time.
    Unanswered,
    /// Datagrams of a newer minor version, whose extra meaning was ignored.
    NewerMinor,
    /// Nodes that proved themselves and took a place.
    Arrivals,
    /// Peers that fell silent.
    Departures,
    /// Restarts of known peers noticed by their new boot id.
    Reboots,
}

impl Tally {
    /// Every tally, in the order of the counters.
    pub const ALL: [Tally; 11] = [
        Tally::Received,
        Tally::Sent,
        Tally::Probes,
        Tally::Exchanges,
        Tally::TransmitStampMissing,
        Tally::TransmitStampLate,
        Tally::Unanswered,
        Tally::NewerMinor,
        Tally::Arrivals,
        Tally::Departures,
        Tally::Reboots,
    ];

    /// The tally as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Tally::Received => "received",
            Tally::Sent => "sent",
            Tally::Probes => "probes",
            Tally::Exchanges => "exchanges",
            Tally::TransmitStampMissing => "transmit_stamp_missing",
            Tally::TransmitStampLate => "transmit_stamp_late",
            Tally::Unanswered => "unanswered",
            Tally::NewerMinor => "newer_minor",
            Tally::Arrivals => "arrivals",
            Tally::Departures => "departures",
            Tally::Reboots => "reboots",
        }
    }
}

/// All counters of one protocol instance. Copy, so that a snapshot can carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    tallies: [u64; Tally::ALL.len()],
    rejects: [u64; Reject::COUNT],
}

impl Counters {
    pub(super) fn count(&mut self, tally: Tally) {
        self.tallies[tally as usize] += 1;
    }

    pub(super) fn reject(&mut self, reject: Reject) {
        self.rejects[reject as usize] += 1;
    }

    /// The value of one tally.
    #[must_use]
    pub fn tally(&self, tally: Tally) -> u64 {
        self.tallies[tally as usize]
    }

    /// How many datagrams were refused for one reason.
    #[must_use]
    pub fn rejected(&self, reject: Reject) -> u64 {
        self.rejects[reject as usize]
    }

    /// Datagrams refused for any reason.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejects.iter().sum()
    }
}
