//! Kinds for the tests of this room, small enough to be followed by hand, and a run of them without the executor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use engine_core::{ArtifactKind, Diagnostic, LogicalType, Part, Role, Serving, Size, SourceText};
use engine_spec::{Folders, Parameters, PipelineSpec};
use engine_table::{
    Arity, At, Change, Choice, ColumnType, Columns, Context, Describe, Destination, Encoder, EncoderType, Expand,
    Files, FitApply, InputPort, InputTypes, Instance, Kind, ModelType, NodeError, OPTION_INVALID, OutputPort, Override,
    PathOption, Peek, PortType, Prediction, Problem, Read, Reduce, ReduceInputs, Reduction, Refit, Registry, Rename,
    RowFilter, RowFunction, RowLocal, ServingRequest, Sink, SinkType, Slice, Source, TableType, TrainRows, Whole,
    WholeRows, WholeType, Written,
};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Checked, Plan, bind, vocabulary};

type Problems = Vec<Problem>;

fn nothing() -> NodeError {
    NodeError::Failed("the tests of the plan run no kind".to_owned())
}

/// A kind with options, ports and serving.
macro_rules! kind {
    ($kind:ident, $name:literal, $options:ident, $serving:ident, $($rest:tt)*) => {
        pub(crate) struct $kind($options);

        impl Describe for $kind {
            const KIND: &'static str = $name;
            const VERSION: u32 = 1;
            const EXAMPLE: &'static str = "";
            const SERVING: Serving = Serving::$serving;
            type Options = $options;

            fn new(options: $options) -> Result<Self, Problems> {
                Ok($kind(options))
            }

            $($rest)*
        }
    };
}

fn float(name: &str) -> ColumnType {
    ColumnType::new(name, LogicalType::Float)
}

fn one_table() -> Vec<InputPort> {
    vec![InputPort::new("table", ArtifactKind::Table, Arity::One)]
}

fn model_port() -> Vec<InputPort> {
    vec![InputPort::new("model", ArtifactKind::Model, Arity::One)]
}

/// Reads a table.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowsOptions {
    /// A JSON file with a list of numbers for each column.
    path: PathOption,
    /// Types of columns that are no floats.
    #[serde(default)]
    types: BTreeMap<String, String>,
    /// Roles of columns that are no features.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    roles: BTreeMap<String, Role>,
    /// The columns, if not looked up in the file.
    #[serde(default)]
    schema: Vec<String>,
}

kind! {
    Rows, "ingest.rows", RowsOptions, Refuse,
}

impl Rows {
    fn typed(&self, names: Vec<String>) -> Peek {
        let column = |name: &String| ColumnType {
            logical: self.0.types.get(name).map_or(LogicalType::Float, |text| text.parse().unwrap()),
            role: self.0.roles.get(name).copied().unwrap_or_default(),
            ..float(name)
        };
        Peek::Columns(names.iter().map(column).collect())
    }
}

impl Source for Rows {
    fn files(&self) -> Vec<PathBuf> {
        vec![self.0.path.0.clone()]
    }

    fn peek(&self) -> Result<Peek, Problems> {
        if !self.0.schema.is_empty() {
            return Ok(self.typed(self.0.schema.clone()));
        }
        match std::fs::read(&self.0.path.0) {
            Ok(bytes) => {
                let values: BTreeMap<String, Vec<f64>> = serde_json::from_slice(&bytes).unwrap();
                Ok(self.typed(values.into_keys().collect()))
            }
            Err(_) => Ok(Peek::Absent("the file is not there".to_owned())),
        }
    }

    fn read(
        &self,
        _: &[ColumnType],
        _: &Context,
        _: &mut dyn FnMut(DataFrame) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        Err(nothing())
    }
}

/// Adds a column.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddOptions {
    /// The columns it is computed from, whatever their role.
    from: Vec<String>,
    /// Its name; nothing is added without one.
    #[serde(default, rename = "as")]
    name: Option<String>,
    /// Columns taken away.
    #[serde(default)]
    drop: Vec<String>,
    /// Columns renamed.
    #[serde(default)]
    rename: BTreeMap<String, String>,
    /// What is added to the values.
    #[serde(default)]
    plus: f64,
    /// The size of a tensor, or a symbol.
    #[serde(default)]
    size: Option<String>,
}

kind! {
    Add, "extract.add", AddOptions, Same,
}

