//! The kind `encode.text`: a trainable encoder of tokens.

use engine_core::{LogicalType, Serving};
use engine_table::{At, Describe, Encoder, EncoderType, OPTION_INVALID, Problem, TableType};
use nodes_models::{Activation, EncoderConfig, TextArchitecture, TextEncoderConfig, TextEncoderOptions as Layers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::one_column::{self, Taken};
use crate::model::declaration::{Declaration, DeclaredEncoder};

/// A trainable encoder of text: the tokens of a row become one vector.
///
/// It reads a `tokens[n]` column, which `extract.tokenize` makes of text. Every token has a vector that is learnt with
/// the rest; tokens that the train rows do not have share the vector of the unknown. Padding changes nothing.
///
/// If some texts are missing, the column that `extract.tokenize` writes beside its tokens says where (`present`). Such
/// rows skip the encoder: a learnt stand-in goes into the fusion, and they have no part in the encoder's own loss.
///
/// The node trains nothing by itself: it goes into `encoders` of a training node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderOptions {
    /// The tokens: a `tokens[n]` column.
    #[schemars(length(min = 1))]
    pub column: String,

    /// The bool column that says in which rows there is a text; by default `COLUMN_present` if the table has it, else
    /// every row has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<String>,

    /// What stands between the tokens and the vector.
    #[serde(default)]
    pub architecture: TextArchitecture,

    /// The width of a token's vector and of what the encoder gives, 1 to 65536.
    #[serde(default = "default_width")]
    #[schemars(range(min = 1, max = 65536))]
    pub width: usize,

    /// Of `embedding_mean`: the widths of hidden layers between the mean and the output, 1 to 65536 each; none by
    /// default, and then the mean itself is the output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 1, max = 65536)))]
    pub hidden: Vec<usize>,

    /// Of `transformer`: how many blocks there are, 1 to 64.
    #[serde(default = "default_layers")]
    #[schemars(range(min = 1, max = 64))]
    pub layers: usize,

    /// Of `transformer`: how many heads attend in a block, 1 to 256; a divisor of the width.
    #[serde(default = "default_heads")]
    #[schemars(range(min = 1, max = 256))]
    pub heads: usize,

    /// Of `transformer`: the width between the two layers that end a block, 1 to 262144; by default four times the
    /// width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 262_144))]
    pub feed_forward: Option<usize>,

    /// The nonlinearity of the hidden layers.
    #[serde(default)]
    pub activation: Activation,

    /// The share of elements that is dropped in training, at least 0 and less than 1.
    #[serde(default = "default_dropout")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
}

fn default_width() -> usize {
    Layers::default().width
}

fn default_layers() -> usize {
    Layers::default().layers
}

fn default_heads() -> usize {
    Layers::default().heads
}

fn default_dropout() -> f64 {
    Layers::default().dropout
}

impl TextEncoderOptions {
    fn layers(&self) -> Layers {
        Layers {
            architecture: self.architecture,
            width: self.width,
            hidden: self.hidden.clone(),
            layers: self.layers,
            heads: self.heads,
            feed_forward: self.feed_forward,
            activation: self.activation,
            dropout: self.dropout,
        }
    }
}

/// The kind `encode.text`.
pub struct TextEncoder {
    options: TextEncoderOptions,
}

const TAKEN: Taken = Taken {
    kind: TextEncoder::KIND,
    form: "tokens[n]",
    raw: &[LogicalType::Text, LogicalType::Category],
    made_by: "extract.tokenize",
};

impl Describe for TextEncoder {
    const KIND: &'static str = "encode.text";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: claims
nodes:
  claims: {uses: ingest.claims, with: {rows: 500, missing: {text: 0.1}}}
  split: {uses: split.random, with: {shares: {train: 0.7, validation: 0.15, test: 0.15}}, in: claims}
  tokens: {uses: extract.tokenize, with: {column: description, as: words, max_length: 16}, in: split}
  description: {uses: encode.text, with: {column: words, architecture: transformer, width: 64, heads: 4}, in: tokens}
  fraud: {uses: train.multimodal, with: {target: fraud}, in: {encoders: [description]}}
  quality: {uses: evaluate.classification, in: fraud}
";
    const SERVING: Serving = Serving::Skip;
    type Options = TextEncoderOptions;

    fn new(options: TextEncoderOptions) -> Result<Self, Vec<Problem>> {
        Ok(TextEncoder { options })
    }
}

impl Encoder for TextEncoder {
    fn infer(&self, table: &TableType) -> Result<EncoderType, Vec<Problem>> {
        let TextEncoderOptions { column, present, width, .. } = &self.options;
        let found = one_column::column(table, column).and_then(|found| {
            let [length] = TAKEN.sizes(found)?;
            // What the train rows will show of the vocabulary changes nothing that is checked here.
            let config = TextEncoderConfig { vocabulary: 2, length, options: self.options.layers() };
            one_column::check(&EncoderConfig::Text(config), Self::KIND)?;
            Ok(length)
        });
        let present = one_column::present(table, present.as_deref(), Some(column));
        let (length, present) = match (found, present) {
            (Ok(length), Ok(present)) => (length, present),
            (found, present) => return Err(found.err().into_iter().chain(present.err()).collect()),
        };
        let encoder = DeclaredEncoder::Text { column: column.clone(), length, layers: self.options.layers() };
        let architecture = match self.options.architecture {
            TextArchitecture::EmbeddingMean => "embedding_mean",
            TextArchitecture::Transformer => "transformer",
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
        let columns = vec![
            column("words", "tokens[6]"),
            column("words_present", "bool"),
            column("message", "text"),
            column("pixels", "tensor[6]"),
            column("letters", "tokens[|longest|]"),
        ];
        let table = TableType { columns, row_set: RowSet("tickets".into()) };
        TextEncoder::new(serde_json::from_str(options).unwrap())?.infer(&table)
    }

    fn check(options: &str, code: &str, words: &str) {
        let problems = infer(options).unwrap_err();
        let text = format!("{} {}", problems[0].message, problems[0].help.join(" "));
        assert!(problems[0].code.name == code && text.contains(words), "{options}: {problems:?}");
    }

    #[test]
    fn both_architectures_read_tokens_and_where_there_are_any() {
        for architecture in ["embedding_mean", "transformer"] {
            let encoder =
                infer(&format!(r#"{{"column": "words", "width": 16, "architecture": "{architecture}"}}"#)).unwrap();
            assert_eq!((encoder.modality.as_str(), encoder.architecture.as_str()), ("text", architecture));
            assert_eq!((encoder.gives.as_str(), encoder.reads.len()), ("vector[16]", 2));
            let declared = Declaration::of(&encoder).unwrap();
            assert_eq!(declared.present.as_deref(), Some("words_present"));
            let DeclaredEncoder::Text { column, length, layers } = declared.encoder else { panic!("it reads text") };
            assert_eq!((column.as_str(), length, layers.width), ("words", 6, 16));
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        check(r#"{"column": "message"}"#, "encode.column", "put `uses: extract.tokenize` with `column: message`");
        check(r#"{"column": "pixels"}"#, "encode.column", "`pixels` is tensor[6], and `encode.text` takes tokens[n]");
        check(r#"{"column": "letters"}"#, "encode.column", "known only after a fit");
        let heads = r#"{"column": "words", "architecture": "transformer", "width": 10, "heads": 4}"#;
        check(heads, "encode.shape", "does not divide its `width` 10");
        assert!(infer(r#"{"column": "words", "width": 10, "heads": 4}"#).is_ok());
    }
}
