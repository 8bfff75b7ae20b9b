//! The kind `train.multimodal`: encoders, a fusion and heads, trained together.

mod page;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use engine_core::{ArtifactKind, NumericClass, Part, Progress, Role, Serving, Unit, nearest};
use engine_table::{
    Arity, At, ColumnType, Context, Cpus, Describe, EncoderType, Files, InputPort, InputTypes, ModelType, NodeError,
    OPTION_INVALID, OutputPort, PortType, Prediction, Problem, Read, Reduce, ReduceInputs, Reduction, RowFilter,
};
use nodes_models::{
    ClassWeights, Cpu, EpochReport, Examples, FusionArchitecture, FusionConfig, HeadConfig, LossWeights, Model,
    ModelConfig, NamedEncoder, OptimiserName, Targets, Task, TrainingOptions, TrainingReport,
};
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::codes::{LOSS_MODALITY, MODEL_COLUMN, TRAIN_ENCODERS};
use crate::model::declaration::Declaration;
use crate::model::reading::Reading;
use crate::model::rows;
use crate::model::target::{Classes, TaskOption, labels, target_of, values};
use crate::model::trained::{Learner, ModelColumns, TrainedModel, epochs_of, with_epochs};
use crate::place;

/// Trains encoders, a fusion of what they give, and a head, together, to predict the target.
///
/// Each node on `encoders` is one modality: text, images, sound or columns of a table. Their vectors are joined by the
/// fusion, and the head turns the joined vector into a probability for each class, or into a number. The loss is the
/// cross-entropy, or the squared error of the target in standard deviations.
///
/// With two or more encoders each has a head of its own beside the joint one. The loss is then a weighted sum of the
/// joint loss and one for each encoder (`loss`), which keeps every encoder learning where another would do alone, and
/// lets an evaluation compare the joint prediction with the best single modality. Prediction is the joint head's.
///
/// A row may lack modalities: its encoder for them is skipped, a learnt stand-in goes into the fusion, and the row has
/// no part in their losses, which are means over the rows that have them. A row that lacks all of them teaches nothing
/// and is given the shares of the classes, or the mean, of the train rows.
///
/// It learns from the train rows. With validation rows it keeps the weights of the epoch with the lowest validation
/// loss of the joint prediction, and stops when that has not become lower for a while. Rows without a target are left
/// out and counted. A column with the role `weight` says how much each row counts in the loss. Equal rows, options and
/// seed give the same model, bit for bit, on any number of threads. The report draws the losses and the lengths of the
/// gradients of every modality by epoch.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MultimodalOptions {
    /// The column to predict; by default the only one with the role `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,

    /// Whether the target is a class or a number; `auto` goes by its type.
    #[serde(default)]
    pub task: TaskOption,

    /// Encoders on the port `encoders` that are left out, by node; none by default. `evaluate.ablation` sets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,

    /// The only encoders on the port `encoders` that are trained, by node; by default all. `evaluate.ablation` sets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,

    /// How the encoders' vectors are joined: `concat` puts them side by side, `gated` weighs them row by row.
    #[serde(default)]
    pub fusion: FusionConfig,

    /// How much the losses of the joint prediction and of the single encoders count; with one encoder there is one
    /// loss.
    #[serde(default)]
    pub loss: Loss,

    /// The layers between the joined vector and the prediction.
    #[serde(default)]
    pub head: HeadConfig,

    /// What turns gradients into steps.
    #[serde(default)]
    pub optimizer: OptimiserName,

    /// The length of a step, above 0.
    #[serde(default = "default_learning_rate")]
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,

    /// How many rows make one step.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: usize,

    /// How many times the train rows are gone through at most.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1))]
    pub epochs: usize,

    /// The penalty on large weights, as a part of the gradient: l2 / 2 times the sum of their squares.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub l2: f64,

    /// By how much `adamw` shrinks the weights each step, in units of the learning rate; 0.01 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub weight_decay: Option<f64>,

    /// The share of its last step that `sgd` keeps, at least 0 and less than 1.
    #[serde(default = "default_momentum")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,

    /// The largest length a gradient may have; longer ones are cut to it. Without it none is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub gradient_clip: Option<f64>,

    /// When to stop before the last epoch.
    #[serde(default)]
    pub early_stopping: EarlyStopping,

    /// How much the rows of each class count.
    #[serde(default)]
    pub class_weight: ClassWeight,

    /// The share of each row's class that is spread over all classes, at least 0 and less than 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub label_smoothing: f64,
}

