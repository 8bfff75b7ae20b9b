//! How the columns of one encoder become the block its network reads.
//!
//! A text is its token numbers, an image and a sound are the numbers of their tensor, a row of a table is what
//! [`Preparation`] makes of it. What must be learnt for that is learnt from the train rows. A column beside them may
//! say in which rows there is something to read. Row i out depends on row i in only.

use engine_core::{LogicalType, Size};
use engine_table::{tensor_slice, token_slice};
use nodes_models::{
    Block, EncoderConfig, ImageBlock, ImageEncoderConfig, SoundBlock, SoundEncoderConfig, TextBlock, TextEncoderConfig,
};
use polars::prelude::{DataFrame, Series};
use serde::{Deserialize, Serialize};

use super::declaration::{Declaration, DeclaredEncoder};
use super::preparation::{Preparation, PreparationError, Standardise};

/// The number of a token that the train rows do not have.
const UNKNOWN: u32 = 1;

/// What one encoder reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    /// The encoder's node.
    pub(crate) name: String,
    /// The bool column that says in which rows there is something to read; `None` if in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) present: Option<String>,
    /// What is read.
    pub(crate) content: Content,
    /// Whether the encoder has a head of its own that learnt something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) own_head: bool,
}

/// What is read of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Content {
    /// Numbers and category codes.
    Table(Preparation),
    /// The token numbers of a column; those from `vocabulary` on are not in the train rows.
    Text { column: String, length: usize, vocabulary: usize },
    /// The numbers of a tensor column: channels, height, width.
    Image { column: String, shape: [usize; 3] },
    /// The numbers of a tensor column: frames, mels.
    Sound { column: String, shape: [usize; 2] },
}

impl Reading {
    /// Numbers and category codes, in every row.
    pub(crate) fn of_table(name: impl Into<String>, preparation: Preparation) -> Reading {
        Reading { name: name.into(), present: None, content: Content::Table(preparation), own_head: false }
    }

    /// What the encoder `name` reads by its declaration, with what the train rows add to it.
    ///
    /// # Errors
    /// If a cell cannot become a number.
    pub(crate) fn learn(name: &str, declared: &Declaration, train: &DataFrame) -> Result<Reading, PreparationError> {
        let content = match &declared.encoder {
            DeclaredEncoder::Table { .. } => {
                Content::Table(Preparation::learn(&declared.table_columns(), train, Standardise::No)?)
            }
            DeclaredEncoder::Text { column, length, .. } => {
                let tokens = tokens(column, *length, train)?;
                // Padding and the unknown have numbers of their own even if no row has them.
                let largest = tokens.iter().copied().max().unwrap_or(0).max(UNKNOWN);
                Content::Text { column: column.clone(), length: *length, vocabulary: largest as usize + 1 }
            }
            DeclaredEncoder::Image { column, shape, .. } => Content::Image { column: column.clone(), shape: *shape },
            DeclaredEncoder::Sound { column, shape, .. } => Content::Sound { column: column.clone(), shape: *shape },
        };
        Ok(Reading { name: name.to_owned(), present: declared.present.clone(), content, own_head: false })
    }

    /// The network over this reading, built as `declared`.
    pub(crate) fn config(&self, declared: &Declaration) -> Option<EncoderConfig> {
        Some(match (&self.content, &declared.encoder) {
            (Content::Table(preparation), DeclaredEncoder::Table { layers, .. }) => {
                EncoderConfig::Table(nodes_models::TableEncoderConfig {
                    numeric: preparation.numbers(),
                    categories: preparation.codes(),
                    options: layers.clone(),
                })
            }
            (Content::Text { length, vocabulary, .. }, DeclaredEncoder::Text { layers, .. }) => {
                EncoderConfig::Text(TextEncoderConfig {
                    vocabulary: *vocabulary,
                    length: *length,
                    options: layers.clone(),
                })
            }
            (Content::Image { shape, .. }, DeclaredEncoder::Image { layers, .. }) => {
                EncoderConfig::Image(ImageEncoderConfig { shape: *shape, options: layers.clone() })
            }
            (Content::Sound { shape, .. }, DeclaredEncoder::Sound { layers, .. }) => {
                EncoderConfig::Sound(SoundEncoderConfig { shape: *shape, options: layers.clone() })
            }
            _ => return None,
        })
    }

