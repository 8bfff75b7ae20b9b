//! `split.random`: parts by hash of a seed and the cells that name a row.

use engine_core::{Part, Serving};
use engine_table::{Change, Context, Describe, FitApply, NodeError, Problem, TableType, TrainRows};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assignment::{self, Assigner, By, Cuts, ShareOf, Shares};

/// Parts rows into train, validation and test at random, so that rows keep their part when others come and go.
///
/// A row's part is decided by a hash of the pipeline's seed and the cells that name the row: `group` if
/// given, else `key`, else the columns with the role `group`, else those with the role `key`, else all plain
/// columns of the row. Rows that agree in these cells are in the same part, so a duplicate is never both
/// learnt from and scored. Give the table a key: by its whole content a row moves when any of its cells is edited.
///
/// Without `stratify` each row is decided on its own: an inserted row moves no other, and shares hold as
/// chance has it. With `stratify` the rows of each class are taken in the order of their hashes and cut at the
/// shares, which then hold for every class to the row; an inserted row can move a row of its class that lies at a cut.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomOptions {
    /// How large each part is, as shares from 0 to 1 that add up to 1.
    #[serde(default = "default_shares")]
    pub shares: Shares,

    /// The category, bool or int column whose classes are parted each in the same shares; usually the target.
    #[serde(default)]
    pub stratify: Option<String>,

    /// The column whose equal cells mark rows that must stay together: a customer, a patient, a document.
    #[serde(default)]
    pub group: Option<String>,

    /// The columns that name a row, in place of those with the role `key`.
    #[serde(default)]
    pub key: Vec<String>,

    /// The name of the split column; it has the role `split` and holds `train`, `validation` and `test`.
    #[serde(default = "assignment::default_column", rename = "as")]
    pub column: String,
}

fn default_shares() -> Shares {
    Shares { train: 0.7, validation: 0.15, test: 0.15 }
}

/// The kind.
pub struct Random {
    options: RandomOptions,
}

impl Describe for Random {
    const KIND: &'static str = "split.random";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Skip;
    const RANDOM: bool = true;
    const EXAMPLE: &'static str = r"fuseline: 1
name: loans
seed: 7
nodes:
  rows:
    uses: ingest.csv
    with: {path: loans.csv, schema: {id: text, amount: float, bad: category}, roles: {id: key, bad: target}}
  split: {uses: split.random, with: {shares: {train: 0.7, validation: 0.1, test: 0.2}, stratify: bad}, in: rows}
";
    type Options = RandomOptions;

    fn new(options: RandomOptions) -> Result<Random, Vec<Problem>> {
        let mut problems = Vec::new();
        options.shares.check(&mut problems);
        if problems.is_empty() { Ok(Random { options }) } else { Err(problems) }
    }
}

impl Random {
    fn by(&self) -> By<'_> {
        let RandomOptions { key, group, stratify, .. } = &self.options;
        By { key, group: group.as_deref(), stratify: stratify.as_deref() }
    }
}

impl FitApply for Random {
    type Fitted = Cuts;

    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>> {
        assignment::split_change(table, &self.options.column, Assigner::new(table, self.by())?.reads())
    }

    fn fit(&self, train: TrainRows<'_>, context: &Context) -> Result<Cuts, NodeError> {
        let Shares { validation, test, .. } = self.options.shares;
        // Test comes first in the order of hashes: another share of validation then moves no test row.
        Cuts::learn(self.by(), &[test, test + validation], ShareOf::Hashes, "split.random", train, context)
    }

