//! Kinds that train.

pub mod logistic;
pub mod multimodal;
