//! Kinds that compute columns and rows.

pub mod columns;
mod expression;
mod gaps;
pub mod image_tensor;
pub mod log_mel;
mod media;
pub mod pack;
mod query;
pub mod sql;
pub mod tokenize;
