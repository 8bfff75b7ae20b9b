//! The training loop: mini-batches in a seeded order, an optimiser, early stopping on the validation loss.

use std::ops::ControlFlow;

use nodes_kernels::{Backward, HeadLoss, KernelError, NoneTape, Optimiser, OwnedTape, Scalar, Tape, values_of};
use serde::{Deserialize, Serialize};

use crate::batch::{InputError, Rows};
use crate::objective::{Loss, Objective};
use crate::pass::Pass;
use crate::randomness::{Purpose, Stream};
use crate::{Examples, Model, ModelDevice, OptionsError, TargetError, Targets, TrainingOptions};

/// Training failed or was cancelled. The model is then in no useful state.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The options are not sound.
    #[error(transparent)]
    Options(#[from] OptionsError),

    /// The inputs do not fit the model.
    #[error("{role} rows: {source}")]
    Input {
        /// Which rows.
        role: &'static str,
        /// What does not fit.
        source: InputError,
    },

    /// The targets or weights do not fit the task.
    #[error("{role} rows: {source}")]
    Target {
        /// Which rows.
        role: &'static str,
        /// What does not fit.
        source: TargetError,
    },

    /// There is nothing to learn from, or nothing to stop by.
    #[error("there are no {role} rows with a weight above zero")]
    NoRows {
        /// Which rows.
        role: &'static str,
    },

    /// Every row lacks everything that the encoders read.
    #[error("all {rows} {role} rows lack every modality, so there is nothing to learn from")]
    NoModality {
        /// Which rows.
        role: &'static str,
        /// How many there are.
        rows: usize,
    },

    /// A loss or a gradient became infinite or not a number.
    #[error(
        "the {what} is {value} in epoch {epoch} with `learning_rate` {learning_rate}; a smaller `learning_rate`, or a \
         `gradient_clip` such as 1, keeps it finite"
    )]
    NotFinite {
        /// Train loss, validation loss or norm of the gradient.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The epoch, from 1.
        epoch: usize,
        /// The learning rate.
        learning_rate: f64,
    },

    /// The caller asked to stop.
    #[error("training was cancelled in epoch {epoch}")]
    Cancelled {
        /// The epoch, from 1.
        epoch: usize,
    },

    /// An operation or the device failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// How far training has got. The callback that gets it may cancel by [`ControlFlow::Break`].
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A batch is done.
    Batch {
        /// The epoch, from 1.
        epoch: usize,
        /// The batch within the epoch, from 1.
        batch: usize,
        /// How many batches an epoch has.
        batches: usize,
    },
    /// An epoch is done.
    Epoch(&'a EpochReport),
}

/// What an epoch did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The weighted mean of the batches' losses, with dropout, each before its step: what training makes small. Nats for
    /// classes, squared standard deviations for numbers.
    pub train_loss: f64,
    /// The part of it that is the joint head's own, by itself; all of it if there is one encoder.
    pub joint_loss: f64,
    /// The joint head's loss on the validation rows, without dropout; absent without such rows.
    pub validation_loss: Option<f64>,
    /// The mean Euclidean norm of the batches' gradients, before they are cut.
    pub gradient_norm: f64,
    /// Each encoder by itself, in order; none if there is only one.
    pub modalities: Vec<ModalityEpoch>,
}

/// What an epoch did to one encoder among several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModalityEpoch {
    /// The encoder's name.
    pub name: String,
    /// The loss of its own head on the train rows that have its modality, as [`EpochReport::train_loss`] and by itself;
    /// zero if none has it.
    pub train_loss: f64,
    /// The loss of its own head on the validation rows that have its modality, without dropout; absent without such rows.
    pub validation_loss: Option<f64>,
    /// The mean Euclidean norm of the gradients of its encoder, from all heads, over the batches that had its modality.
    pub gradient_norm: f64,
    /// The share of the train rows that have its modality.
    pub present_share: f64,
}

