//! Kinds that compute columns and rows.

pub mod columns;
mod expression;
mod gaps;
mod query;
pub mod sql;
