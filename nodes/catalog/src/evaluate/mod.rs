//! Kinds that score models.

pub mod ablation;
pub mod classification;
pub mod cross_validate;
mod modalities;
pub mod regression;
mod scored;
pub(crate) mod sections;