/// What training did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingReport {
    /// Each epoch, in order.
    pub epochs: Vec<EpochReport>,
    /// The epoch whose weights the model has, from 1.
    pub best_epoch: usize,
    /// Why training ended.
    pub stopped: Stopped,
}

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// All epochs are done.
    Completed,
    /// The validation loss had not become better for as many epochs as the patience allows.
    Patience,
}

/// Trains `model` on the train rows.
///
/// With validation rows, the model ends with the weights of the epoch of the lowest validation loss; ties go to the
/// earlier one. Numeric targets are standardised by the train rows first. Equal model, rows, options and seed give equal
/// bits, on any number of threads.
///
/// # Errors
/// [`TrainingError`]; the model is then in no useful state.
pub fn train<D: ModelDevice>(
    model: &mut Model<D>,
    train: &Examples,
    validation: Option<&Examples>,
    options: &TrainingOptions,
    seed: u64,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<TrainingReport, TrainingError> {
    options.check()?;
    check(model, train, "train")?;
    if let Some(validation) = validation {
        check(model, validation, "validation")?;
    }
    options.loss_weights.check_names(model.config().encoders.iter().map(|named| named.name.as_str()))?;
    model.fit_scales(train);
    let class_weights = match &train.targets {
        Targets::Classes(classes) => options.class_weights.resolve(classes, model.config().task.width())?,
        Targets::Values(_) => None,
    };
    let objective = |examples| Objective::new(model, examples, class_weights.as_deref(), options);
    let (train, validation) = (objective(train), validation.map(objective));
    for (role, objective) in [("train", Some(&train)), ("validation", validation.as_ref())] {
        if objective.is_some_and(|objective| objective.total_weight() == 0.0) {
            return Err(TrainingError::NoRows { role });
        }
    }

    let mut run = Run { model, options, optimiser: Optimiser::new(options.optimiser_settings()), seed, progress };
    let mut report = TrainingReport { epochs: Vec::new(), best_epoch: options.epochs, stopped: Stopped::Completed };
    let mut best = None;
    for epoch in 1..=options.epochs {
        let mut done = run.epoch(&train, epoch)?;
        if let Some(validation) = &validation {
            let loss = run.validate(validation, epoch, &mut done)?;
            if best.as_ref().is_none_or(|(lowest, _)| loss < *lowest) {
                best = Some((loss, run.model.parameters.snapshot()));
                report.best_epoch = epoch;
            }
        }
        run.tell(epoch, Progress::Epoch(&done))?;
        report.epochs.push(done);
        let waited = epoch.saturating_sub(report.best_epoch);
        if best.is_some() && options.patience.is_some_and(|patience| waited >= patience) && epoch < options.epochs {
            report.stopped = Stopped::Patience;
            break;
        }
    }
    if let Some((_, snapshot)) = best {
        run.model.parameters.restore(snapshot);
    }
    Ok(report)
}

fn check<D: ModelDevice>(model: &Model<D>, examples: &Examples, role: &'static str) -> Result<(), TrainingError> {
    examples.inputs.check(model.config()).map_err(|source| TrainingError::Input { role, source })?;
    let Examples { inputs, targets, weights } = examples;
    targets
        .check(model.config().task, inputs.rows, weights.as_deref())
        .map_err(|source| TrainingError::Target { role, source })?;
    let weightless = weights.as_ref().is_some_and(|weights| weights.iter().all(|&weight| weight == 0.0));
    if inputs.rows == 0 || weightless {
        Err(TrainingError::NoRows { role })
    } else if (0..inputs.rows).any(|row| inputs.has_any(row)) {
        Ok(())
    } else {
        Err(TrainingError::NoModality { role, rows: inputs.rows })
    }
}

/// A weighted mean under way.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    fn add_loss(&mut self, loss: HeadLoss) {
        self.add(loss.value, loss.row_weight);
    }

    /// The mean, if there is anything to take it of.
    fn value(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// What one step did: losses before it, and norms of gradients.
struct Step {
    total: f64,
    joint: HeadLoss,
    modalities: Vec<HeadLoss>,
    norm: f64,
    encoder_norms: Vec<f64>,
}

/// A training under way.
struct Run<'a, D: ModelDevice> {
    model: &'a mut Model<D>,
    options: &'a TrainingOptions,
    optimiser: Optimiser<f32, D>,
    seed: u64,
    progress: &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
}

