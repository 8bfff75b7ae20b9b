//! Kinds that split, scale, learn, score and publish.

use std::collections::BTreeMap;

use engine_core::{ArtifactKind, Digest, LogicalType, MetricValue, Part, Role, Serving};
use engine_table::{
    Arity, Change, Choice, Chosen, ColumnType, Context, Describe, Destination, Expand, Files, FitApply, InputPort,
    InputTypes, Instance, Kind, NodeError, OutputPort, Override, PathOption, PortType, Problem, Read, Reduce,
    ReduceInputs, Reduction, Refit, RowFilter, RowFunction, RowLocal, Sink, SinkType, Slice, TableType, TrainRows,
    Written,
};
use polars::prelude::{ChunkAgg, Column, DataFrame};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data::floats;

pub(crate) fn all() -> [Kind; 7] {
    [
        Kind::row_local::<Split>(),
        Kind::row_local::<Scale>(),
        Kind::fit_apply::<Center>(),
        Kind::fit::<Memory>(),
        Kind::reduce::<Mean>(),
        Kind::sink::<Publish>(),
        Kind::expand::<Tune>(),
    ]
}

/// Parts rows by the digest of their key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitOptions {
    key: String,
    /// Tenths of the rows that are train rows; of the rest half are validation rows.
    #[serde(default = "six")]
    train: u8,
}

fn six() -> u8 {
    6
}

struct Split(SplitOptions);

impl Describe for Split {
    const KIND: &'static str = "test.split";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Skip;
    type Options = SplitOptions;

    fn new(options: SplitOptions) -> Result<Self, Vec<Problem>> {
        Ok(Split(options))
    }
}

impl RowLocal for Split {
    fn infer(&self, _: &InputTypes) -> Result<Change, Vec<Problem>> {
        let split = ColumnType::new("split", LogicalType::Category).with_role(Role::Split);
        Ok(Change {
            reads: vec![self.0.key.clone()],
            writes: vec![Written::new(split, [self.0.key.clone()])],
            ..Change::default()
        })
    }

    fn prepare(&self, _: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let SplitOptions { key, train } = self.0.clone();
        Ok(Box::new(move |rows: &DataFrame| {
            let part = |key: f64| match Digest::of(&key.to_le_bytes()).as_bytes()[0] % 10 {
                tenth if tenth < train => Part::Train,
                tenth if tenth % 2 == 0 => Part::Validation,
                _ => Part::Test,
            };
            let parts: Vec<&str> = floats(rows, &key)?.into_iter().map(|key| part(key).as_str()).collect();
            one_column("split", parts.into_iter().map(str::to_owned).collect::<Vec<_>>(), rows.height())
        }))
    }
}

fn one_column<T>(name: &str, values: T, rows: usize) -> Result<DataFrame, NodeError>
where
    polars::prelude::Series: polars::prelude::NamedFrom<T, [String]>,
{
    let series = <polars::prelude::Series as polars::prelude::NamedFrom<T, [String]>>::new(name.into(), values);
    DataFrame::new(rows, vec![series.into()]).map_err(NodeError::failed)
}

/// Multiplies a column.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleOptions {
    column: String,
    r#as: String,
    #[serde(default = "two")]
    by: f64,
}

fn two() -> f64 {
    2.0
}

struct Scale(ScaleOptions);

impl Describe for Scale {
    const KIND: &'static str = "test.scale";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Same;
    type Options = ScaleOptions;

    fn new(options: ScaleOptions) -> Result<Self, Vec<Problem>> {
        Ok(Scale(options))
    }
}

