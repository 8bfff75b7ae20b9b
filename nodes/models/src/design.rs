//! The design matrix of a linear model.

use crate::TableBlock;

/// Numbers that make no design matrix.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DesignError {
    /// There are not as many numbers as rows and columns make.
    #[error("a design of {rows} rows with {columns} columns has {expected} numbers, found {found}")]
    Size {
        /// The rows.
        rows: usize,
        /// The columns.
        columns: usize,
        /// How many numbers that makes.
        expected: usize,
        /// How many there are.
        found: usize,
    },

    /// A number is infinite or not a number.
    #[error("row {row} has {value} in column {column} of the design; impute or clip it upstream")]
    NotFinite {
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// The value.
        value: f64,
    },

    /// A category code is not below its column's number of codes.
    #[error("row {row} has code {code} in category column {column}, which has {cardinality} codes from 0")]
    Code {
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

/// A dense matrix of standardised and one-hot columns in double precision.
///
/// Invariant: as many finite numbers as rows and columns make.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Design {
    /// A design from `values`, `(rows, columns)` in row-major order.
    ///
    /// # Errors
    /// [`DesignError::Size`], [`DesignError::NotFinite`].
    pub fn new(values: Vec<f64>, rows: usize, columns: usize) -> Result<Self, DesignError> {
        let expected = rows.saturating_mul(columns);
        if values.len() != expected {
            return Err(DesignError::Size { rows, columns, expected, found: values.len() });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(DesignError::NotFinite { row: index / columns, column: index % columns, value: values[index] });
        }
        Ok(Design { rows, columns, values })
    }

    /// The design of a table's block: its `numeric` numbers, then a one-hot column for every code but 0 of each category,
    /// so that an unknown value is all zeros.
    ///
    /// # Errors
    /// [`DesignError`]
    pub fn from_table(
        block: &TableBlock,
        rows: usize,
        numeric: usize,
        categories: &[usize],
    ) -> Result<Self, DesignError> {
        let expected = rows.saturating_mul(categories.len());
        if block.codes.len() != expected {
            let (columns, found) = (categories.len(), block.codes.len());
            return Err(DesignError::Size { rows, columns, expected, found });
        }
        if block.numeric.len() != rows.saturating_mul(numeric) {
            let (expected, found) = (rows.saturating_mul(numeric), block.numeric.len());
            return Err(DesignError::Size { rows, columns: numeric, expected, found });
        }
        let columns = numeric + categories.iter().map(|cardinality| cardinality.saturating_sub(1)).sum::<usize>();
        let mut values = vec![0.0; rows * columns];
        for row in 0..rows {
            let cells = &mut values[row * columns..(row + 1) * columns];
            for (cell, &value) in cells.iter_mut().zip(&block.numeric[row * numeric..(row + 1) * numeric]) {
                *cell = f64::from(value);
            }
            let mut start = numeric;
            for (column, &cardinality) in categories.iter().enumerate() {
                let code = block.codes[row * categories.len() + column];
                if code as usize >= cardinality {
                    return Err(DesignError::Code { row, column, code, cardinality });
                }
                if code > 0 {
                    cells[start + code as usize - 1] = 1.0;
                }
                start += cardinality - 1;
            }
        }
        Design::new(values, rows, columns)
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The numbers in row-major order.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_become_one_hot_columns_and_the_unknown_none() {
        let block = TableBlock { numeric: vec![0.5, -0.5], codes: vec![2, 0, 0, 1] };
        let design = Design::from_table(&block, 2, 1, &[3, 2]).expect("it fits");
        assert_eq!(design.columns(), 4);
        assert_eq!(design.values(), [0.5, 0.0, 1.0, 0.0, -0.5, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = Design::new(vec![1.0, f64::NAN], 1, 2).expect_err("NaN is no number");
        assert_eq!(error.to_string(), "row 0 has NaN in column 1 of the design; impute or clip it upstream");
        let error = Design::new(vec![1.0], 1, 2).expect_err("one is not two");
        assert_eq!(error.to_string(), "a design of 1 rows with 2 columns has 2 numbers, found 1");
        let block = TableBlock { numeric: vec![], codes: vec![3] };
        let error = Design::from_table(&block, 1, 0, &[3]).expect_err("3 is outside");
        assert_eq!(error.to_string(), "row 0 has code 3 in category column 0, which has 3 codes from 0");
        assert!(Design::from_table(&block, 2, 0, &[4]).is_err());
    }
}