/// How much each term of the loss counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Loss {
    /// The weight of the loss of the joint prediction, above 0.
    #[serde(default = "default_joint")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub joint: f64,

    /// The weights of the losses of single encoders, by their nodes, each at least 0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("additionalProperties" = {"type": "number", "minimum": 0}))]
    pub modalities: BTreeMap<String, f64>,

    /// The weight of the loss of every encoder that `modalities` does not name, at least 0.
    #[serde(default = "default_others")]
    #[schemars(range(min = 0.0))]
    pub others: f64,
}

impl Default for Loss {
    fn default() -> Self {
        Loss { joint: default_joint(), modalities: BTreeMap::new(), others: default_others() }
    }
}

fn default_joint() -> f64 {
    LossWeights::default().joint
}

fn default_others() -> f64 {
    LossWeights::default().default_modality
}

/// When training stops before the last epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct EarlyStopping {
    /// After how many epochs without a lower validation loss it stops; `null` for never.
    #[serde(default = "default_patience")]
    #[schemars(range(min = 1))]
    pub patience: Option<usize>,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        EarlyStopping { patience: default_patience() }
    }
}

/// How much the rows of each class count in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ClassWeight {
    /// Every row the same.
    #[default]
    None,
    /// Every class the same in total, so that rare classes count more a row.
    Balanced,
}

impl ClassWeight {
    /// As the model's options have it.
    pub(crate) fn to_weights(self) -> ClassWeights {
        match self {
            ClassWeight::None => ClassWeights::Equal,
            ClassWeight::Balanced => ClassWeights::Balanced,
        }
    }
}

fn default_learning_rate() -> f64 {
    TrainingOptions::default().learning_rate
}

fn default_batch_size() -> usize {
    TrainingOptions::default().batch_size
}

fn default_epochs() -> usize {
    TrainingOptions::default().epochs
}

fn default_momentum() -> f64 {
    TrainingOptions::default().momentum
}

fn default_patience() -> Option<usize> {
    TrainingOptions::default().patience
}

const ENCODERS: &str = "encoders";

/// The kind `train.multimodal`.
pub struct Multimodal {
    options: MultimodalOptions,
    training: TrainingOptions,
}

impl Describe for Multimodal {
    const KIND: &'static str = "train.multimodal";
    const VERSION: u32 = 4;
    const EXAMPLE: &'static str = r"fuseline: 1
name: risk
nodes:
  loans:
    uses: ingest.csv
    with: {path: loans.csv, schema: {age: int, job: category, amount: float, default: bool}, roles: {default: target}}
  split: {uses: split.random, with: {shares: {train: 0.7, validation: 0.15, test: 0.15}}, in: loans}
  scaled: {uses: encode.standardize, with: {columns: [age, amount]}, in: split}
  person: {uses: encode.table, with: {columns: [age, job]}, in: scaled}
  loan: {uses: encode.table, with: {columns: [amount], hidden: [16]}, in: scaled}
  risk:
    uses: train.multimodal
    with: {target: default, fusion: {architecture: concat}, loss: {modalities: {loan: 0.1}}, epochs: 40}
    in: {encoders: [person, loan]}
  quality: {uses: evaluate.classification, in: risk}
";
    const SERVING: Serving = Serving::Refuse;
    const NUMERICS: NumericClass = NumericClass::Kernel;
    const RANDOM: bool = true;
    const CPUS: Cpus = Cpus::All;
    const STOPS_EARLY: bool = true;
    type Options = MultimodalOptions;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::new(ENCODERS, ArtifactKind::Encoder, Arity::Many)]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::of(ArtifactKind::Model), OutputPort::of(ArtifactKind::Report)]
    }

    fn new(options: MultimodalOptions) -> Result<Self, Vec<Problem>> {
        let training = training_options(&options);
        // The message of the model's own check names the option; the names that differ are mended here.
        let invalid = |message: String| {
            let message = message.replace("`patience`", "`early_stopping.patience`");
            vec![Problem::error(&OPTION_INVALID, At::Node, message)]
        };
        training.check().map_err(|error| invalid(error.to_string()))?;
        if !(0.0..1.0).contains(&options.head.dropout) {
            let message = format!("`dropout` is {}, and takes at least 0 and less than 1", options.head.dropout);
            return Err(vec![Problem::error(&OPTION_INVALID, At::Option("/head/dropout".to_owned()), message)]);
        }
        if options.fusion.architecture == FusionArchitecture::Concat && options.fusion.width.is_some() {
            let message = "`width` belongs to the fusion `gated`; `concat` is as wide as all encoders together";
            return Err(vec![Problem::error(&OPTION_INVALID, At::Option("/fusion/width".to_owned()), message)]);
        }
        Ok(Multimodal { options, training })
    }
}