impl RowLocal for Scale {
    fn infer(&self, _: &InputTypes) -> Result<Change, Vec<Problem>> {
        let ScaleOptions { column, r#as, .. } = &self.0;
        let written = Written::new(ColumnType::new(r#as, LogicalType::Float), [column]);
        Ok(Change { reads: vec![column.clone()], writes: vec![written], ..Change::default() })
    }

    fn prepare(&self, _: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let ScaleOptions { column, r#as, by } = self.0.clone();
        Ok(Box::new(move |rows: &DataFrame| {
            let values: Vec<f64> = floats(rows, &column)?.into_iter().map(|value| value * by).collect();
            DataFrame::new(rows.height(), vec![Column::new(r#as.as_str().into(), values)]).map_err(NodeError::failed)
        }))
    }
}

/// Takes the mean of the train rows away.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CenterOptions {
    column: String,
    /// A column whose values on the rows it was shown are kept in what it learnt.
    witness: String,
}

/// What [`Center`] learnt, and which rows it was shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Centered {
    pub(crate) mean: f64,
    pub(crate) seen: Vec<f64>,
}

struct Center(CenterOptions);

impl Describe for Center {
    const KIND: &'static str = "test.center";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Same;
    type Options = CenterOptions;

    fn new(options: CenterOptions) -> Result<Self, Vec<Problem>> {
        Ok(Center(options))
    }
}

impl FitApply for Center {
    type Fitted = Centered;

    fn infer(&self, _: &TableType) -> Result<Change, Vec<Problem>> {
        let CenterOptions { column, witness } = &self.0;
        let written = Written::new(ColumnType::new(column, LogicalType::Float), [column]);
        Ok(Change {
            reads: vec![column.clone()],
            fit_reads: vec![column.clone(), witness.clone()],
            writes: vec![written],
            ..Change::default()
        })
    }

    fn fit(&self, train: TrainRows<'_>, _: &Context) -> Result<Centered, NodeError> {
        assert_eq!(train.frame().width(), train.columns().len());
        let values = floats(train.frame(), &self.0.column)?;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Ok(Centered { mean, seen: floats(train.frame(), &self.0.witness)? })
    }

    fn apply(&self, fitted: &Centered, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let column = &self.0.column;
        let values: Vec<f64> = floats(rows, column)?.into_iter().map(|value| value - fitted.mean).collect();
        DataFrame::new(rows.height(), vec![Column::new(column.as_str().into(), values)]).map_err(NodeError::failed)
    }
}

/// Remembers the rows it is trained and validated on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryOptions {
    column: String,
}

struct Memory(MemoryOptions);

impl Describe for Memory {
    const KIND: &'static str = "test.memory";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Refuse;
    type Options = MemoryOptions;

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Report)]
    }

    fn new(options: MemoryOptions) -> Result<Self, Vec<Problem>> {
        Ok(Memory(options))
    }
}

impl Reduce for Memory {
    fn infer(&self, _: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        let read = |part| Read::new("table", RowFilter::Part(part), [self.0.column.clone()]);
        Ok(Reduction {
            reads: vec![read(Part::Train), read(Part::Validation)],
            outputs: BTreeMap::from([("report".into(), PortType::Report)]),
        })
    }

    fn run(&self, inputs: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let mut seen: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for part in [Part::Train, Part::Validation] {
            seen.insert(part.as_str(), floats(inputs.rows("table", RowFilter::Part(part))?, &self.0.column)?);
        }
        let files = Files::json("seen.json", &seen).map_err(NodeError::failed)?;
        Ok(BTreeMap::from([("report".into(), files)]))
    }
}

/// The mean of a column over all rows, as a score.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeanOptions {
    column: String,
    /// It fails if the mean is above.
    #[serde(default)]
    limit: Option<f64>,
}

struct Mean(MeanOptions);

impl Describe for Mean {
    const KIND: &'static str = "test.mean";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Refuse;
    type Options = MeanOptions;

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Metrics)]
    }

    fn new(options: MeanOptions) -> Result<Self, Vec<Problem>> {
        Ok(Mean(options))
    }
}

impl Reduce for Mean {
    fn infer(&self, _: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        Ok(Reduction {
            reads: vec![Read::new("table", RowFilter::All, [self.0.column.clone()])],
            outputs: BTreeMap::from([("metrics".into(), PortType::Metrics)]),
        })
    }

    fn run(&self, inputs: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let rows = inputs.rows("table", RowFilter::All)?;
        // Polars' own sum: what differs with its threads and with how the rows lie in chunks.
        let column = rows.column(&self.0.column).map_err(NodeError::failed)?;
        let column = column.cast(&polars::prelude::DataType::Float64).map_err(NodeError::failed)?;
        let value = column.f64().map_err(NodeError::failed)?.sum().unwrap_or(0.0) / rows.height().max(1) as f64;
        if let Some(limit) = self.0.limit.filter(|limit| value > *limit) {
            return Err(NodeError::Failed(format!("the mean is above {limit}")));
        }
        let metrics = BTreeMap::from([("mean", MetricValue { value, low: None, high: None })]);
        let files = Files::json("metrics.json", &metrics).map_err(NodeError::failed)?;
        Ok(BTreeMap::from([("metrics".into(), files)]))
    }
}

