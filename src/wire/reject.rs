//! Why a datagram was refused. Each reason is one counter and has no other effect.

/// The reason for which a datagram changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reject {
    /// Not the one length of this protocol: foreign traffic, a scan, a truncated datagram.
    Length,
    /// The right length but not ours.
    Magic,
    /// Another major version of llts speaks here.
    Version,
    /// No live key has this id.
    UnknownKey,
    /// The key exists, but the sender has a key of its own and this is another member's.
    ForeignKey,
    /// The seal is wrong: another key, a damaged packet, or a forger.
    BadMac,
    /// A well sealed packet of another cluster.
    WrongCluster,
    /// My own packet came back.
    Reflected,
    /// Somebody else uses this node's name in this cluster.
    DuplicateIdentity,
    /// Sealed for another node.
    WrongReceiver,
    /// A kind of message that this version does not know.
    UnknownKind,
    /// Well sealed, but a field says what no working node says.
    Absurd,
    /// Seen before, or too old to tell.
    Replayed,
    /// Answers no question of ours that is still open: forged, late, duplicated or spent.
    NoNonce,
    /// More packets than a peer, or all strangers together, may send.
    RateLimited,
    /// Nobody's place is free.
    TableFull,
}

impl Reject {
    /// How many reasons there are.
    pub const COUNT: usize = Reject::ALL.len();

    /// Every reason, in the order of the counters.
    pub const ALL: [Reject; 16] = [
        Reject::Length,
        Reject::Magic,
        Reject::Version,
        Reject::UnknownKey,
        Reject::ForeignKey,
        Reject::BadMac,
        Reject::WrongCluster,
        Reject::Reflected,
        Reject::DuplicateIdentity,
        Reject::WrongReceiver,
        Reject::UnknownKind,
        Reject::Absurd,
        Reject::Replayed,
        Reject::NoNonce,
        Reject::RateLimited,
        Reject::TableFull,
    ];

    /// The reason as it stands in counters and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reject::Length => "length",
            Reject::Magic => "magic",
            Reject::Version => "version",
            Reject::UnknownKey => "unknown_key",
            Reject::ForeignKey => "foreign_key",
            Reject::BadMac => "bad_mac",
            Reject::WrongCluster => "wrong_cluster",
            Reject::Reflected => "reflected",
            Reject::DuplicateIdentity => "duplicate_identity",
            Reject::WrongReceiver => "wrong_receiver",
            Reject::UnknownKind => "unknown_kind",
            Reject::Absurd => "absurd",
            Reject::Replayed => "replayed",
            Reject::NoNonce => "no_nonce",
            Reject::RateLimited => "rate_limited",
            Reject::TableFull => "table_full",
        }
    }
}