fn training_options(options: &MultimodalOptions) -> TrainingOptions {
    TrainingOptions {
        epochs: options.epochs,
        batch_size: options.batch_size,
        learning_rate: options.learning_rate,
        optimiser: options.optimizer,
        l2: options.l2,
        weight_decay: options.weight_decay,
        momentum: options.momentum,
        gradient_clip: options.gradient_clip,
        patience: options.early_stopping.patience,
        class_weights: options.class_weight.to_weights(),
        label_smoothing: options.label_smoothing,
        huber_delta: None,
        loss_weights: LossWeights {
            joint: options.loss.joint,
            modalities: options.loss.modalities.clone(),
            default_modality: options.loss.others,
        },
    }
}

impl Reduce for Multimodal {
    fn infer(&self, inputs: &InputTypes) -> Result<Reduction, Vec<Problem>> {
        let table = inputs.table(ENCODERS);
        let all = inputs.encoders(ENCODERS);
        let encoders = self.chosen(&all);
        let mut problems = self.unknown_encoders(&all);
        if encoders.is_empty() && problems.is_empty() {
            let message = "no encoder is left to train";
            problems.push(
                Problem::error(&TRAIN_ENCODERS, place::option("without"), message)
                    .help("name fewer encoders in `without`, or others in `only`"),
            );
        }
        let mut reads: Vec<String> = Vec::new();
        let mut may_lack_evidence = true;
        for encoder in &encoders {
            match Declaration::of(encoder) {
                Ok(declared) => may_lack_evidence &= declared.present.is_some(),
                Err(_) => problems.push(foreign(encoder)),
            }
            reads.extend(encoder.reads.iter().cloned());
        }
        reads.sort_unstable();
        reads.dedup();
        let target = target_of(table, self.options.target.as_deref(), self.options.task);
        let (target, prediction) = match target {
            Ok(found) => found,
            Err(problem) => {
                problems.push(problem);
                return Err(problems);
            }
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let columns = learnt_columns(&reads, &target, table.with_role(Role::Weight).next());
        let read = |part| Read::new(ENCODERS, RowFilter::Part(part), columns.clone());
        let modalities = match &encoders[..] {
            [] | [_] => Vec::new(),
            several => several.iter().map(|encoder| encoder.node.clone()).collect(),
        };
        let model = ModelType { modalities, may_lack_evidence, ..ModelType::new(prediction, target, reads) };
        Ok(Reduction {
            reads: vec![read(Part::Train), read(Part::Validation)],
            outputs: BTreeMap::from([
                ("model".to_owned(), PortType::Model(model)),
                ("report".to_owned(), PortType::Report),
            ]),
        })
    }

    fn run(&self, inputs: &ReduceInputs, context: &Context) -> Result<BTreeMap<String, Files>, NodeError> {
        let table = inputs.types.table(ENCODERS);
        let (target, prediction) = target_of(table, self.options.target.as_deref(), self.options.task)
            .map_err(|problem| NodeError::Failed(problem.message))?;
        let weight = table.with_role(Role::Weight).next();
        let train = Learnt::new(rows::train(inputs, ENCODERS)?, &target, weight, "train", context)?;
        let validation = match rows::validation(inputs, ENCODERS)? {
            Some(rows) => Some(Learnt::new(rows, &target, weight, "validation", context)?),
            None => None,
        };
        let encoders = self.chosen(&inputs.types.encoders(ENCODERS));
        let declared = encoders.into_iter().map(declared).collect::<Result<Vec<_>, _>>()?;
        // A refit has no validation rows to stop by; it stops where the same training was best with them.
        let earlier = inputs.earlier().and_then(|earlier| epochs_of(&earlier.files)).filter(|_| validation.is_none());
        let rows = (&train, validation.as_ref());
        let trained = self.train(&declared, &target, prediction, rows, earlier, context)?;
        Ok(BTreeMap::from([
            ("model".to_owned(), with_epochs(trained.model.to_files()?, trained.report.best_epoch)?),
            ("report".to_owned(), page::page(&target.name, &trained, train.left_out).to_files()?),
        ]))
    }
}

/// An encoder that was not declared by a kind of this crate.
fn foreign(encoder: &EncoderType) -> Problem {
    let EncoderType { node, modality, architecture, .. } = encoder;
    let message = format!("`{node}` is an encoder of {modality} ({architecture}), which this trainer cannot build");
    Problem::error(&MODEL_COLUMN, At::Input(ENCODERS.to_owned()), message)
        .help("`encode.text`, `encode.image`, `encode.sound` and `encode.table` give encoders it can")
}

/// The columns a trainer is given: the model's inputs, the target, the weights.
pub(crate) fn learnt_columns(reads: &[String], target: &ColumnType, weight: Option<&ColumnType>) -> Vec<String> {
    let mut columns = reads.to_vec();
    columns.push(target.name.clone());
    columns.extend(weight.map(|weight| weight.name.clone()));
    columns
}

/// An encoder as its node declared it.
fn declared(encoder: &EncoderType) -> Result<(String, Declaration), NodeError> {
    let declaration = Declaration::of(encoder)
        .map_err(|error| NodeError::Failed(format!("the encoder `{}` cannot be built: {error}", encoder.node)))?;
    Ok((encoder.node.clone(), declaration))
}

/// Rows to learn from: those with a target.
pub(crate) struct Learnt {
    /// The rows.
    pub(crate) rows: DataFrame,
    /// How much each counts; `None` if all count the same.
    pub(crate) weights: Option<Vec<f64>>,
    /// How many rows have no target.
    pub(crate) left_out: usize,
}

impl Learnt {
    /// The rows of `frame` that have a target; warns of the others.
    ///
    /// # Errors
    /// If none has one, or a weight is missing.
    pub(crate) fn new(
        frame: &DataFrame,
        target: &ColumnType,
        weight: Option<&ColumnType>,
        part: &str,
        context: &Context,
    ) -> Result<Learnt, NodeError> {
        let (rows, left_out) = rows::with_value(frame, &target.name)?;
        if left_out > 0 {
            let (name, of) = (&target.name, frame.height());
            context.progress.warning(&format!("{left_out} of {of} {part} rows have no `{name}` and are left out"));
        }
        if rows.height() == 0 {
            return Err(NodeError::Failed(format!(
                "there is no {part} row with a value of `{}`; look at the shares of the split",
                target.name
            )));
        }
        let weights = match weight {
            Some(weight) if rows.column(&weight.name).is_ok_and(|column| column.null_count() > 0) => {
                let message =
                    format!("the weight column `{}` has missing values; fill them with `clean.impute`", weight.name);
                return Err(NodeError::Failed(message));
            }
            Some(weight) => Some(values(&rows, &weight.name)?),
            None => None,
        };
        Ok(Learnt { rows, weights, left_out })
    }

