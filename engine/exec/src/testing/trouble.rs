//! Kinds that fail, panic, hang, recover, and talk too much.

use std::collections::BTreeMap;
use std::io::Write;

use engine_core::{ArtifactKind, Progress, Serving, Unit};
use engine_table::{
    Arity, Context, Cpus, Describe, Files, InputPort, InputTypes, Kind, NodeError, OutputPort, PathOption, PortType,
    Problem, Reduce, ReduceInputs, Reduction,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) fn all() -> [Kind; 2] {
    [Kind::reduce::<Trouble>(), Kind::reduce::<Leaky>()]
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    Fine,
    Fail,
    Panic,
    /// Works until it is told to stop.
    Wait,
    /// Fails twice, then works.
    Flaky,
    /// As `flaky`, but says that trying again is of no use.
    FlakyForGood,
    /// Stops although nobody told it to.
    Stops,
    /// Declares a port and gives nothing on it.
    Silent,
}

/// Does what its mode says; counts its tries in a file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TroubleOptions {
    mode: Mode,
    #[serde(default)]
    salt: u64,
    #[serde(default)]
    tries: Option<PathOption>,
}

struct Trouble(TroubleOptions);

impl Describe for Trouble {
    const KIND: &'static str = "test.trouble";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Refuse;
    const CPUS: Cpus = Cpus::One;
    type Options = TroubleOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new("after", ArtifactKind::Report, Arity::Optional)]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Report)]
    }

    fn new(options: TroubleOptions) -> Result<Self, Vec<Problem>> {
        Ok(Trouble(options))
    }
}

impl Reduce for Trouble {
    fn infer(&self, _: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        Ok(Reduction { reads: Vec::new(), outputs: BTreeMap::from([("report".into(), PortType::Report)]) })
    }

    fn run(&self, _: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let tries = match &self.0.tries {
            None => 1,
            Some(path) => {
                let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path.as_path()).unwrap();
                file.write_all(b".").unwrap();
                file.metadata().unwrap().len()
            }
        };
        match self.0.mode {
            Mode::Fine => {}
            Mode::Fail => return Err(NodeError::Failed("column `a` has 3 gaps".into())),
            Mode::Panic => panic!("index 7 out of bounds"),
            Mode::Wait => loop {
                context.cancel.check()?;
                std::thread::yield_now();
            },
            Mode::Flaky if tries < 3 => return Err(NodeError::Transient("the line is busy".into())),
            Mode::FlakyForGood if tries < 3 => return Err(NodeError::Failed("no such page".into())),
            Mode::Flaky | Mode::FlakyForGood => {}
            Mode::Stops => return Err(NodeError::Cancelled),
            Mode::Silent => return Ok(BTreeMap::new()),
        }
        let files = Files::json("salt.json", &self.0.salt).map_err(NodeError::failed)?;
        Ok(BTreeMap::from([("report".into(), files)]))
    }
}

/// Where a secret is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    Nowhere,
    Error,
    Panic,
    Warning,
    Progress,
    Output,
}

/// Opens a secret and says it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeakyOptions {
    token: String,
    place: Place,
}

struct Leaky(LeakyOptions);

impl Describe for Leaky {
    const KIND: &'static str = "test.leaky";
    const VERSION: u32 = 1;
    const EXAMPLE: &'static str = "";
    const SERVING: Serving = Serving::Refuse;
    const OPENS_SECRETS: bool = true;
    type Options = LeakyOptions;

    fn inputs() -> Vec<InputPort> {
        Vec::new()
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Report)]
    }

    fn new(options: LeakyOptions) -> Result<Self, Vec<Problem>> {
        Ok(Leaky(options))
    }
}

impl Reduce for Leaky {
    fn infer(&self, _: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        Ok(Reduction { reads: Vec::new(), outputs: BTreeMap::from([("report".into(), PortType::Report)]) })
    }

    fn run(&self, _: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let token = context.secret(&self.0.token)?;
        let mut text = format!("{} letters", token.len());
        match self.0.place {
            Place::Nowhere => {}
            Place::Error => return Err(NodeError::Failed(format!("401 for https://bank.example/?key={token}"))),
            Place::Panic => panic!("cannot parse {token:?}"),
            Place::Warning => context.progress.warning(&format!("the key {token} is old")),
            Place::Progress => context.progress.progress(Progress {
                done: 1,
                total: None,
                unit: Unit::Steps,
                values: BTreeMap::from([(token.to_owned(), 1.0)]),
            }),
            Place::Output => text = format!("asked with {token}"),
        }
        Ok(BTreeMap::from([("report".into(), Files::new().with("text.txt", text.into_bytes()))]))
    }
}
