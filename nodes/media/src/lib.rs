//! Decoding and signal processing: images, sound, spectrograms, words.
//!
//! Plain functions over bytes and numbers: what is in this room knows no table, no column and no graph. Promises: damaged
//! media are named errors, never a panic; what a header declares is checked before memory is taken for it; results do
//! not depend on the number of threads.

pub mod image;
pub mod mel;
pub mod parallel;
pub mod sound;
pub mod text;

#[cfg(test)]
mod damage;
