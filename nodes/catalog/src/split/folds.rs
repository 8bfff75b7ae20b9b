//! `split.folds`: one of several folds is scored, the others are learnt from.

use engine_core::{Part, Role, Serving};
use engine_table::{Change, Context, Describe, FitApply, NodeError, OPTION_INVALID, Problem, TableType, TrainRows};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assignment::{self, Assigner, By, Cuts, ShareOf};
use crate::place;

/// Deals rows into folds; one fold is test, the others are train. With a share of `test` rows kept out of the folds, one
/// fold is validation.
///
/// In the plain graph the fold `fold` is test. `evaluate.cross_validate` has the graph above it run once for
/// every fold in turn, so every row is scored once.
///
/// A row's fold is decided by a hash of the pipeline's seed and the cells that name the row, as in
/// `split.random`: inserted rows move no other, or within strata hardly one. Groups are dealt evenly, so that as many folds as
/// groups hold one each; a new group may move others into the next fold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FoldsOptions {
    /// How many folds, from 2 to 100.
    #[serde(default = "default_folds")]
    #[schemars(range(min = 2, max = 100))]
    pub folds: u32,

    /// Which fold is test, or validation if there is a `test` share, from 0; cross-validation sets it for every fold in
    /// turn.
    #[serde(default)]
    #[schemars(range(min = 0, max = 99))]
    pub fold: u32,

    /// The share of the rows outside the test fold that becomes validation, from 0 to 0.5; held in the mean.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub validation: f64,

    /// The share of all rows that is test whatever the fold, from 0 to 0.5; held in the mean. The fold in turn is then
    /// validation: so options can be tuned over folds, and test rows are left to say how good the result is.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub test: f64,

    /// The category, bool or int column whose classes are dealt evenly over the folds; usually the target.
    #[serde(default)]
    pub stratify: Option<String>,

    /// The column whose equal cells mark rows that must stay together; by default the one with the role `group`.
    #[serde(default)]
    pub group: Option<String>,

    /// The columns that name a row, in place of those with the role `key`.
    #[serde(default)]
    pub key: Vec<String>,

    /// The name of the split column; it has the role `split` and holds `train`, `validation` and `test`.
    #[serde(default = "assignment::default_column", rename = "as")]
    pub column: String,
}

fn default_folds() -> u32 {
    5
}

/// Where the folds and the validation rows are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldCuts {
    folds: Cuts,
    validation: Cuts,
    test: Cuts,
}

/// The kind.
pub struct Folds {
    options: FoldsOptions,
}

impl Describe for Folds {
    const KIND: &'static str = "split.folds";
    const VERSION: u32 = 3;
    const SERVING: Serving = Serving::Skip;
    const RANDOM: bool = true;
    const EXAMPLE: &'static str = r"fuseline: 1
name: loans
seed: 7
nodes:
  rows:
    uses: ingest.csv
    with: {path: loans.csv, schema: {id: text, amount: float, bad: category}, roles: {id: key, bad: target}}
  split: {uses: split.folds, with: {folds: 5, stratify: bad, validation: 0.1}, in: rows}
";
    type Options = FoldsOptions;

    fn new(options: FoldsOptions) -> Result<Folds, Vec<Problem>> {
        let FoldsOptions { fold, folds, validation, test, .. } = &options;
        let mut problems = Vec::new();
        if fold >= folds {
            let message = format!("there is no fold {fold}: the {folds} folds are 0 to {}", folds.saturating_sub(1));
            problems.push(Problem::error(&OPTION_INVALID, place::option("fold"), message));
        }
        if *validation > 0.0 && *test > 0.0 {
            let message = "with a share of `test` rows the fold in turn is validation, so there is no share of it";
            let problem = Problem::error(&OPTION_INVALID, place::option("validation"), message);
            problems.push(problem.help("leave out `validation`, or `test`"));
        }
        if problems.is_empty() { Ok(Folds { options }) } else { Err(problems) }
    }
}

impl Folds {
    fn by(&self) -> By<'_> {
        let FoldsOptions { key, group, stratify, .. } = &self.options;
        By { key, group: group.as_deref(), stratify: stratify.as_deref() }
    }
}

impl FitApply for Folds {
    type Fitted = FoldCuts;

    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>> {
        assignment::split_change(table, &self.options.column, Assigner::new(table, self.by())?.reads())
    }

    fn fit(&self, train: TrainRows<'_>, context: &Context) -> Result<FoldCuts, NodeError> {
        let folds = self.options.folds;
        let ends: Vec<f64> = (1..folds).map(|fold| f64::from(fold) / f64::from(folds)).collect();
        let by_group = self.options.group.is_some() || train.columns().iter().any(|column| column.role == Role::Group);
        let of = if by_group { ShareOf::Cells } else { ShareOf::Hashes };
        let learn = |ends: &[f64], purpose: &str| Cuts::learn(self.by(), ends, of, purpose, train, context);
        Ok(FoldCuts {
            folds: learn(&ends, "split.folds")?,
            // Independent of the folds, so that a row is validation in every fold it is not scored in, or in none.
            validation: learn(&[self.options.validation], "split.folds.validation")?,
            test: learn(&[self.options.test], "split.folds.test")?,
        })
    }

    fn apply(&self, cuts: &FoldCuts, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let turn = self.options.fold as usize;
        let of_turn = if self.options.test > 0.0 { Part::Validation } else { Part::Test };
        let held_back = cuts.validation.slots(rows)?.into_iter().zip(cuts.test.slots(rows)?);
        let part = |(fold, (validation, test))| match (fold == turn, validation == 0, test == 0) {
            (_, _, true) => Part::Test,
            (true, _, _) => of_turn,
            (false, true, _) => Part::Validation,
            (false, false, _) => Part::Train,
        };
        let parts = cuts.folds.slots(rows)?.into_iter().zip(held_back).map(part);
        assignment::split_frame(&self.options.column, parts)
    }
}

