//! From V to the delivered clock C, and from signs to states: the law that makes C follow V, the guard that limits how
//! hard, how far and when, and the table of a node's states. Knows no peers and no filters.

mod guard;
mod law;
mod mode;

pub use guard::{Guard, Happening, Limits, Move, Refusal};
pub use law::steer;
pub use mode::{Mode, Signs};