    /// As in `text`.
    pub(crate) fn modality(&self) -> &'static str {
        match self.content {
            Content::Table(_) => "table",
            Content::Text { .. } => "text",
            Content::Image { .. } => "image",
            Content::Sound { .. } => "sound",
        }
    }

    /// How many numbers and codes a row has.
    pub(crate) fn inputs(&self) -> usize {
        match &self.content {
            Content::Table(preparation) => preparation.numbers() + preparation.codes().len(),
            Content::Text { length, .. } => *length,
            Content::Image { shape, .. } => shape.iter().product(),
            Content::Sound { shape, .. } => shape.iter().product(),
        }
    }

    /// The rows as the encoder's network reads them.
    ///
    /// # Errors
    /// If a cell cannot become a number, naming column and row.
    pub(crate) fn block(&self, rows: &DataFrame) -> Result<Block, PreparationError> {
        Ok(match &self.content {
            Content::Table(preparation) => Block::Table(preparation.block(rows)?),
            Content::Text { column, length, vocabulary } => {
                let known = |token: u32| if (token as usize) < *vocabulary { token } else { UNKNOWN };
                let tokens = tokens(column, *length, rows)?.into_iter().map(known).collect();
                Block::Text(TextBlock { length: *length, tokens })
            }
            Content::Image { column, shape } => {
                Block::Image(ImageBlock { shape: *shape, values: numbers(column, shape, rows)? })
            }
            Content::Sound { column, shape } => {
                Block::Sound(SoundBlock { shape: *shape, values: numbers(column, shape, rows)? })
            }
        })
    }

    /// In which rows there is something to read; `None` if in all.
    ///
    /// # Errors
    /// If the column that says it is absent or has gaps.
    pub(crate) fn present(&self, rows: &DataFrame) -> Result<Option<Vec<bool>>, PreparationError> {
        let Some(column) = &self.present else { return Ok(None) };
        let logical = LogicalType::Bool;
        let cells = series_of(column, &logical, rows)?.bool().map_err(|error| unreadable(column, &logical, error))?;
        let presence = |(row, cell): (usize, Option<bool>)| {
            let gap = PreparationError::Presence { column: column.clone(), encoder: self.name.clone(), row };
            cell.ok_or(gap)
        };
        cells.iter().enumerate().map(presence).collect::<Result<_, _>>().map(Some)
    }
}

fn tokens(column: &str, length: usize, rows: &DataFrame) -> Result<Vec<u32>, PreparationError> {
    let series = series_of(column, &LogicalType::Tokens(Size::Known(length as u64)), rows)?;
    flat(column, &LogicalType::Tokens(Size::Known(length as u64)), length, series, token_slice)
}

fn numbers(column: &str, shape: &[usize], rows: &DataFrame) -> Result<Vec<f32>, PreparationError> {
    let logical = LogicalType::Tensor(shape.iter().map(|size| Size::Known(*size as u64)).collect());
    flat(column, &logical, shape.iter().product(), series_of(column, &logical, rows)?, tensor_slice)
}

fn series_of<'a>(column: &str, logical: &LogicalType, rows: &'a DataFrame) -> Result<&'a Series, PreparationError> {
    Ok(rows.column(column).map_err(|error| unreadable(column, logical, error))?.as_materialized_series())
}

fn unreadable(column: &str, logical: &LogicalType, error: impl std::fmt::Display) -> PreparationError {
    PreparationError::Column { column: column.to_owned(), logical: logical.clone(), reason: error.to_string() }
}

/// The values of a column of `width` values a row, row after row.
fn flat<T: Copy>(
    column: &str,
    logical: &LogicalType,
    width: usize,
    series: &Series,
    slice: for<'s> fn(&'s Series) -> Option<&'s [T]>,
) -> Result<Vec<T>, PreparationError> {
    let values = match slice(series) {
        Some(values) => Some(values.to_vec()),
        // Filtered rows may lie in several pieces.
        None => slice(&series.rechunk()).map(<[T]>::to_vec),
    };
    let values = values.ok_or_else(|| unreadable(column, logical, format!("it is stored as {}", series.dtype())))?;
    if values.len() == series.len() * width {
        return Ok(values);
    }
    let found = values.len().checked_div(series.len()).unwrap_or(0);
    Err(PreparationError::Width { column: column.to_owned(), expected: width, found })
}

