//! `encode.one_hot`: categories as one tensor of zeros and ones.

use std::collections::{BTreeMap, HashMap};

use engine_core::{LogicalType, Serving, Size};
use engine_table::{
    Change, ColumnType, Columns, Context, Describe, FitApply, NodeError, Problem, TableType, TrainRows, Written,
    tensor_column,
};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clean::cast;
use crate::codes::{COLUMN_EXISTS, COLUMN_TYPE};
use crate::place;

/// Makes one `tensor[k]` column of zeros and ones from several columns of categories.
///
/// The categories of each column are those of the train rows, in the order of their bytes; the columns stand one behind the
/// other. A category that the train rows do not have, and a missing cell, are all zeros. Int and bool
/// columns are taken by their values. `k` is known after the fit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneHotOptions {
    /// Which columns: category, text, int or bool; all category features if not given.
    #[serde(default = "categories")]
    pub columns: Columns,

    /// How often a category must stand in the train rows to have a place, from 1; rarer ones count as unknown.
    #[serde(default = "default_min_count")]
    #[schemars(range(min = 1))]
    pub min_count: u64,

    /// The name of the tensor column.
    #[serde(default = "default_as", rename = "as")]
    pub written: String,
}

fn categories() -> Columns {
    Columns::of_type("category")
}

fn default_min_count() -> u64 {
    1
}

fn default_as() -> String {
    "one_hot".to_owned()
}

/// The categories that have a place, column after column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    columns: Vec<ColumnPlaces>,
}

/// The categories of a column, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ColumnPlaces {
    column: String,
    categories: Vec<String>,
}

impl Places {
    fn width(&self) -> usize {
        self.columns.iter().map(|column| column.categories.len()).sum()
    }
}

/// The kind.
pub struct OneHot {
    options: OneHotOptions,
}

impl Describe for OneHot {
    const KIND: &'static str = "encode.one_hot";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Same;
    const EXAMPLE: &'static str = r"fuseline: 1
name: loans
nodes:
  rows:
    uses: ingest.csv
    with: {path: loans.csv, schema: {id: text, purpose: category, housing: category}, roles: {id: key}}
  split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: rows}
  codes: {uses: encode.one_hot, with: {columns: [purpose, housing], as: codes, min_count: 5}, in: split}
";
    type Options = OneHotOptions;

    fn new(options: OneHotOptions) -> Result<OneHot, Vec<Problem>> {
        Ok(OneHot { options })
    }
}

impl OneHot {
    fn symbol(&self) -> String {
        format!("one_hot({})", self.options.written)
    }
}

impl FitApply for OneHot {
    type Fitted = Places;

    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>> {
        use LogicalType::{Bool, Category, Int, Text};
        let columns = self.options.columns.resolve(table, "/columns")?;
        let mut problems = Vec::new();
        for column in &columns {
            if !matches!(column.logical, Category | Text | Int | Bool) {
                let message = format!("`{}` is {}, which has no categories", column.name, column.logical);
                problems.push(
                    Problem::error(&COLUMN_TYPE, place::option("columns"), message)
                        .help("numbers go through `encode.standardize`; leave it out of `columns`"),
                );
            }
        }
        if table.column(&self.options.written).is_some() {
            let message = format!("the input has a column `{}` already", self.options.written);
            problems.push(Problem::error(&COLUMN_EXISTS, place::option("as"), message).help("write `as: OTHER_NAME`"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let reads: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let tensor = LogicalType::Tensor(vec![Size::Symbol(self.symbol())]);
        Ok(Change {
            writes: vec![Written::new(ColumnType::new(&self.options.written, tensor), &reads)],
            fit_reads: reads.clone(),
            reads,
            ..Change::default()
        })
    }

    fn fit(&self, train: TrainRows<'_>, _: &Context) -> Result<Places, NodeError> {
        let learn = |column: &Column| learn_places(column, self.options.min_count).map_err(NodeError::failed);
        let columns = train.frame().columns().iter().map(learn).collect::<Result<_, NodeError>>()?;
        let places = Places { columns };
        if places.width() == 0 {
            let columns =
                places.columns.iter().map(|places| format!("`{}`", places.column)).collect::<Vec<_>>().join(", ");
            return Err(NodeError::failed(OneHotError {
                columns,
                min_count: self.options.min_count,
                rows: train.frame().height(),
            }));
        }
        Ok(places)
    }

    fn apply(&self, places: &Places, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let values = one_hot(rows, places).map_err(NodeError::failed)?;
        let tensor = tensor_column(&self.options.written, places.width(), values)?;
        DataFrame::new(rows.height(), vec![tensor]).map_err(NodeError::failed)
    }

    fn sizes(&self, places: &Places) -> BTreeMap<String, u64> {
        BTreeMap::from([(self.symbol(), places.width() as u64)])
    }
}

fn learn_places(column: &Column, min_count: u64) -> PolarsResult<ColumnPlaces> {
    let cells = cast::text(column.as_materialized_series())?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for cell in cells.iter().flatten() {
        *counts.entry(cell).or_default() += 1;
    }
    let frequent = counts.into_iter().filter(|(_, count)| *count >= min_count);
    let categories = frequent.map(|(category, _)| category.to_owned()).collect();
    Ok(ColumnPlaces { column: column.name().to_string(), categories })
}

/// Row after row, zeros with a one at the place of each column's category.
fn one_hot(rows: &DataFrame, places: &Places) -> PolarsResult<Vec<f32>> {
    let width = places.width();
    let mut values = vec![0.0_f32; rows.height() * width];
    let mut first = 0;
    for column in &places.columns {
        let cells = cast::text(rows.column(&column.column)?.as_materialized_series())?;
        let place_of: HashMap<&str, usize> =
            column.categories.iter().enumerate().map(|(place, category)| (category.as_str(), first + place)).collect();
        for (row, cell) in cells.iter().enumerate() {
            if let Some(place) = cell.and_then(|cell| place_of.get(cell)) {
                values[row * width + place] = 1.0;
            }
        }
        first += column.categories.len();
    }
    Ok(values)
}

/// No category to learn.
#[derive(Debug, thiserror::Error)]
#[error(
    "no value of {columns} comes {min_count} times in {rows} train rows, so there is nothing to encode; lower `min_count` or leave the columns out"
)]
pub struct OneHotError {
    columns: String,
    min_count: u64,
    rows: usize,
}

#[cfg(test)]
mod tests {
    use engine_core::Role;
    use engine_table::RowSet;

