//! The multimodal model: an encoder per modality, a fusion, one head over the joined vector.

use nodes_kernels::{Cpu, KernelError, Matrix, NoneTape, Tape, values_of};
use serde::{Deserialize, Serialize};

use crate::batch::{InputError, Inputs, Rows};
use crate::config::{ConfigError, ModelConfig, Task};
use crate::encoder::Encoder;
use crate::files::{self, FilesError, ModelFiles, ModelKind};
use crate::fusion::Fusion;
use crate::head::Head;
use crate::parameters::{Builder, Parameters, ParametersError, Source};
use crate::pass::Pass;
use crate::predictions::{Predictions, softmax};
use crate::{ModelDevice, TargetScale};

/// Rows are predicted in chunks of this many, to bound the memory.
const CHUNK: usize = 1024;

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

    /// An operation or the device failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// A multimodal model on device `D`.
///
/// Invariant: the configuration is sound, and the parameters are those it describes.
#[derive(Debug, Clone)]
pub struct Model<D: ModelDevice = Cpu> {
    device: D,
    config: ModelConfig,
    pub(crate) parameters: Parameters<D>,
    encoders: Vec<Encoder>,
    fusion: Fusion,
    head: Head,
    pub(crate) target_scale: TargetScale,
}

/// `model.json` of a multimodal model.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: ModelConfig,
    target_scale: TargetScale,
}

impl<D: ModelDevice> Model<D> {
    /// A model that has learnt nothing: its first values are a function of the seed and the parameters' names.
    ///
    /// # Errors
    /// [`ModelError::Config`]; [`ModelError::Kernel`] if the device is out of memory.
    pub fn new(device: &D, config: ModelConfig, seed: u64) -> Result<Self, ModelError> {
        let target_scale = TargetScale::identity(config.task.width());
        Self::build(device, config, target_scale, Source::Seed(seed))
    }

    /// The model in `files`, as [`Model::to_files`] wrote it.
    ///
    /// # Errors
    /// If the files are damaged, of another kind or format, or do not fit each other.
    pub fn from_files(device: &D, files: &ModelFiles) -> Result<Self, ModelError> {
        let (saved, weights): (Saved, _) = files::read(files, ModelKind::Multimodal)?;
        Self::build(device, saved.config, saved.target_scale, Source::Weights(weights))
    }

    fn build(device: &D, config: ModelConfig, target_scale: TargetScale, source: Source) -> Result<Self, ModelError> {
        config.check()?;
        let outputs = config.task.width();
        if !target_scale.is_sound(outputs) {
            return Err(ModelError::TargetScale { outputs });
        }
        let mut builder = Builder::new(device, source);
        let mut encoders = Vec::new();
        for encoder in &config.encoders {
            encoders.push(Encoder::new(&mut builder, encoder)?);
        }
        let fusion = Fusion::new(&config.fusion, &encoders.iter().map(Encoder::width).collect::<Vec<_>>());
        let head = Head::new(&mut builder, "head", fusion.width(), outputs, &config.head)?;
        let parameters = builder.finish()?;
        Ok(Model { device: device.clone(), config, parameters, encoders, fusion, head, target_scale })
    }

    /// The model as files. Equal models give equal bytes.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_files(&self) -> Result<ModelFiles, ModelError> {
        let saved = Saved { config: self.config.clone(), target_scale: self.target_scale.clone() };
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
        self.encoders.iter().map(Encoder::width).collect()
    }

    pub(crate) fn device(&self) -> &D {
        &self.device
    }

    /// The predictions for all rows: the probability of each class, or the outputs on the scale of the targets.
    ///
    /// The bits of a row depend on that row alone, whatever the size of the batch.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the inputs do not fit the model.
    pub fn predict(&self, inputs: &Inputs) -> Result<Predictions, ModelError> {
        inputs.check(&self.config)?;
        let mut predictions = Predictions::empty(self.config.task);
        predictions.values.reserve(inputs.rows.saturating_mul(predictions.columns));
        for start in (0..inputs.rows).step_by(CHUNK) {
            let rows = Rows::Range(start..inputs.rows.min(start + CHUNK));
            let scores = self.scores::<NoneTape>(inputs, &rows, &Pass::Inference)?;
            self.add_predictions(&values_of(&scores)?, &mut predictions);
        }
        Ok(predictions)
    }

    fn add_predictions(&self, scores: &[f32], predictions: &mut Predictions) {
        for row in scores.chunks_exact(predictions.columns) {
            let start = predictions.values.len();
            match self.config.task {
                Task::Classification { .. } => {
                    predictions.values.extend(row.iter().map(|&score| f64::from(score)));
                    softmax(&mut predictions.values[start..]);
                }
                Task::Regression { .. } => {
                    let restored =
                        row.iter().enumerate().map(|(output, &value)| self.target_scale.restore(output, value));
                    predictions.values.extend(restored);
                }
            }
            predictions.rows += 1;
        }
    }

    /// The logits of the classes, or the outputs on the standardised scale, of the picked rows.
    ///
    /// Shapes: `inputs` checked; result `(rows, width of the task)`.
    pub(crate) fn scores<T: Tape<f32, D> + 'static>(
        &self,
        inputs: &Inputs,
        rows: &Rows<'_>,
        pass: &Pass,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let mut encoded = Vec::with_capacity(self.encoders.len());
        for (encoder, block) in self.encoders.iter().zip(&inputs.blocks) {
            encoded.push(encoder.forward(&self.parameters, &self.device, block, rows, pass)?);
        }
        let fused = self.fusion.forward(&self.device, encoded)?;
        self.head.forward(&self.parameters, fused, pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::some_inputs;
    use crate::config::tests::{small, table};
    use crate::{Block, TableBlock};
    use proptest::prelude::*;

    fn model(config: ModelConfig) -> Model {
        Model::new(&Cpu::default(), config, 7).expect("the configuration is sound")
    }

    fn bits(predictions: &Predictions) -> Vec<u64> {
        predictions.values.iter().map(|value| value.to_bits()).collect()
    }

    fn cut(inputs: &Inputs, rows: std::ops::Range<usize>) -> Inputs {
        let rows = Rows::Range(rows);
        let cut = |block: &Block| {
            let Block::Table(block) = block;
            let columns = |length: usize| length / inputs.rows;
            let numeric = rows.of(&block.numeric, columns(block.numeric.len()));
            Block::Table(TableBlock { numeric, codes: rows.of(&block.codes, columns(block.codes.len())) })
        };
        Inputs { rows: rows.len(), blocks: inputs.blocks.iter().map(cut).collect() }
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
        let Block::Table(block) = &inputs.blocks[0];
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
