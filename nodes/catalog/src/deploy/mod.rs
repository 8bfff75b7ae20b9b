//! Kinds that make a trained graph ready to be used elsewhere.

pub mod bundle;
