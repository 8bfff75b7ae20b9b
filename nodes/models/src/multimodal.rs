//! The multimodal model: an encoder per modality, a fusion, a head over the joined vector, and a head per modality.

use nodes_kernels::{
    Cpu, InputGradient, KernelError, Matrix, NoneTape, PutTape, SplitTape, Tape, matrix_from, values_of, with_stand_in,
};
use serde::{Deserialize, Serialize};

use crate::batch::{Having, InputError, Inputs, Rows};
use crate::config::{ConfigError, ModelConfig, Task};
use crate::encoder::Encoder;
use crate::files::{self, FilesError, ModelFiles, ModelKind};
use crate::fusion::Fusion;
use crate::head::Head;
use crate::input_scale::InputScale;
use crate::parameters::{Builder, Initial, Parameters, ParametersError, Source, VectorId};
use crate::pass::Pass;
use crate::predictions::{HeadPredictions, Predictions, softmax};
use crate::{Examples, ModelDevice, TargetScale, prior};

/// Rows are predicted in chunks of at most this many, to bound the memory.
const CHUNK: usize = 1024;

/// A chunk has no more rows than hold about this many numbers between them.
const CHUNK_NUMBERS: usize = 1 << 23;

/// A model cannot be built, loaded or asked.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The configuration describes no model.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The inputs do not fit.
    #[error(transparent)]
    Input(#[from] InputError),

    /// The weights do not fit the configuration.
    #[error(transparent)]
    Parameters(#[from] ParametersError),

    /// The files are not such a model.
    #[error(transparent)]
    Files(#[from] FilesError),

    /// The scale of the targets does not fit the task.
    #[error("`target_scale` of the model does not fit its {outputs} outputs")]
    TargetScale {
        /// How many numbers the model gives per row.
        outputs: usize,
    },

    /// The prior does not fit the task.
    #[error("`prior` of the model does not fit its {outputs} outputs")]
    Prior {
        /// How many numbers the model gives per row.
        outputs: usize,
    },

    /// There is not one scale of inputs, or its absence, per encoder.
    #[error("`input_scales` of the model has {found} entries for {expected} encoders")]
    InputScales {
        /// The number of encoders.
        expected: usize,
        /// The number of entries.
        found: usize,
    },

    /// The scale of an encoder's inputs does not fit it.
    #[error("the entry of `{encoder}` in `input_scales` of the model does not fit its inputs")]
    InputScale {
        /// The encoder's name.
        encoder: String,
    },

    /// An operation or the device failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// A multimodal model on device `D`.
///
/// With two or more encoders each has a head of its own beside the joint one, and a vector that stands in for its output
/// in rows that lack its modality. A row that lacks everything gets the prior: the shares of the classes among the train
/// rows, or their mean.
///
/// Invariant: the configuration is sound, and the parameters are those it describes.
#[derive(Debug, Clone)]
pub struct Model<D: ModelDevice = Cpu> {
    device: D,
    config: ModelConfig,
    pub(crate) parameters: Parameters<D>,
    branches: Vec<Branch>,
    fusion: Fusion,
    head: Head,
    pub(crate) target_scale: TargetScale,
    /// On the scale of the targets.
    pub(crate) prior: Vec<f64>,
}

/// One modality of a model.
#[derive(Debug, Clone)]
struct Branch {
    encoder: Encoder,
    /// What it needs beside others; alone it needs neither.
    beside: Option<Beside>,
}

/// What a modality beside others has.
#[derive(Debug, Clone)]
struct Beside {
    head: Head,
    stand_in: VectorId,
}

/// Which scores are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Joint,
    Modalities,
    All,
}

/// The logits of the classes, or the outputs on the standardised scale, of some rows.
pub(crate) struct Scores<D: ModelDevice, T> {
    /// Those of the joint head, shape `(rows, width of the task)`, if asked for.
    pub(crate) joint: Option<Matrix<f32, D, T>>,
    /// Those of each modality's own head, if asked for and there is more than one modality.
    pub(crate) modalities: Vec<ModalityScores<D, T>>,
}

/// The scores of one modality's own head.
pub(crate) struct ModalityScores<D: ModelDevice, T> {
    /// Shape `(rows, width of the task)`; rows that lack the modality hold the scores of its stand-in.
    pub(crate) scores: Matrix<f32, D, T>,
    /// Which rows have the modality; all if absent.
    pub(crate) present: Option<Vec<bool>>,
}

/// `model.json` of a multimodal model.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: ModelConfig,
    target_scale: TargetScale,
    prior: Vec<f64>,
    /// One per encoder.
    input_scales: Vec<Option<InputScale>>,
}

impl<D: ModelDevice> Model<D> {
    /// A model that has learnt nothing: its first values are a function of the seed and the parameters' names.
    ///
    /// # Errors
    /// [`ModelError::Config`]; [`ModelError::Kernel`] if the device is out of memory.
    pub fn new(device: &D, config: ModelConfig, seed: u64) -> Result<Self, ModelError> {
        let target_scale = TargetScale::identity(config.task.width());
        let (prior, input_scales) = (prior::unlearnt(config.task), vec![None; config.encoders.len()]);
        Self::build(device, Saved { config, target_scale, prior, input_scales }, Source::Seed(seed))
    }

    /// The model in `files`, as [`Model::to_files`] wrote it.
    ///
    /// # Errors
    /// If the files are damaged, of another kind or format, or do not fit each other.
    pub fn from_files(device: &D, files: &ModelFiles) -> Result<Self, ModelError> {
        let (saved, weights): (Saved, _) = files::read(files, ModelKind::Multimodal)?;
        Self::build(device, saved, Source::Weights(weights))
    }

    fn build(device: &D, saved: Saved, source: Source) -> Result<Self, ModelError> {
        let Saved { config, target_scale, prior, input_scales } = saved;
        config.check()?;
        let outputs = config.task.width();
        if !target_scale.is_sound(outputs) {
            return Err(ModelError::TargetScale { outputs });
        }
        if !prior::is_sound(&prior, config.task) {
            return Err(ModelError::Prior { outputs });
        }
        let (expected, found) = (config.encoders.len(), input_scales.len());
        if expected != found {
            return Err(ModelError::InputScales { expected, found });
        }
        let mut builder = Builder::new(device, source);
        let mut branches = Vec::new();
        for (index, (named, scale)) in config.encoders.iter().zip(input_scales).enumerate() {
            let encoder = Encoder::new(builder.belonging_to(Some(index)), named, scale)?;
            builder.belonging_to(None);
            let beside = if config.encoders.len() > 1 {
                let (name, width) = (&named.name, encoder.width());
                let head = Head::new(&mut builder, &format!("heads.{name}"), width, outputs, &config.head)?;
                // No evidence at all, until there are rows to learn it from.
                Some(Beside { head, stand_in: builder.vector(format!("stand_ins.{name}"), width, Initial::Zeros)? })
            } else {
                None
            };
            branches.push(Branch { encoder, beside });
        }
        let fusion = Fusion::new(&mut builder, &config)?;
        let head = Head::new(&mut builder, "head", fusion.width(), outputs, &config.head)?;
        let parameters = builder.finish()?;
        Ok(Model { device: device.clone(), config, parameters, branches, fusion, head, target_scale, prior })
    }

    /// The model as files. Equal models give equal bytes.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_files(&self) -> Result<ModelFiles, ModelError> {
        let input_scales = self.branches.iter().map(|branch| branch.encoder.scale().cloned()).collect();
        let (target_scale, prior) = (self.target_scale.clone(), self.prior.clone());
        let saved = Saved { config: self.config.clone(), target_scale, prior, input_scales };
        Ok(files::write(ModelKind::Multimodal, &saved, &self.parameters.to_weights()?)?)
    }

    /// What the model is made of.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How many numbers the model learns.
    pub fn parameter_count(&self) -> usize {
        self.parameters.count()
    }

    /// How wide the output of each encoder is, in order.
    pub fn encoder_widths(&self) -> Vec<usize> {
        self.branches.iter().map(|branch| branch.encoder.width()).collect()
    }

    pub(crate) fn device(&self) -> &D {
        &self.device
    }

    /// How many rows may go through the model at once without holding much memory.
    pub(crate) fn chunk(&self) -> usize {
        (CHUNK_NUMBERS / self.row_cost().max(1)).clamp(16, CHUNK)
    }

    /// About how many numbers a forward pass holds for each row.
    pub(crate) fn row_cost(&self) -> usize {
        self.branches.iter().map(|branch| branch.encoder.row_cost()).sum()
    }

    /// Learns from the train rows what is not learnt by gradients: the scales of inputs and targets, and the prior.
    pub(crate) fn fit_scales(&mut self, train: &Examples) {
        let (task, Examples { inputs, targets, weights }) = (self.config.task, train);
        if let crate::Targets::Values(values) = targets {
            self.target_scale = TargetScale::fit(values, task.width());
        }
        self.prior = prior::learnt(targets, weights.as_deref(), task);
        let all = Rows::Range(0..inputs.rows);
        for (index, (branch, block)) in self.branches.iter_mut().zip(&inputs.blocks).enumerate() {
            match all.having(inputs.present(index)) {
                Having::All => branch.encoder.fit_scale(block, &all),
                Having::Some { rows, .. } => branch.encoder.fit_scale(block, &Rows::Picked(&rows)),
            }
        }
    }

    /// The joint predictions for all rows: the probability of each class, or the outputs on the scale of the targets.
    ///
    /// A row that lacks every modality gets the prior. The bits of a row depend on that row alone, whatever the size of
    /// the batch.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the inputs do not fit the model.
    pub fn predict(&self, inputs: &Inputs) -> Result<Predictions, ModelError> {
        Ok(self.predictions(inputs, Asked::Joint)?.0)
    }

    /// The predictions of each modality's own head, in the order of the encoders; none if there is only one.
    ///
    /// A row that lacks the modality gets the prior. Otherwise as [`Model::predict`].
    ///
    /// # Errors
    /// [`ModelError::Input`] if the inputs do not fit the model.
    pub fn predict_heads(&self, inputs: &Inputs) -> Result<Vec<HeadPredictions>, ModelError> {
        Ok(self.predictions(inputs, Asked::Modalities)?.1)
    }

    /// What [`Model::predict`] and [`Model::predict_heads`] give, in one go through the encoders.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the inputs do not fit the model.
    pub fn predict_all(&self, inputs: &Inputs) -> Result<(Predictions, Vec<HeadPredictions>), ModelError> {
        self.predictions(inputs, Asked::All)
    }

    fn predictions(&self, inputs: &Inputs, asked: Asked) -> Result<(Predictions, Vec<HeadPredictions>), ModelError> {
        inputs.check(&self.config)?;
        let prior = || Predictions::repeated(&self.prior, inputs.rows);
        let mut joint = prior();
        let heads = || self.config.encoders.iter().map(|named| named.name.clone());
        let mut modalities: Vec<HeadPredictions> = match asked {
            Asked::Modalities | Asked::All if self.branches.len() > 1 => {
                heads().map(|name| HeadPredictions { name, predictions: prior() }).collect()
            }
            _ => Vec::new(),
        };
        let some: Option<Vec<bool>> =
            (!inputs.present.is_empty()).then(|| (0..inputs.rows).map(|row| inputs.has_any(row)).collect());
        let chunk = self.chunk();
        for start in (0..inputs.rows).step_by(chunk) {
            let all = Rows::Range(start..inputs.rows.min(start + chunk));
            let having = all.having(some.as_deref());
            let rows = match &having {
                Having::All => all,
                Having::Some { rows, .. } => Rows::Picked(rows),
            };
            if rows.len() == 0 {
                continue;
            }
            let scores = self.scores::<NoneTape>(inputs, &rows, &Pass::Inference, asked)?;
            if let Some(scores) = scores.joint {
                self.write_predictions(&values_of(&scores)?, &rows, None, &mut joint);
            }
            for (ModalityScores { scores, present }, head) in scores.modalities.into_iter().zip(&mut modalities) {
                self.write_predictions(&values_of(&scores)?, &rows, present.as_deref(), &mut head.predictions);
            }
        }
        Ok((joint, modalities))
    }

    /// Turns the scores of some rows into predictions, where the modality is present.
    fn write_predictions(&self, scores: &[f32], rows: &Rows<'_>, present: Option<&[bool]>, into: &mut Predictions) {
        for (index, (scores, row)) in scores.chunks_exact(into.columns).zip(rows.numbers()).enumerate() {
            if present.is_some_and(|present| !present[index]) {
                continue;
            }
            let numbers = into.row_mut(row);
            match self.config.task {
                Task::Classification { .. } => {
                    for (number, &score) in numbers.iter_mut().zip(scores) {
                        *number = f64::from(score);
                    }
                    softmax(numbers);
                }
                Task::Regression { .. } => {
                    for (output, (number, &score)) in numbers.iter_mut().zip(scores).enumerate() {
                        *number = self.target_scale.restore(output, score);
                    }
                }
            }
        }
    }

    /// What the asked heads say of the picked rows, each of which has at least one modality.
    ///
    /// An encoder sees only the rows that have its modality, and is left out where none has it.
    pub(crate) fn scores<T: Tape<f32, D> + 'static>(
        &self,
        inputs: &Inputs,
        rows: &Rows<'_>,
        pass: &Pass,
        asked: Asked,
    ) -> Result<Scores<D, T>, KernelError> {
        let (mut vectors, mut modalities) = (Vec::with_capacity(self.branches.len()), Vec::new());
        for (index, branch) in self.branches.iter().enumerate() {
            let having = rows.having(inputs.present(index));
            let vector = self.vector::<T>(branch, inputs, index, rows, &having, pass)?;
            let Some(Beside { head, .. }) = branch.beside.as_ref().filter(|_| asked != Asked::Joint) else {
                vectors.push(vector);
                continue;
            };
            let (vector, tape) = vector.split_tape();
            let scores = head.forward(&self.parameters, vector.clone().put_tape(tape), pass)?;
            let present = match having {
                Having::All => None,
                Having::Some { flags, .. } => Some(flags),
            };
            modalities.push(ModalityScores { scores, present });
            vectors.push(vector.put_tape(T::default()));
        }
        let joint = if asked == Asked::Modalities {
            None
        } else {
            let fused = self.fusion.forward(&self.parameters, &self.device, vectors)?;
            Some(self.head.forward(&self.parameters, fused, pass)?)
        };
        Ok(Scores { joint, modalities })
    }

    /// The vector of one modality for the picked rows, its stand-in where they lack it.
    fn vector<T: Tape<f32, D> + 'static>(
        &self,
        branch: &Branch,
        inputs: &Inputs,
        index: usize,
        rows: &Rows<'_>,
        having: &Having,
        pass: &Pass,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let encode = |rows: &Rows<'_>| {
            branch.encoder.forward::<D, T>(&self.parameters, &self.device, &inputs.blocks[index], rows, pass)
        };
        match (having, &branch.beside) {
            (Having::All, _) => encode(rows),
            // Alone, it is present in every row that has anything.
            (Having::Some { rows, .. }, None) => encode(&Rows::Picked(rows)),
            (Having::Some { rows, flags }, Some(Beside { stand_in, .. })) => {
                let (encoded, gradient) = if rows.is_empty() {
                    let nothing = matrix_from(&self.device, Vec::new(), 0, branch.encoder.width())?;
                    (nothing.put_tape(T::default()), InputGradient::Skipped)
                } else {
                    (encode(&Rows::Picked(rows))?, InputGradient::Needed)
                };
                with_stand_in(encoded, self.parameters.vector(*stand_in), flags, gradient)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Block;
    use crate::batch::tests::{cut, some_inputs};
    use crate::config::tests::{small, table};
    use proptest::prelude::*;

    fn model(config: ModelConfig) -> Model {
        Model::new(&Cpu::default(), config, 7).expect("the configuration is sound")
    }

    fn bits(predictions: &Predictions) -> Vec<u64> {
        predictions.values.iter().map(|value| value.to_bits()).collect()
    }

    fn assert_batch_invariant(model: &Model, inputs: &Inputs, what: &str) {
        let all = bits(&model.predict(inputs).expect("the inputs fit"));
        for batch in [1, 2, 3, 7, 64, 255] {
            let starts = (0..inputs.rows).step_by(batch);
            let parts = starts.flat_map(|start| {
                bits(&model.predict(&cut(inputs, start..inputs.rows.min(start + batch))).expect("the inputs fit"))
            });
            assert!(parts.collect::<Vec<_>>() == all, "{what}, batches of {batch}");
        }
    }

    #[test]
    fn predictions_are_bit_equal_whatever_the_batch() {
        for inner in [600, 1536, 3000] {
            let mut config = small(Task::Classification { classes: 3 });
            table(&mut config).options.hidden = vec![inner, 40];
            assert_batch_invariant(&model(config), &some_inputs(255, 1), &format!("inner size {inner}"));
        }
        for norm in [true, false] {
            let mut config = small(Task::Regression { outputs: 1 });
            table(&mut config).options.layer_norm = norm;
            assert_batch_invariant(&model(config), &some_inputs(1100, 2), "regression");
        }
    }

    #[test]
    fn predictions_do_not_depend_on_threads() {
        let mut config = small(Task::Classification { classes: 2 });
        table(&mut config).options.hidden = vec![700, 300];
        let (model, inputs) = (model(config), some_inputs(2000, 3));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            pool.install(|| bits(&model.predict(&inputs).expect("the inputs fit")))
        };
        assert!(run(1) == run(4));
    }

    #[test]
    fn a_model_without_hidden_layers_is_the_linear_map_of_its_features() {
        let mut config = small(Task::Classification { classes: 2 });
        table(&mut config).options.hidden.clear();
        let model = model(config);
        assert_eq!(model.encoder_widths(), [3 + 2 + 2]);
        let inputs = some_inputs(1, 4);
        let weights = model.parameters.to_weights().expect("on the CPU");
        let numbers = |name: &str| match &weights[name].numbers {
            crate::weights::Numbers::F32(values) => values.clone(),
            crate::weights::Numbers::F64(_) => panic!("models are in single precision"),
        };
        let Block::Table(block) = &inputs.blocks[0] else { panic!("it is a table") };
        let mut features = block.numeric.clone();
        for (column, &code) in block.codes.iter().enumerate() {
            features
                .extend_from_slice(&numbers(&format!("encoders.rows.embeddings.{column}"))[code as usize * 2..][..2]);
        }
        let mut scores = [0.0f64; 2];
        for (class, score) in scores.iter_mut().enumerate() {
            *score = f64::from(numbers("head.bias")[class]);
            for (index, &feature) in features.iter().enumerate() {
                *score += f64::from(feature) * f64::from(numbers("head.weight")[index * 2 + class]);
            }
        }
        softmax(&mut scores);
        let predicted = model.predict(&inputs).expect("the inputs fit");
        assert!((predicted.row(0)[0] - scores[0]).abs() < 1e-6);
    }

    #[test]
    fn several_encoders_are_joined_side_by_side() {
        let mut config = small(Task::Regression { outputs: 2 });
        let mut second = config.encoders[0].clone();
        second.name = "more".to_string();
        config.encoders.push(second);
        let model = model(config);
        let mut inputs = some_inputs(9, 5);
        inputs.blocks.extend(some_inputs(9, 6).blocks);
        assert_eq!(model.encoder_widths(), [5, 5]);
        let predictions = model.predict(&inputs).expect("the inputs fit");
        assert_eq!((predictions.rows, predictions.columns, predictions.values.len()), (9, 2, 18));
    }

    #[test]
    fn no_rows_give_no_predictions() {
        let predictions = model(small(Task::Classification { classes: 2 })).predict(&some_inputs(0, 1));
        assert_eq!(predictions.expect("the inputs fit").rows, 0);
    }

    #[test]
    fn files_bring_the_model_back_bit_for_bit() {
        let mut first = model(small(Task::Regression { outputs: 1 }));
        first.target_scale = TargetScale { means: vec![0.1 + 0.2], deviations: vec![1.0 / 3.0] };
        let files = first.to_files().expect("it can be written");
        let second: Model = Model::from_files(&Cpu::default(), &files).expect("it was just written");
        assert_eq!(second.to_files().expect("it can be written"), files);
        let inputs = some_inputs(20, 2);
        assert_eq!(first.predict(&inputs).expect("they fit"), second.predict(&inputs).expect("they fit"));
        assert_eq!(first.parameter_count(), second.parameter_count());
    }

    #[test]
    fn a_configuration_that_does_not_fit_the_weights_is_refused_before_memory_is_taken() {
        let files = model(small(Task::Classification { classes: 2 })).to_files().expect("it can be written");
        let mut json = String::from_utf8(files["model.json"].clone()).expect("it is text");
        json = json.replace("\"numeric\": 3", "\"numeric\": 16000000");
        let mut changed = files.clone();
        changed.insert("model.json".to_string(), json.into_bytes());
        let error = Model::from_files(&Cpu::default(), &changed).expect_err("3 is not 16,000,000");
        let expected = "weight `encoders.rows.layers.0.weight` has shape [7, 8], expected [16000004, 8]";
        assert_eq!(error.to_string(), expected);
    }

    proptest! {
        #[test]
        fn damaged_files_give_an_error_or_a_model_but_no_panic(at in 0usize..4000, value in 0u8.., weights in 0u8..2) {
            let mut files = model(small(Task::Classification { classes: 2 })).to_files().expect("it can be written");
            let name = ["model.json", "weights.safetensors"][weights as usize];
            if let Some(byte) = files.get_mut(name).and_then(|bytes| bytes.get_mut(at)) {
                *byte = value;
            }
            let _ = Model::from_files(&Cpu::default(), &files);
        }
    }

    #[test]
    fn a_model_can_be_shared_between_threads() {
        fn check<T: Send + Sync>(_: &T) {}
        check(&model(small(Task::Classification { classes: 2 })));
    }
}
