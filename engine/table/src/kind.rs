//! Kinds as values: what `uses:` names, with everything the engine asks of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use engine_core::{ArtifactKind, Code, Effect, NumericClass, Serving};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    At, Change, Context, Encoder, Expand, Fetch, Files, FitApply, NodeError, Problem, Reduce, RowFunction, RowLocal,
    Sink, Source, TableType, TrainRows, Whole,
};

/// Options that the schema allows and the kind does not.
pub static OPTION_INVALID: Code = Code {
    name: "option.invalid",
    summary: "options that cannot be used together or in this form",
    explanation: "The options fit the kind's schema but not each other, or a value has a form the schema cannot \
describe. The message says which option and what it takes; `fuseline kinds KIND` prints the manual.",
};

/// How many references a port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one; for a table port also a list of tables of one row set, merged by column.
    One,
    /// None or one.
    Optional,
    /// One or more, kept apart.
    Many,
}

/// A port a kind takes something on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPort {
    /// Its name in `in:`.
    pub name: String,
    /// What it takes.
    pub takes: ArtifactKind,
    /// How many.
    pub arity: Arity,
}

impl InputPort {
    /// A port.
    pub fn new(name: &str, takes: ArtifactKind, arity: Arity) -> InputPort {
        InputPort { name: name.to_owned(), takes, arity }
    }
}

/// A port a kind gives something on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPort {
    /// Its name in references: `node.port`.
    pub name: String,
    /// What it gives.
    pub gives: ArtifactKind,
}

impl OutputPort {
    /// A port named as what it gives.
    pub fn of(gives: ArtifactKind) -> OutputPort {
        OutputPort { name: gives.to_string(), gives }
    }
}

/// How many threads a task of a kind is admitted with, unless `resources:` says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpus {
    /// One: data kinds.
    One,
    /// All of the run's: kinds whose kernels run in parallel themselves.
    All,
}

/// The fixed part of a kind; its options are its manual.
pub trait Describe: Sized + Send + Sync + 'static {
    /// The name, `stage.kind`.
    const KIND: &'static str;
    /// Up when equal inputs would give other bytes.
    const VERSION: u32;
    /// A whole pipeline in YAML that uses the kind and plans without problems.
    const EXAMPLE: &'static str;
    /// What becomes of it in a deployment.
    const SERVING: Serving;
    /// How far equal inputs give equal bits.
    const NUMERICS: NumericClass = NumericClass::Exact;
    /// Whether it uses [`Context::seed`] or [`Context::pipeline_seed`]; if so the pipeline's seed is keyed.
    const RANDOM: bool = false;
    /// Threads it is admitted with.
    const CPUS: Cpus = Cpus::One;
    /// Whether it stops by the validation rows. A refit, which learns from these rows too, is then given what was
    /// fitted without them: [`crate::ReduceInputs::earlier`].
    const STOPS_EARLY: bool = false;
    /// Whether it opens secrets in its options: [`Context::secret`]. Of a kind that does not, a secret is refused.
    const OPENS_SECRETS: bool = false;

    /// The options; the doc comment of the struct is the kind's page.
    type Options: Serialize + DeserializeOwned + JsonSchema;

    /// The input ports; a single table on `table` unless the kind says otherwise.
    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new("table", ArtifactKind::Table, Arity::One)]
    }

    /// The output ports beyond those its trait implies (`table`; `table` and `fitted`; `encoder`).
    /// [`Reduce`], [`Expand`] and [`Sink`] kinds name theirs here, the default one first.
    fn outputs() -> Vec<OutputPort> {
        Vec::new()
    }

    /// Checks once what the schema cannot say.
    ///
    /// # Errors
    /// Every problem of the options.
    fn new(options: Self::Options) -> Result<Self, Vec<Problem>>;
}

/// [`FitApply`] with its fitted values as files.
pub trait ErasedFitApply: Send + Sync {
    /// See [`FitApply::infer`].
    ///
    /// # Errors
    /// As there.
    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>>;

