//! The nouns that cross the borders between rooms: Copy, fixed in size, without behaviour beyond construction, plain
//! arithmetic and display. No heap, and nothing here knows where a value came from or where it goes.

mod claim;
mod correction;
mod event;
mod exchange;
mod leap;
mod mapping;
mod relation;
mod stamp;
mod verdict;

pub use claim::{Claim, NodeState, Role};
pub use correction::{Correction, Reading};
pub use event::{Event, PeerIdentity};
pub use exchange::Exchange;
pub use leap::{Leap, LeapNews};
pub use mapping::Mapping;
pub use relation::{Relation, Span};
pub use stamp::{Stamp, StampClass};
pub use verdict::Verdict;