impl RowLocal for Add {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Problems> {
        let table = inputs.table("table");
        let mut problems = Vec::new();
        for (place, name) in self.0.from.iter().enumerate() {
            problems.extend(table.require(name, At::Option(format!("/from/{place}"))).err());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let logical = match &self.0.size {
            Some(size) => LogicalType::Tensor(vec![size.parse::<Size>().unwrap()]),
            None => LogicalType::Float,
        };
        let written = self.0.name.iter().map(|name| Written::new(ColumnType::new(name, logical.clone()), &self.0.from));
        Ok(Change {
            reads: self.0.from.clone(),
            writes: written.collect(),
            drops: self.0.drop.clone(),
            renames: self.0.rename.iter().map(|(from, to)| Rename { from: from.clone(), to: to.clone() }).collect(),
            ..Change::default()
        })
    }

    fn prepare(&self, _: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        Err(nothing())
    }
}

/// Scales columns by what it learnt from train rows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleOptions {
    /// The columns.
    columns: Columns,
    /// What is added to the values.
    #[serde(default)]
    plus: f64,
}

kind! {
    Scale, "encode.scale", ScaleOptions, Same,
}

impl FitApply for Scale {
    type Fitted = f64;

    fn infer(&self, table: &TableType) -> Result<Change, Problems> {
        Ok(Change::in_place(self.0.columns.resolve(table, "/columns")?.into_iter().cloned()))
    }

    fn fit(&self, _: TrainRows<'_>, _: &Context) -> Result<f64, NodeError> {
        Err(nothing())
    }

    fn apply(&self, _: &f64, _: &DataFrame) -> Result<DataFrame, NodeError> {
        Err(nothing())
    }
}

/// Splits by the values of a column.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitOptions {
    /// The column.
    by: String,
    /// The column written.
    #[serde(default = "part", rename = "as")]
    name: String,
    /// Which of the folds is tested on.
    #[serde(default)]
    fold: u32,
}

fn part() -> String {
    "part".to_owned()
}

kind! {
    Split, "split.by", SplitOptions, Skip,
    const RANDOM: bool = true;
}

impl RowLocal for Split {
    fn infer(&self, _: &InputTypes) -> Result<Change, Problems> {
        let column = ColumnType::new(&self.0.name, LogicalType::Category).with_role(Role::Split);
        let writes = vec![Written::new(column, [&self.0.by])];
        Ok(Change { reads: vec![self.0.by.clone()], writes, ..Change::default() })
    }

    fn prepare(&self, _: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        Err(nothing())
    }
}

/// Keeps rows, or makes new ones.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SumOptions {
    /// The columns.
    columns: Vec<String>,
    /// The name of the first column made; as the column if not given.
    #[serde(default, rename = "as")]
    name: Option<String>,
    /// The rows it reads.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    part: Option<Part>,
}

fn whole_reads(options: &SumOptions) -> Vec<Read> {
    vec![Read::new("table", options.part.map_or(RowFilter::All, RowFilter::Part), &options.columns)]
}

kind! {
    Sum, "extract.sum", SumOptions, Refuse,
}

impl Whole for Sum {
    fn infer(&self, inputs: &InputTypes) -> Result<WholeType, Problems> {
        let table = inputs.table("table");
        let name = |place: usize, name: &String| match (place, &self.0.name) {
            (0, Some(new)) => new.clone(),
            _ => name.clone(),
        };
        let writes = self.0.columns.iter().enumerate().map(|(place, column)| {
            let role = table.column(column).map_or(Role::Feature, |column| column.role);
            Written::new(float(&name(place, column)).with_role(role), [column])
        });
        Ok(WholeType::New { reads: whole_reads(&self.0), writes: writes.collect() })
    }

    fn run(&self, _: &ReduceInputs, _: &Context) -> Result<WholeRows, NodeError> {
        Err(nothing())
    }
}

kind! {
    Pick, "clean.pick", SumOptions, Skip,
}

impl Whole for Pick {
    fn infer(&self, _: &InputTypes) -> Result<WholeType, Problems> {
        Ok(WholeType::Select { reads: whole_reads(&self.0), writes: Vec::new() })
    }

    fn run(&self, _: &ReduceInputs, _: &Context) -> Result<WholeRows, NodeError> {
        Err(nothing())
    }
}

/// Adds columns of another table by key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinOptions {
    /// The key.
    on: String,
    /// The columns added.
    columns: Vec<String>,
}