    /// The classes that occur.
    ///
    /// # Errors
    /// If there is only one.
    pub(crate) fn classes(&self, target: &ColumnType) -> Result<Classes, NodeError> {
        let labels = labels(&self.rows, &target.name, &target.logical)?;
        let classes = Classes::of(labels.iter().map(AsRef::as_ref), &target.logical);
        match classes.names() {
            [only] => Err(NodeError::Failed(format!(
                "all {} train rows have the `{}` `{only}`, so there is nothing to tell apart",
                self.rows.height(),
                target.name
            ))),
            _ => Ok(classes),
        }
    }

    /// The rows whose class is among `classes`, with its number; of a regression, all rows with their values. Rows of
    /// other classes can stand in validation rows only; they say nothing of how well the known ones are told apart.
    fn targets(&self, target: &ColumnType, classes: Option<&Classes>) -> Result<(Vec<bool>, Targets), NodeError> {
        let Some(classes) = classes else {
            let values = values(&self.rows, &target.name)?;
            return Ok((vec![true; values.len()], Targets::Values(values)));
        };
        let labels = labels(&self.rows, &target.name, &target.logical)?;
        let numbers: Vec<Option<u32>> = labels.iter().map(|label| classes.number(label)).collect();
        let known = numbers.iter().map(Option::is_some).collect();
        Ok((known, Targets::Classes(numbers.into_iter().flatten().collect())))
    }

