//! Every bound of the program as a named constant, with the reason for its size; the relations between them are
//! asserted at compile time. No behaviour.

/// Peers one node keeps. A full mesh is meant up to about 64 nodes (docs/ALGORITHMS.md, 12); a verdict marks rejected
/// peers in 128 bits.
pub const PEERS_MAX: usize = 128;
/// Unknown nodes that may be in the middle of proving themselves at one time.
pub const CANDIDATES_MAX: usize = 16;
/// Live keys of one node: two shared ones, and two for each peer that has keys of its own.
pub const KEYS_MAX: usize = 2 + 2 * PEERS_MAX;
/// The shortest key accepted, bytes.
pub const KEY_BYTES_MIN: usize = 16;
/// The longest key accepted, bytes: SHA-256's block.
pub const KEY_BYTES_MAX: usize = 64;

/// Events that fit between the hot and the discipline thread: two seconds of 128 peers at 8/s, from both sides, halved
/// twice.
pub const RING_EVENTS: usize = 1024;

/// Notes that fit between the discipline and the control thread: a second of 128 peers at 8/s, recorded.
pub const NOTES: usize = 1024;
/// Samples that wait for the thread that writes measurement logs: some seconds of 128 peers at 8/s.
pub const MEASUREMENTS: usize = 4 * NOTES;
/// Log lines of one kind that may be written at once: a line for each peer, say, when a whole cluster starts.
pub const LOG_LINES_BURST: u32 = PEERS_MAX as u32;
/// After its burst a kind has one line in this time, ns; what was held back is told as often.
pub const LOG_LINE_INTERVAL_NS: i64 = 10_000_000_000;
/// The longest path of a local socket, bytes: the kernel's 108 less the zero that ends it.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Names that are tried for a recording before it is given up: one for each start.
pub const RECORDING_NAMES: usize = 10_000;
/// Clients of the status socket served at one time.
pub const STATUS_CLIENTS_MAX: usize = 16;
/// A status client that has not asked or not read within this is cut off, ns.
pub const STATUS_PATIENCE_NS: i64 = 2_000_000_000;

/// Connections to the endpoint for monitoring at one time: scrapers and a few browsers.
pub const HTTP_CLIENTS_MAX: usize = 32;
/// A connection to it that has not asked or not read within this is cut off, ns.
pub const HTTP_PATIENCE_NS: i64 = 5_000_000_000;
/// The longest request that is read, bytes: browsers send some hundreds.
pub const HTTP_REQUEST_BYTES_MAX: usize = 8 * 1024;
/// What the endpoint remembers is kept in cells of this length, ns.
pub const HISTORY_CELL_NS: i64 = 4_000_000_000;
/// Cells kept: an hour.
pub const HISTORY_CELLS: usize = 900;
/// Numbers in one answer about the past, some ten bytes each: who wants more asks again.
pub const HISTORY_ANSWER_NUMBERS: usize = 16 * 1024;
/// Happenings that the endpoint remembers.
pub const CHRONICLE_EVENTS: usize = 200;
/// Packets that were refused for one reason are told at most this often, ns.
pub const CHRONICLE_REFUSALS_NS: i64 = 600_000_000_000;

/// Exchanges a second and peer: slowest and fastest accepted.
pub const RATE_HZ_MIN: f64 = 0.01;
/// See [`RATE_HZ_MIN`].
pub const RATE_HZ_MAX: f64 = 128.0;
/// Exchanges a second and peer unless told.
pub const RATE_HZ_DEFAULT: f64 = 8.0;
/// Exchanges in a start burst unless told.
pub const ROUNDS_DEFAULT: u32 = 32;
/// Exchanges in the burst of `watch` and `query`, whose Kalman filters need no longer one: of a thousand nodes at once
/// it is a load.
pub const WATCH_ROUNDS: u32 = 8;
/// The longest burst accepted.
pub const ROUNDS_MAX: u32 = 100;
/// Time between two exchanges of a burst, ns.
pub const BURST_INTERVAL_NS: i64 = 62_500_000;

