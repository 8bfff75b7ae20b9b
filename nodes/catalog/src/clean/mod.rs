//! Kinds that mend columns and rows.

pub mod cast;
pub mod clip_outliers;
pub mod drop_duplicates;
pub mod impute;
