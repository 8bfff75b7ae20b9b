//! The kind `encode.image`: a trainable encoder of pictures.

use engine_core::{LogicalType, Serving};
use engine_table::{At, Describe, Encoder, EncoderType, OPTION_INVALID, Problem, TableType};
use nodes_models::{EncoderConfig, ImageArchitecture, ImageEncoderConfig, ImageEncoderOptions as Layers, ImagePooling};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::one_column::{self, Taken};
use crate::model::declaration::{Declaration, DeclaredEncoder};

/// A trainable encoder of images: the pixels of a row become one vector.
///
/// It reads a `tensor[channels, height, width]` column, which `extract.image_tensor` makes of images. Each channel is
/// first brought to mean zero and deviation one, as learnt from the train rows.
///
/// If some images are missing, the column that `extract.image_tensor` writes beside its tensors says where (`present`).
/// Such rows skip the encoder: a learnt stand-in goes into the fusion, and they have no part in the encoder's own loss.
///
/// The node trains nothing by itself: it goes into `encoders` of a training node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageEncoderOptions {
    /// The images: a `tensor[channels, height, width]` column.
    #[schemars(length(min = 1))]
    pub column: String,

    /// The bool column that says in which rows there is an image; by default `COLUMN_present` if the table has it, else
    /// every row has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<String>,

    /// What stands between the image and the vector.
    #[serde(default)]
    pub architecture: ImageArchitecture,

    /// The width of what the encoder gives, 1 to 65536.
    #[serde(default = "default_width")]
    #[schemars(range(min = 1, max = 65536))]
    pub width: usize,

    /// How many channels each stage gives, first to last, 1 to 4096 each. A stage halves height and width, so the image
    /// must be large enough for all of them.
    #[serde(default = "default_channels")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 4096)))]
    pub channels: Vec<usize>,

    /// What the last stage hands to the last layer.
    #[serde(default)]
    pub pooling: ImagePooling,

    /// The share of the output's elements that is dropped in training, at least 0 and less than 1.
    #[serde(default = "default_dropout")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
}

fn default_width() -> usize {
    Layers::default().width
}

fn default_channels() -> Vec<usize> {
    Layers::default().channels
}

fn default_dropout() -> f64 {
    Layers::default().dropout
}

impl ImageEncoderOptions {
    fn layers(&self) -> Layers {
        Layers {
            architecture: self.architecture,
            width: self.width,
            channels: self.channels.clone(),
            pooling: self.pooling,
            dropout: self.dropout,
        }
    }
}

/// The kind `encode.image`.
pub struct ImageEncoder {
    options: ImageEncoderOptions,
}

const TAKEN: Taken = Taken {
    kind: ImageEncoder::KIND,
    form: "tensor[channels, height, width]",
    raw: &[LogicalType::Image],
    made_by: "extract.image_tensor",
};

impl Describe for ImageEncoder {
    const KIND: &'static str = "encode.image";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: claims
nodes:
  claims: {uses: ingest.claims, with: {rows: 500, missing: {image: 0.1}}}
  split: {uses: split.random, with: {shares: {train: 0.7, validation: 0.15, test: 0.15}}, in: claims}
  pictures: {uses: extract.image_tensor, with: {column: receipt, size: [32, 32], grey: true, as: picture}, in: split}
  receipt: {uses: encode.image, with: {column: picture, channels: [16, 32], width: 64}, in: pictures}
  fraud: {uses: train.multimodal, with: {target: fraud}, in: {encoders: [receipt]}}
  quality: {uses: evaluate.classification, in: fraud}
";
    const SERVING: Serving = Serving::Skip;
    type Options = ImageEncoderOptions;

    fn new(options: ImageEncoderOptions) -> Result<Self, Vec<Problem>> {
        Ok(ImageEncoder { options })
    }
}