/// An answer later than this is nobody's answer, ns.
pub const NONCE_LIFETIME_NS: i64 = 2_000_000_000;
/// Exchanges with one peer that may be under way at one time.
pub const OUTSTANDING_MAX: usize = 8;
/// A true transmit stamp that has not come after this is not waited for any longer, ns.
pub const TRANSMIT_STAMP_WAIT_NS: i64 = 2_000_000_000;
/// A peer that has finished no exchange for this many of its intervals, and at least [`SILENCE_NS_MIN`], has left. To
/// an observer twice as many: it is asked by nobody, so of its intervals only every other has an exchange.
pub const SILENCE_INTERVALS: i64 = 8;
/// See [`SILENCE_INTERVALS`], ns.
pub const SILENCE_NS_MIN: i64 = 2_000_000_000;
/// A silent node that nobody configured gives its slot back after this, ns.
pub const FORGET_NS: i64 = 300_000_000_000;
/// An observer that nobody configured has left after this silence, and gives its place back at once, ns: a watcher that
/// asks every other second may lose a few answers, and one that has ended leaves no ghost.
pub const OBSERVER_SILENCE_NS: i64 = 10_000_000_000;

/// Packets a second taken from one peer before the rest is dropped and counted, with this much burst.
pub const PEER_PACKETS_PER_S: u32 = 1_024;
/// See [`PEER_PACKETS_PER_S`].
pub const PEER_PACKETS_BURST: u32 = 512;
/// Packets a second answered to nodes that are not peers, all together.
pub const STRANGER_PACKETS_PER_S: u32 = 256;
/// See [`STRANGER_PACKETS_PER_S`].
pub const STRANGER_PACKETS_BURST: u32 = 128;

/// Devices whose cards stamp for one node: two ports of two cards, or a bond of four.
pub const CARDS_MAX: usize = 4;
/// A card's transmit stamp is waited for this long before the kernel's is used in its place, ns: drivers fetch it from
/// a work queue, milliseconds later on a loaded machine.
pub const CARD_STAMP_WAIT_NS: i64 = 20_000_000;
/// A card's time is told at most this far from the last reading of its clock, ns: as old as any stamp that is waited
/// for.
pub const PHC_AGE_NS_MAX: i64 = 2_000_000_000;
/// A card whose time is known no better than this is not used, ns: kernel stamps are as good, and packets have no room
/// to say more.
pub const STAMP_DOUBT_NS_MAX: f64 = u16::MAX as f64;
/// A card's clock that runs further off CLOCK_MONOTONIC_RAW than this is broken or being steered hard (seconds per
/// second): twice what two oscillators at their worst make of it.
pub const PHC_RATE_MAX: f64 = 1e-3;
/// Nodes that one `watch` keeps an eye on.
pub const WATCH_NODES_MAX: usize = 10_000;
/// Addresses that one of its sockets asks: the other places of its peer table are for nodes that moved.
pub const WATCH_SHARD_NODES: usize = 112;
/// Addresses that a watch begins to ask in one go, and the time from one such lot to the next, ns: 64 lots a second, so
/// that the questions to thousands of nodes lie evenly over a second and not upon each other, and so that fewer than
/// 900 nodes are in their first burst at a time.
pub const WATCH_LOT_NODES: usize = 14;
/// See [`WATCH_LOT_NODES`].
pub const WATCH_LOT_PAUSE_NS: i64 = 1_000_000_000 / 64;
/// So long after a watch has begun to ask its last node it judges thresholds without those that have not answered, ns:
/// before, the median is that of whoever answered first, and somebody would be called at night because of it.
pub const WATCH_GRACE_NS: i64 = 5_000_000_000;
/// Up to so many nodes the JSON line holds the whole matrix of skews.
pub const WATCH_MATRIX_NODES: usize = 64;
/// Pairs of nodes told as the furthest apart.
pub const WATCH_PAIRS: usize = 10;
/// News of crossed thresholds that wait for one hook; more are dropped and counted.
pub const HOOK_NEWS: usize = 64;

/// In hybrid mode the hot thread spins this long after a packet before it blocks, ns.
pub const HYBRID_SPIN_NS: i64 = 50_000;

/// Steering ticks a second.
pub const TICK_HZ: i64 = 32;
/// Time between two steering ticks, ns.
pub const TICK_NS: i64 = 1_000_000_000 / TICK_HZ;