    /// See [`FitApply::fit`]; the result has the file `fitted.json`.
    ///
    /// # Errors
    /// As there.
    fn fit(&self, train: TrainRows<'_>, context: &Context) -> Result<Files, NodeError>;

    /// [`FitApply::apply_declared`] with the fitted values read once; `change` is what `infer` gave.
    ///
    /// # Errors
    /// If the files do not hold fitted values of this kind.
    fn prepare(self: Arc<Self>, fitted: &Files, change: &Change) -> Result<Box<dyn RowFunction>, NodeError>;

    /// See [`FitApply::files`].
    fn files(&self) -> Vec<PathBuf>;

    /// See [`FitApply::sizes`].
    ///
    /// # Errors
    /// If the files do not hold fitted values of this kind.
    fn sizes(&self, fitted: &Files) -> Result<BTreeMap<String, u64>, NodeError>;
}

const FITTED_FILE: &str = "fitted.json";

impl<K: FitApply + 'static> ErasedFitApply for K {
    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>> {
        FitApply::infer(self, table)
    }

    fn fit(&self, train: TrainRows<'_>, context: &Context) -> Result<Files, NodeError> {
        let fitted = FitApply::fit(self, train, context)?;
        Files::json(FITTED_FILE, &fitted).map_err(NodeError::failed)
    }

    fn prepare(self: Arc<Self>, fitted: &Files, change: &Change) -> Result<Box<dyn RowFunction>, NodeError> {
        let fitted: K::Fitted = read_fitted(fitted)?;
        let change = change.clone();
        Ok(Box::new(move |rows: &polars::prelude::DataFrame| self.apply_declared(&fitted, rows, &change)))
    }

    fn files(&self) -> Vec<PathBuf> {
        FitApply::files(self)
    }

    fn sizes(&self, fitted: &Files) -> Result<BTreeMap<String, u64>, NodeError> {
        Ok(FitApply::sizes(self, &read_fitted(fitted)?))
    }
}

fn read_fitted<T: DeserializeOwned>(fitted: &Files) -> Result<T, NodeError> {
    fitted
        .read_json(FITTED_FILE)
        .map_err(|error| NodeError::Failed(format!("the fitted values cannot be read: {error}")))
}

/// A kind bound to options, by the way it touches rows.
#[derive(Clone)]
pub enum Node {
    /// Reads outside the graph.
    Source(Arc<dyn Source>),
    /// Takes files outside the graph in.
    Fetch(Arc<dyn Fetch>),
    /// Row by row.
    RowLocal(Arc<dyn RowLocal>),
    /// Learns, then row by row: two tasks, `node/fit` and `node`.
    FitApply(Arc<dyn ErasedFitApply>),
    /// All rows to a table.
    Whole(Arc<dyn Whole>),
    /// Rows and artifacts to artifacts.
    Reduce(Arc<dyn Reduce>),
    /// Declares an encoder.
    Encoder(Arc<dyn Encoder>),
    /// Instantiates what is above it.
    Expand(Arc<dyn Expand>),
    /// Writes outside the graph.
    Sink(Arc<dyn Sink>),
}

/// Which rows a fit learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FitOn {
    /// The train rows (and validation rows, where the kind uses them); needs a split upstream.
    Train,
    /// All rows, by the author's own word.
    All,
}

/// A kind with its options.
#[derive(Clone)]
pub struct Bound {
    /// What it does.
    pub node: Node,
    /// The options that key it: defaults filled in, paths left out.
    pub key_options: Value,
    /// All options: defaults filled in.
    pub options: Value,
    /// For [`Effect::Fit`]: which rows it learns from.
    pub fit_on: FitOn,
}

type Bind = Box<dyn Fn(Map<String, Value>) -> Result<(Node, Value), Vec<Problem>> + Send + Sync>;

/// What `uses:` names.
pub struct Kind {
    /// `stage.kind`.
    pub name: String,
    /// The kind's own version, or the digest of a plug-in.
    pub version: String,
    /// What it does to rows.
    pub effect: Effect,
    /// What becomes of it in a deployment.
    pub serving: Serving,
    /// How far equal inputs give equal bits.
    pub numerics: NumericClass,
    /// Whether the pipeline's seed keys it.
    pub random: bool,
    /// Threads it is admitted with.
    pub cpus: Cpus,
    /// Whether it stops by the validation rows.
    pub stops_early: bool,
    /// Whether it opens secrets in its options.
    pub opens_secrets: bool,
    /// What it takes.
    pub inputs: Vec<InputPort>,
    /// What it gives, the default one first.
    pub outputs: Vec<OutputPort>,
    /// JSON schema (draft 2020-12) of its options, without references.
    pub options_schema: Value,
    /// A whole pipeline that uses it.
    pub example: String,
    /// For [`Effect::Fit`]: which rows it learns from unless the author says otherwise.
    pub fit_on: FitOn,
    bind: Bind,
}