impl Encoder for ImageEncoder {
    fn infer(&self, table: &TableType) -> Result<EncoderType, Vec<Problem>> {
        let ImageEncoderOptions { column, present, width, .. } = &self.options;
        let found = one_column::column(table, column).and_then(|found| {
            let shape = TAKEN.sizes(found)?;
            let config = ImageEncoderConfig { shape, options: self.options.layers() };
            one_column::check(&EncoderConfig::Image(config), Self::KIND)?;
            Ok(shape)
        });
        let present = one_column::present(table, present.as_deref(), Some(column));
        let (shape, present) = match (found, present) {
            (Ok(shape), Ok(present)) => (shape, present),
            (found, present) => return Err(found.err().into_iter().chain(present.err()).collect()),
        };
        let encoder = DeclaredEncoder::Image { column: column.clone(), shape, layers: self.options.layers() };
        Declaration { present, encoder }
            .to_encoder("cnn", format!("vector[{width}]"))
            .map_err(|error| vec![Problem::error(&OPTION_INVALID, At::Node, error.to_string())])
    }
}

#[cfg(test)]
mod tests {
    use engine_core::{LogicalType, Role};
    use engine_table::{ColumnType, RowSet};

    use super::*;

    fn table() -> TableType {
        let column = |name: &str, logical: &str| ColumnType::new(name, logical.parse().unwrap());
        TableType {
            columns: vec![
                column("pixels", "tensor[3, 16, 12]"),
                column("photo", "image"),
                column("numbers", "tensor[7]"),
                column("other", "tensor[1, 8, |height|]"),
                column("is_there", "bool"),
                column("damaged", "bool").with_role(Role::Target),
            ],
            row_set: RowSet("parcels".into()),
        }
    }

    fn infer(options: &str, table: &TableType) -> Result<EncoderType, Vec<Problem>> {
        ImageEncoder::new(serde_json::from_str(options).unwrap())?.infer(table)
    }

    fn check(options: &str, code: &str, words: &str) {
        let problems = infer(options, &table()).unwrap_err();
        let text = format!("{} {}", problems[0].message, problems[0].help.join(" "));
        assert!(problems[0].code.name == code && text.contains(words), "{options}: {problems:?}");
    }

    #[test]
    fn its_shape_is_known_before_a_row_is_read() {
        let encoder = infer(r#"{"column": "pixels", "width": 24}"#, &table()).unwrap();
        assert_eq!((encoder.modality.as_str(), encoder.architecture.as_str()), ("image", "cnn"));
        assert_eq!((encoder.gives.as_str(), encoder.reads.as_slice()), ("vector[24]", &["pixels".to_owned()][..]));
        let Declaration { present, encoder } = Declaration::of(&encoder).unwrap();
        let DeclaredEncoder::Image { shape, layers, .. } = encoder else { panic!("it is an image encoder") };
        assert_eq!((present, shape, layers), (None, [3, 16, 12], Layers { width: 24, ..Layers::default() }));
    }

    #[test]
    fn where_the_image_is_missing_is_read_from_the_column_beside_it_or_the_named_one() {
        let mut table = table();
        let present = |options: &str, table: &TableType| infer(options, table).unwrap().reads;
        assert_eq!(present(r#"{"column": "pixels", "present": "is_there"}"#, &table), ["pixels", "is_there"]);
        table.columns.push(ColumnType::new("pixels_present", LogicalType::Bool));
        assert_eq!(present(r#"{"column": "pixels"}"#, &table), ["pixels", "pixels_present"]);
        assert_eq!(present(r#"{"column": "pixels", "present": "is_there"}"#, &table), ["pixels", "is_there"]);
    }

    #[test]
    fn what_it_cannot_read_is_named_with_what_makes_it() {
        check(r#"{"column": "photo"}"#, "encode.column", "put `uses: extract.image_tensor` with `column: photo`");
        check(r#"{"column": "numbers"}"#, "encode.column", "`encode.image` takes tensor[channels, height, width]");
        check(r#"{"column": "other"}"#, "encode.column", "known only after a fit");
        check(r#"{"column": "pixel"}"#, "column.unknown", "write `pixels`");
        check(r#"{"column": "damaged"}"#, "column.role", "has the role target");
        check(r#"{"column": "pixels", "present": "photo"}"#, "encode.present", "takes a bool column without gaps");
    }

    #[test]
    fn an_image_too_small_for_its_stages_is_found_before_the_run() {
        check(r#"{"column": "pixels", "channels": [4, 4, 4, 4]}"#, "encode.shape", "can be halved 3 times");
        assert!(infer(r#"{"column": "pixels", "channels": [4, 4, 4]}"#, &table()).is_ok());
    }
}
