//! Kinds that score models.

pub mod classification;
pub mod cross_validate;
pub mod regression;
mod scored;
pub(crate) mod sections;