impl Kind {
    /// A kind that reads outside the graph.
    pub fn source<K: Describe + Source>() -> Kind {
        let kind = Kind::described::<K>(Effect::Source, |kind| Node::Source(Arc::new(kind)));
        Kind { inputs: Vec::new(), outputs: vec![OutputPort::of(ArtifactKind::Table)], ..kind }
    }

    /// A kind that takes files in: those of a folder, or those the rows of a table name.
    pub fn fetch<K: Describe + Fetch>() -> Kind {
        let kind = Kind::described::<K>(Effect::Source, |kind| Node::Fetch(Arc::new(kind)));
        Kind { outputs: vec![OutputPort::of(ArtifactKind::Table)], ..kind }
    }

    /// A kind that works row by row.
    pub fn row_local<K: Describe + RowLocal>() -> Kind {
        let kind = Kind::described::<K>(Effect::RowLocal, |kind| Node::RowLocal(Arc::new(kind)));
        Kind { outputs: vec![OutputPort::of(ArtifactKind::Table)], ..kind }
    }

    /// A kind that learns and then works row by row.
    pub fn fit_apply<K: Describe + FitApply>() -> Kind {
        let kind = Kind::described::<K>(Effect::Fit, |kind| Node::FitApply(Arc::new(kind)));
        let outputs = vec![OutputPort::of(ArtifactKind::Table), OutputPort::of(ArtifactKind::Fitted)];
        Kind { outputs, ..kind }
    }

    /// As [`Kind::fit_apply`], for what makes the parts itself (a split): it learns from all rows, and has no
    /// `fit_on` option.
    pub fn fit_apply_on_all<K: Describe + FitApply>() -> Kind {
        let mut kind = Kind::fit_apply::<K>();
        kind.fit_on = FitOn::All;
        if let Some(properties) = kind.options_schema["properties"].as_object_mut() {
            properties.remove("fit_on");
        }
        kind
    }

    /// A kind that makes a table of all rows.
    pub fn whole<K: Describe + Whole>() -> Kind {
        let kind = Kind::described::<K>(Effect::Whole, |kind| Node::Whole(Arc::new(kind)));
        Kind { outputs: vec![OutputPort::of(ArtifactKind::Table)], ..kind }
    }

    /// A kind that trains.
    pub fn fit<K: Describe + Reduce>() -> Kind {
        Kind::described::<K>(Effect::Fit, |kind| Node::Reduce(Arc::new(kind)))
    }

    /// A kind that scores or sums up.
    pub fn reduce<K: Describe + Reduce>() -> Kind {
        Kind::described::<K>(Effect::Whole, |kind| Node::Reduce(Arc::new(kind)))
    }

    /// A kind that declares an encoder.
    pub fn encoder<K: Describe + Encoder>() -> Kind {
        let kind = Kind::described::<K>(Effect::RowLocal, |kind| Node::Encoder(Arc::new(kind)));
        Kind { outputs: vec![OutputPort::of(ArtifactKind::Encoder)], ..kind }
    }

    /// A kind that instantiates what is above it.
    pub fn expand<K: Describe + Expand>() -> Kind {
        Kind::described::<K>(Effect::Whole, |kind| Node::Expand(Arc::new(kind)))
    }

    /// A kind that writes outside the graph.
    pub fn sink<K: Describe + Sink>() -> Kind {
        Kind::described::<K>(Effect::Sink, |kind| Node::Sink(Arc::new(kind)))
    }

