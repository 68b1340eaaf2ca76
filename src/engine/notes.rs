//! What the discipline thread reports to the control thread, which writes logs and files. Bounded; the sender never
//! waits.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clock::{CardEvent, Interference};
use crate::flow::{Exchange, Leap, NodeState, PeerIdentity};
use crate::limits::NOTES;
use crate::pipeline::Upheaval;

/// One thing worth telling.
#[derive(Clone, Copy, Debug)]
pub enum Note {
    /// A peer proved itself.
    Arrived(PeerIdentity),
    /// A peer fell silent.
    Silent(PeerIdentity),
    /// A silent peer is heard again.
    Returned(PeerIdentity),
    /// A silent peer has been forgotten.
    Left(PeerIdentity),
    /// The node's state changed.
    State {
        /// Before.
        from: NodeState,
        /// Now.
        to: NodeState,
        /// Peers in use.
        used: u16,
    },
    /// The clock was stepped, ns forward.
    Stepped(i64),
    /// The clock has been told of this leap second at the end of the day, or that there is none.
    LeapAnnounced(Leap),
    /// The clock has taken this leap second.
    LeapTaken(Leap),
    /// Somebody else was at the clock.
    Interference(Interference),
    /// Everything known of the peers was dropped.
    Upheaval(Upheaval),
    /// No tick came for this long, ns.
    HeldUp(i64),
    /// The clock refused a command; the text of the error number.
    ClockFailed(i32),
    /// Something happened to the clock of a card.
    Card(CardEvent),
    /// A finished exchange to be recorded or logged.
    Exchanged(Exchange),
}

/// The discipline thread's end.
#[derive(Debug)]
pub struct NoteSender {
    channel: Sender<Note>,
    dropped: u64,
}

/// The two ends of the line for notes.
#[must_use]
pub fn notes() -> (NoteSender, Receiver<Note>) {
    let (sender, receiver) = bounded(NOTES);
    (NoteSender { channel: sender, dropped: 0 }, receiver)
}

impl NoteSender {
    /// Hands a note over, or counts it as dropped.
    pub fn send(&mut self, note: Note) {
        if self.channel.try_send(note).is_err() {
            self.dropped += 1;
        }
    }

    /// Notes that did not fit.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
