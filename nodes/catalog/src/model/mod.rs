//! Trained models as the kinds see them: columns in, predictions out.
//!
//! The model itself is numbers over numbers ([`nodes_models`]). What stands here joins it to tables: which columns each
//! of its encoders reads ([`declaration`]) and how they become numbers ([`reading`], [`preparation`]), what it predicts
//! and by which names ([`target`]), and the artifact that holds all of it ([`trained`]). It knows no port and no option
//! of a kind.

pub(crate) mod codes;
pub(crate) mod declaration;
#[cfg(test)]
mod four_modalities;
pub(crate) mod preparation;
pub(crate) mod reading;
pub(crate) mod rows;
pub(crate) mod target;
pub(crate) mod trained;
