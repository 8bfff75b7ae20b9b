//! The data that models read: per encoder a block of inputs, and beside them targets and weights.

use std::ops::Range;

use crate::Targets;
use crate::config::{EncoderConfig, ModelConfig, NamedEncoder, TableEncoderConfig};

/// Inputs that do not fit the model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    /// There is not one block per encoder.
    #[error("the model has {expected} encoders, but {found} blocks of inputs were given")]
    Blocks {
        /// The number of encoders.
        expected: usize,
        /// The number of blocks.
        found: usize,
    },

    /// A block has not as many numbers as its rows and columns make.
    #[error("encoder `{encoder}`: {what} of {rows} rows with {columns} columns are {expected}, found {found}")]
    Size {
        /// The encoder's name.
        encoder: String,
        /// Numeric features or category codes.
        what: &'static str,
        /// The rows of the batch.
        rows: usize,
        /// The columns by the encoder's configuration.
        columns: usize,
        /// How many numbers that makes.
        expected: usize,
        /// How many there are.
        found: usize,
    },

    /// A numeric feature is infinite or not a number.
    #[error("encoder `{encoder}`: row {row} has {value} in numeric column {column}; impute or clip it upstream")]
    NotFinite {
        /// The encoder's name.
        encoder: String,
        /// The row, from 0.
        row: usize,
        /// The numeric column, from 0.
        column: usize,
        /// The value.
        value: f32,
    },

    /// A category code is not below its column's number of codes.
    #[error(
        "encoder `{encoder}`: row {row} has code {code} in category column {column}, which has {cardinality} codes from 0"
    )]
    Code {
        /// The encoder's name.
        encoder: String,
        /// The row, from 0.
        row: usize,
        /// The category column, from 0.
        column: usize,
        /// The code.
        code: u32,
        /// How many codes the column has.
        cardinality: usize,
    },
}

/// The inputs of some rows, one block per encoder in the model's order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inputs {
    /// How many rows there are.
    pub rows: usize,
    /// The blocks.
    pub blocks: Vec<Block>,
}

/// The inputs of one encoder.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// For a table encoder.
    Table(TableBlock),
}

/// Numbers and category codes of some rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableBlock {
    /// The numeric features, `(rows, numeric)` in row-major order.
    pub numeric: Vec<f32>,
    /// The category codes, `(rows, categories)` in row-major order; 0 for a value never seen in training.
    pub codes: Vec<u32>,
}

/// Rows to learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    /// What the model reads.
    pub inputs: Inputs,
    /// What it shall predict.
    pub targets: Targets,
    /// How much each row counts; one for all if absent.
    pub weights: Option<Vec<f64>>,
}

/// Some rows of the inputs.
#[derive(Debug, Clone)]
pub(crate) enum Rows<'a> {
    Range(Range<usize>),
    Picked(&'a [usize]),
}

impl Rows<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Rows::Range(range) => range.len(),
            Rows::Picked(rows) => rows.len(),
        }
    }

    /// These rows of a row-major matrix.
    pub(crate) fn of<T: Copy>(&self, values: &[T], columns: usize) -> Vec<T> {
        match self {
            Rows::Range(range) => values[range.start * columns..range.end * columns].to_vec(),
            Rows::Picked(rows) => {
                let mut picked = Vec::with_capacity(rows.len() * columns);
                for row in *rows {
                    picked.extend_from_slice(&values[row * columns..(row + 1) * columns]);
                }
                picked
            }
        }
    }
}

impl Inputs {
    /// Checks that the blocks fit the encoders, every number is finite and every code is known.
    ///
    /// # Errors
    /// The first thing wrong, with its encoder, row and column.
    pub fn check(&self, config: &ModelConfig) -> Result<(), InputError> {
        let (expected, found) = (config.encoders.len(), self.blocks.len());
        if expected != found {
            return Err(InputError::Blocks { expected, found });
        }
        for (NamedEncoder { name, encoder }, block) in config.encoders.iter().zip(&self.blocks) {
            match (encoder, block) {
                (EncoderConfig::Table(table), Block::Table(block)) => block.check(self.rows, name, table)?,
            }
        }
        Ok(())
    }
}

impl TableBlock {
    fn check(&self, rows: usize, encoder: &str, config: &TableEncoderConfig) -> Result<(), InputError> {
        let sizes = [
            ("numeric features", config.numeric, self.numeric.len()),
            ("category codes", config.categories.len(), self.codes.len()),
        ];
        for (what, columns, found) in sizes {
            let expected = rows.saturating_mul(columns);
            if expected != found {
                return Err(InputError::Size { encoder: encoder.to_string(), what, rows, columns, expected, found });
            }
        }
        if let Some(index) = self.numeric.iter().position(|value| !value.is_finite()) {
            let (row, column) = (index / config.numeric, index % config.numeric);
            let value = self.numeric[index];
            return Err(InputError::NotFinite { encoder: encoder.to_string(), row, column, value });
        }
        for (index, &code) in self.codes.iter().enumerate() {
            let (row, column) = (index / config.categories.len(), index % config.categories.len());
            let cardinality = config.categories[column];
            if code as usize >= cardinality {
                return Err(InputError::Code { encoder: encoder.to_string(), row, column, code, cardinality });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Task;
    use crate::config::tests::small;
    use crate::randomness::{Purpose, Stream};

    /// Inputs for the small model of the configuration's tests.
    pub(crate) fn some_inputs(rows: usize, seed: u64) -> Inputs {
        let mut stream = Stream::numbered(seed, Purpose::Initial, 0);
        let numeric = (0..rows * 3).map(|_| (4.0 * stream.uniform() - 2.0) as f32).collect();
        let codes = (0..rows * 2).map(|index| (stream.bits() % [4, 2][index % 2]) as u32).collect();
        Inputs { rows, blocks: vec![Block::Table(TableBlock { numeric, codes })] }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let config = small(Task::Classification { classes: 2 });
        let error = |change: &dyn Fn(&mut TableBlock)| {
            let mut inputs = some_inputs(5, 1);
            let Block::Table(block) = &mut inputs.blocks[0];
            change(block);
            inputs.check(&config).expect_err("it does not fit").to_string()
        };
        assert_eq!(some_inputs(5, 1).check(&config), Ok(()));
        assert_eq!(some_inputs(0, 1).check(&config), Ok(()));
        let none = Inputs { rows: 5, blocks: vec![] }.check(&config).expect_err("one is missing");
        assert_eq!(none.to_string(), "the model has 1 encoders, but 0 blocks of inputs were given");
        let short = error(&|block| block.numeric.truncate(14));
        assert_eq!(short, "encoder `rows`: numeric features of 5 rows with 3 columns are 15, found 14");
        let nan = error(&|block| block.numeric[7] = f32::NAN);
        assert_eq!(nan, "encoder `rows`: row 2 has NaN in numeric column 1; impute or clip it upstream");
        let code = error(&|block| block.codes[9] = 2);
        assert_eq!(code, "encoder `rows`: row 4 has code 2 in category column 1, which has 2 codes from 0");
    }

    #[test]
    fn rows_are_cut_and_picked() {
        let values = [1, 2, 3, 4, 5, 6];
        assert_eq!(Rows::Range(1..3).of(&values, 2), [3, 4, 5, 6]);
        assert_eq!(Rows::Picked(&[2, 0]).of(&values, 2), [5, 6, 1, 2]);
        assert_eq!((Rows::Range(1..3).len(), Rows::Picked(&[2]).len()), (2, 1));
    }
}