impl<D: ModelDevice> Run<'_, D> {
    /// Goes through the train rows once.
    fn epoch(&mut self, train: &Objective<'_>, epoch: usize) -> Result<EpochReport, TrainingError> {
        let order = Stream::numbered(self.seed, Purpose::Order, epoch as u64).order(train.rows());
        let batches = order.len().div_ceil(self.options.batch_size);
        let encoders = self.model.config().encoders.len();
        let (mut total, mut joint, mut norms) = (Mean::default(), Mean::default(), 0.0);
        let (mut losses, mut encoder_norms) = (vec![Mean::default(); encoders], vec![Mean::default(); encoders]);
        for (index, rows) in order.chunks(self.options.batch_size).enumerate() {
            let step = self.step(train, &Rows::Picked(&train.picked(rows)), epoch, index)?;
            total.add(step.total, step.joint.row_weight);
            joint.add_loss(step.joint);
            norms += step.norm;
            for (mean, loss) in losses.iter_mut().zip(&step.modalities) {
                mean.add_loss(*loss);
            }
            for (mean, norm) in encoder_norms.iter_mut().zip(step.encoder_norms) {
                mean.add(norm, if norm > 0.0 { 1.0 } else { 0.0 });
            }
            self.tell(epoch, Progress::Batch { epoch, batch: index + 1, batches })?;
        }
        let mut modalities = Vec::new();
        if encoders > 1 {
            let shares = train.present_shares();
            for (index, named) in self.model.config().encoders.iter().enumerate() {
                modalities.push(ModalityEpoch {
                    name: named.name.clone(),
                    train_loss: losses[index].value().unwrap_or(0.0),
                    validation_loss: None,
                    gradient_norm: encoder_norms[index].value().unwrap_or(0.0),
                    present_share: shares[index],
                });
            }
        }
        Ok(EpochReport {
            epoch,
            train_loss: total.value().unwrap_or(0.0),
            joint_loss: joint.value().unwrap_or(0.0),
            validation_loss: None,
            gradient_norm: norms / batches as f64,
            modalities,
        })
    }

    /// One step on one batch.
    fn step(
        &mut self,
        train: &Objective<'_>,
        rows: &Rows<'_>,
        epoch: usize,
        batch: usize,
    ) -> Result<Step, TrainingError> {
        let Run { model, options, optimiser, seed, .. } = self;
        let large = rows.len() * model.row_cost() >= LARGE;
        let mut step = BatchStep { model, options, optimiser, seed: *seed };
        if large {
            // Within the pool an operation shares its work with a neighbour; from outside each would be handed over.
            rayon::scope(|_| step.run(train, rows, epoch, batch))
        } else {
            step.run(train, rows, epoch, batch)
        }
    }

    /// Writes the losses on the validation rows into the epoch's report; returns that of the joint head.
    fn validate(
        &self,
        validation: &Objective<'_>,
        epoch: usize,
        report: &mut EpochReport,
    ) -> Result<f64, TrainingError> {
        let (mut joint, mut modalities) = (Mean::default(), vec![Mean::default(); report.modalities.len()]);
        let (count, chunk) = (validation.rows(), self.model.chunk());
        for start in (0..count).step_by(chunk) {
            let rows = validation.range(start..count.min(start + chunk));
            let loss = validation.loss::<D, NoneTape>(self.model, &rows, &Pass::Inference)?;
            joint.add_loss(loss.joint);
            for (mean, loss) in modalities.iter_mut().zip(loss.modalities) {
                mean.add_loss(loss);
            }
        }
        for (modality, mean) in report.modalities.iter_mut().zip(modalities) {
            modality.validation_loss = mean.value();
        }
        let loss = finite(self.options, "validation loss", joint.value().unwrap_or(0.0), epoch)?;
        report.validation_loss = Some(loss);
        Ok(loss)
    }

    fn tell(&mut self, epoch: usize, progress: Progress<'_>) -> Result<(), TrainingError> {
        match (self.progress)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(TrainingError::Cancelled { epoch }),
        }
    }
}

