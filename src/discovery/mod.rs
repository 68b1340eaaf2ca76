//! The discovery room.
