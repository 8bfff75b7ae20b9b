//! Kinds that bring data in.

pub mod claims;
pub mod csv;
pub(crate) mod declared;
pub mod files;
pub mod parquet;
