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

    /// A block is of another modality than its encoder.
    #[error("encoder `{encoder}` takes {expected} inputs, found {found} inputs")]
    Modality {
        /// The encoder's name.
        encoder: String,
        /// What it encodes.
        expected: &'static str,
        /// What the block holds.
        found: &'static str,
    },

    /// The rows of a block have another shape than the encoder takes.
    #[error("encoder `{encoder}` takes rows of shape {expected:?}, found {found:?}")]
    Shape {
        /// The encoder's name.
        encoder: String,
        /// The shape by the encoder's configuration.
        expected: Vec<usize>,
        /// The shape of the block.
        found: Vec<usize>,
    },

    /// There is not one list of present rows per encoder.
    #[error("the model has {expected} encoders, but the present rows of {found} were given")]
    Presence {
        /// The number of encoders.
        expected: usize,
        /// The number of lists.
        found: usize,
    },

    /// A block has not as many numbers as its rows and columns make.
    #[error("encoder `{encoder}`: {what} of {rows} rows with {columns} columns are {expected}, found {found}")]
    Size {
        /// The encoder's name.
        encoder: String,
        /// What there is too much or too little of.
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

    /// A number is infinite or not a number.
    #[error("encoder `{encoder}`: row {row} has {value} in {what} {column}; impute or clip it upstream")]
    NotFinite {
        /// The encoder's name.
        encoder: String,
        /// The row, from 0.
        row: usize,
        /// Numeric column, or element of a tensor.
        what: &'static str,
        /// Which of them, from 0.
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
    /// For each block, which rows have it; all where there is no list. Without any lists every row has everything. What a
    /// block holds in a row that lacks it is never read.
    pub present: Vec<Option<Vec<bool>>>,
}

/// The inputs of one encoder.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// For a table encoder.
    Table(TableBlock),
    /// For a text encoder.
    Text(TextBlock),
    /// For an image encoder.
    Image(ImageBlock),
    /// For a sound encoder.
    Sound(SoundBlock),
}

/// Numbers and category codes of some rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableBlock {
    /// The numeric features, `(rows, numeric)` in row-major order.
    pub numeric: Vec<f32>,
    /// The category codes, `(rows, categories)` in row-major order; 0 for a value never seen in training.
    pub codes: Vec<u32>,
}

/// Token numbers of some rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TextBlock {
    /// How many tokens a row has, its padding included.
    pub length: usize,
    /// The tokens, `(rows, length)` in row-major order; 0 is padding, and only at the end of a row. A number that the
    /// encoder's vocabulary does not have counts as 1, the unknown token.
    pub tokens: Vec<u32>,
}

/// Images of some rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImageBlock {
    /// Channels, height and width.
    pub shape: [usize; 3],
    /// The images, `(rows, channels, height, width)` in row-major order.
    pub values: Vec<f32>,
}

/// Spectrograms of some rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SoundBlock {
    /// Frames, and bands of each.
    pub shape: [usize; 2],
    /// The spectrograms, `(rows, frames, bands)` in row-major order.
    pub values: Vec<f32>,
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

    /// Their numbers, in order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> {
        let (range, picked) = match self {
            Rows::Range(range) => (range.clone(), &[][..]),
            Rows::Picked(rows) => (0..0, *rows),
        };
        range.chain(picked.iter().copied())
    }

    /// Which of these rows have a modality, given which of all rows have it.
    pub(crate) fn having(&self, present: Option<&[bool]>) -> Having {
        let Some(present) = present else { return Having::All };
        let flags: Vec<bool> = self.numbers().map(|row| present[row]).collect();
        if flags.iter().all(|&flag| flag) {
            return Having::All;
        }
        let rows = self.numbers().filter(|&row| present[row]).collect();
        Having::Some { rows, flags }
    }
}

/// Which rows of a batch have a modality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Having {
    All,
    Some {
        /// Those that have it, as rows of all inputs.
        rows: Vec<usize>,
        /// For each row of the batch, whether it is one of them.
        flags: Vec<bool>,
    },
}