    fn apply(&self, cuts: &Cuts, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let part = |slot| [Part::Test, Part::Validation, Part::Train][slot];
        assignment::split_frame(&self.options.column, cuts.slots(rows)?.into_iter().map(part))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine_core::{LogicalType, Role, Seed};
    use engine_table::{ColumnType, RowSet};
    use polars::prelude::*;

    use super::*;

    fn table() -> TableType {
        let column = |name: &str, logical| ColumnType::new(name, logical);
        TableType {
            columns: vec![
                column("id", LogicalType::Int).with_role(Role::Key),
                column("person", LogicalType::Category),
                column("bad", LogicalType::Category).with_role(Role::Target),
                column("old", LogicalType::Category).with_role(Role::Split),
            ],
            row_set: RowSet("rows".into()),
        }
    }

    fn rows(ids: impl IntoIterator<Item = i64>) -> DataFrame {
        let ids: Vec<i64> = ids.into_iter().collect();
        let person: Vec<String> = ids.iter().map(|id| format!("p{}", id / 4)).collect();
        let bad: Vec<&str> = ids.iter().map(|id| if id % 10 == 0 { "yes" } else { "no" }).collect();
        let old = vec!["x"; ids.len()];
        df!["id" => ids, "person" => person, "bad" => bad, "old" => old].unwrap()
    }

    fn kind(options: serde_json::Value) -> Random {
        Random::new(serde_json::from_value(options).unwrap()).ok().unwrap()
    }

    /// The part of every id.
    fn split(options: serde_json::Value, frame: &DataFrame, seed: u64) -> BTreeMap<i64, String> {
        let (kind, table) = (kind(options), table());
        let change = kind.infer(&table).unwrap();
        let columns: Vec<ColumnType> = change.reads.iter().map(|name| table.column(name).unwrap().clone()).collect();
        let read = frame.select(change.reads.iter().map(String::as_str)).unwrap();
        let context = Context { pipeline_seed: Seed::new(seed), ..Context::quiet() };
        let cuts = kind.fit(TrainRows::admit(&read, &columns), &context).unwrap();
        let parts = kind.apply(&cuts, &read).unwrap();
        // Chunk by chunk it is the same.
        let tail = kind.apply(&cuts, &read.slice(3, read.height())).unwrap();
        assert!(tail.equals(&parts.slice(3, parts.height())));
        let parts = parts.column("split").unwrap().str().unwrap().clone();
        let ids = frame.column("id").unwrap().i64().unwrap();
        ids.iter().zip(parts.iter()).map(|(id, part)| (id.unwrap(), part.unwrap().to_owned())).collect()
    }

    fn count(parts: &BTreeMap<i64, String>, part: &str, of: impl Fn(i64) -> bool) -> usize {
        parts.iter().filter(|(id, word)| of(**id) && *word == part).count()
    }

    #[test]
    fn an_inserted_row_moves_no_other() {
        let options = serde_json::json!({"shares": {"train": 0.6, "validation": 0.2, "test": 0.2}});
        let before = split(options.clone(), &rows((0..1000).filter(|id| *id != 500)), 1);
        let after = split(options.clone(), &rows(0..1000), 1);
        assert!(before.iter().all(|(id, part)| after[id] == *part));
        assert_ne!(split(options, &rows(0..1000), 2), after);
    }

    #[test]
    fn shares_hold_about_by_chance_and_to_the_row_within_strata() {
        let shares = serde_json::json!({"train": 0.7, "validation": 0.1, "test": 0.2});
        let parts = split(serde_json::json!({ "shares": shares }), &rows(0..10_000), 3);
        // Five standard deviations of a binomial share of 0.2 over 10,000 rows are 200 rows.
        assert!(count(&parts, "test", |_| true).abs_diff(2000) < 200);
        let parts = split(serde_json::json!({"shares": shares, "stratify": "bad"}), &rows(0..10_000), 3);
        let bad = |id: i64| id % 10 == 0;
        assert_eq!([count(&parts, "test", bad), count(&parts, "validation", bad)], [200, 100]);
        assert_eq!(count(&parts, "train", |id| !bad(id)), 6300);
    }

    #[test]
    fn a_row_more_moves_hardly_a_row_within_strata() {
        let options = serde_json::json!({"stratify": "bad"});
        let before = split(options.clone(), &rows((0..5000).filter(|id| *id != 77)), 1);
        let after = split(options, &rows(0..5000), 1);
        let moved = before.iter().filter(|(id, part)| after[id] != **part).count();
        // One at most at each of the two cuts of its class.
        assert!(moved <= 2, "{moved}");
    }

    #[test]
    fn groups_stay_whole() {
        let parts = split(serde_json::json!({"group": "person"}), &rows(0..4000), 1);
        assert!(parts.iter().all(|(id, part)| parts[&(id / 4 * 4)] == *part));
    }

    #[test]
    fn an_earlier_split_is_replaced_and_only_the_key_is_read() {
        let change = kind(serde_json::json!({})).infer(&table()).unwrap();
        assert_eq!((change.reads, change.drops), (vec!["id".to_owned()], vec!["old".to_owned()]));
        assert_eq!(change.writes[0].column.role, Role::Split);
        let change = kind(serde_json::json!({"as": "old"})).infer(&table()).unwrap();
        assert!(change.drops.is_empty());
    }

    #[test]
    fn what_cannot_be_is_a_problem_before_the_run() {
        let code = |options| kind(options).infer(&table()).unwrap_err()[0].code.name;
        assert_eq!(code(serde_json::json!({"stratify": "bad", "group": "person"})), "split.rule");
        assert_eq!(code(serde_json::json!({"key": ["idd"]})), "column.unknown");
        assert_eq!(code(serde_json::json!({"as": "bad"})), "column.exists");
        let shares = serde_json::json!({"shares": {"train": 0.7, "test": 0.2}});
        let problems = Random::new(serde_json::from_value(shares).unwrap()).err().unwrap();
        assert_eq!(problems[0].message, "the shares add up to 0.9, not 1");
    }
}
