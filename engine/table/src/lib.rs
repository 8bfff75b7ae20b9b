//! Tables of typed columns, and the node traits over their rows.
//!
//! Two halves. The contracts: what a kind declares ([`Kind`], [`Describe`]), what it infers
//! ([`Change`], [`TableType`]) and what it does ([`Source`], [`Fetch`], [`RowLocal`], [`FitApply`], [`Whole`],
//! [`Reduce`], [`Encoder`], [`Expand`], [`Sink`]). The rows: how a table stands in segments
//! ([`Table`]), how values are digested, where chunk boundaries fall.
//!
//! It knows no YAML, no store, no particular kind and no machine learning.

mod artifact;
mod blobs;
mod chunking;
mod column_digest;
mod columns;
mod context;
pub mod deployment;
mod fetch;
mod frame;
mod inputs;
mod kind;
mod manifest;
mod node;
mod path;
mod problem;
pub mod report;
mod segment;
mod serving;
mod solo;
mod types;

pub use artifact::Files;
pub use blobs::{Blobs, MemoryBlobs, NoBlobs};
pub use chunking::{ChunkKeys, ChunkRule, Chunker};
pub use column_digest::column_digest;
pub use columns::{COLUMN_NONE, COLUMN_ROLE, COLUMN_UNKNOWN, Columns};
pub use context::{Cancel, Context, NoProgress, ProgressSink};
pub use fetch::{Fetch, FetchType, FetchedFile, NamedFile, OnMissing};
pub use frame::{
    check_frame, concatenated, dtype_of, empty_frame, empty_tensor_column, tensor_column, tensor_slice, token_column,
    token_slice, value_bytes, with_sizes,
};
pub use inputs::{EARLIER, InputTypes, NamedFiles, PortInput, PortTypes, ReduceInputs, RowFilter, TrainRows};
pub use kind::{
    Arity, Bound, Cpus, Describe, ErasedFitApply, FitOn, InputPort, Kind, Node, OPTION_INVALID, OutputPort, Registry,
};
pub use manifest::{ColumnChunk, RowsChange, StoredColumn, Table, TableChange};
pub use node::{
    Change, Choice, Chosen, Destination, Encoder, Expand, FitApply, Instance, Override, Peek, Read, Reduce, Reduction,
    Refit, Rename, RowFunction, RowLocal, ServingRequest, Sink, SinkType, Slice, SliceNode, Source, Whole, WholeRows,
    WholeType, Written,
};
pub use path::PathOption;
pub use problem::{At, NodeError, Problem};
pub use segment::{Segment, SegmentError, encode_segment};
pub use serving::{ServingSlice, ServingStep, StepArtifact, StepInput, StepTable};
pub use solo::solo;
pub use types::{ColumnType, EncoderType, MergeConflict, ModelType, PortType, Prediction, RowSet, TableType};
