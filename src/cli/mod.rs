//! The cli room.

pub mod sim;
