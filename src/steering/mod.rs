//! The steering room.
