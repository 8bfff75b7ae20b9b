//! What a model is made of: the part of a pipeline's options that shapes it, with the sizes that the data gave.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::image_config::ImageEncoderConfig;
use crate::sound_config::SoundEncoderConfig;
use crate::text_config::TextEncoderConfig;

/// Sizes above this are taken for a mistake.
const LARGEST_SIZE: usize = 1 << 24;

/// A configuration that describes no model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// There is nothing to encode.
    #[error("a model needs at least one encoder")]
    NoEncoder,

    /// Two encoders have one name.
    #[error("two encoders are named `{0}`")]
    DuplicateEncoder(String),

    /// An encoder reads nothing.
    #[error("encoder `{0}` reads no columns")]
    NoFeatures(String),

    /// A size is zero or beyond reason.
    #[error("{what} is {found}, expected {smallest} to {largest}")]
    Size {
        /// Which size.
        what: String,
        /// The size.
        found: usize,
        /// The smallest it may be.
        smallest: usize,
        /// The largest it may be.
        largest: usize,
    },

    /// A share of dropped elements is not below one.
    #[error("`dropout` of {what} is {found}, expected at least 0 and less than 1")]
    Dropout {
        /// Whose dropout.
        what: String,
        /// The share.
        found: f64,
    },

    /// The heads of a transformer do not share its width evenly.
    #[error("`heads` of `{encoder}` is {heads}, which does not divide its `width` {width}")]
    Heads {
        /// The encoder's name.
        encoder: String,
        /// How many heads there are.
        heads: usize,
        /// The width of a token's vector.
        width: usize,
    },

    /// An image is too small for the stages over it.
    #[error(
        "`{encoder}` has {found} stages of `channels`, but images of {height} x {width} can be halved {most} times"
    )]
    Stages {
        /// The encoder's name.
        encoder: String,
        /// The height of the images.
        height: usize,
        /// The width of the images.
        width: usize,
        /// How many stages there may be.
        most: usize,
        /// How many there are.
        found: usize,
    },

    /// A common width was given to a fusion that has none.
    #[error("`width` belongs to the fusion `gated`; `concat` is as wide as all encoders together")]
    FusionWidth,
}

/// Everything that shapes a multimodal model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The encoders, in the order in which their inputs come.
    pub encoders: Vec<NamedEncoder>,
    /// How their outputs are joined.
    pub fusion: FusionConfig,
    /// What turns the joined vector into the prediction.
    pub head: HeadConfig,
    /// What is predicted.
    pub task: Task,
}

/// An encoder and the name its parameters and messages carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedEncoder {
    /// The name, unique within the model.
    pub name: String,
    /// The encoder.
    pub encoder: EncoderConfig,
}

/// An encoder of any modality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncoderConfig {
    /// Numbers and categories of a row, through a multilayer perceptron.
    Table(TableEncoderConfig),
    /// The tokens of a text.
    Text(TextEncoderConfig),
    /// The pixels of an image.
    Image(ImageEncoderConfig),
    /// The spectrogram of a sound.
    Sound(SoundEncoderConfig),
}

/// A table encoder: what a row holds, and the layers over it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableEncoderConfig {
    /// How many numeric features there are, standardised upstream.
    pub numeric: usize,
    /// For each category column, how many codes it has; code 0 stands for a value never seen in training.
    pub categories: Vec<usize>,
    /// The layers.
    pub options: TableEncoderOptions,
}

/// A multilayer perceptron over the numbers and the category embeddings of a row.
///
/// Its output is as wide as its last hidden layer; without hidden layers it is the features themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TableEncoderOptions {
    /// The widths of the hidden layers; one of 64 by default.
    pub hidden: Vec<usize>,

    /// The nonlinearity of the hidden layers; `relu` by default.
    pub activation: Activation,

    /// The share of each hidden layer's outputs that is dropped in training, at least 0 and less than 1; 0.1 by default.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,

    /// Whether each hidden layer is normalised before its activation; it is not by default.
    pub layer_norm: bool,

    /// The width of the embedding of every category column; by default 1.6 · cardinality^0.56, at most 50.
    #[schemars(range(min = 1))]
    pub embedding_width: Option<usize>,
}

impl Default for TableEncoderOptions {
    fn default() -> Self {
        TableEncoderOptions {
            hidden: vec![64],
            activation: Activation::Relu,
            dropout: 0.1,
            layer_norm: false,
            embedding_width: None,
        }
    }
}

impl TableEncoderOptions {
    /// How wide the embedding of a category with `cardinality` codes is.
    pub fn embedding_width(&self, cardinality: usize) -> usize {
        self.embedding_width.unwrap_or_else(|| default_embedding_width(cardinality))
    }
}

/// The width of the embedding of a category with `cardinality` codes: 1.6 · cardinality^0.56, at most 50.
///
/// The rule is that of fastai's tabular models, found by trial on many tables. It gives 3 for two values and an unknown,
/// 6 for ten codes and 50 from about 470 on.
pub fn default_embedding_width(cardinality: usize) -> usize {
    (1.6 * (cardinality as f64).powf(0.56)).round().clamp(1.0, 50.0) as usize
}