/// Writes the scores to a file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishOptions {
    out: PathOption,
}

struct Publish(PublishOptions);

impl Describe for Publish {
    const KIND: &'static str = "test.publish";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Refuse;
    type Options = PublishOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new("metrics", ArtifactKind::Metrics, Arity::One)]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Report)]
    }

    fn new(options: PublishOptions) -> Result<Self, Vec<Problem>> {
        Ok(Publish(options))
    }
}

impl Sink for Publish {
    fn infer(&self, _: &InputTypes) -> Result<SinkType, Vec<Problem>> {
        let outputs = BTreeMap::from([("report".into(), PortType::Report)]);
        Ok(SinkType { reduction: Reduction { reads: Vec::new(), outputs }, serving: None })
    }

    fn run(&self, inputs: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let metrics = inputs.artifact("metrics")?;
        let text =
            format!("{}: {}", metrics.node, String::from_utf8_lossy(metrics.files.bytes("metrics.json").unwrap()));
        Ok(BTreeMap::from([("report".into(), Files::new().with("report.txt", text.into_bytes()))]))
    }

    fn destination(&self) -> Option<Destination<'_>> {
        Some(Destination { port: "report", file: "report.txt", path: self.0.out.as_path() })
    }
}

/// Tries options, and chooses the report of the trial with the highest mean.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TuneOptions {
    /// The options of each trial.
    trials: Vec<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    refit: bool,
}

struct Tune(TuneOptions);

impl Describe for Tune {
    const KIND: &'static str = "test.tune";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Refuse;
    type Options = TuneOptions;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::new("metrics", ArtifactKind::Metrics, Arity::One),
            InputPort::new("report", ArtifactKind::Report, Arity::One),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Report), OutputPort::of(ArtifactKind::Metrics)]
    }

    fn new(options: TuneOptions) -> Result<Self, Vec<Problem>> {
        Ok(Tune(options))
    }
}

impl Reduce for Tune {
    fn infer(&self, _: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        Ok(Reduction { reads: Vec::new(), outputs: BTreeMap::from([("metrics".into(), PortType::Metrics)]) })
    }

    fn run(&self, inputs: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let mut best: Option<(usize, f64)> = None;
        for (instance, artifact) in inputs.artifacts("metrics").iter().enumerate() {
            let metrics: BTreeMap<String, MetricValue> =
                artifact.files.read_json("metrics.json").map_err(NodeError::failed)?;
            let mean = metrics["mean"].value;
            if best.is_none_or(|(_, so_far)| mean > so_far) {
                best = Some((instance, mean));
            }
        }
        let (instance, value) = best.ok_or_else(|| NodeError::Failed("no trial".into()))?;
        let metrics = BTreeMap::from([("mean", MetricValue { value, low: None, high: None })]);
        let files = Files::json("metrics.json", &metrics).map_err(NodeError::failed)?;
        Ok(BTreeMap::from([("metrics".into(), Chosen { instance }.add_to(files)?)]))
    }
}

impl Expand for Tune {
    fn ports(&self) -> Vec<&'static str> {
        vec!["metrics", "report"]
    }

    fn instances(&self, _: &Slice) -> Result<Vec<Instance>, Vec<Problem>> {
        let change = |(name, value): (&String, &serde_json::Value)| {
            let (node, option) = name.split_once('.').unwrap_or((name, ""));
            Override::new(node, option, value.clone())
        };
        let instance = |(number, trial): (usize, &BTreeMap<String, serde_json::Value>)| Instance {
            name: format!("trial={number}"),
            overrides: trial.iter().map(change).collect(),
        };
        Ok(self.0.trials.iter().enumerate().map(instance).collect())
    }

    fn choice(&self) -> Option<Choice> {
        let refit = if self.0.refit { Refit::OnTrainAndValidation } else { Refit::None };
        Some(Choice { port: "report", by: "metrics", refit })
    }
}