#[cfg(test)]
mod tests {
    use engine_table::{tensor_column, token_column};
    use nodes_models::TextEncoderOptions;
    use polars::prelude::{Column, df};

    use super::*;

    fn text(vocabulary: usize) -> Reading {
        let content = Content::Text { column: "words".into(), length: 3, vocabulary };
        Reading { name: "message".into(), present: Some("words_present".into()), content, own_head: false }
    }

    fn words(tokens: Vec<u32>) -> DataFrame {
        let words = token_column("words", 3, tokens).unwrap();
        DataFrame::new(words.len(), vec![words]).unwrap()
    }

    fn learnt(tokens: Vec<u32>) -> usize {
        let layers = TextEncoderOptions::default();
        let encoder = DeclaredEncoder::Text { column: "words".into(), length: 3, layers };
        let declared = Declaration { present: None, encoder };
        let reading = Reading::learn("message", &declared, &words(tokens)).unwrap();
        let Some(EncoderConfig::Text(config)) = reading.config(&declared) else { panic!("it reads text") };
        config.vocabulary
    }

    #[test]
    fn the_vocabulary_is_that_of_the_train_rows_and_has_padding_and_the_unknown_in_any_case() {
        assert_eq!(learnt(vec![5, 2, 0, 3, 0, 0]), 6);
        assert_eq!(learnt(vec![0; 6]), 2);
        assert_eq!(learnt(vec![]), 2);
    }

    #[test]
    fn a_token_that_the_train_rows_do_not_have_is_the_unknown() {
        let block = text(4).block(&words(vec![3, 4, 1, 900, 0, 0])).unwrap();
        assert_eq!(block, Block::Text(TextBlock { length: 3, tokens: vec![3, 1, 1, 1, 0, 0] }));
    }

    #[test]
    fn tensors_are_laid_out_row_after_row_even_in_several_pieces() {
        let content = Content::Image { column: "pixels".into(), shape: [1, 1, 2] };
        let image = Reading { name: "photo".into(), present: None, content, own_head: false };
        let piece = |values: Vec<f32>| {
            let pixels = tensor_column("pixels", 2, values).unwrap();
            DataFrame::new(pixels.len(), vec![pixels]).unwrap()
        };
        let mut rows = piece(vec![1.0, 2.0]);
        rows.vstack_mut(&piece(vec![3.0, 4.0, 5.0, 6.0])).unwrap();
        let Block::Image(block) = image.block(&rows).unwrap() else { panic!("it is an image") };
        assert_eq!(block.values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let Block::Image(block) = image.block(&rows.slice(2, 1)).unwrap() else { panic!("it is an image") };
        assert_eq!((block.values, block.shape), (vec![5.0, 6.0], [1, 1, 2]));
        assert_eq!((image.inputs(), image.modality()), (2, "image"));
    }

    #[test]
    fn what_cannot_be_read_names_the_column() {
        let error = |rows: &DataFrame| text(4).block(rows).unwrap_err().to_string();
        let none = error(&df!("x" => [1.0]).unwrap());
        assert!(none.starts_with("column `words` cannot be read as tokens[3]"), "{none}");
        let stored = error(&df!("words" => ["a"]).unwrap());
        assert_eq!(stored, "column `words` cannot be read as tokens[3]: it is stored as str");
        let narrow = token_column("words", 2, vec![1, 2]).unwrap();
        let narrow = error(&DataFrame::new(1, vec![narrow]).unwrap());
        assert_eq!(narrow, "column `words` holds tensors of 2 numbers, the model was trained on 3");
    }

    #[test]
    fn where_there_is_something_to_read_is_said_for_every_row() {
        let present = |cells: &[Option<bool>]| {
            let cells = Column::new("words_present".into(), cells);
            text(4).present(&DataFrame::new(cells.len(), vec![cells]).unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(present(&[Some(true), Some(false)]), Ok(Some(vec![true, false])));
        let gap = present(&[Some(true), None]).unwrap_err();
        assert!(gap.contains("`words_present`") && gap.contains("`message`") && gap.ends_with("row 1"), "{gap}");
        assert_eq!(Reading { present: None, ..text(4) }.present(&DataFrame::empty()).ok(), Some(None));
    }
}
