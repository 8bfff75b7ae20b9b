//! What the server needs of a deployment.

use std::collections::BTreeMap;

use engine_table::deployment::{Lent, Runner};
use engine_table::{ColumnType, NodeError};
use polars::prelude::DataFrame;
use serde_json::Value;

/// A deployment, ready to predict. `engine-serve` knows nothing else of it.
pub trait Predictor: Send + Sync + 'static {
    /// The columns a client sends, in the order [`Predictor::predict`] takes them.
    fn request(&self) -> &[ColumnType];

    /// The columns a client is given.
    fn response(&self) -> &[ColumnType];

    /// For columns a client is given that have few and known values, these.
    fn values(&self) -> &BTreeMap<String, Vec<Value>>;

    /// Keeps an image or sound of a request until what is given back is dropped; its cell is the digest of that.
    fn lend(&self, bytes: Vec<u8>) -> Lent;

    /// The response columns of `rows`: same height, same order; row i depends on row i only.
    ///
    /// Called on plain threads on which polars runs alone, from several at once.
    ///
    /// # Errors
    /// If a value does not allow it; the message names the column and the row in `rows` (from 0).
    fn predict(&self, rows: &DataFrame) -> Result<DataFrame, NodeError>;
}

impl Predictor for Runner {
    fn request(&self) -> &[ColumnType] {
        Runner::request(self)
    }

    fn response(&self) -> &[ColumnType] {
        Runner::response(self)
    }

    fn values(&self) -> &BTreeMap<String, Vec<Value>> {
        Runner::values(self)
    }

    fn lend(&self, bytes: Vec<u8>) -> Lent {
        Runner::lend(self, bytes)
    }

    fn predict(&self, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        Runner::predict(self, rows)
    }
}
