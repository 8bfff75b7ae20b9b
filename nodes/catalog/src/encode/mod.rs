//! Kinds that turn columns into numbers, and encoders that learn to.

pub mod image;
mod one_column;
pub mod one_hot;
pub mod sound;
pub mod standardize;
pub mod table;
pub mod text;