    /// What a model learns from: `columns` as numbers, and the targets.
    fn examples(
        &self,
        columns: &ModelColumns,
        target: &ColumnType,
        classes: Option<&Classes>,
    ) -> Result<Examples, NodeError> {
        let (known, targets) = self.targets(target, classes)?;
        let all = known.iter().all(|known| *known);
        let rows = if all { self.rows.clone() } else { filtered(&self.rows, &known)? };
        let keep =
            |weights: &Vec<f64>| weights.iter().zip(&known).filter(|(_, known)| **known).map(|(w, _)| *w).collect();
        Ok(Examples { inputs: columns.inputs(&rows)?, targets, weights: self.weights.as_ref().map(keep) })
    }
}

fn filtered(rows: &DataFrame, kept: &[bool]) -> Result<DataFrame, NodeError> {
    let mask: polars::prelude::BooleanChunked = kept.iter().copied().collect();
    rows.filter(&mask).map_err(NodeError::failed)
}

/// A model and how it became one.
struct Trained {
    model: TrainedModel,
    report: TrainingReport,
    task: Task,
    parameters: usize,
    weights: LossWeights,
    /// How many train rows lack every modality.
    without_evidence: usize,
    /// After how many epochs the same training was best with validation rows, if it is a refit.
    earlier: Option<usize>,
}

impl Multimodal {
    /// The encoders that are trained.
    fn chosen<'e>(&self, encoders: &[&'e EncoderType]) -> Vec<&'e EncoderType> {
        let MultimodalOptions { without, only, .. } = &self.options;
        let is_chosen = |encoder: &&&EncoderType| {
            !without.contains(&encoder.node) && (only.is_empty() || only.contains(&encoder.node))
        };
        encoders.iter().filter(is_chosen).copied().collect()
    }

    /// How much each loss counts; of encoders that are left out there is none.
    fn loss_weights(&self, declared: &[(String, Declaration)]) -> LossWeights {
        let mut weights = self.training.loss_weights.clone();
        weights.modalities.retain(|name, _| declared.len() > 1 && declared.iter().any(|(node, _)| node == name));
        weights
    }

    /// A problem for each option that names an encoder that there is not.
    fn unknown_encoders(&self, encoders: &[&EncoderType]) -> Vec<Problem> {
        let nodes = || encoders.iter().map(|encoder| encoder.node.as_str());
        let unknown = |code, name: &String, at: At, what: &str| {
            if nodes().any(|node| node == name) {
                return None;
            }
            let problem = Problem::error(code, at, format!("`{name}` {what}, but is none of the encoders"));
            Some(match nearest(name, nodes()) {
                Some(near) => problem.label(format!("did you mean `{near}`?")).help(format!("write `{near}`")),
                None => {
                    let names: Vec<String> = nodes().map(|node| format!("`{node}`")).collect();
                    problem.label("no such encoder").help(format!("the encoders are {}", names.join(", ")))
                }
            })
        };
        let MultimodalOptions { without, only, loss, .. } = &self.options;
        let mut problems: Vec<Problem> = Vec::new();
        for (option, names) in [("without", without), ("only", only)] {
            let named = names.iter().enumerate();
            problems.extend(named.filter_map(|(index, name)| {
                unknown(&TRAIN_ENCODERS, name, place::entry(option, index), &format!("is named in `{option}`"))
            }));
        }
        for name in loss.modalities.keys() {
            let at = place::entry("loss/modalities", name);
            problems.extend(if encoders.len() == 1 {
                let message = format!("`{name}` has a loss weight, but with one encoder there is only the joint loss");
                Some(Problem::error(&LOSS_MODALITY, at, message).help("leave `loss` out"))
            } else {
                unknown(&LOSS_MODALITY, name, at, "has a loss weight")
            });
        }
        problems
    }

    fn train(
        &self,
        declared: &[(String, Declaration)],
        target: &ColumnType,
        prediction: Prediction,
        (train, validation): (&Learnt, Option<&Learnt>),
        earlier: Option<usize>,
        context: &Context,
    ) -> Result<Trained, NodeError> {
        let classes = match prediction {
            Prediction::Class => Some(train.classes(target)?),
            Prediction::Value => None,
        };
        let task = match &classes {
            Some(classes) => Task::Classification { classes: classes.len() },
            None => Task::Regression { outputs: 1 },
        };
        let epochs = earlier.unwrap_or(self.options.epochs);
        let training = TrainingOptions { epochs, loss_weights: self.loss_weights(declared), ..self.training.clone() };
        let (mut readings, mut encoders) = (Vec::new(), Vec::new());
        for (name, declaration) in declared {
            let mut reading = Reading::learn(name, declaration, &train.rows)?;
            reading.own_head = declared.len() > 1 && training.loss_weights.modality(name) > 0.0;
            let encoder = reading.config(declaration).ok_or_else(|| {
                NodeError::Failed(format!("the encoder `{name}` reads something else than it was declared to"))
            })?;
            encoders.push(NamedEncoder { name: name.clone(), encoder });
            readings.push(reading);
        }
        let columns = ModelColumns::new(target, classes.as_ref(), readings);
        let examples = train.examples(&columns, target, classes.as_ref())?;
        let without_evidence = without_evidence(&columns, &train.rows, context)?;
        let validation = match validation {
            Some(rows) => Some(rows.examples(&columns, target, classes.as_ref())?).filter(|rows| rows.inputs.rows > 0),
            None => None,
        };
        let config =
            ModelConfig { encoders, fusion: self.options.fusion.clone(), head: self.options.head.clone(), task };
        let seed = context.seed.value();
        let mut model = Model::new(&Cpu::default(), config, seed).map_err(NodeError::failed)?;
        let mut watch = |progress: nodes_models::Progress<'_>| watch(progress, epochs, context);
        let report = nodes_models::train(&mut model, &examples, validation.as_ref(), &training, seed, &mut watch)
            .map_err(
                |error| if context.cancel.is_cancelled() { NodeError::Cancelled } else { NodeError::failed(error) },
            )?;
        let parameters = model.parameter_count();
        let model = TrainedModel::new(columns, Learner::Network(Box::new(model)));
        Ok(Trained { model, report, task, parameters, weights: training.loss_weights, without_evidence, earlier })
    }
}

