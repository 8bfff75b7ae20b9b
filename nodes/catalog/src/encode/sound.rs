//! The kind `encode.sound`: a trainable encoder of sound.

use engine_core::{LogicalType, Serving};
use engine_table::{At, Describe, Encoder, EncoderType, OPTION_INVALID, Problem, TableType};
use nodes_models::{EncoderConfig, SoundArchitecture, SoundEncoderConfig, SoundEncoderOptions as Layers, SoundPooling};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::one_column::{self, Taken};
use crate::model::declaration::{Declaration, DeclaredEncoder};

/// A trainable encoder of sound: the spectrogram of a row becomes one vector.
///
/// It reads a `tensor[frames, mels]` column, which `extract.log_mel` makes of audio. Each band is first brought to mean
/// zero and deviation one, as learnt from the train rows.
///
/// If some sounds are missing, the column that `extract.log_mel` writes beside its tensors says where (`present`). Such
/// rows skip the encoder: a learnt stand-in goes into the fusion, and they have no part in the encoder's own loss.
///
/// The node trains nothing by itself: it goes into `encoders` of a training node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SoundEncoderOptions {
    /// The sounds: a `tensor[frames, mels]` column.
    #[schemars(length(min = 1))]
    pub column: String,

    /// The bool column that says in which rows there is a sound; by default `COLUMN_present` if the table has it, else
    /// every row has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<String>,

    /// What stands between the spectrogram and the vector.
    #[serde(default)]
    pub architecture: SoundArchitecture,

    /// The width of what the encoder gives, 1 to 65536.
    #[serde(default = "default_width")]
    #[schemars(range(min = 1, max = 65536))]
    pub width: usize,

    /// Of `gru`: the width of its state, 1 to 65536.
    #[serde(default = "default_hidden")]
    #[schemars(range(min = 1, max = 65536))]
    pub hidden: usize,

    /// Of `gru`: which of its states the last layer reads.
    #[serde(default)]
    pub pooling: SoundPooling,

    /// Of `cnn`: how many channels each stage gives, first to last, 1 to 4096 each. A stage halves frames and bands, so
    /// the spectrogram must be large enough for all of them.
    #[serde(default = "default_channels")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 4096)))]
    pub channels: Vec<usize>,

    /// The share of the output's elements that is dropped in training, at least 0 and less than 1.
    #[serde(default = "default_dropout")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
}

fn default_width() -> usize {
    Layers::default().width
}

fn default_hidden() -> usize {
    Layers::default().hidden
}

fn default_channels() -> Vec<usize> {
    Layers::default().channels
}

fn default_dropout() -> f64 {
    Layers::default().dropout
}

impl SoundEncoderOptions {
    fn layers(&self) -> Layers {
        Layers {
            architecture: self.architecture,
            width: self.width,
            hidden: self.hidden,
            pooling: self.pooling,
            channels: self.channels.clone(),
            dropout: self.dropout,
        }
    }
}

/// The kind `encode.sound`.
pub struct SoundEncoder {
    options: SoundEncoderOptions,
}

const TAKEN: Taken = Taken {
    kind: SoundEncoder::KIND,
    form: "tensor[frames, mels]",
    raw: &[LogicalType::Audio],
    made_by: "extract.log_mel",
};

impl Describe for SoundEncoder {
    const KIND: &'static str = "encode.sound";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: claims
nodes:
  claims: {uses: ingest.claims, with: {rows: 500, missing: {sound: 0.1}}}
  split: {uses: split.random, with: {shares: {train: 0.7, validation: 0.15, test: 0.15}}, in: claims}
  sounds:
    uses: extract.log_mel
    with: {column: voice, sample_rate: 4000, frames: 20, mels: 20, n_fft: 256, hop: 64, as: spectrogram}
    in: split
  voice: {uses: encode.sound, with: {column: spectrogram, architecture: gru, hidden: 64, width: 64}, in: sounds}
  fraud: {uses: train.multimodal, with: {target: fraud}, in: {encoders: [voice]}}
  quality: {uses: evaluate.classification, in: fraud}
";
    const SERVING: Serving = Serving::Skip;
    type Options = SoundEncoderOptions;

    fn new(options: SoundEncoderOptions) -> Result<Self, Vec<Problem>> {
        Ok(SoundEncoder { options })
    }
}

impl Encoder for SoundEncoder {
    fn infer(&self, table: &TableType) -> Result<EncoderType, Vec<Problem>> {
        let SoundEncoderOptions { column, present, width, .. } = &self.options;
        let found = one_column::column(table, column).and_then(|found| {
            let shape = TAKEN.sizes(found)?;
            let config = SoundEncoderConfig { shape, options: self.options.layers() };
            one_column::check(&EncoderConfig::Sound(config), Self::KIND)?;
            Ok(shape)
        });
        let present = one_column::present(table, present.as_deref(), Some(column));
        let (shape, present) = match (found, present) {
            (Ok(shape), Ok(present)) => (shape, present),
            (found, present) => return Err(found.err().into_iter().chain(present.err()).collect()),
        };
        let encoder = DeclaredEncoder::Sound { column: column.clone(), shape, layers: self.options.layers() };
        let architecture = match self.options.architecture {
            SoundArchitecture::Gru => "gru",
            SoundArchitecture::Cnn => "cnn",
        };
        Declaration { present, encoder }
            .to_encoder(architecture, format!("vector[{width}]"))
            .map_err(|error| vec![Problem::error(&OPTION_INVALID, At::Node, error.to_string())])
    }
}

#[cfg(test)]
mod tests {
    use engine_table::{ColumnType, RowSet};

    use super::*;

    fn infer(options: &str) -> Result<EncoderType, Vec<Problem>> {
        let column = |name: &str, logical: &str| ColumnType::new(name, logical.parse().unwrap());
        let columns =
            vec![column("mels", "tensor[20, 8]"), column("voice", "audio"), column("photo", "tensor[3, 8, 8]")];
        let table = TableType { columns, row_set: RowSet("digits".into()) };
        SoundEncoder::new(serde_json::from_str(options).unwrap())?.infer(&table)
    }

    fn check(options: &str, code: &str, words: &str) {
        let problems = infer(options).unwrap_err();
        let text = format!("{} {}", problems[0].message, problems[0].help.join(" "));
        assert!(problems[0].code.name == code && text.contains(words), "{options}: {problems:?}");
    }

    #[test]
    fn both_architectures_read_frames_of_mels() {
        for architecture in ["gru", "cnn"] {
            let encoder =
                infer(&format!(r#"{{"column": "mels", "width": 12, "architecture": "{architecture}"}}"#)).unwrap();
            assert_eq!((encoder.modality.as_str(), encoder.architecture.as_str()), ("sound", architecture));
            assert_eq!(encoder.gives, "vector[12]");
            let DeclaredEncoder::Sound { column, shape, .. } = Declaration::of(&encoder).unwrap().encoder else {
                panic!("it is a sound encoder")
            };
            assert_eq!((column.as_str(), shape), ("mels", [20, 8]));
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        check(r#"{"column": "voice"}"#, "encode.column", "put `uses: extract.log_mel` with `column: voice`");
        check(r#"{"column": "photo"}"#, "encode.column", "`encode.sound` takes tensor[frames, mels]");
        let stages = r#"{"column": "mels", "architecture": "cnn", "channels": [2, 2, 2, 2]}"#;
        check(stages, "encode.shape", "can be halved 3 times");
        // The layers of the architecture that was not chosen do not count.
        assert!(infer(r#"{"column": "mels", "channels": [2, 2, 2, 2]}"#).is_ok());
    }
}