kind! {
    Join, "join.left", JoinOptions, Refuse,
    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::new("left", ArtifactKind::Table, Arity::One),
            InputPort::new("right", ArtifactKind::Table, Arity::One),
        ]
    }
}

impl Whole for Join {
    fn infer(&self, inputs: &InputTypes) -> Result<WholeType, Problems> {
        let right = inputs.table("right");
        let writes = self.0.columns.iter().map(|name| {
            let column = right.column(name).cloned().unwrap_or_else(|| float(name));
            Written::new(column.with_role(Role::Feature), [name])
        });
        let on = std::iter::once(&self.0.on);
        let reads = vec![
            Read::new("left", RowFilter::All, on.clone()),
            Read::new("right", RowFilter::All, on.chain(&self.0.columns)),
        ];
        Ok(WholeType::Select { reads, writes: writes.collect() })
    }

    fn run(&self, _: &ReduceInputs, _: &Context) -> Result<WholeRows, NodeError> {
        Err(nothing())
    }
}

kind! {
    Look, "join.look", JoinOptions, Lookup,
    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::new("left", ArtifactKind::Table, Arity::One),
            InputPort::new("right", ArtifactKind::Table, Arity::One),
        ]
    }
}

impl RowLocal for Look {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Problems> {
        let right = inputs.table("right");
        let write = |name: &String| {
            let column = right.require(name, At::Option("/columns".to_owned())).map_err(|problem| vec![problem])?;
            Ok(Written::new(column.clone(), [&self.0.on, name]))
        };
        let writes = self.0.columns.iter().map(write).collect::<Result<_, Problems>>()?;
        let side = Read::new("right", RowFilter::All, std::iter::once(&self.0.on).chain(&self.0.columns));
        Ok(Change { reads: vec![self.0.on.clone()], side_reads: vec![side], writes, ..Change::default() })
    }

    fn narrowed(&self, needed: &BTreeSet<String>) -> Option<serde_json::Map<String, serde_json::Value>> {
        json!({ "on": self.0.on, "columns": needed }).as_object().cloned()
    }

    fn prepare(&self, _: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        Err(nothing())
    }
}

/// One below the other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StackOptions {
    /// The columns.
    columns: Vec<String>,
}

kind! {
    Stack, "join.stack", StackOptions, Refuse,
    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new("tables", ArtifactKind::Table, Arity::Many)]
    }
}

impl Whole for Stack {
    fn infer(&self, inputs: &InputTypes) -> Result<WholeType, Problems> {
        let count = inputs.artifacts("tables").len();
        let reads = (0..count).map(|place| Read::new(&format!("tables/{place}"), RowFilter::All, &self.0.columns));
        let writes = self.0.columns.iter().map(|name| Written::new(float(name), [name]));
        Ok(WholeType::New { reads: reads.collect(), writes: writes.collect() })
    }

    fn run(&self, _: &ReduceInputs, _: &Context) -> Result<WholeRows, NodeError> {
        Err(nothing())
    }
}

/// Declares an encoder.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EncodeOptions {
    /// The columns, whatever their role.
    columns: Vec<String>,
}

kind! {
    Encode, "encode.table", EncodeOptions, Same,
}

impl Encoder for Encode {
    fn infer(&self, table: &TableType) -> Result<EncoderType, Problems> {
        let mut problems = Vec::new();
        for (place, name) in self.0.columns.iter().enumerate() {
            problems.extend(table.require(name, At::Option(format!("/columns/{place}"))).err());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(EncoderType {
            node: String::new(),
            modality: "table".to_owned(),
            architecture: "mlp".to_owned(),
            reads: self.0.columns.clone(),
            gives: "vector[8]".to_owned(),
            config: json!({}),
        })
    }
}

/// Trains.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainOptions {
    /// The column it predicts.
    target: String,
    /// Passes over the train rows.
    #[serde(default)]
    epochs: u32,
}

kind! {
    Train, "train.joint", TrainOptions, Same,
    const NUMERICS: engine_core::NumericClass = engine_core::NumericClass::Kernel;
    const RANDOM: bool = true;
    const CPUS: engine_table::Cpus = engine_table::Cpus::All;
    const STOPS_EARLY: bool = true;
    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new("encoders", ArtifactKind::Encoder, Arity::Many)]
    }
    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Model), OutputPort::of(ArtifactKind::Report)]
    }
}