/// A step over so many numbers has operations that are worth several threads.
const LARGE: usize = 1 << 16;

/// What a step works on, without the callback, which need not be fit for another thread.
struct BatchStep<'a, D: ModelDevice> {
    model: &'a mut Model<D>,
    options: &'a TrainingOptions,
    optimiser: &'a mut Optimiser<f32, D>,
    seed: u64,
}

impl<D: ModelDevice> BatchStep<'_, D> {
    fn run(
        &mut self,
        train: &Objective<'_>,
        rows: &Rows<'_>,
        epoch: usize,
        batch: usize,
    ) -> Result<Step, TrainingError> {
        let pass = Pass::training(self.seed, epoch, batch);
        let Loss { total, joint, modalities } = train.loss::<D, OwnedTape<f32, D>>(self.model, rows, &pass)?;
        let value = finite(self.options, "train loss", number(&total)?, epoch)?;
        let mut gradients = total.try_backward().map_err(|error| KernelError::Device(error.to_string()))?;
        let device = self.model.device().clone();
        let mut parameters = self.model.parameters.trainables();
        let norm = self.optimiser.step(&device, self.options.learning_rate, &mut parameters, &mut gradients)?;
        let norm = finite(self.options, "norm of the gradient", norm, epoch)?;
        let mut squares = vec![0.0; self.model.config().encoders.len()];
        for (encoder, square) in self.model.parameters.encoders().zip(self.optimiser.squares()) {
            if let Some(encoder) = encoder {
                squares[encoder] += square;
            }
        }
        let encoder_norms = squares.into_iter().map(f64::sqrt).collect();
        Ok(Step { total: value, joint, modalities, norm, encoder_norms })
    }
}

fn finite(options: &TrainingOptions, what: &'static str, value: f64, epoch: usize) -> Result<f64, TrainingError> {
    let learning_rate = options.learning_rate;
    if value.is_finite() { Ok(value) } else { Err(TrainingError::NotFinite { what, value, epoch, learning_rate }) }
}

