//! What the discipline thread reports to the control thread, which writes logs and files. Bounded; the sender never
//! waits.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clock::{CardEvent, ForeignSlew, Interference, PhcEvent};
use crate::flow::{Exchange, Leap, NodeState, PeerIdentity};
use crate::limits::NOTES;
use crate::pipeline::Upheaval;
use crate::report::Gravity;

/// One thing worth telling.
#[derive(Clone, Copy, Debug)]
pub enum Note {
    /// A peer proved itself.
    Arrived(PeerIdentity),
    /// A peer fell silent.
    Silent(PeerIdentity),
    /// Somebody who only observed has stopped doing so.
    ObserverGone(PeerIdentity),
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
    /// The kernel has been kept from slewing for a daemon that was here before.
    ForeignSlewEnded(ForeignSlew),
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

impl Note {
    /// What a page tells of it and how grave it is; `None` for what concerns peers, whose standing tells more.
    #[must_use]
    pub fn sentence(&self) -> Option<(Gravity, String)> {
        const NOTHING: &str = "all that was known of the peers is dropped, and nothing is promised for now";
        Some(match self {
            Note::State { from, to, used } => {
                let gravity = match to {
                    NodeState::Track => Gravity::Good,
                    NodeState::Acquire => Gravity::Note,
                    NodeState::Holdover | NodeState::Unset => Gravity::Warning,
                };
                let peers = match *used {
                    0 => String::new(),
                    1 => ", with 1 peer in use".to_owned(),
                    n => format!(", with {n} peers in use"),
                };
                (gravity, format!("this node goes from {} to {}{peers}", from.as_str(), to.as_str()))
            }
            Note::Stepped(by_ns) => {
                (Gravity::Warning, format!("the clock was stepped by {:+.6} s to cluster time", *by_ns as f64 * 1e-9))
            }
            Note::ForeignSlewEnded(slew) => (Gravity::Warning, slew.to_string()),
            Note::LeapTaken(leap) => {
                (Gravity::Warning, format!("the clock has taken a leap second: {:+} s, as announced", leap.step_s()))
            }
            Note::Interference(what) => (Gravity::Bad, what.to_string()),
            Note::Upheaval(why) => (Gravity::Bad, format!("{why}: {NOTHING}")),
            Note::HeldUp(ns) => (Gravity::Warning, format!("this process was held up for {:.1} s", *ns as f64 * 1e-9)),
            Note::ClockFailed(code) => {
                let error = std::io::Error::from_raw_os_error(*code);
                (Gravity::Bad, format!("the clock refused a command: {error}"))
            }
            Note::Card(CardEvent { event: PhcEvent::Ready, .. }) => {
                (Gravity::Good, "the clock of a network card is known: its stamps are used".to_owned())
            }
            Note::Card(_) => {
                (Gravity::Warning, "a network card's clock is not believed: kernel stamps are used".to_owned())
            }
            Note::Arrived(_) | Note::Silent(_) | Note::ObserverGone(_) | Note::Returned(_) | Note::Left(_) => {
                return None;
            }
            // Told at every tick to a clock to which somebody else keeps telling something else.
            Note::LeapAnnounced(_) | Note::Exchanged(_) => return None,
        })
    }
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
