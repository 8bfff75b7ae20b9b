//! A deployment behind HTTP: `POST /predict`, `GET /schema`, `/openapi.json`, `/health`, `/ready`, `/metrics`.
//!
//! The only room that names the HTTP stack. It is given a [`Predictor`] and knows nothing of pipelines, stores or models;
//! predictions run on plain threads, so what is served has the bits of what a batch gives. It logs through `tracing`,
//! never the values of a request.

mod body;
mod fault;
mod instant;
mod openapi;
mod predictor;
mod routes;
mod rows;
mod schema;
mod server;
mod telemetry;
#[cfg(test)]
mod tests;
mod workers;

pub use predictor::Predictor;
pub use server::{ServeError, ServeOptions, serve, stop_signal};
