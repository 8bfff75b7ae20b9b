//! What an encoder node says to the trainer: what it reads and how its network is built.
//!
//! It flows as JSON in [`EncoderType::config`], so the nodes that declare encoders and those that build them need not
//! know each other.

use engine_core::LogicalType;
use engine_table::{ColumnType, EncoderType};
use nodes_models::{ImageEncoderOptions, SoundEncoderOptions, TableEncoderOptions, TextEncoderOptions};
use serde::{Deserialize, Serialize};

/// An encoder as its node declares it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declaration {
    /// The bool column that says in which rows there is something to read; `None` if in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) present: Option<String>,
    /// The rest.
    pub(crate) encoder: DeclaredEncoder,
}

/// What an encoder reads, and its layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum DeclaredEncoder {
    /// Numbers and categories of a row.
    Table { columns: Vec<DeclaredColumn>, layers: TableEncoderOptions },
    /// So many tokens.
    Text { column: String, length: usize, layers: TextEncoderOptions },
    /// An image: channels, height, width.
    Image { column: String, shape: [usize; 3], layers: ImageEncoderOptions },
    /// A sound: frames, mels.
    Sound { column: String, shape: [usize; 2], layers: SoundEncoderOptions },
}

/// A column of a table encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclaredColumn {
    name: String,
    #[serde(rename = "type")]
    logical: LogicalType,
}

impl DeclaredColumn {
    /// A column as a table has it.
    pub(crate) fn new(column: &ColumnType) -> DeclaredColumn {
        DeclaredColumn { name: column.name.clone(), logical: column.logical.clone() }
    }
}

impl Declaration {
    /// As in `text`; a trainer and a report call the encoder so.
    pub(crate) fn modality(&self) -> &'static str {
        match self.encoder {
            DeclaredEncoder::Table { .. } => "table",
            DeclaredEncoder::Text { .. } => "text",
            DeclaredEncoder::Image { .. } => "image",
            DeclaredEncoder::Sound { .. } => "sound",
        }
    }

    /// The columns of a table encoder, in order; none of another.
    pub(crate) fn table_columns(&self) -> Vec<ColumnType> {
        let column = |column: &DeclaredColumn| ColumnType::new(column.name.clone(), column.logical.clone());
        match &self.encoder {
            DeclaredEncoder::Table { columns, .. } => columns.iter().map(column).collect(),
            _ => Vec::new(),
        }
    }

    /// Every column that is read, in order.
    fn reads(&self) -> Vec<String> {
        let mut reads: Vec<String> = match &self.encoder {
            DeclaredEncoder::Table { columns, .. } => columns.iter().map(|column| column.name.clone()).collect(),
            DeclaredEncoder::Text { column, .. }
            | DeclaredEncoder::Image { column, .. }
            | DeclaredEncoder::Sound { column, .. } => vec![column.clone()],
        };
        reads.extend(self.present.iter().filter(|present| !reads.contains(present)).cloned().collect::<Vec<_>>());
        reads
    }

    /// The encoder as it flows to the trainer.
    ///
    /// # Errors
    /// If the declaration cannot be written as JSON.
    pub(crate) fn to_encoder(&self, architecture: &str, gives: String) -> Result<EncoderType, serde_json::Error> {
        Ok(EncoderType {
            node: String::new(),
            modality: self.modality().to_owned(),
            architecture: architecture.to_owned(),
            reads: self.reads(),
            gives,
            config: serde_json::to_value(self)?,
        })
    }

    /// The declaration in `encoder`.
    ///
    /// # Errors
    /// If it was written by another program.
    pub(crate) fn of(encoder: &EncoderType) -> Result<Declaration, serde_json::Error> {
        serde_json::from_value(encoder.config.clone())
    }
}