/// The nonlinearity of hidden layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0)
    #[default]
    Relu,
    /// x Φ(x), exact.
    Gelu,
    /// x / (1 + e^-x), also known as swish.
    Silu,
}

impl Activation {
    pub(crate) fn kernel(self) -> nodes_kernels::Activation {
        match self {
            Activation::Relu => nodes_kernels::Activation::Relu,
            Activation::Gelu => nodes_kernels::Activation::Gelu,
            Activation::Silu => nodes_kernels::Activation::Silu,
        }
    }
}

/// How the outputs of the encoders become one vector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FusionConfig {
    /// The way of joining; `concat` by default.
    #[serde(default)]
    pub architecture: FusionArchitecture,

    /// Of `gated`: the width that all vectors are brought to; that of the widest encoder by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub width: Option<usize>,
}

/// A way of joining the outputs of the encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FusionArchitecture {
    /// Side by side: as wide as all outputs together.
    #[default]
    Concat,
    /// A sum of all, each brought to a common width and weighed, row by row, by gates that see all of them (Arevalo et al.
    /// 2017, arXiv:1702.01992).
    Gated,
}

/// The layers between the joined vector and the prediction.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// The widths of hidden layers before the last, linear one; none by default.
    #[serde(default)]
    pub hidden: Vec<usize>,
    /// The nonlinearity of the hidden layers; `relu` by default.
    #[serde(default)]
    pub activation: Activation,
    /// The share of each hidden layer's outputs that is dropped in training, at least 0 and less than 1; 0 by default.
    #[serde(default)]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// One of several classes, with a probability for each.
    Classification {
        /// How many classes there are, at least two.
        classes: usize,
    },
    /// Numbers.
    Regression {
        /// How many numbers per row.
        outputs: usize,
    },
}

impl Task {
    /// How many numbers the model gives per row: a probability per class, or the outputs.
    pub fn width(self) -> usize {
        match self {
            Task::Classification { classes } => classes,
            Task::Regression { outputs } => outputs,
        }
    }
}

impl ModelConfig {
    /// Checks every size and share, so that a model can be built without overflow.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.encoders.is_empty() {
            return Err(ConfigError::NoEncoder);
        }
        let mut names = BTreeSet::new();
        for NamedEncoder { name, encoder } in &self.encoders {
            if !names.insert(name) {
                return Err(ConfigError::DuplicateEncoder(name.clone()));
            }
            encoder.check(name)?;
        }
        match (self.fusion.architecture, self.fusion.width) {
            (_, None) => {}
            (FusionArchitecture::Concat, Some(_)) => return Err(ConfigError::FusionWidth),
            (FusionArchitecture::Gated, Some(width)) => check_size("`width` of the fusion", width, 1)?,
        }
        check_hidden("the head", &self.head.hidden, self.head.dropout)?;
        match self.task {
            Task::Classification { classes } => check_size("the number of classes", classes, 2),
            Task::Regression { outputs } => check_size("the number of outputs", outputs, 1),
        }
    }
}

impl EncoderConfig {
    /// How wide the output is.
    pub fn width(&self) -> usize {
        match self {
            EncoderConfig::Table(table) => table.width(),
            EncoderConfig::Text(text) => text.options.width,
            EncoderConfig::Image(image) => image.options.width,
            EncoderConfig::Sound(sound) => sound.options.width,
        }
    }

    /// What it encodes, in one word.
    pub fn modality(&self) -> &'static str {
        match self {
            EncoderConfig::Table(_) => "table",
            EncoderConfig::Text(_) => "text",
            EncoderConfig::Image(_) => "image",
            EncoderConfig::Sound(_) => "sound",
        }
    }

    /// Checks every size and share, so that the encoder can be built without overflow; `name` is for the messages.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn check(&self, name: &str) -> Result<(), ConfigError> {
        match self {
            EncoderConfig::Table(table) => table.check(name),
            EncoderConfig::Text(text) => text.check(name),
            EncoderConfig::Image(image) => image.check(name),
            EncoderConfig::Sound(sound) => sound.check(name),
        }
    }
}

impl TableEncoderConfig {
    /// How many features a row has: its numbers and the elements of its embeddings.
    pub fn features(&self) -> usize {
        let embedded = self.categories.iter().map(|&cardinality| self.options.embedding_width(cardinality));
        self.numeric + embedded.sum::<usize>()
    }

    /// How wide the output is.
    pub fn width(&self) -> usize {
        self.options.hidden.last().copied().unwrap_or_else(|| self.features())
    }

    fn check(&self, name: &str) -> Result<(), ConfigError> {
        if self.numeric == 0 && self.categories.is_empty() {
            return Err(ConfigError::NoFeatures(name.to_string()));
        }
        check_size(&format!("the number of numeric features of `{name}`"), self.numeric, 0)?;
        for (column, &cardinality) in self.categories.iter().enumerate() {
            check_size(&format!("the number of codes of category column {column} of `{name}`"), cardinality, 1)?;
        }
        if let Some(width) = self.options.embedding_width {
            check_size(&format!("`embedding_width` of `{name}`"), width, 1)?;
        }
        check_hidden(&format!("`{name}`"), &self.options.hidden, self.options.dropout)
    }
}

