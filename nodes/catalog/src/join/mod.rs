//! Kinds that bring tables together.

pub mod left;
