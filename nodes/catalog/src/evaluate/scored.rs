//! What evaluations of a model share: which rows they score, what they read, how they tell how far they are.

use std::collections::BTreeMap;

use engine_core::{Part, Progress, Unit};
use engine_table::{
    At, Context, InputTypes, NodeError, PortType, Prediction, Problem, Read, ReduceInputs, Reduction, RowFilter,
};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::codes::EVALUATE_MODEL;
use crate::model::rows::with_value;

/// The port of the model.
pub(super) const MODEL: &str = "model";

/// How many resamples an evaluation makes unless told otherwise.
pub(super) fn default_resamples() -> usize {
    1000
}

/// Which rows an evaluation scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ScoredOn {
    /// The rows that nothing is learnt from and no choice is made on.
    #[default]
    Test,
    /// The rows that choices are made on: for comparing settings without a look at the test rows.
    Validation,
}

impl ScoredOn {
    /// The part of the split.
    pub(super) fn part(self) -> Part {
        match self {
            ScoredOn::Test => Part::Test,
            ScoredOn::Validation => Part::Validation,
        }
    }

    /// What an evaluation of a model that predicts `prediction` reads and gives; `other` is the kind for other models.
    pub(super) fn reduction(
        self,
        inputs: &InputTypes,
        prediction: Prediction,
        other: &str,
    ) -> Result<Reduction, Vec<Problem>> {
        let model = inputs.model(MODEL);
        if model.prediction != prediction {
            let what = match model.prediction {
                Prediction::Class => "a class",
                Prediction::Value => "a number",
            };
            let message =
                format!("the model predicts {what} (`{}`), which this kind does not score", model.target.name);
            let problem = Problem::error(&EVALUATE_MODEL, At::Input(MODEL.to_owned()), message);
            return Err(vec![problem.label(format!("predicts {what}")).help(format!("use `{other}`"))]);
        }
        let target = &model.target.name;
        let read = |part, columns: Vec<&String>| Read::new(MODEL, RowFilter::Part(part), columns);
        let all = || model.reads.iter().chain([target]).collect();
        let mut reads = vec![read(self.part(), all()), read(Part::Train, vec![target])];
        if self != ScoredOn::Validation && !model.modalities.is_empty() {
            // The best single modality is chosen on them.
            reads.push(read(Part::Validation, all()));
        }
        Ok(Reduction {
            reads,
            outputs: BTreeMap::from([
                ("metrics".to_owned(), PortType::Metrics),
                ("report".to_owned(), PortType::Report),
            ]),
        })
    }

    /// The rows to score.
    ///
    /// # Errors
    /// If none has a target.
    pub(super) fn rows(self, inputs: &ReduceInputs, target: &str) -> Result<ToScore, NodeError> {
        let mut to_score = ToScore::new(inputs.rows(MODEL, RowFilter::Part(self.part()))?, target, self.part())?;
        if self != ScoredOn::Validation && !inputs.types.model(MODEL).modalities.is_empty() {
            let (rows, _) = with_value(inputs.rows(MODEL, RowFilter::Part(Part::Validation))?, target)?;
            // Without a split every part is all rows, and there is nothing to choose on.
            to_score.choice = Some(rows).filter(|rows| rows.height() > 0 && !rows.equals_missing(&to_score.rows));
        }
        Ok(to_score)
    }
}

/// Rows to score: at least one, each with a target.
pub(super) struct ToScore {
    /// The part of the split they are.
    pub(super) part: Part,
    /// The rows.
    pub(super) rows: DataFrame,
    /// How many rows of the part have no target.
    pub(super) left_out: usize,
    /// The validation rows, if choices are to be made on them.
    pub(super) choice: Option<DataFrame>,
}

impl ToScore {
    /// The rows of `part` that have a target.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn new(rows: &DataFrame, target: &str, part: Part) -> Result<ToScore, NodeError> {
        let (kept, left_out) = with_value(rows, target)?;
        if kept.height() > 0 {
            return Ok(ToScore { part, rows: kept, left_out, choice: None });
        }
        let found = match rows.height() {
            0 => format!("there is no {part} row to score"),
            all => format!("none of the {all} {part} rows has a value of `{target}`"),
        };
        Err(NodeError::Failed(format!("{found}; give the split a share of {part} rows with targets")))
    }
}

/// Tells the engine how far the resampling is; stops if the task is cancelled.
pub(super) fn step(done: usize, resamples: usize, context: &Context) -> Result<(), NodeError> {
    context.cancel.check()?;
    if done.is_multiple_of(100) {
        let (done, total) = (done as u64, Some(resamples as u64));
        context.progress.progress(Progress { done, total, unit: Unit::Steps, values: BTreeMap::new() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use engine_core::LogicalType;
    use engine_table::{ColumnType, ModelType, PortTypes};
    use polars::prelude::df;

    use super::*;

    #[test]
    fn the_option_says_which_rows_are_read() {
        let target = ColumnType::new("y", LogicalType::Bool);
        let model = ModelType::new(Prediction::Class, target, vec!["x".to_owned()]);
        let joint = ModelType { modalities: vec!["a".to_owned(), "b".to_owned()], ..model.clone() };
        let inputs = |model| {
            let port = PortTypes { artifacts: vec![PortType::Model(model)], table: None };
            InputTypes(BTreeMap::from([(MODEL.to_owned(), port)]))
        };
        let check = |on: ScoredOn, model: &ModelType, expected: &[(Part, &[&str])]| {
            let reads = on.reduction(&inputs(model.clone()), Prediction::Class, "other").unwrap().reads;
            let read =
                |(part, columns): &(Part, &[&str])| Read::new(MODEL, RowFilter::Part(*part), columns.iter().copied());
            assert_eq!(reads, expected.iter().map(read).collect::<Vec<_>>());
        };
        let all: &[&str] = &["x", "y"];
        for model in [&model, &joint] {
            check(ScoredOn::Validation, model, &[(Part::Validation, all), (Part::Train, &["y"])]);
        }
        check(ScoredOn::Test, &model, &[(Part::Test, all), (Part::Train, &["y"])]);
        // The best single modality is chosen on the validation rows.
        check(ScoredOn::Test, &joint, &[(Part::Test, all), (Part::Train, &["y"]), (Part::Validation, all)]);
        let inputs = inputs(model);
        let problems = ScoredOn::Test.reduction(&inputs, Prediction::Value, "other").unwrap_err();
        assert_eq!(problems[0].code.name, "evaluate.model");
    }

    #[test]
    fn without_a_row_to_score_the_part_is_named() {
        let rows = df!("y" => [None::<&str>]).unwrap();
        let error = |rows: &DataFrame, part| ToScore::new(rows, "y", part).err().unwrap().to_string();
        let none = error(&rows, Part::Validation);
        assert!(none.starts_with("none of the 1 validation rows has a value of `y`"), "{none}");
        let empty = error(&rows.clear(), Part::Test);
        assert!(empty.starts_with("there is no test row to score; give the split a share of test rows"), "{empty}");
    }
}