    /// A kind found at run time, such as a plug-in: row by row, one table in and one out. Its results are held to the
    /// machine they were made on, since nobody here knows how it computes. `make` is given options that fit
    /// `options_schema` and gives the node and the options with their defaults.
    pub fn found_row_local(
        name: &str,
        version: String,
        serving: Serving,
        options_schema: Value,
        make: impl Fn(Map<String, Value>) -> Result<(Arc<dyn RowLocal>, Value), Vec<Problem>> + Send + Sync + 'static,
    ) -> Kind {
        Kind {
            name: name.to_owned(),
            version,
            effect: Effect::RowLocal,
            serving,
            numerics: NumericClass::Kernel,
            random: false,
            cpus: Cpus::One,
            stops_early: false,
            // What a program outside does with its options is not known here.
            opens_secrets: true,
            inputs: vec![InputPort::new("table", ArtifactKind::Table, Arity::One)],
            outputs: vec![OutputPort::of(ArtifactKind::Table)],
            options_schema,
            example: String::new(),
            fit_on: FitOn::Train,
            bind: Box::new(move |with| make(with).map(|(node, options)| (Node::RowLocal(node), options))),
        }
    }

    fn described<K: Describe>(effect: Effect, node: fn(K) -> Node) -> Kind {
        let bind = move |with: Map<String, Value>| {
            let options: K::Options = serde_json::from_value(Value::Object(with))
                .map_err(|error| vec![Problem::error(&OPTION_INVALID, At::Node, error.to_string())])?;
            let canonical = serde_json::to_value(&options)
                .map_err(|error| vec![Problem::error(&OPTION_INVALID, At::Node, error.to_string())])?;
            Ok((node(K::new(options)?), canonical))
        };
        Kind {
            name: K::KIND.to_owned(),
            version: K::VERSION.to_string(),
            effect,
            serving: K::SERVING,
            numerics: K::NUMERICS,
            random: K::RANDOM,
            cpus: K::CPUS,
            stops_early: K::STOPS_EARLY,
            opens_secrets: K::OPENS_SECRETS,
            inputs: K::inputs(),
            outputs: K::outputs(),
            options_schema: options_schema::<K::Options>(effect),
            example: K::EXAMPLE.to_owned(),
            fit_on: FitOn::Train,
            bind: Box::new(bind),
        }
    }

    /// The kind with the options `with`, which fit its schema.
    ///
    /// # Errors
    /// What the schema cannot say.
    pub fn bind(&self, with: &Map<String, Value>) -> Result<Bound, Vec<Problem>> {
        let mut with = with.clone();
        let fit_on = match with.remove("fit_on") {
            Some(Value::String(word)) if self.effect == Effect::Fit && word == "all" => FitOn::All,
            _ => self.fit_on,
        };
        let (node, mut options) = (self.bind)(with)?;
        if let (Effect::Fit, Value::Object(map)) = (self.effect, &mut options) {
            map.insert("fit_on".to_owned(), json!(fit_on));
        }
        let mut key_options = options.clone();
        remove_paths(&mut key_options, &self.options_schema);
        Ok(Bound { node, key_options, options, fit_on })
    }

    /// The first paragraph of its page.
    pub fn summary(&self) -> &str {
        self.description().split("\n\n").next().unwrap_or("")
    }

    /// The text of its page.
    pub fn description(&self) -> &str {
        self.options_schema["description"].as_str().unwrap_or("")
    }
}

fn options_schema<O: JsonSchema>(effect: Effect) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<O>().to_value();
    if effect == Effect::Fit {
        schema["properties"]["fit_on"] = json!({
            "description": "Which rows it learns from: `train`, which needs a split upstream, or `all`.",
            "enum": ["train", "all"],
            "default": "train"
        });
    }
    schema
}

/// Takes the options out that the schema marks as paths.
fn remove_paths(options: &mut Value, schema: &Value) {
    let (Value::Object(map), Some(properties)) = (options, schema["properties"].as_object()) else { return };
    for (name, property) in properties {
        if property["format"] == "path" {
            map.remove(name);
        }
    }
}

/// The kinds of a binary, by name.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<String, Arc<Kind>>);

impl Registry {
    /// A registry of `kinds`; of two with one name the later counts.
    pub fn new(kinds: impl IntoIterator<Item = Kind>) -> Registry {
        Registry(kinds.into_iter().map(|kind| (kind.name.clone(), Arc::new(kind))).collect())
    }

    /// Adds a kind; one of the same name is replaced.
    pub fn insert(&mut self, kind: Kind) {
        self.0.insert(kind.name.clone(), Arc::new(kind));
    }

    /// The kind called `name`.
    pub fn kind(&self, name: &str) -> Option<&Arc<Kind>> {
        self.0.get(name)
    }

    /// All kinds in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.0.values()
    }
}