impl Reduce for Train {
    fn infer(&self, inputs: &InputTypes) -> Result<Reduction, Problems> {
        let target = inputs.table("encoders").require(&self.0.target, At::Option("/target".to_owned()));
        let target = target.map_err(|problem| vec![problem])?.clone();
        let mut reads: Vec<String> =
            inputs.encoders("encoders").iter().flat_map(|encoder| encoder.reads.clone()).collect();
        reads.sort();
        reads.dedup();
        let columns: Vec<String> = reads.iter().chain([&self.0.target]).cloned().collect();
        let model = ModelType::new(Prediction::Value, target, reads);
        Ok(Reduction {
            reads: vec![
                Read::new("encoders", RowFilter::Part(Part::Train), &columns),
                Read::new("encoders", RowFilter::Part(Part::Validation), &columns),
            ],
            outputs: BTreeMap::from([
                ("model".to_owned(), PortType::Model(model)),
                ("report".to_owned(), PortType::Report),
            ]),
        })
    }

    fn run(&self, _: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        Err(nothing())
    }
}

/// Scores.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScoreOptions {}

kind! {
    Score, "evaluate.score", ScoreOptions, Skip,
    fn inputs() -> Vec<InputPort> {
        model_port()
    }
    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Metrics), OutputPort::of(ArtifactKind::Report)]
    }
}

impl Reduce for Score {
    fn infer(&self, inputs: &InputTypes) -> Result<Reduction, Problems> {
        let model = inputs.model("model");
        let columns: Vec<String> = model.reads.iter().chain([&model.target.name]).cloned().collect();
        Ok(Reduction {
            reads: vec![Read::new("model", RowFilter::Part(Part::Test), columns)],
            outputs: BTreeMap::from([
                ("metrics".to_owned(), PortType::Metrics),
                ("report".to_owned(), PortType::Report),
            ]),
        })
    }

    fn run(&self, _: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        Err(nothing())
    }
}

/// Repeats what is above it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CrossOptions {
    /// The node whose option is varied.
    node: String,
    /// The option.
    option: String,
    /// Its values.
    values: Vec<serde_json::Value>,
}

kind! {
    Cross, "evaluate.cross", CrossOptions, Skip,
    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new("metrics", ArtifactKind::Metrics, Arity::Many)]
    }
    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Metrics)]
    }
}

impl Reduce for Cross {
    fn infer(&self, inputs: &InputTypes) -> Result<Reduction, Problems> {
        if inputs.artifacts("metrics").len() != self.0.values.len() {
            return Err(vec![Problem::error(&OPTION_INVALID, At::Node, "one artifact for each instance")]);
        }
        Ok(Reduction { reads: Vec::new(), outputs: BTreeMap::from([("metrics".to_owned(), PortType::Metrics)]) })
    }

    fn run(&self, _: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        Err(nothing())
    }
}

impl Expand for Cross {
    fn ports(&self) -> Vec<&'static str> {
        vec!["metrics"]
    }

    fn instances(&self, _: &Slice) -> Result<Vec<Instance>, Problems> {
        let instance = |value: &serde_json::Value| Instance {
            name: format!("{}={}", self.0.option, value.to_string().trim_matches('"')),
            overrides: vec![Override::new(&self.0.node, &self.0.option, value.clone())],
        };
        Ok(self.0.values.iter().map(instance).collect())
    }
}

/// Tries options, each value of each by itself, and chooses a model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TuneOptions {
    /// The options and their values.
    space: BTreeMap<String, Vec<serde_json::Value>>,
    /// Whether the chosen one is fitted again.
    #[serde(default)]
    refit: bool,
}

kind! {
    Tune, "tune.pick", TuneOptions, Refuse,
    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::new("metrics", ArtifactKind::Metrics, Arity::One),
            InputPort::new("model", ArtifactKind::Model, Arity::One),
        ]
    }
    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Model), OutputPort::of(ArtifactKind::Metrics)]
    }
}

impl Reduce for Tune {
    fn infer(&self, inputs: &InputTypes) -> Result<Reduction, Problems> {
        assert!(!inputs.is_bound("model"), "what is chosen from is not the kind's business");
        Ok(Reduction { reads: Vec::new(), outputs: BTreeMap::from([("metrics".to_owned(), PortType::Metrics)]) })
    }

    fn run(&self, _: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        Err(nothing())
    }
}