    use super::*;

    fn kind(options: serde_json::Value) -> OneHot {
        OneHot::new(serde_json::from_value(options).unwrap()).ok().unwrap()
    }

    fn table() -> TableType {
        TableType {
            columns: vec![
                ColumnType::new("job", LogicalType::Category).with_nullable(true),
                ColumnType::new("rooms", LogicalType::Int),
                ColumnType::new("bad", LogicalType::Category).with_role(Role::Target),
                ColumnType::new("amount", LogicalType::Float),
            ],
            row_set: RowSet("rows".into()),
        }
    }

    fn rows() -> DataFrame {
        df!["job" => [Some("b"), Some("a"), None, Some("b")], "rooms" => [10_i64, 2, 2, 10]].unwrap()
    }

    fn fitted(options: serde_json::Value) -> (OneHot, Places) {
        let kind = kind(options);
        let columns: Vec<ColumnType> = table().columns[..2].to_vec();
        let places = kind.fit(TrainRows::admit(&rows(), &columns), &Context::quiet()).unwrap();
        (kind, places)
    }

    fn tensor(frame: &DataFrame) -> Vec<f32> {
        let series = frame.column("one_hot").unwrap().as_materialized_series().clone();
        series.get_leaf_array().f32().unwrap().into_no_null_iter().collect()
    }

    #[test]
    fn categories_have_places_in_the_order_of_their_bytes() {
        let (kind, places) = fitted(serde_json::json!({"columns": ["job", "rooms"]}));
        assert_eq!(kind.sizes(&places), BTreeMap::from([("one_hot(one_hot)".to_owned(), 4)]));
        let found = kind.apply(&places, &rows()).unwrap();
        // a, b, then "10", "2".
        assert_eq!(tensor(&found), [0., 1., 1., 0., 1., 0., 0., 1., 0., 0., 0., 1., 0., 1., 1., 0.]);
    }

    #[test]
    fn what_train_does_not_know_is_all_zeros() {
        let (kind, places) = fitted(serde_json::json!({"columns": ["job", "rooms"]}));
        let unseen = df!["job" => ["c"], "rooms" => [3_i64]].unwrap();
        assert_eq!(tensor(&kind.apply(&places, &unseen).unwrap()), [0.; 4]);
        assert_eq!(kind.apply(&places, &unseen.clear()).unwrap().height(), 0);
    }

    #[test]
    fn rare_categories_have_no_place() {
        let (kind, places) = fitted(serde_json::json!({"columns": ["job", "rooms"], "min_count": 2}));
        assert_eq!(places.columns[0].categories, ["b"]);
        assert_eq!(kind.sizes(&places)["one_hot(one_hot)"], 3);
        let columns: Vec<ColumnType> = table().columns[..2].to_vec();
        let rare = self::kind(serde_json::json!({"columns": ["job", "rooms"], "min_count": 9}));
        let message = rare.fit(TrainRows::admit(&rows(), &columns), &Context::quiet()).unwrap_err().to_string();
        assert!(message.starts_with("no value of `job`, `rooms` comes 9 times in 4 train rows"), "{message}");
    }

    #[test]
    fn a_row_is_encoded_alike_beside_any_others() {
        let (kind, places) = fitted(serde_json::json!({"columns": ["job", "rooms"]}));
        let all = tensor(&kind.apply(&places, &rows()).unwrap());
        for row in 0..4 {
            let alone = tensor(&kind.apply(&places, &rows().slice(row, 1)).unwrap());
            assert_eq!(alone, all[row as usize * 4..(row as usize + 1) * 4]);
        }
    }

    #[test]
    fn the_size_is_a_symbol_until_the_fit_and_targets_are_left_alone() {
        let change = kind(serde_json::json!({})).infer(&table()).unwrap();
        assert_eq!(change.reads, ["job"]);
        assert_eq!(change.writes[0].column.logical.to_string(), "tensor[|one_hot(one_hot)|]");
        let problems = kind(serde_json::json!({"columns": ["amount"], "as": "job"})).infer(&table()).unwrap_err();
        let codes: Vec<&str> = problems.iter().map(|problem| problem.code.name).collect();
        assert_eq!(codes, ["column.type", "column.exists"]);
    }
}
