//! Kinds that turn columns into numbers, and encoders that learn to.

pub mod one_hot;
pub mod standardize;
pub mod table;
