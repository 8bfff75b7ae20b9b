//! Kinds that apply models.

pub mod table;
