//! The kind `evaluate.ablation`: what each modality of a joint model is worth, by training again without it.

use std::collections::BTreeMap;

use engine_core::{ArtifactKind, Serving};
use engine_table::report::{Bar, BarsSection, Cell, ReportPage, Section, TableSection};
use engine_table::{
    Arity, At, Context, Describe, Expand, Files, InputPort, InputTypes, Instance, NodeError, OPTION_INVALID,
    OutputPort, Override, PortType, Problem, Reduce, ReduceInputs, Reduction, Slice,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::sections::{Metrics, artifacts, read_metrics, texts};
use crate::model::codes::EVALUATE_ABLATION;
use crate::place;

/// Trains a joint model again without each of some encoders, and with each of them alone, and sets the scores side by
/// side.
///
/// The nearest `train.multimodal` above the scores is trained once for each variant, with all its other options as they
/// are; nodes that no variant changes run once for all, and every training is stored and shown by `fuseline plan`. A
/// model without an encoder says what that modality adds to the others; a model of one encoder alone, with the whole
/// training to itself, is a stricter rival of the joint model than that modality's own head in it.
///
/// The input is a node that scores the model, or an `evaluate.cross_validate` over one. Of its scores, accuracy, macro
/// F1, log loss, area under the ROC curve, the two errors and R² are given, those that there are: with all encoders as
/// `NAME`, and of the variants as `without.NODE.NAME` and `alone.NODE.NAME`; the report has all. The intervals are
/// those of each variant's own evaluation; the variants are not paired, and each was trained once, so a small
/// difference may be the chance of one training. A score that chooses between variants belongs on the validation rows
/// (`on: validation`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AblationOptions {
    /// The encoders that are left out or stand alone, one at a time, by node.
    #[schemars(length(min = 1))]
    pub encoders: Vec<String>,

    /// Which variants are trained.
    #[serde(default = "both")]
    #[schemars(length(min = 1))]
    pub variants: Vec<Variant>,
}

/// A way of training with fewer encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Variant {
    /// With all encoders but one.
    Without,
    /// With one encoder.
    Alone,
}

fn both() -> Vec<Variant> {
    vec![Variant::Without, Variant::Alone]
}

impl Variant {
    fn as_str(self) -> &'static str {
        match self {
            Variant::Without => "without",
            Variant::Alone => "alone",
        }
    }

    /// The trainer's option that makes it.
    fn option(self) -> &'static str {
        match self {
            Variant::Without => "without",
            Variant::Alone => "only",
        }
    }
}

const METRICS: &str = "metrics";
const TRAINER: &str = "train.multimodal";

/// The kind `evaluate.ablation`.
pub struct Ablation {
    options: AblationOptions,
}

impl Describe for Ablation {
    const KIND: &'static str = "evaluate.ablation";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = r"fuseline: 1
name: risk
nodes:
  loans:
    uses: ingest.csv
    with: {path: loans.csv, schema: {age: int, job: category, amount: float, default: bool}, roles: {default: target}}
  split: {uses: split.random, with: {shares: {train: 0.7, validation: 0.15, test: 0.15}}, in: loans}
  scaled: {uses: encode.standardize, with: {columns: [age, amount]}, in: split}
  person: {uses: encode.table, with: {columns: [age, job]}, in: scaled}
  loan: {uses: encode.table, with: {columns: [amount]}, in: scaled}
  risk: {uses: train.multimodal, with: {target: default}, in: {encoders: [person, loan]}}
  quality: {uses: evaluate.classification, in: risk}
  parts: {uses: evaluate.ablation, with: {encoders: [person, loan], variants: [without]}, in: quality}
";
    const SERVING: Serving = Serving::Refuse;
    type Options = AblationOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new(METRICS, ArtifactKind::Metrics, Arity::One)]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Metrics), OutputPort::of(ArtifactKind::Report)]
    }

    fn new(options: AblationOptions) -> Result<Self, Vec<Problem>> {
        let twice = |(place, name): (usize, &String)| {
            let at = place::entry("encoders", place);
            let message = format!("`{name}` is in `encoders` twice");
            options.encoders[..place].contains(name).then(|| Problem::error(&OPTION_INVALID, at, message))
        };
        let mut problems: Vec<Problem> = options.encoders.iter().enumerate().filter_map(twice).collect();
        if options.variants.len() > 1 && options.variants.iter().all(|variant| *variant == options.variants[0]) {
            let message = format!("`{}` is in `variants` twice", options.variants[0].as_str());
            problems.push(Problem::error(&OPTION_INVALID, place::option("variants"), message));
        }
        if problems.is_empty() { Ok(Ablation { options }) } else { Err(problems) }
    }
}

/// A variant of the model.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part<'a> {
    variant: Variant,
    /// The place of the encoder among those of the options.
    place: usize,
    encoder: &'a str,
}