#[cfg(test)]
mod tests {
    use engine_core::{LogicalType, Role};
    use engine_table::{ColumnType, RowSet};
    use polars::prelude::*;

    use super::*;

    fn parts(options: serde_json::Value) -> Vec<String> {
        let table = TableType {
            columns: vec![
                ColumnType::new("id", LogicalType::Int).with_role(Role::Key),
                ColumnType::new("bad", LogicalType::Bool).with_role(Role::Target),
            ],
            row_set: RowSet("rows".into()),
        };
        let ids: Vec<i64> = (0..1000).collect();
        let bad: Vec<bool> = ids.iter().map(|id| id % 4 == 0).collect();
        let frame = df!["id" => ids, "bad" => bad].unwrap();
        let kind = Folds::new(serde_json::from_value(options).unwrap()).ok().unwrap();
        let change = kind.infer(&table).unwrap();
        let columns: Vec<ColumnType> = change.reads.iter().map(|name| table.column(name).unwrap().clone()).collect();
        let read = frame.select(change.reads.iter().map(String::as_str)).unwrap();
        let cuts = kind.fit(TrainRows::admit(&read, &columns), &Context::quiet()).unwrap();
        let parts = kind.apply(&cuts, &read).unwrap();
        parts.column("split").unwrap().str().unwrap().iter().flatten().map(str::to_owned).collect()
    }

    fn fold(fold: u32, validation: f64, stratify: bool) -> Vec<String> {
        let mut options = serde_json::json!({"fold": fold, "validation": validation});
        if stratify {
            options["stratify"] = "bad".into();
        }
        parts(options)
    }

    #[test]
    fn every_row_is_scored_in_exactly_one_fold() {
        let folds: Vec<Vec<String>> = (0..5).map(|number| fold(number, 0.0, false)).collect();
        for row in 0..1000 {
            assert_eq!(folds.iter().filter(|parts| parts[row] == "test").count(), 1, "row {row}");
            assert_eq!(folds.iter().filter(|parts| parts[row] == "train").count(), 4, "row {row}");
        }
    }

    #[test]
    fn as_many_folds_as_groups_hold_one_group_each() {
        let column = ColumnType::new("speaker", LogicalType::Category).with_role(Role::Group);
        let speakers = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"];
        let frame = df!["speaker" => speakers.iter().cycle().take(60).copied().collect::<Vec<_>>()].unwrap();
        let mut tested = Vec::new();
        for fold in 0..6 {
            let options = serde_json::json!({"folds": 6, "fold": fold, "validation": 0.2});
            let kind = Folds::new(serde_json::from_value(options).unwrap()).ok().unwrap();
            let columns = [column.clone()];
            let cuts = kind.fit(TrainRows::admit(&frame, &columns), &Context::quiet()).unwrap();
            let parts = kind.apply(&cuts, &frame).unwrap();
            let test = parts.column("split").unwrap().str().unwrap().iter().zip(speakers.iter().cycle());
            let mut of_fold: Vec<&str> =
                test.filter(|(part, _)| *part == Some("test")).map(|(_, name)| *name).collect();
            of_fold.sort_unstable();
            of_fold.dedup();
            assert_eq!(of_fold.len(), 1, "fold {fold}");
            tested.extend(of_fold);
        }
        tested.sort_unstable();
        assert_eq!(tested, speakers);
    }

    #[test]
    fn strata_are_dealt_evenly() {
        for number in 0..5 {
            let parts = fold(number, 0.0, true);
            let bad = (0..1000).step_by(4).filter(|row| parts[*row] == "test").count();
            assert_eq!((bad, parts.iter().filter(|part| *part == "test").count()), (50, 200));
        }
    }

    #[test]
    fn validation_is_cut_from_the_train_rows() {
        let without = fold(2, 0.0, true);
        let with = fold(2, 0.25, true);
        let held_back = with.iter().filter(|part| *part == "validation").count();
        // Exactly a quarter of all rows is marked; about four fifths of them lie outside the test fold.
        assert!(held_back.abs_diff(200) < 30, "{held_back}");
        assert!(without.iter().zip(&with).all(|(a, b)| (a == "test") == (b == "test")));
    }

    #[test]
    fn test_rows_outside_the_folds_are_the_same_in_every_fold() {
        let folds: Vec<Vec<String>> =
            (0..5).map(|number| parts(serde_json::json!({"fold": number, "test": 0.2}))).collect();
        let count = |part: &str, row: usize| folds.iter().filter(|parts| parts[row] == part).count();
        for row in 0..1000 {
            let found = (count("test", row), count("validation", row), count("train", row));
            assert!(found == (5, 0, 0) || found == (0, 1, 4), "row {row}: {found:?}");
        }
        // 20 % of 1,000; four standard deviations of a share in the mean are 51.
        assert!(folds[0].iter().filter(|part| *part == "test").count().abs_diff(200) < 51);
        let options = serde_json::json!({"test": 0.2, "validation": 0.1});
        assert_eq!(Folds::new(serde_json::from_value(options).unwrap()).err().unwrap().len(), 1);
    }

    #[test]
    fn a_fold_that_is_not_there_is_refused() {
        let options = serde_json::from_value(serde_json::json!({"folds": 3, "fold": 3})).unwrap();
        let problems = Folds::new(options).err().unwrap();
        assert_eq!(problems[0].message, "there is no fold 3: the 3 folds are 0 to 2");
    }
}
