//! The simulator: a second engine around the same `exchange` and `pipeline`.
mod law;
mod link;
mod oscillator;
mod quantity;
mod random;
mod stamp;
mod world;