impl Part<'_> {
    /// As in `without text`.
    fn words(&self) -> String {
        match self.variant {
            Variant::Without => format!("without {}", self.encoder),
            Variant::Alone => format!("{} alone", self.encoder),
        }
    }
}

impl Ablation {
    /// The variants, in the order in which they are trained.
    fn parts(&self) -> Vec<Part<'_>> {
        let AblationOptions { encoders, variants } = &self.options;
        let of = |variant: &Variant| {
            let variant = *variant;
            encoders.iter().enumerate().map(move |(place, encoder)| Part { variant, place, encoder })
        };
        variants.iter().flat_map(of).collect()
    }
}

impl Reduce for Ablation {
    fn infer(&self, _: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        Ok(Reduction {
            reads: Vec::new(),
            outputs: BTreeMap::from([
                ("metrics".to_owned(), PortType::Metrics),
                ("report".to_owned(), PortType::Report),
            ]),
        })
    }

    fn run(&self, inputs: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let scores = inputs.artifacts(METRICS).iter().map(|artifact| read_metrics(&artifact.files));
        let mut scores = scores.collect::<Result<Vec<Metrics>, _>>()?.into_iter();
        let whole =
            scores.next().ok_or_else(|| NodeError::Failed("there are no scores to set side by side".to_owned()))?;
        let parts: Vec<(Part<'_>, Metrics)> = self.parts().into_iter().zip(scores).collect();
        artifacts(&metrics(&whole, &parts), &page(&whole, &parts))
    }
}

impl Expand for Ablation {
    fn ports(&self) -> Vec<&'static str> {
        vec![METRICS]
    }

    fn instances(&self, slice: &Slice) -> Result<Vec<Instance>, Vec<Problem>> {
        // The slice is in topological order, so the last is the nearest.
        let Some(trainer) = slice.nodes.iter().rfind(|node| node.kind == TRAINER) else {
            let message = format!("there is no `{TRAINER}` above this node, so there are no encoders to leave out");
            return Err(vec![
                Problem::error(&EVALUATE_ABLATION, At::Input(METRICS.to_owned()), message)
                    .label("no joint model above")
                    .help("put it below a node that scores a joint model"),
            ]);
        };
        let instance = |part: Part<'_>| Instance {
            name: format!("{}={}", part.variant.as_str(), part.encoder),
            overrides: vec![Override {
                value_at: format!("/encoders/{}", part.place),
                ..Override::new(&trainer.id, part.variant.option(), json!([part.encoder]))
            }],
        };
        let whole = Instance { name: "all".to_owned(), overrides: Vec::new() };
        Ok(std::iter::once(whole).chain(self.parts().into_iter().map(instance)).collect())
    }
}

/// The scores that are of the model itself, not of its rivals or its parts.
fn own(metrics: &Metrics) -> impl Iterator<Item = (&String, &engine_core::MetricValue)> {
    metrics.iter().filter(|(name, _)| !name.contains('.'))
}

/// The scores that are given as metrics.
const GIVEN: [&str; 7] = ["accuracy", "f1_macro", "log_loss", "roc_auc", "rmse", "mae", "r2"];