impl Inputs {
    /// Which rows have the block of an encoder; all if there is no list.
    pub fn present(&self, encoder: usize) -> Option<&[bool]> {
        self.present.get(encoder).and_then(|present| present.as_deref())
    }

    /// Whether a row has anything at all.
    pub fn has_any(&self, row: usize) -> bool {
        (0..self.blocks.len()).any(|encoder| self.present(encoder).is_none_or(|present| present[row]))
    }

    /// Checks that the blocks fit the encoders and that, in the rows that have them, every number is finite and every
    /// code is known.
    ///
    /// # Errors
    /// The first thing wrong, with its encoder, row and column.
    pub fn check(&self, config: &ModelConfig) -> Result<(), InputError> {
        let (expected, found) = (config.encoders.len(), self.blocks.len());
        if expected != found {
            return Err(InputError::Blocks { expected, found });
        }
        if !self.present.is_empty() && self.present.len() != expected {
            return Err(InputError::Presence { expected, found: self.present.len() });
        }
        for (index, (NamedEncoder { name, encoder }, block)) in config.encoders.iter().zip(&self.blocks).enumerate() {
            let check = BlockCheck { encoder: name, rows: self.rows, present: self.present(index) };
            if let Some(present) = check.present {
                check.size("flags of presence", 1, present.len())?;
            }
            match (encoder, block) {
                (EncoderConfig::Table(table), Block::Table(block)) => block.check(&check, table)?,
                (EncoderConfig::Text(text), Block::Text(block)) => {
                    check.shape(&[text.length], &[block.length])?;
                    check.size("tokens", text.length, block.tokens.len())?;
                }
                (EncoderConfig::Image(image), Block::Image(block)) => {
                    check.tensors(&image.shape, &block.shape, &block.values)?;
                }
                (EncoderConfig::Sound(sound), Block::Sound(block)) => {
                    check.tensors(&sound.shape, &block.shape, &block.values)?;
                }
                (encoder, block) => {
                    let (expected, found) = (encoder.modality(), block.modality());
                    return Err(InputError::Modality { encoder: name.clone(), expected, found });
                }
            }
        }
        Ok(())
    }
}

impl Block {
    fn modality(&self) -> &'static str {
        match self {
            Block::Table(_) => "table",
            Block::Text(_) => "text",
            Block::Image(_) => "image",
            Block::Sound(_) => "sound",
        }
    }
}

impl TableBlock {
    fn check(&self, check: &BlockCheck<'_>, config: &TableEncoderConfig) -> Result<(), InputError> {
        let columns = config.categories.len();
        check.size("numeric features", config.numeric, self.numeric.len())?;
        check.size("category codes", columns, self.codes.len())?;
        check.finite("numeric column", config.numeric, &self.numeric)?;
        for (index, &code) in self.codes.iter().enumerate() {
            let (row, column) = (index / columns, index % columns);
            let cardinality = config.categories[column];
            if code as usize >= cardinality && check.has(row) {
                return Err(InputError::Code { encoder: check.encoder.to_string(), row, column, code, cardinality });
            }
        }
        Ok(())
    }
}

/// What the checks of every block have in common.
struct BlockCheck<'a> {
    encoder: &'a str,
    rows: usize,
    present: Option<&'a [bool]>,
}

