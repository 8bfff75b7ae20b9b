//! Rows as a trainer or an evaluation gets them, by part of the split.

use engine_core::Part;
use engine_table::{NodeError, ReduceInputs, RowFilter};
use polars::prelude::{BooleanChunked, DataFrame, NamedFrom};

/// The train rows behind `port`.
///
/// # Errors
/// If the rows were not asked for.
pub(crate) fn train<'a>(inputs: &'a ReduceInputs, port: &str) -> Result<&'a DataFrame, NodeError> {
    inputs.rows(port, RowFilter::Part(Part::Train))
}

/// The validation rows behind `port`; `None` if there are none.
///
/// If the author wrote `fit_on: all`, train and validation rows are both all rows: choices made on rows that were learnt
/// from are worth nothing, so there are then no validation rows.
///
/// # Errors
/// If the rows were not asked for.
pub(crate) fn validation<'a>(inputs: &'a ReduceInputs, port: &str) -> Result<Option<&'a DataFrame>, NodeError> {
    let rows = inputs.rows(port, RowFilter::Part(Part::Validation))?;
    Ok(if rows.height() == 0 || rows.equals_missing(train(inputs, port)?) { None } else { Some(rows) })
}

/// The rows in which `column` is not null, and how many others there are.
///
/// # Errors
/// If there is no such column.
pub(crate) fn with_value(rows: &DataFrame, column: &str) -> Result<(DataFrame, usize), NodeError> {
    let cells = rows.column(column).map_err(NodeError::failed)?;
    let missing = cells.null_count();
    if missing == 0 {
        return Ok((rows.clone(), 0));
    }
    let present: Vec<bool> = cells.is_not_null().iter().map(|is| is == Some(true)).collect();
    let kept = rows.filter(&BooleanChunked::new("present".into(), present)).map_err(NodeError::failed)?;
    Ok((kept, missing))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine_table::{InputTypes, PortInput};
    use polars::prelude::{Column, df};

    use super::*;

    fn inputs(train: &DataFrame, validation: &DataFrame) -> ReduceInputs {
        let rows = [(Part::Train, train), (Part::Validation, validation)]
            .map(|(part, rows)| (RowFilter::Part(part), rows.clone()));
        let port = PortInput { artifacts: Vec::new(), rows: BTreeMap::from(rows) };
        ReduceInputs::new(InputTypes::default(), BTreeMap::from([("table".to_owned(), port)]))
    }

    #[test]
    fn rows_that_were_learnt_from_are_no_validation_rows() {
        let (one, other) = (df!("x" => [1, 2]).unwrap(), df!("x" => [3]).unwrap());
        assert_eq!(validation(&inputs(&one, &other), "table").unwrap(), Some(&other));
        assert_eq!(validation(&inputs(&one, &one), "table").unwrap(), None);
        assert_eq!(validation(&inputs(&one, &other.clear()), "table").unwrap(), None);
    }

    #[test]
    fn rows_without_a_value_are_left_out_and_counted() {
        let rows = df!("x" => [1, 2, 3], "y" => [Some(1.0), None, Some(3.0)]).unwrap();
        let (kept, missing) = with_value(&rows, "y").unwrap();
        assert_eq!((kept.height(), missing), (2, 1));
        assert_eq!(kept.column("x").unwrap(), &Column::new("x".into(), [1, 3]));
        assert_eq!(with_value(&rows, "x").unwrap().1, 0);
        assert!(with_value(&rows, "z").is_err());
    }
}
