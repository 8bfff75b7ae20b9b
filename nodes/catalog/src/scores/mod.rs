//! Scores of predictions and how sure one can be of them.
//!
//! Plain numbers in, plain numbers out: nothing here knows a model, a table or a report. Every score can be computed over
//! a resample, given as how often each row counts, so that intervals cost one pass over the rows a resample.

pub(crate) mod bootstrap;
pub(crate) mod classification;
pub(crate) mod curves;
pub(crate) mod ranking;
pub(crate) mod regression;
pub(crate) mod student;