fn metrics(whole: &Metrics, parts: &[(Part<'_>, Metrics)]) -> Metrics {
    let given = |scores: &Metrics, prefix: &str| -> Metrics {
        GIVEN.iter().filter_map(|name| Some((format!("{prefix}{name}"), *scores.get(*name)?))).collect()
    };
    let mut metrics = given(whole, "");
    for (part, scores) in parts {
        metrics.extend(given(scores, &format!("{}.{}.", part.variant.as_str(), part.encoder)));
    }
    metrics
}

/// The score that is drawn: the first of these that there is.
const DRAWN: [&str; 3] = ["accuracy", "rmse", "roc_auc"];

fn page(whole: &Metrics, parts: &[(Part<'_>, Metrics)]) -> ReportPage {
    let mut page = ReportPage::new("ablation");
    let notes = vec![
        format!("The model was trained {} times more, each time with other encoders.", parts.len()),
        "Each variant was trained once, and its interval is that of its own evaluation: a small difference may be the chance \
         of one training."
            .to_owned(),
    ];
    texts(&mut page, notes, Vec::new());
    let mut columns = vec!["score".to_owned(), "all encoders".to_owned()];
    columns.extend(parts.iter().map(|(part, _)| part.words()));
    let row = |(name, value): (&String, &engine_core::MetricValue)| {
        let mut row = vec![Cell::text(name.replace('_', " ")), Cell::Metric(*value)];
        row.extend(parts.iter().map(|(_, scores)| scores.get(name).map_or(Cell::Empty, |value| Cell::Metric(*value))));
        row
    };
    page.sections.push(Section::Table(TableSection {
        title: "scores".to_owned(),
        note: "In brackets 95 % intervals.".to_owned(),
        columns,
        rows: own(whole).map(row).collect(),
    }));
    if let Some((name, value)) = DRAWN.iter().find_map(|name| Some((*name, *whole.get(*name)?))) {
        let bar = |(part, scores): &(Part<'_>, Metrics)| Some(Bar { name: part.words(), value: *scores.get(name)? });
        let whole = Bar { name: "all encoders".to_owned(), value };
        page.sections.push(Section::Bars(BarsSection {
            title: format!("{} by encoders", name.replace('_', " ")),
            note: String::new(),
            value_label: name.replace('_', " "),
            bars: std::iter::once(whole).chain(parts.iter().filter_map(bar)).collect(),
        }));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine_core::{MetricValue, Seed};
    use engine_table::{NamedFiles, PortInput, SliceNode};

    use super::*;

    fn kind(options: &str) -> Result<Ablation, Vec<Problem>> {
        Ablation::new(serde_json::from_str(options).unwrap())
    }

    fn slice(kinds: &[(&str, &str)]) -> Slice {
        let node = |(id, kind): &(&str, &str)| SliceNode {
            id: (*id).to_owned(),
            kind: (*kind).to_owned(),
            options: json!({}),
            reads: Vec::new(),
        };
        Slice { nodes: kinds.iter().map(node).collect(), seed: Seed::new(0) }
    }

    #[test]
    fn the_nearest_joint_model_is_trained_as_it_is_without_each_encoder_and_with_each_alone() {
        let kind = kind(r#"{"encoders": ["words", "photo"]}"#).ok().unwrap();
        let instances =
            kind.instances(&slice(&[("far", TRAINER), ("near", TRAINER), ("quality", "evaluate.x")])).unwrap();
        let found: Vec<(String, Vec<String>)> = instances
            .into_iter()
            .map(|instance| {
                let change = |change: &Override| format!("{}.{} {}", change.node, change.option, change.value);
                (instance.name, instance.overrides.iter().map(change).collect())
            })
            .collect();
        let expected = [
            ("all", None),
            ("without=words", Some(r#"near.without ["words"]"#)),
            ("without=photo", Some(r#"near.without ["photo"]"#)),
            ("alone=words", Some(r#"near.only ["words"]"#)),
            ("alone=photo", Some(r#"near.only ["photo"]"#)),
        ];
        let expected =
            expected.map(|(name, change)| (name.to_owned(), change.map(str::to_owned).into_iter().collect()));
        assert_eq!(found, expected);
    }

    #[test]
    fn without_a_joint_model_there_is_nothing_to_leave_out() {
        let kind = kind(r#"{"encoders": ["words"]}"#).ok().unwrap();
        let problems = kind.instances(&slice(&[("risk", "train.logistic")])).unwrap_err();
        assert_eq!(problems[0].code.name, "evaluate.ablation");
    }

    #[test]
    fn what_is_named_twice_is_refused() {
        for options in [r#"{"encoders": ["a", "a"]}"#, r#"{"encoders": ["a"], "variants": ["alone", "alone"]}"#] {
            assert_eq!(kind(options).err().unwrap()[0].code.name, "option.invalid");
        }
    }

    #[test]
    fn the_scores_of_the_variants_stand_beside_those_of_all_encoders() {
        let scores = |accuracy: f64| {
            let metric = |value| MetricValue { value, low: None, high: None };
            let metrics = Metrics::from([
                ("accuracy".to_owned(), metric(accuracy)),
                ("baseline.accuracy".to_owned(), metric(0.5)),
            ]);
            let files = Arc::new(Files::json("metrics.json", &metrics).unwrap());
            NamedFiles { node: "quality".to_owned(), files }
        };
        let artifacts = vec![scores(0.9), scores(0.7), scores(0.8)];
        let port = PortInput { artifacts, rows: BTreeMap::new() };
        let inputs = ReduceInputs::new(InputTypes::default(), BTreeMap::from([(METRICS.to_owned(), port)]));
        let kind = kind(r#"{"encoders": ["words", "photo"], "variants": ["without"]}"#).ok().unwrap();
        let found = kind.run(&inputs, &Context::quiet()).unwrap();
        let metrics = read_metrics(&found["metrics"]).unwrap();
        let values: Vec<(&str, f64)> = metrics.iter().map(|(name, value)| (name.as_str(), value.value)).collect();
        assert_eq!(values, [("accuracy", 0.9), ("without.photo.accuracy", 0.8), ("without.words.accuracy", 0.7)]);
        let page = ReportPage::from_files(&found["report"]).unwrap();
        let Section::Table(table) = &page.sections[1] else { panic!("the scores stand below the text") };
        assert_eq!(table.columns, ["score", "all encoders", "without words", "without photo"]);
        let Section::Bars(bars) = &page.sections[2] else { panic!("then bars") };
        assert_eq!(bars.bars.len(), 3);
    }
}