impl BlockCheck<'_> {
    fn has(&self, row: usize) -> bool {
        self.present.is_none_or(|present| present[row])
    }

    fn size(&self, what: &'static str, columns: usize, found: usize) -> Result<(), InputError> {
        let (encoder, rows, expected) = (self.encoder, self.rows, self.rows.saturating_mul(columns));
        if expected == found {
            Ok(())
        } else {
            Err(InputError::Size { encoder: encoder.to_string(), what, rows, columns, expected, found })
        }
    }

    fn shape(&self, expected: &[usize], found: &[usize]) -> Result<(), InputError> {
        if expected == found {
            Ok(())
        } else {
            let (expected, found) = (expected.to_vec(), found.to_vec());
            Err(InputError::Shape { encoder: self.encoder.to_string(), expected, found })
        }
    }

    fn tensors(&self, expected: &[usize], found: &[usize], values: &[f32]) -> Result<(), InputError> {
        self.shape(expected, found)?;
        let size = expected.iter().product();
        self.size("elements", size, values.len())?;
        self.finite("element", size, values)
    }

    fn finite(&self, what: &'static str, columns: usize, values: &[f32]) -> Result<(), InputError> {
        if columns == 0 {
            return Ok(());
        }
        for (row, values) in values.chunks_exact(columns).enumerate() {
            let wrong = values.iter().position(|value| !value.is_finite()).filter(|_| self.has(row));
            if let Some(column) = wrong {
                let (encoder, value) = (self.encoder.to_string(), values[column]);
                return Err(InputError::NotFinite { encoder, row, what, column, value });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::tests::small;
    use crate::randomness::{Purpose, Stream};
    use crate::{ImageEncoderConfig, ImageEncoderOptions, Task};

    /// Inputs for the small model of the configuration's tests.
    pub(crate) fn some_inputs(rows: usize, seed: u64) -> Inputs {
        let mut stream = Stream::numbered(seed, Purpose::Initial, 0);
        let numeric = (0..rows * 3).map(|_| (4.0 * stream.uniform() - 2.0) as f32).collect();
        let codes = (0..rows * 2).map(|index| (stream.bits() % [4, 2][index % 2]) as u32).collect();
        Inputs { rows, blocks: vec![Block::Table(TableBlock { numeric, codes })], present: vec![] }
    }

    /// Some rows of the inputs, as inputs of their own.
    pub(crate) fn cut(inputs: &Inputs, range: Range<usize>) -> Inputs {
        let rows = Rows::Range(range);
        fn of<T: Copy>(rows: &Rows<'_>, values: &[T], inputs: &Inputs) -> Vec<T> {
            rows.of(values, values.len() / inputs.rows)
        }
        let block = |block: &Block| match block {
            Block::Table(TableBlock { numeric, codes }) => {
                Block::Table(TableBlock { numeric: of(&rows, numeric, inputs), codes: of(&rows, codes, inputs) })
            }
            Block::Text(TextBlock { length, tokens }) => {
                Block::Text(TextBlock { length: *length, tokens: of(&rows, tokens, inputs) })
            }
            Block::Image(ImageBlock { shape, values }) => {
                Block::Image(ImageBlock { shape: *shape, values: of(&rows, values, inputs) })
            }
            Block::Sound(SoundBlock { shape, values }) => {
                Block::Sound(SoundBlock { shape: *shape, values: of(&rows, values, inputs) })
            }
        };
        let blocks = inputs.blocks.iter().map(block).collect();
        let present = inputs.present.iter().map(|present| present.as_ref().map(|flags| rows.of(flags, 1))).collect();
        Inputs { rows: rows.len(), blocks, present }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let config = small(Task::Classification { classes: 2 });
        let error = |change: &dyn Fn(&mut TableBlock)| {
            let mut inputs = some_inputs(5, 1);
            let Block::Table(block) = &mut inputs.blocks[0] else { panic!("it is a table") };
            change(block);
            inputs.check(&config).expect_err("it does not fit").to_string()
        };
        assert_eq!(some_inputs(5, 1).check(&config), Ok(()));
        assert_eq!(some_inputs(0, 1).check(&config), Ok(()));
        let none = Inputs { rows: 5, ..Inputs::default() }.check(&config).expect_err("one is missing");
        assert_eq!(none.to_string(), "the model has 1 encoders, but 0 blocks of inputs were given");
        let short = error(&|block| block.numeric.truncate(14));
        assert_eq!(short, "encoder `rows`: numeric features of 5 rows with 3 columns are 15, found 14");
        let nan = error(&|block| block.numeric[7] = f32::NAN);
        assert_eq!(nan, "encoder `rows`: row 2 has NaN in numeric column 1; impute or clip it upstream");
        let code = error(&|block| block.codes[9] = 2);
        assert_eq!(code, "encoder `rows`: row 4 has code 2 in category column 1, which has 2 codes from 0");
    }

    #[test]
    fn what_a_missing_row_holds_is_not_looked_at() {
        let config = small(Task::Classification { classes: 2 });
        let mut inputs = some_inputs(5, 1);
        let Block::Table(block) = &mut inputs.blocks[0] else { panic!("it is a table") };
        (block.numeric[7], block.codes[5]) = (f32::NAN, 9);
        assert!(inputs.check(&config).is_err());
        inputs.present = vec![Some(vec![true, true, false, true, true])];
        assert_eq!(inputs.check(&config), Ok(()));
        assert!(!inputs.has_any(2) && inputs.has_any(3));
        inputs.present = vec![Some(vec![true])];
        let error = inputs.check(&config).expect_err("one flag for five rows").to_string();
        assert_eq!(error, "encoder `rows`: flags of presence of 5 rows with 1 columns are 5, found 1");
        inputs.present = vec![None, None];
        let error = inputs.check(&config).expect_err("there is one encoder").to_string();
        assert_eq!(error, "the model has 1 encoders, but the present rows of 2 were given");
    }

    #[test]
    fn blocks_of_another_modality_or_shape_are_named() {
        let mut config = small(Task::Classification { classes: 2 });
        let image = ImageEncoderConfig { shape: [3, 4, 4], options: ImageEncoderOptions::default() };
        config.encoders[0].encoder = EncoderConfig::Image(image);
        let error = some_inputs(5, 1).check(&config).expect_err("it is a table").to_string();
        assert_eq!(error, "encoder `rows` takes image inputs, found table inputs");
        let error = |block| {
            let inputs = Inputs { rows: 1, blocks: vec![Block::Image(block)], present: vec![] };
            inputs.check(&config).expect_err("it does not fit").to_string()
        };
        let shape = error(ImageBlock { shape: [3, 4, 5], values: vec![0.0; 60] });
        assert_eq!(shape, "encoder `rows` takes rows of shape [3, 4, 4], found [3, 4, 5]");
        let size = error(ImageBlock { shape: [3, 4, 4], values: vec![0.0; 47] });
        assert_eq!(size, "encoder `rows`: elements of 1 rows with 48 columns are 48, found 47");
        let nan = error(ImageBlock { shape: [3, 4, 4], values: vec![f32::INFINITY; 48] });
        assert_eq!(nan, "encoder `rows`: row 0 has inf in element 0; impute or clip it upstream");
    }

    #[test]
    fn rows_are_cut_and_picked() {
        let values = [1, 2, 3, 4, 5, 6];
        assert_eq!(Rows::Range(1..3).of(&values, 2), [3, 4, 5, 6]);
        assert_eq!(Rows::Picked(&[2, 0]).of(&values, 2), [5, 6, 1, 2]);
        assert_eq!((Rows::Range(1..3).len(), Rows::Picked(&[2]).len()), (2, 1));
        assert_eq!(
            Rows::Range(1..3).numbers().chain(Rows::Picked(&[5, 0]).numbers()).collect::<Vec<_>>(),
            [1, 2, 5, 0]
        );
    }

    #[test]
    fn rows_that_have_a_modality_are_told_from_those_that_lack_it() {
        let present = [true, false, true, true];
        assert_eq!(Rows::Range(2..4).having(Some(&present)), Having::All);
        assert_eq!(Rows::Range(0..4).having(None), Having::All);
        let some = Having::Some { rows: vec![3, 0], flags: vec![true, false, true] };
        assert_eq!(Rows::Picked(&[3, 1, 0]).having(Some(&present)), some);
    }
}
