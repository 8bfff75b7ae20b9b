//! The kind `tune.random`: some combinations of options, drawn from ranges and lists.

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine_core::{Seed, Serving};
use engine_table::{
    At, Choice, Context, Describe, Expand, Files, InputPort, InputTypes, Instance, NodeError, OPTION_INVALID,
    OutputPort, Problem, Reduce, ReduceInputs, Reduction, Slice,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::grid::MOST_TRIALS;
use super::trials::{self, Goal, RefitOn, Rule, Trial, Tried};
use crate::place;

/// Tries combinations of options drawn at random, and gives the model of the best.
///
/// As `tune.grid`, with values drawn from lists and ranges: with many options, a few of which matter, it finds good values
/// in fewer trials than a grid. What a trial draws follows from the pipeline's seed, the option's name and the trial's
/// number alone. So more `trials` keep the values of the first ones, whose results are found in the store, and the plan is
/// the same on every machine. Drawn numbers have six digits.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomOptions {
    /// What is drawn for each option, as `NODE.OPTION: [...]` or `NODE.OPTION: {low: ..., high: ...}`; an option within
    /// another stands behind a dot, as in `reader.fusion.architecture`. The node may be any above `metrics`.
    #[schemars(extend("minProperties" = 1))]
    pub space: BTreeMap<String, Draw>,

    /// How many combinations are drawn.
    #[schemars(range(min = 1, max = 10_000))]
    pub trials: usize,

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

/// What the values of an option are drawn from.
#[derive(Debug, Clone, PartialEq)]
pub enum Draw {
    /// One of these, each as likely as the others.
    OneOf(Vec<Value>),
    /// A number.
    Range(Range),
}

/// A range of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// Whether every power of ten is as likely as the next.
    #[serde(default)]
    pub log: bool,
    /// Whether only whole numbers are drawn.
    #[serde(default)]
    pub int: bool,
}

