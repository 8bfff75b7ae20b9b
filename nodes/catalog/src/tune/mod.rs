//! Kinds that try options and choose the best.

pub mod grid;
pub mod random;
mod trials;