fn number<D: ModelDevice, T: Tape<f32, D>>(loss: &Scalar<f32, D, T>) -> Result<f64, KernelError> {
    Ok(values_of(&loss.retaped::<NoneTape>())?.first().map_or(0.0, |&value| f64::from(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Task;
    use crate::batch::tests::some_inputs;
    use crate::config::tests::{small, table};
    use crate::{
        Block, ClassWeights, EncoderConfig, Inputs, LossWeights, ModelConfig, ModelFiles, NamedEncoder, OptimiserName,
        TableBlock,
    };
    use nodes_kernels::Cpu;
    use std::collections::BTreeMap;

    const CLASSES: Task = Task::Classification { classes: 2 };
    const NUMBER: Task = Task::Regression { outputs: 1 };

    /// Rows whose target is a function of a number and a category that no single column gives away.
    fn examples(rows: usize, seed: u64, task: Task) -> Examples {
        let inputs = some_inputs(rows, seed);
        let Block::Table(block) = &inputs.blocks[0] else { panic!("it is a table") };
        let signal = |row: usize| {
            let sign = if block.codes[row * 2 + 1] == 1 { 1.0 } else { -1.0 };
            sign * f64::from(block.numeric[row * 3]) + 0.5 * f64::from(block.numeric[row * 3 + 2])
        };
        let targets = match task {
            Task::Classification { .. } => {
                Targets::Classes((0..rows).map(|row| u32::from(signal(row) > 0.0)).collect())
            }
            Task::Regression { .. } => Targets::Values((0..rows).map(|row| 1000.0 + 50.0 * signal(row)).collect()),
        };
        Examples { inputs, targets, weights: None }
    }

    fn options() -> TrainingOptions {
        TrainingOptions { epochs: 30, batch_size: 32, learning_rate: 0.01, ..Default::default() }
    }

    struct Trained {
        model: Model,
        report: TrainingReport,
    }

    fn fit_with(task: Task, options: &TrainingOptions, seed: u64) -> Result<Trained, TrainingError> {
        let mut model = Model::new(&Cpu::default(), small(task), seed).expect("the configuration is sound");
        let (rows, validation) = (examples(400, 1, task), examples(100, 2, task));
        let report = train(&mut model, &rows, Some(&validation), options, seed, &mut |_| ControlFlow::Continue(()))?;
        Ok(Trained { model, report })
    }

    fn fit(task: Task, options: &TrainingOptions) -> Trained {
        fit_with(task, options, 3).expect("it can be trained")
    }

    fn files(trained: &Trained) -> ModelFiles {
        trained.model.to_files().expect("it can be written")
    }

    #[test]
    fn classes_are_learnt() {
        let trained = fit(CLASSES, &options());
        let test = examples(300, 4, CLASSES);
        let predicted = trained.model.predict(&test.inputs).expect("the inputs fit");
        let Targets::Classes(classes) = &test.targets else { panic!("they are classes") };
        let right = (0..300).filter(|&row| (predicted.row(row)[1] > 0.5) == (classes[row] == 1)).count();
        assert!(right > 270, "{right} of 300");
        assert!(
            trained.report.epochs[0].train_loss > 2.0 * trained.report.epochs.last().expect("there are").train_loss
        );
    }

    #[test]
    fn numbers_are_learnt_on_their_own_scale() {
        let trained = fit(NUMBER, &options());
        let test = examples(300, 4, NUMBER);
        let predicted = trained.model.predict(&test.inputs).expect("the inputs fit");
        let Targets::Values(values) = &test.targets else { panic!("they are numbers") };
        let squares = |of: &dyn Fn(usize) -> f64| (0..300).map(|row| (values[row] - of(row)).powi(2)).sum::<f64>();
        let mean = values.iter().sum::<f64>() / 300.0;
        let explained = 1.0 - squares(&|row| predicted.row(row)[0]) / squares(&|_| mean);
        assert!(explained > 0.9, "{explained}");
    }

    #[test]
    fn every_optimiser_and_loss_learns() {
        let sgd = TrainingOptions { optimiser: OptimiserName::Sgd, learning_rate: 0.05, ..options() };
        let adam = TrainingOptions { optimiser: OptimiserName::Adam, l2: 1e-4, gradient_clip: Some(1.0), ..options() };
        let weighted = TrainingOptions { class_weights: ClassWeights::Balanced, label_smoothing: 0.05, ..options() };
        let huber = TrainingOptions { huber_delta: Some(1.0), ..options() };
        for (task, options) in [(CLASSES, sgd), (CLASSES, adam), (CLASSES, weighted), (NUMBER, huber)] {
            let epochs = fit(task, &options).report.epochs;
            let (first, last) = (epochs[0].train_loss, epochs[epochs.len() - 1].train_loss);
            assert!(last < 0.7 * first, "{first} to {last} with {options:?}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_bits_on_one_and_four_threads() {
        let run = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            let options = TrainingOptions { epochs: 3, ..options() };
            pool.install(|| files(&fit_with(CLASSES, &options, seed).expect("it can be trained")))
        };
        assert!(run(1, 3) == run(4, 3));
        assert!(run(1, 3) != run(1, 4));
    }

    #[test]
    fn a_wide_model_has_equal_bits_on_one_and_four_threads() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            pool.install(|| {
                let mut config = small(CLASSES);
                table(&mut config).options.hidden = vec![600, 300];
                let mut model = Model::new(&Cpu::default(), config, 1).expect("the configuration is sound");
                let rows = examples(900, 1, CLASSES);
                let options = TrainingOptions { epochs: 2, batch_size: 300, ..options() };
                train(&mut model, &rows, None, &options, 1, &mut |_| ControlFlow::Continue(()))
                    .expect("it can be trained");
                model.to_files().expect("it can be written")
            })
        };
        assert!(run(1) == run(4));
    }

    #[test]
    fn training_stops_by_patience_and_keeps_the_best_epoch() {
        // A rate this high makes the validation loss jump, so that it stops early.
        let hasty = TrainingOptions { epochs: 200, learning_rate: 0.05, patience: Some(3), ..options() };
        let trained = fit(CLASSES, &hasty);
        let report = &trained.report;
        assert_eq!(report.stopped, Stopped::Patience);
        assert_eq!(report.epochs.len(), report.best_epoch + 3);
        let losses: Vec<f64> = report.epochs.iter().filter_map(|epoch| epoch.validation_loss).collect();
        assert!(losses.iter().all(|&loss| loss >= losses[report.best_epoch - 1]));
        // The model is that of the best epoch: training just so long gives the same bits.
        let short = TrainingOptions { epochs: report.best_epoch, ..hasty };
        assert!(files(&trained) == files(&fit(CLASSES, &short)));
    }

    #[test]
    fn without_validation_all_epochs_are_done() {
        let mut model = Model::new(&Cpu::default(), small(NUMBER), 3).expect("the configuration is sound");
        let options = TrainingOptions { epochs: 2, patience: Some(1), ..options() };
        let report = train(&mut model, &examples(50, 1, NUMBER), None, &options, 3, &mut |_| ControlFlow::Continue(()))
            .expect("it can be trained");
        assert_eq!((report.epochs.len(), report.best_epoch, report.stopped), (2, 2, Stopped::Completed));
        assert_eq!(report.epochs[0].validation_loss, None);
    }

    #[test]
    fn a_row_of_weight_two_counts_as_two_rows() {
        let options = TrainingOptions { epochs: 1, batch_size: 1000, ..options() };
        let mut config = small(CLASSES);
        table(&mut config).options.dropout = 0.0;
        let loss = |examples: &Examples| {
            let mut model = Model::new(&Cpu::default(), config.clone(), 3).expect("the configuration is sound");
            let report = train(&mut model, examples, None, &options, 3, &mut |_| ControlFlow::Continue(()));
            report.expect("it can be trained").epochs[0].train_loss
        };
        let once = examples(20, 1, CLASSES);
        let mut weighted = once.clone();
        weighted.weights = Some((0..20).map(|row| if row < 10 { 2.0 } else { 1.0 }).collect());
        let mut repeated = once.clone();
        let (Block::Table(block), Targets::Classes(classes)) = (&mut repeated.inputs.blocks[0], &mut repeated.targets)
        else {
            panic!("it is a table with classes")
        };
        block.numeric.extend_from_within(..30);
        block.codes.extend_from_within(..20);
        classes.extend_from_within(..10);
        repeated.inputs.rows = 30;
        assert!((loss(&weighted) - loss(&repeated)).abs() < 1e-6);
        assert!((loss(&weighted) - loss(&once)).abs() > 1e-6);
    }

    #[test]
    fn a_loss_that_is_not_finite_names_the_learning_rate() {
        let wild = TrainingOptions { optimiser: OptimiserName::Sgd, learning_rate: 1e30, ..options() };
        let error = fit_with(NUMBER, &wild, 3).err().expect("it cannot be trained").to_string();
        assert!(
            error.contains("`learning_rate` 1000000000000000000000000000000") && error.contains("epoch 1"),
            "{error}"
        );
    }

    /// The small model's inputs twice, once with the category that decides and once with the number.
    fn two_encoders(rows: usize, seed: u64) -> (ModelConfig, Examples) {
        let examples = examples(rows, seed, CLASSES);
        let Block::Table(block) = &examples.inputs.blocks[0] else { panic!("it is a table") };
        let numbers = TableBlock { numeric: block.numeric.clone(), codes: vec![] };
        let codes = TableBlock { numeric: vec![], codes: block.codes.clone() };
        let inputs = Inputs { rows, blocks: vec![Block::Table(numbers), Block::Table(codes)], present: vec![] };
        let mut config = small(CLASSES);
        config.encoders.push(NamedEncoder { name: "codes".to_string(), ..config.encoders[0].clone() });
        for (named, (numeric, categories)) in config.encoders.iter_mut().zip([(3, vec![]), (0, vec![4, 2])]) {
            let EncoderConfig::Table(table) = &mut named.encoder else { panic!("it is a table") };
            (table.numeric, table.categories) = (numeric, categories);
            table.options.dropout = 0.0;
        }
        config.head.hidden = vec![16];
        (config, Examples { inputs, ..examples })
    }

    #[test]
    fn each_of_several_encoders_is_reported_by_itself_and_their_weighted_sum_is_made_small() {
        let (config, rows) = two_encoders(300, 1);
        let (_, validation) = two_encoders(100, 2);
        let loss_weights =
            LossWeights { joint: 2.0, default_modality: 0.5, modalities: BTreeMap::from([("codes".to_string(), 0.0)]) };
        let options = TrainingOptions { loss_weights, epochs: 12, ..options() };
        let mut model = Model::new(&Cpu::default(), config.clone(), 3).expect("the configuration is sound");
        let report = train(&mut model, &rows, Some(&validation), &options, 3, &mut |_| ControlFlow::Continue(()))
            .expect("it can be trained");
        for epoch in &report.epochs {
            let [numbers, codes] = &epoch.modalities[..] else { panic!("there are two encoders") };
            assert_eq!((numbers.name.as_str(), codes.name.as_str()), ("rows", "codes"));
            let sum = 2.0 * epoch.joint_loss + 0.5 * numbers.train_loss;
            assert!((epoch.train_loss - sum).abs() < 1e-5, "{} for {sum}", epoch.train_loss);
            let norms = numbers.gradient_norm.hypot(codes.gradient_norm);
            assert!(numbers.gradient_norm > 0.0 && codes.gradient_norm > 0.0 && norms < epoch.gradient_norm * 1.5);
            assert!(numbers.validation_loss.is_some() && numbers.present_share == 1.0);
        }
        let last = report.epochs.last().expect("there are epochs");
        // A head of weight zero stays as it began, near even odds.
        assert!((last.modalities[1].train_loss - report.epochs[0].modalities[1].train_loss).abs() < 0.3);
        assert!(last.joint_loss < 0.5 * report.epochs[0].joint_loss);

        let unknown = LossWeights { modalities: BTreeMap::from([("x".to_string(), 1.0)]), ..Default::default() };
        let options = TrainingOptions { loss_weights: unknown, ..options };
        let error = train(&mut model, &rows, None, &options, 3, &mut |_| ControlFlow::Continue(()));
        let expected = "the loss of `x` has a weight, but the model has no encoder of that name";
        assert_eq!(error.expect_err("there is no `x`").to_string(), expected);
    }

    #[test]
    fn rows_that_lack_everything_teach_nothing_but_the_prior_which_they_get() {
        let (mut rows, options) = (examples(60, 1, CLASSES), TrainingOptions { epochs: 2, ..options() });
        let fit = |rows: &Examples| {
            let mut model = Model::new(&Cpu::default(), small(CLASSES), 3).expect("the configuration is sound");
            let report = train(&mut model, rows, Some(rows), &options, 3, &mut |_| ControlFlow::Continue(()));
            (report.expect("it can be trained"), model)
        };
        let (report, full) = fit(&rows);
        let (Block::Table(block), Targets::Classes(classes)) = (&mut rows.inputs.blocks[0], &mut rows.targets) else {
            panic!("it is a table with classes")
        };
        block.numeric.extend([f32::NAN; 60]);
        block.codes.extend([77; 40]);
        classes.extend([1; 20]);
        rows.inputs.rows = 80;
        rows.inputs.present = vec![Some((0..80).map(|row| row < 60).collect())];
        let (with_missing, model) = fit(&rows);
        assert_eq!(with_missing, report);
        assert!(
            model.parameters.to_weights().expect("on the CPU") == full.parameters.to_weights().expect("on the CPU")
        );

        let Targets::Classes(classes) = &rows.targets else { panic!("they are classes") };
        let share = classes.iter().filter(|&&class| class == 1).count() as f64 / 80.0;
        let predictions = model.predict(&rows.inputs).expect("the inputs fit");
        for row in 60..80 {
            assert!((predictions.row(row)[1] - share).abs() < 1e-12);
        }
        let some = full.predict(&crate::batch::tests::cut(&rows.inputs, 0..60)).expect("the inputs fit");
        assert_eq!(predictions.values[..120], some.values);

        rows.inputs.present = vec![Some(vec![false; 80])];
        let mut model = Model::new(&Cpu::default(), small(CLASSES), 3).expect("the configuration is sound");
        let error = train(&mut model, &rows, None, &options, 3, &mut |_| ControlFlow::Continue(()));
        let expected = "all 80 train rows lack every modality, so there is nothing to learn from";
        assert_eq!(error.expect_err("there is nothing").to_string(), expected);
    }

    #[test]
    fn progress_is_told_and_may_cancel() {
        let mut model = Model::new(&Cpu::default(), small(CLASSES), 3).expect("the configuration is sound");
        let rows = examples(70, 1, CLASSES);
        let mut told = Vec::new();
        let error = train(&mut model, &rows, None, &options(), 3, &mut |progress| {
            match progress {
                Progress::Batch { epoch, batch, batches } => told.push((epoch, batch, batches)),
                Progress::Epoch(report) if report.epoch == 2 => return ControlFlow::Break(()),
                Progress::Epoch(_) => {}
            }
            ControlFlow::Continue(())
        });
        assert_eq!(told, [(1, 1, 3), (1, 2, 3), (1, 3, 3), (2, 1, 3), (2, 2, 3), (2, 3, 3)]);
        assert_eq!(error.expect_err("it was cancelled").to_string(), "training was cancelled in epoch 2");
    }

    #[test]
    fn what_cannot_be_learnt_from_is_named() {
        let error = |change: &dyn Fn(&mut Examples)| {
            let mut model = Model::new(&Cpu::default(), small(CLASSES), 3).expect("the configuration is sound");
            let mut rows = examples(20, 1, CLASSES);
            change(&mut rows);
            let result = train(&mut model, &rows, None, &options(), 3, &mut |_| ControlFlow::Continue(()));
            result.expect_err("it cannot be trained").to_string()
        };
        assert_eq!(error(&|rows| *rows = examples(0, 1, CLASSES)), "there are no train rows with a weight above zero");
        assert_eq!(
            error(&|rows| rows.weights = Some(vec![0.0; 20])),
            "there are no train rows with a weight above zero"
        );
        let kind = error(&|rows| rows.targets = Targets::Values(vec![0.0; 20]));
        assert_eq!(kind, "train rows: the model is for classification, but the targets are numbers");
        let input = error(&|rows| {
            let Block::Table(block) = &mut rows.inputs.blocks[0] else { panic!("it is a table") };
            block.codes[0] = 9;
        });
        assert_eq!(
            input,
            "train rows: encoder `rows`: row 0 has code 9 in category column 0, which has 4 codes from 0"
        );
    }
}
