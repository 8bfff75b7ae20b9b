//! Fusion: the outputs of the encoders become one vector.

use nodes_kernels::{
    Activation, Finish, InputGradient, KernelError, Matrix, PutTape, SplitTape, Tape, concat, gated_sum, linear,
};

use crate::ModelDevice;
use crate::config::{FusionArchitecture, ModelConfig};
use crate::parameters::{Builder, Initial, MatrixId, Parameters, ParametersError, VectorId};

/// A fusion of encoder outputs of known widths.
#[derive(Debug, Clone)]
pub(crate) enum Fusion {
    Concat { width: usize },
    Gated(Gated),
}

/// A sum of projections, weighed by gates that see all of them.
#[derive(Debug, Clone)]
pub(crate) struct Gated {
    width: usize,
    projections: Vec<(MatrixId, VectorId)>,
    gate: (MatrixId, VectorId),
}

impl Fusion {
    /// The fusion of all encoders of a model; its parameters are named `fusion.…`.
    pub(crate) fn new<D: ModelDevice>(builder: &mut Builder<D>, config: &ModelConfig) -> Result<Self, ParametersError> {
        let widths = config.encoders.iter().map(|named| named.encoder.width());
        match config.fusion.architecture {
            FusionArchitecture::Concat => Ok(Fusion::Concat { width: widths.sum() }),
            FusionArchitecture::Gated => {
                let width = config.fusion.width.unwrap_or_else(|| widths.max().unwrap_or(1));
                Ok(Fusion::Gated(Gated::new(builder, config, width)?))
            }
        }
    }

    /// How wide the joined vector is.
    pub(crate) fn width(&self) -> usize {
        match self {
            Fusion::Concat { width } => *width,
            Fusion::Gated(gated) => gated.width,
        }
    }

    /// Shapes: part i `(rows, width i)`; result `(rows, width)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        device: &D,
        parts: Vec<Matrix<f32, D, T>>,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        match self {
            Fusion::Concat { .. } => side_by_side(device, parts),
            Fusion::Gated(gated) => gated.forward(parameters, device, parts),
        }
    }
}

impl Gated {
    fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        config: &ModelConfig,
        width: usize,
    ) -> Result<Self, ParametersError> {
        let mut projections = Vec::new();
        for named in &config.encoders {
            let (name, inputs) = (format!("fusion.projections.{}", named.name), named.encoder.width());
            // Keeps the variance through tanh, forward and backward (Glorot and Bengio 2010).
            let bound = (6.0 / (inputs + width) as f64).sqrt();
            let weight = builder.matrix(format!("{name}.weight"), (inputs, width), Initial::Uniform(bound))?;
            projections.push((weight, builder.vector(format!("{name}.bias"), width, Initial::Zeros)?));
        }
        let gates = config.encoders.len();
        // Every modality counts the same until the gates have learnt better.
        let weight = builder.matrix("fusion.gate.weight".to_string(), (gates * width, gates), Initial::Zeros)?;
        let bias = builder.vector("fusion.gate.bias".to_string(), gates, Initial::Zeros)?;
        Ok(Gated { width, projections, gate: (weight, bias) })
    }

    fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        device: &D,
        parts: Vec<Matrix<f32, D, T>>,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let map = |input, (weight, bias): (MatrixId, VectorId), activation| {
            let (weight, bias) = (parameters.matrix(weight), parameters.vector(bias));
            linear(input, weight, bias, Finish { activation, dropout: None }, InputGradient::Needed)
        };
        let projected = parts.into_iter().zip(&self.projections);
        let projected = projected.map(|(part, projection)| map(part, *projection, Activation::Tanh));
        let (values, tape) = side_by_side(device, projected.collect::<Result<_, _>>()?)?.split_tape();
        let logits = map(values.clone().put_tape(tape), self.gate, Activation::None)?;
        gated_sum(values.put_tape(T::default()), logits)
    }
}

fn side_by_side<D: ModelDevice, T: Tape<f32, D> + 'static>(
    device: &D,
    mut parts: Vec<Matrix<f32, D, T>>,
) -> Result<Matrix<f32, D, T>, KernelError> {
    match parts.pop() {
        // A single vector is its own concatenation.
        Some(only) if parts.is_empty() => Ok(only),
        last => concat(device, parts.into_iter().chain(last).map(|part| (part, InputGradient::Needed)).collect()),
    }
}