/// A claim that no tick has renewed for this long promises nothing any more, ns.
pub const CLAIM_AGE_NS_MAX: i64 = 1_000_000_000;

/// No oscillator of a working server is further from nominal than this (seconds per second).
pub const OSCILLATOR_RATE_MAX: f64 = 500e-6;
/// Drift of an uncorrected oscillator against its last known rate that the hard bound allows for (seconds per second).
pub const DRIFT_RATE: f64 = 1e-6;

/// The longest datagram of Saturn's protocol, bytes: what Saturn reads of one.
pub const SATURN_DATAGRAM_BYTES_MAX: usize = 1024;
/// The longest name of a slave, bytes: with an id of the usual form its first datagram is just as long as may be.
pub const SATURN_NAME_BYTES_MAX: usize = 943;
/// Transactions that a Saturn master has under way at one time.
pub const SATURN_TRANSACTIONS_MAX: usize = 10_000;
/// Ended transactions that a master remembers, to refuse their packets: an hour of 3,000 slaves at the usual interval.
pub const SATURN_ENDED_MAX: usize = 65_536;
/// A slave waits this long for the master's next message, ns; also the longest that an honest peer can have held one.
pub const SATURN_PATIENCE_NS: i64 = 5_000_000_000;
/// Time between two looks for abandoned transactions, ns.
pub const SATURN_SWEEP_NS: i64 = 30_000_000_000;
/// A transaction without a message for longer than this is abandoned, ns.
pub const SATURN_EXPIRY_NS: i64 = 60_000_000_000;
/// Messages a slave answers in one transaction before it takes the master for one that never ends.
pub const SATURN_LEGS_MAX: u32 = 10_000;
/// Events of a Saturn node that wait to be printed, before further ones are dropped and counted.
pub const SATURN_EVENTS: usize = 4_096;
/// Bytes asked for the packets that wait at a Saturn master: the first words of 2,000 slaves at once, as the kernel
/// counts them.
pub const SATURN_RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

const _: () = assert!(SATURN_NAME_BYTES_MAX < SATURN_DATAGRAM_BYTES_MAX);
const _: () = assert!(SATURN_TRANSACTIONS_MAX < SATURN_ENDED_MAX, "what has just expired must be remembered");
const _: () = assert!(SATURN_EXPIRY_NS > SATURN_PATIENCE_NS, "a master outlasts its slaves' patience");
const _: () = assert!(PEERS_MAX <= u128::BITS as usize, "a verdict marks peers in 128 bits");
const _: () = assert!(CANDIDATES_MAX < PEERS_MAX);
const _: () = assert!(HISTORY_CELLS as i64 * HISTORY_CELL_NS == 3_600_000_000_000, "the last hour");
const _: () = assert!(KEYS_MAX >= 2 + 2 * PEERS_MAX, "two live keys for every peer");
const _: () = assert!(KEY_BYTES_MIN >= 16 && KEY_BYTES_MAX == 64);
const _: () = assert!(TICK_HZ >= 8 && TICK_HZ <= 64 && 1_000_000_000 % TICK_HZ == 0);
const _: () = assert!(CLAIM_AGE_NS_MAX >= 8 * TICK_NS, "an ordinary late tick must not end a promise");
const _: () = assert!(SILENCE_NS_MIN >= NONCE_LIFETIME_NS, "a peer must not leave while its answer is still good");
const _: () = assert!(PHC_RATE_MAX >= 2.0 * OSCILLATOR_RATE_MAX);
const _: () = assert!(CARD_STAMP_WAIT_NS < TRANSMIT_STAMP_WAIT_NS && PHC_AGE_NS_MAX <= TRANSMIT_STAMP_WAIT_NS);
const _: () = assert!(RATE_HZ_MIN < RATE_HZ_DEFAULT && RATE_HZ_DEFAULT <= RATE_HZ_MAX);

const _: () = assert!(WATCH_GRACE_NS > 2 * WATCH_ROUNDS as i64 * BURST_INTERVAL_NS, "a first burst is over by then");
const _: () = assert!(WATCH_SHARD_NODES < PEERS_MAX, "a node that comes back under another name needs a place");
