//! Models built from the operations of `nodes-kernels`: encoders, fusion, heads, training, prediction, files.
//!
//! The main one is [`Model`]: an encoder per modality, a fusion of their vectors, a head over the fused vector and one
//! over each modality's own, trained jointly by [`train`]. Its rivals are [`Logistic`] and [`Ridge`], fitted in double precision, so that a report
//! can show whether the network earns its keep.
//!
//! What holds for all of them:
//! - Equal data, options and seed give equal bits, on any number of threads.
//! - The prediction of a row has the same bits whatever rows are beside it.
//! - A model is a map of named files ([`ModelFiles`]); equal models give equal bytes, and bytes that are not a model give
//!   an error, never a panic.
//!
//! Everything goes in and out as plain slices and structs. The crate knows nothing of tables, ports or pipelines.
//!
//! ```
//! use nodes_models::*;
//! use std::ops::ControlFlow;
//!
//! // Two numbers per row; the class says whether the first is the larger.
//! let numeric: Vec<f32> = (0..200).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
//! let classes = numeric.chunks(2).map(|row| u32::from(row[0] > row[1])).collect();
//! let inputs = Inputs { rows: 100, blocks: vec![Block::Table(TableBlock { numeric, codes: vec![] })], present: vec![] };
//! let examples = Examples { inputs, targets: Targets::Classes(classes), weights: None };
//!
//! let table = TableEncoderConfig { numeric: 2, categories: vec![], options: TableEncoderOptions::default() };
//! let config = ModelConfig {
//!     encoders: vec![NamedEncoder { name: "numbers".to_string(), encoder: EncoderConfig::Table(table) }],
//!     fusion: FusionConfig::default(),
//!     head: HeadConfig::default(),
//!     task: Task::Classification { classes: 2 },
//! };
//! let mut model = Model::new(&Cpu::default(), config, 1)?;
//! let options = TrainingOptions { epochs: 40, learning_rate: 0.01, ..Default::default() };
//! let report = train(&mut model, &examples, None, &options, 1, &mut |_| ControlFlow::Continue(()))?;
//! assert!(report.epochs[39].train_loss < 0.3);
//!
//! let loaded = Model::from_files(&Cpu::default(), &model.to_files()?)?;
//! assert_eq!(loaded.predict(&examples.inputs)?, model.predict(&examples.inputs)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod cholesky;
mod config;
mod convolutions;
mod design;
mod encoder;
mod files;
mod fusion;
mod head;
mod image_config;
mod image_encoder;
mod input_scale;
mod layer;
mod lbfgs;
mod logistic;
mod mlp;
mod multimodal;
mod objective;
mod parameters;
mod pass;
mod predictions;
mod prior;
#[cfg(test)]
mod promises;
mod randomness;
mod ridge;
mod sound_config;
mod sound_encoder;
mod table_encoder;
mod targets;
mod text_config;
mod text_encoder;
mod training;
mod training_options;
mod weights;

pub use batch::{Block, Examples, ImageBlock, InputError, Inputs, SoundBlock, TableBlock, TextBlock};
pub use config::{
    Activation, ConfigError, EncoderConfig, FusionArchitecture, FusionConfig, HeadConfig, ModelConfig, NamedEncoder,
    TableEncoderConfig, TableEncoderOptions, Task, default_embedding_width,
};
pub use design::{Design, DesignError};
pub use files::{FilesError, ModelFiles, ModelKind, model_kind};
pub use image_config::{ImageArchitecture, ImageEncoderConfig, ImageEncoderOptions, ImagePooling};
pub use lbfgs::Convergence;
pub use logistic::{Logistic, LogisticError, LogisticOptions};
pub use multimodal::{Model, ModelError};
pub use parameters::ParametersError;
pub use predictions::{HeadPredictions, Predictions};
pub use ridge::{Ridge, RidgeError, RidgeOptions};
pub use sound_config::{SoundArchitecture, SoundEncoderConfig, SoundEncoderOptions, SoundPooling};
pub use targets::{TargetError, TargetScale, Targets, balanced_class_weights};
pub use text_config::{TextArchitecture, TextEncoderConfig, TextEncoderOptions};
pub use training::{EpochReport, ModalityEpoch, Progress, Stopped, TrainingError, TrainingReport, train};
pub use training_options::{ClassWeights, LossWeights, OptimiserName, OptionsError, TrainingOptions};
pub use weights::WeightsError;

pub use nodes_kernels::Cpu;

/// A device that models run on: it supplies every operation in single precision.
pub trait ModelDevice: nodes_kernels::Kernels<f32> + Send + Sync {}

impl<D: nodes_kernels::Kernels<f32> + Send + Sync> ModelDevice for D {}