/// How many train rows lack everything the model reads; warns of them.
fn without_evidence(columns: &ModelColumns, train: &DataFrame, context: &Context) -> Result<usize, NodeError> {
    let count = columns.count_without_evidence(train)?;
    if count > 0 {
        let of = train.height();
        context.progress.warning(&format!("{count} of {of} train rows lack every modality and teach nothing"));
    }
    Ok(count)
}

/// Tells the engine how far training is, and the training whether to go on.
fn watch(progress: nodes_models::Progress<'_>, epochs: usize, context: &Context) -> ControlFlow<()> {
    if let nodes_models::Progress::Epoch(epoch) = progress {
        let (done, total) = (epoch.epoch as u64, Some(epochs as u64));
        context.progress.progress(Progress { done, total, unit: Unit::Epochs, values: values_of(epoch) });
    }
    if context.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// What an epoch shows; the values of single modalities have their node behind a point.
fn values_of(epoch: &EpochReport) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::from([("train_loss".to_owned(), epoch.train_loss)]);
    values.extend(epoch.validation_loss.map(|loss| ("validation_loss".to_owned(), loss)));
    if !epoch.modalities.is_empty() {
        values.insert("train_loss.joint".to_owned(), epoch.joint_loss);
    }
    for modality in &epoch.modalities {
        let name = &modality.name;
        values.insert(format!("train_loss.{name}"), modality.train_loss);
        values.extend(modality.validation_loss.map(|loss| (format!("validation_loss.{name}"), loss)));
        values.insert(format!("gradient_norm.{name}"), modality.gradient_norm);
    }
    values
}

#[cfg(test)]
mod tests;