impl Expand for Tune {
    fn ports(&self) -> Vec<&'static str> {
        vec!["metrics", "model"]
    }

    fn instances(&self, _: &Slice) -> Result<Vec<Instance>, Problems> {
        let mut instances = Vec::new();
        for (named, values) in &self.0.space {
            let (node, option) = named.split_once('.').unwrap_or((named, ""));
            for (place, value) in values.iter().enumerate() {
                let named_at = format!("/space/{named}");
                let value_at = format!("{named_at}/{place}");
                let change = Override { named_at, value_at, ..Override::new(node, option, value.clone()) };
                instances.push(Instance { name: format!("trial={}", instances.len()), overrides: vec![change] });
            }
        }
        Ok(instances)
    }

    fn choice(&self) -> Option<Choice> {
        let refit = if self.0.refit { Refit::OnTrainAndValidation } else { Refit::None };
        Some(Choice { port: "model", by: "metrics", refit })
    }
}

/// Packs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BundleOptions {
    /// The node whose columns a client sends.
    request: String,
    /// The file written.
    out: PathOption,
}

kind! {
    Bundle, "deploy.bundle", BundleOptions, Refuse,
    fn inputs() -> Vec<InputPort> {
        model_port()
    }
    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Deployment)]
    }
}

impl Sink for Bundle {
    fn infer(&self, _: &InputTypes) -> Result<SinkType, Problems> {
        let outputs = BTreeMap::from([("deployment".to_owned(), PortType::Deployment)]);
        let serving = ServingRequest { model: "model".to_owned(), request: self.0.request.clone() };
        Ok(SinkType { reduction: Reduction { reads: Vec::new(), outputs }, serving: Some(serving) })
    }

    fn run(&self, _: &ReduceInputs, _: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        Err(nothing())
    }

    fn destination(&self) -> Option<Destination<'_>> {
        Some(Destination { port: "deployment", file: "bundle", path: &self.0.out.0 })
    }
}

pub(crate) fn registry() -> Registry {
    assert_eq!(one_table(), Rows::inputs(), "kinds take one table unless they say otherwise");
    Registry::new([
        Kind::source::<Rows>(),
        Kind::row_local::<Add>(),
        Kind::fit_apply::<Scale>(),
        Kind::row_local::<Split>(),
        Kind::whole::<Sum>(),
        Kind::whole::<Pick>(),
        Kind::whole::<Join>(),
        Kind::row_local::<Look>(),
        Kind::whole::<Stack>(),
        Kind::encoder::<Encode>(),
        Kind::fit::<Train>(),
        Kind::reduce::<Score>(),
        Kind::expand::<Cross>(),
        Kind::expand::<Tune>(),
        Kind::sink::<Bundle>(),
    ])
}

/// The pipeline in `text`, whose relative paths start at `folder`.
pub(crate) fn spec_in(folder: &Path, text: &str) -> PipelineSpec {
    let source = SourceText { name: "p.yaml".into(), text: text.to_owned() };
    let folders = Folders::new(folder, folder).unwrap();
    let environment = |_: &str| None;
    match engine_spec::read(source, &Parameters::new(), &environment, &vocabulary(&registry()), &folders) {
        Ok((spec, _)) => spec,
        Err(problems) => panic!("the pipeline of the test is refused: {}", shown(&problems)),
    }
}

/// The pipeline of these lines below `nodes:`.
pub(crate) fn spec(nodes: &str) -> PipelineSpec {
    let nodes = nodes.lines().map(|line| format!("  {}\n", line.trim())).collect::<String>();
    spec_in(Path::new("/nowhere"), &format!("fuseline: 1\nname: test\nseed: 7\nnodes:\n{nodes}"))
}

pub(crate) fn plan_of(nodes: &str) -> Plan {
    match bind(&spec(nodes), &registry()) {
        Ok(Checked::Complete(plan)) => plan,
        Ok(Checked::Untyped { notes }) => panic!("untyped: {}", shown(&notes)),
        Err(problems) => panic!("refused: {}", shown(&problems)),
    }
}

/// What is wrong with the pipeline: code and message, one a line.
pub(crate) fn problems_of(nodes: &str) -> Vec<Diagnostic> {
    match bind(&spec(nodes), &registry()) {
        Ok(checked) => checked.notes().to_vec(),
        Err(problems) => problems,
    }
}

pub(crate) fn shown(problems: &[Diagnostic]) -> String {
    let line = |problem: &Diagnostic| {
        let place = problem.labels.first().map(|label| label.span.text().to_owned()).unwrap_or_default();
        format!("{} {}: {} @ {place}\n", problem.severity.as_str(), problem.code.name, problem.message)
    };
    problems.iter().map(line).collect()
}
