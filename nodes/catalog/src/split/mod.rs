//! Kinds that say which rows are learnt from, chosen on and scored.

mod assignment;
pub mod by_column;
pub mod by_time;
pub mod folds;
pub mod random;