pub(crate) fn check_hidden(what: &str, hidden: &[usize], dropout: f64) -> Result<(), ConfigError> {
    for (layer, &width) in hidden.iter().enumerate() {
        check_size(&format!("hidden layer {layer} of {what}"), width, 1)?;
    }
    check_dropout(what, dropout)
}

pub(crate) fn check_dropout(what: &str, dropout: f64) -> Result<(), ConfigError> {
    if (0.0..1.0).contains(&dropout) {
        Ok(())
    } else {
        Err(ConfigError::Dropout { what: what.to_string(), found: dropout })
    }
}

pub(crate) fn check_size(what: &str, found: usize, smallest: usize) -> Result<(), ConfigError> {
    if (smallest..=LARGEST_SIZE).contains(&found) {
        Ok(())
    } else {
        Err(ConfigError::Size { what: what.to_string(), found, smallest, largest: LARGEST_SIZE })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small model over three numbers and two category columns.
    pub(crate) fn small(task: Task) -> ModelConfig {
        let options = TableEncoderOptions {
            hidden: vec![8, 5],
            activation: Activation::Gelu,
            dropout: 0.1,
            layer_norm: true,
            embedding_width: Some(2),
        };
        let table = TableEncoderConfig { numeric: 3, categories: vec![4, 2], options };
        ModelConfig {
            encoders: vec![NamedEncoder { name: "rows".to_string(), encoder: EncoderConfig::Table(table) }],
            fusion: FusionConfig::default(),
            head: HeadConfig::default(),
            task,
        }
    }

    pub(crate) fn table(config: &mut ModelConfig) -> &mut TableEncoderConfig {
        let EncoderConfig::Table(table) = &mut config.encoders[0].encoder else { panic!("it is a table") };
        table
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |change: &dyn Fn(&mut ModelConfig)| {
            let mut config = small(Task::Classification { classes: 2 });
            change(&mut config);
            config.check().expect_err("something is wrong").to_string()
        };
        assert_eq!(error(&|config| config.encoders.clear()), "a model needs at least one encoder");
        let twice = error(&|config| config.encoders.push(config.encoders[0].clone()));
        assert_eq!(twice, "two encoders are named `rows`");
        let empty = error(&|config| {
            table(config).numeric = 0;
            table(config).categories.clear();
        });
        assert_eq!(empty, "encoder `rows` reads no columns");
        let zero = error(&|config| table(config).options.hidden[1] = 0);
        assert_eq!(zero, "hidden layer 1 of `rows` is 0, expected 1 to 16777216");
        let codes = error(&|config| table(config).categories[1] = 0);
        assert_eq!(codes, "the number of codes of category column 1 of `rows` is 0, expected 1 to 16777216");
        let dropout = error(&|config| table(config).options.dropout = 1.0);
        assert_eq!(dropout, "`dropout` of `rows` is 1, expected at least 0 and less than 1");
        assert!(error(&|config| config.head.dropout = f64::NAN).contains("NaN"));
        let one = error(&|config| config.task = Task::Classification { classes: 1 });
        assert_eq!(one, "the number of classes is 1, expected 2 to 16777216");
        let width = error(&|config| config.fusion.width = Some(5));
        assert_eq!(width, "`width` belongs to the fusion `gated`; `concat` is as wide as all encoders together");
        let zero = error(&|config| {
            config.fusion = FusionConfig { architecture: FusionArchitecture::Gated, width: Some(0) };
        });
        assert_eq!(zero, "`width` of the fusion is 0, expected 1 to 16777216");
    }

    #[test]
    fn a_sound_configuration_passes_and_survives_json() {
        let config = small(Task::Regression { outputs: 1 });
        assert_eq!(config.check(), Ok(()));
        let json = serde_json::to_string(&config).expect("it can be written");
        assert_eq!(serde_json::from_str::<ModelConfig>(&json).expect("it was just written"), config);
    }

    #[test]
    fn embedding_widths_grow_slowly() {
        let widths: Vec<usize> = [1, 3, 10, 100, 470, 1_000_000].iter().map(|&c| default_embedding_width(c)).collect();
        assert_eq!(widths, [2, 3, 6, 21, 50, 50]);
    }

    #[test]
    fn the_output_is_as_wide_as_the_last_layer_or_the_features() {
        let mut config = small(Task::Regression { outputs: 1 });
        assert_eq!((table(&mut config).features(), table(&mut config).width()), (7, 5));
        table(&mut config).options.hidden.clear();
        assert_eq!(table(&mut config).width(), 7);
    }

    #[test]
    fn options_have_documented_schemas() {
        let schema = schemars::schema_for!(TableEncoderOptions);
        let dropout = &schema.as_value()["properties"]["dropout"];
        assert_eq!((&dropout["default"], &dropout["exclusiveMaximum"]), (&0.1.into(), &1.into()));
        assert!(dropout["description"].as_str().is_some_and(|text| text.contains("0.1 by default")));
    }
}
