//! The kind `tune.grid`: every combination of some values of some options.

use std::collections::BTreeMap;

use engine_core::Serving;
use engine_table::{
    Choice, Context, Describe, Expand, Files, InputPort, InputTypes, Instance, NodeError, OPTION_INVALID, OutputPort,
    Problem, Reduce, ReduceInputs, Reduction, Slice,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::trials::{self, Goal, RefitOn, Rule, Trial, Tried};
use crate::place;

/// Tries every combination of some values of some options, and gives the model of the best.
///
/// Each combination is a trial: everything between the nodes whose options it sets and the two inputs is planned, run and
/// stored for it, and what no trial changes runs once for all. So a tuning that was stopped goes on where it was, and a
/// value added later runs only the new trials. `fuseline plan` lists the tasks of every trial.
///
/// The input `metrics` is a node that scores the validation rows (`on: validation`), or an `evaluate.cross_validate`
/// over such a node, whose mean is the score then. The input `model` is the model that is scored. The best trial's model
/// is the output `model`; of equally good trials the first one's. Test rows have no part in any of this, so
/// an evaluation of the output on them says how good the chosen model is. `report` lists the trials with their scores,
/// and `metrics` holds the score that decided.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GridOptions {
    /// The options and the values that are tried, as `NODE.OPTION: [...]`; an option within another stands behind a dot,
    /// as in `reader.fusion.architecture`. The node may be any above `metrics`.
    #[schemars(extend("minProperties" = 1))]
    pub space: BTreeMap<String, Vec<Value>>,

    /// The score that decides, as the node on `metrics` names it: `f1_macro`, `log_loss`, `rmse`.
    pub metric: String,

    /// Whether a higher or a lower score is better.
    pub goal: Goal,

    /// What the model of the best trial is fitted on: `train` takes it as it is; `train+validation` fits everything that
    /// learns once more, with the validation rows among the train rows. `train.multimodal` has no validation rows to stop
    /// by then, and goes through as many epochs as were best in the trial.
    #[serde(default)]
    pub refit: RefitOn,
}

/// More trials than this were not meant.
pub(super) const MOST_TRIALS: usize = 10_000;

/// The kind `tune.grid`.
pub struct Grid {
    options: GridOptions,
}

impl Describe for Grid {
    const KIND: &'static str = "tune.grid";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: risk
nodes:
  loans:
    uses: ingest.csv
    with: {path: loans.csv, schema: {age: int, job: category, amount: float, default: bool}, roles: {default: target}}
  split: {uses: split.random, with: {shares: {train: 0.6, validation: 0.2, test: 0.2}}, in: loans}
  risk: {uses: train.logistic, with: {target: default}, in: split}
  scored: {uses: evaluate.classification, with: {on: validation}, in: risk}
  tuned:
    uses: tune.grid
    with: {space: {risk.c: [0.1, 1, 10]}, metric: roc_auc, goal: maximize}
    in: {metrics: scored, model: risk}
  quality: {uses: evaluate.classification, in: tuned}
";
    const SERVING: Serving = Serving::Refuse;
    type Options = GridOptions;

    fn inputs() -> Vec<InputPort> {
        trials::inputs()
    }

    fn outputs() -> Vec<OutputPort> {
        trials::outputs()
    }

    fn new(options: GridOptions) -> Result<Self, Vec<Problem>> {
        let mut problems = trials::check_names(options.space.keys());
        for (option, values) in &options.space {
            problems.extend(trials::check_values(option, values));
        }
        let count = options.space.values().fold(1, |count: usize, values| count.saturating_mul(values.len()));
        if count > MOST_TRIALS {
            let message = format!("the values make {count} trials, more than {MOST_TRIALS}");
            let problem = Problem::error(&OPTION_INVALID, place::option("space"), message);
            problems.push(problem.help("try fewer values, or some of the combinations with `tune.random`"));
        }
        if problems.is_empty() { Ok(Grid { options }) } else { Err(problems) }
    }
}

impl Grid {
    /// Every combination; the values of the last option by name change fastest.
    fn trials(&self) -> Vec<Trial> {
        let mut trials: Vec<Trial> = vec![Vec::new()];
        for (option, values) in &self.options.space {
            let longer = |trial: &Trial| {
                let with = |(place, value): (usize, &Value)| {
                    let mut trial = trial.clone();
                    let at = trials::value_at(option, Some(place));
                    trial.push(Tried { option: option.clone(), value: value.clone(), at });
                    trial
                };
                values.iter().enumerate().map(with).collect::<Vec<Trial>>()
            };
            trials = trials.iter().flat_map(longer).collect();
        }
        trials
    }
}

impl Reduce for Grid {
    fn infer(&self, _: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        Ok(trials::reduction())
    }

    fn run(&self, inputs: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let rule = Rule { metric: &self.options.metric, goal: self.options.goal };
        trials::choose(&self.trials(), rule, inputs)
    }
}

impl Expand for Grid {
    fn ports(&self) -> Vec<&'static str> {
        trials::ports()
    }

    fn instances(&self, slice: &Slice) -> Result<Vec<Instance>, Vec<Problem>> {
        trials::instances(&self.trials(), slice)
    }

    fn choice(&self) -> Option<Choice> {
        Some(trials::choice(self.options.refit))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grid(space: Value) -> Result<Grid, Vec<Problem>> {
        let options = json!({"space": space, "metric": "f1", "goal": "maximize", "refit": "train+validation"});
        Grid::new(serde_json::from_value(options).unwrap())
    }

    #[test]
    fn every_combination_is_a_trial() {
        let grid = grid(json!({"b.y": ["p", "q"], "a.x": [1, 2]})).ok().unwrap();
        let shown: Vec<String> = grid
            .trials()
            .iter()
            .map(|trial| {
                trial.iter().map(|tried| format!("{}={}", tried.option, tried.value)).collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(shown, [r#"a.x=1 b.y="p""#, r#"a.x=1 b.y="q""#, r#"a.x=2 b.y="p""#, r#"a.x=2 b.y="q""#]);
        assert_eq!(grid.trials()[3][1].at, "/space/b.y/1");
    }

    #[test]
    fn what_a_schema_cannot_say_is_reported_at_its_place() {
        let at = |space: Value| {
            let problems = grid(space).err().unwrap();
            assert_eq!(problems.len(), 1);
            problems[0].at.clone()
        };
        let option = |pointer: &str| engine_table::At::Option(pointer.to_owned());
        assert_eq!(at(json!({"width": [1]})), option("/space/width"));
        assert_eq!(at(json!({"a.x": []})), option("/space/a.x"));
        assert_eq!(at(json!({"a.x": [1, 2, 1]})), option("/space/a.x/2"));
        let many: Vec<u32> = (0..101).collect();
        assert_eq!(at(json!({"a.x": many, "a.y": many})), option("/space"));
    }
}
