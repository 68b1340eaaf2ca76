//! The only room that speaks to the kernel below the standard library, and the only one with `unsafe`: one kernel
//! object a file. No policy: a refusal of the kernel is a value, and what to do about it is decided elsewhere.
//!
//! Only libc symbols are called (no inline system calls, no cycle counter), so that the program runs unmodified under
//! LD_PRELOAD simulators.

mod address;
#[allow(unsafe_code)]
pub mod caps;
pub mod clock_set;
mod cmsg;
pub mod lock;
#[allow(unsafe_code)]
pub mod nic;
#[allow(unsafe_code)]
pub mod prefetch;
pub mod process;
#[allow(unsafe_code)]
pub mod ptp;
#[allow(unsafe_code)]
pub mod random;
#[allow(unsafe_code)]
pub mod rt;
#[allow(unsafe_code)]
pub mod seqlock;
#[allow(unsafe_code)]
pub mod socket;
mod ticket;
#[allow(unsafe_code)]
pub mod time;
#[allow(unsafe_code)]
pub mod timex;
mod uapi;