impl Serialize for Draw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Draw::OneOf(values) => values.serialize(serializer),
            Draw::Range(range) => range.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Draw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Draw, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Draw;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of values, or {low: ..., high: ...}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Draw, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Draw::OneOf)
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Draw, A::Error> {
                Range::deserialize(MapAccessDeserializer::new(entries)).map(Draw::Range)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Draw {
    fn schema_name() -> Cow<'static, str> {
        "Draw".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A list of values, or a range of numbers: `{low: 0.0001, high: 0.1, log: true}`.",
            "anyOf": [
                { "type": "array", "minItems": 1 },
                {
                    "type": "object",
                    "properties": {
                        "low": { "type": "number", "description": "The smallest number." },
                        "high": { "type": "number", "description": "The largest number." },
                        "log": {
                            "type": "boolean",
                            "default": false,
                            "description": "Whether every power of ten is as likely as the next; for learning rates and penalties."
                        },
                        "int": {
                            "type": "boolean",
                            "default": false,
                            "description": "Whether only whole numbers are drawn; for options that take no others."
                        }
                    },
                    "required": ["low", "high"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

impl Draw {
    /// What is wrong with it, as the draw of `option`.
    fn check(&self, option: &str) -> Vec<Problem> {
        let range = match self {
            Draw::OneOf(values) => return trials::check_values(option, values),
            Draw::Range(range) => range,
        };
        let Range { low, high, log, int } = range;
        let problem = |end: &str, message: String, help: &str| {
            let at = At::Option(format!("{}/{end}", trials::value_at(option, None)));
            vec![Problem::error(&OPTION_INVALID, at, message).help(help)]
        };
        if low >= high {
            return problem(
                "high",
                format!("`{option}` goes from {low} to {high}"),
                "write the smaller number as `low`",
            );
        }
        if *log && *low <= 0.0 {
            let message = format!("`{option}` goes over powers of ten from {low} on");
            return problem("low", message, "write a `low` above 0, or leave `log` out");
        }
        let is_whole = |end: f64| end.fract() == 0.0 && end.abs() < 9e15;
        if *int && !(is_whole(*low) && is_whole(*high)) {
            let message = format!("`{option}` is to be a whole number from {low} to {high}");
            return problem("low", message, "write whole numbers as `low` and `high`");
        }
        Vec::new()
    }

    /// The value at `share` of the way through it, from 0 to below 1, and its place in a list.
    fn value(&self, share: f64) -> (Value, Option<usize>) {
        let Range { low, high, log, int } = match self {
            Draw::OneOf(values) => {
                let place = ((share * values.len() as f64) as usize).min(values.len().saturating_sub(1));
                return (values.get(place).cloned().unwrap_or_default(), Some(place));
            }
            Draw::Range(range) => range,
        };
        // A whole number stands for everything up to the next.
        let end = if *int { high + 1.0 } else { *high };
        let number = if *log { (low.ln() + share * (end.ln() - low.ln())).exp() } else { low + share * (end - low) };
        if *int {
            return (Value::from(number.floor().clamp(*low, *high) as i64), None);
        }
        // The last digits of a logarithm differ between machines; a plan must not.
        let rounded: f64 = format!("{number:.5e}").parse().unwrap_or(number);
        (Value::from(rounded.clamp(*low, *high)), None)
    }
}

/// How often a trial is drawn anew while it equals an earlier one.
const MOST_DRAWS: usize = 100;

/// The kind `tune.random`.
pub struct Random {
    options: RandomOptions,
}

impl Describe for Random {
    const KIND: &'static str = "tune.random";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: risk
seed: 7
nodes:
  loans:
    uses: ingest.csv
    with: {path: loans.csv, schema: {age: int, job: category, amount: float, default: bool}, roles: {default: target}}
  split: {uses: split.random, with: {shares: {train: 0.6, validation: 0.2, test: 0.2}}, in: loans}
  scaled: {uses: encode.standardize, with: {columns: [age, amount]}, in: split}
  person: {uses: encode.table, with: {columns: [age, job, amount]}, in: scaled}
  risk: {uses: train.multimodal, with: {target: default}, in: {encoders: [person]}}
  scored: {uses: evaluate.classification, with: {on: validation}, in: risk}
  tuned:
    uses: tune.random
    with:
      space:
        person.hidden: [[16], [64], [64, 64]]
        risk.learning_rate: {low: 0.0003, high: 0.03, log: true}
        risk.head.dropout: {low: 0, high: 0.5}
      trials: 12
      metric: log_loss
      goal: minimize
      refit: train+validation
    in: {metrics: scored, model: risk}
  quality: {uses: evaluate.classification, in: tuned}
";
    const SERVING: Serving = Serving::Refuse;
    const RANDOM: bool = true;
    type Options = RandomOptions;

    fn inputs() -> Vec<InputPort> {
        trials::inputs()
    }

    fn outputs() -> Vec<OutputPort> {
        trials::outputs()
    }

    fn new(options: RandomOptions) -> Result<Self, Vec<Problem>> {
        let mut problems = trials::check_names(options.space.keys());
        problems.extend(options.space.iter().flat_map(|(option, draw)| draw.check(option)));
        if options.trials > MOST_TRIALS {
            let message = format!("{} trials are more than {MOST_TRIALS}", options.trials);
            problems.push(Problem::error(&OPTION_INVALID, place::option("trials"), message));
        }
        let mut lists = options.space.values().map(|draw| match draw {
            Draw::OneOf(values) => Some(values.len()),
            Draw::Range(_) => None,
        });
        let combinations: Option<usize> = lists.try_fold(1, |count: usize, values| Some(count.saturating_mul(values?)));
        if let Some(count) = combinations.filter(|count| *count < options.trials) {
            let message = format!("the lists have {count} combinations, and there are to be {} trials", options.trials);
            let problem = Problem::error(&OPTION_INVALID, place::option("trials"), message);
            problems.push(problem.help("try them all with `tune.grid`"));
        }
        if problems.is_empty() { Ok(Random { options }) } else { Err(problems) }
    }
}

impl Random {
    /// The trials of a pipeline with this seed.
    fn trials(&self, seed: Seed) -> Vec<Trial> {
        let mut trials: Vec<Trial> = Vec::with_capacity(self.options.trials);
        for number in 0..self.options.trials {
            let mut draws = (0..MOST_DRAWS).map(|draw| self.trial(seed, number, draw));
            let fresh = draws.find(|trial| !trials.contains(trial));
            // A space with hardly more values than trials may have no new one left; equal trials share the work.
            trials.push(fresh.unwrap_or_else(|| self.trial(seed, number, 0)));
        }
        trials
    }

    fn trial(&self, seed: Seed, number: usize, draw: usize) -> Trial {
        let tried = |(option, from): (&String, &Draw)| {
            let bits = seed.derive(&format!("tune.random {option} {number} {draw}")).value();
            // 53 bits are the share's digits.
            let share = (bits >> 11) as f64 / (1_u64 << 53) as f64;
            let (value, place) = from.value(share);
            Tried { option: option.clone(), value, at: trials::value_at(option, place) }
        };
        self.options.space.iter().map(tried).collect()
    }
}

impl Reduce for Random {
    fn infer(&self, _: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        Ok(trials::reduction())
    }

    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let rule = Rule { metric: &self.options.metric, goal: self.options.goal };
        trials::choose(&self.trials(context.pipeline_seed), rule, inputs)
    }
}

impl Expand for Random {
    fn ports(&self) -> Vec<&'static str> {
        trials::ports()
    }

    fn instances(&self, slice: &Slice) -> Result<Vec<Instance>, Vec<Problem>> {
        trials::instances(&self.trials(slice.seed), slice)
    }

    fn choice(&self) -> Option<Choice> {
        Some(trials::choice(self.options.refit))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn random(space: Value, trials: usize) -> Result<Random, Vec<Problem>> {
        let options = json!({"space": space, "trials": trials, "metric": "rmse", "goal": "minimize"});
        Random::new(serde_json::from_value(options).unwrap())
    }

    fn values(space: Value, trials: usize, seed: u64) -> Vec<Vec<Value>> {
        let trials = random(space, trials).ok().unwrap().trials(Seed::new(seed));
        trials.into_iter().map(|trial| trial.into_iter().map(|tried| tried.value).collect()).collect()
    }

    #[test]
    fn more_trials_keep_the_first_ones_and_other_options_change_none() {
        let rate = json!({"m.rate": {"low": 0.0001, "high": 0.1, "log": true}});
        let few = values(rate.clone(), 5, 3);
        let many = values(rate.clone(), 40, 3);
        assert_eq!(few, many[..5]);
        assert_ne!(few, values(rate, 5, 4));
        let two = json!({"m.rate": {"low": 0.0001, "high": 0.1, "log": true}, "m.width": [16, 32]});
        let beside: Vec<Value> = values(two, 5, 3).into_iter().map(|mut trial| trial.remove(0)).collect();
        assert_eq!(few.concat(), beside);
    }

    #[test]
    fn numbers_fill_their_range_evenly_or_by_powers_of_ten() {
        let floats =
            |space: Value| values(space, 2000, 1).into_iter().map(|v| v[0].as_f64().unwrap()).collect::<Vec<_>>();
        let share =
            |values: &[f64], below: f64| values.iter().filter(|v| **v < below).count() as f64 / values.len() as f64;
        let even = floats(json!({"m.x": {"low": -1, "high": 3}}));
        assert!(even.iter().all(|v| (-1.0..=3.0).contains(v)));
        // Four standard deviations of a share of a half among 2,000 are 0.045.
        assert!((share(&even, 1.0) - 0.5).abs() < 0.045 && (share(&even, 0.0) - 0.25).abs() < 0.045);
        let log = floats(json!({"m.x": {"low": 0.0001, "high": 0.1, "log": true}}));
        assert!(log.iter().all(|v| (0.0001..=0.1).contains(v)));
        assert!((share(&log, 0.001) - 1.0 / 3.0).abs() < 0.045 && (share(&log, 0.01) - 2.0 / 3.0).abs() < 0.045);
        assert!(log.iter().all(|v| *v == format!("{v:.5e}").parse::<f64>().unwrap()));
    }

    #[test]
    fn whole_numbers_reach_both_ends_and_none_comes_twice_while_others_are_left() {
        let drawn = values(json!({"m.layers": {"low": 1, "high": 6, "int": true}}), 6, 9);
        let mut all: Vec<i64> = drawn.into_iter().map(|v| v[0].as_i64().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4, 5, 6]);
        let log = values(json!({"m.width": {"low": 8, "high": 512, "int": true, "log": true}}), 300, 9);
        assert!(log.iter().all(|v| (8..=512).contains(&v[0].as_i64().unwrap())));
    }

    #[test]
    fn a_value_of_a_list_knows_its_place() {
        let trial = &random(json!({"m.a": ["x", "y", "z"]}), 3).ok().unwrap().trials(Seed::new(2))[1][0];
        let place = ["x", "y", "z"].iter().position(|name| trial.value == *name).unwrap();
        assert_eq!(trial.at, format!("/space/m.a/{place}"));
    }

    #[test]
    fn ranges_that_are_none_are_refused_where_they_stand() {
        let check = |space: Value, trials: usize, at: &str| {
            let problems = random(space, trials).err().unwrap();
            assert_eq!(problems[0].at, At::Option(at.to_owned()));
        };
        check(json!({"m.x": {"low": 2, "high": 2}}), 3, "/space/m.x/high");
        check(json!({"m.x": {"low": 0, "high": 2, "log": true}}), 3, "/space/m.x/low");
        check(json!({"m.x": {"low": 0.5, "high": 2, "int": true}}), 3, "/space/m.x/low");
        check(json!({"m.x": [1, 1]}), 1, "/space/m.x/1");
        check(json!({"m.x": [1, 2], "m.y": [1, 2]}), 5, "/trials");
    }
}
