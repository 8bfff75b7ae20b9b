//! Kinds that bring data in.

pub mod csv;
pub(crate) mod declared;
pub mod parquet;
