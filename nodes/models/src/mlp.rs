//! Hidden layers: linear, optional layer normalisation, activation, dropout.

use nodes_kernels::{Finish, InputGradient, KernelError, Matrix, Tape, layer_norm, linear};

use crate::ModelDevice;
use crate::config::Activation;
use crate::parameters::{Builder, Initial, MatrixId, Parameters, ParametersError, VectorId};
use crate::pass::Pass;

/// The settings that all layers share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LayerSettings {
    pub(crate) activation: Activation,
    pub(crate) dropout: f64,
    pub(crate) layer_norm: bool,
}

/// Hidden layers one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Mlp {
    settings: LayerSettings,
    layers: Vec<Layer>,
    width: usize,
}

#[derive(Debug, Clone)]
struct Layer {
    weight: MatrixId,
    bias: VectorId,
    norm: Option<(VectorId, VectorId)>,
}

impl Mlp {
    /// Layers of the given widths over `inputs` features; their parameters are named `prefix.0.weight` and so on.
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        prefix: &str,
        inputs: usize,
        widths: &[usize],
        settings: LayerSettings,
    ) -> Result<Self, ParametersError> {
        let (mut layers, mut before) = (Vec::new(), inputs);
        for (index, &width) in widths.iter().enumerate() {
            let name = |part: &str| format!("{prefix}.{index}.{part}");
            // The variance 2 / inputs keeps that of the signal through rectifiers (He et al. 2015, arXiv:1502.01852).
            let bound = (6.0 / before as f64).sqrt();
            let weight = builder.matrix(name("weight"), (before, width), Initial::Uniform(bound))?;
            let bias = builder.vector(name("bias"), width, Initial::Zeros)?;
            let norm = if settings.layer_norm {
                let gain = builder.vector(name("norm_gain"), width, Initial::Ones)?;
                Some((gain, builder.vector(name("norm_bias"), width, Initial::Zeros)?))
            } else {
                None
            };
            layers.push(Layer { weight, bias, norm });
            before = width;
        }
        Ok(Mlp { settings, layers, width: before })
    }

    /// How wide the last layer is; the number of inputs if there is none.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Shapes: `input` `(rows, inputs)`; result `(rows, width)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        input: Matrix<f32, D, T>,
        input_gradient: InputGradient,
        pass: &Pass,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let (mut signal, mut gradient) = (input, input_gradient);
        for layer in &self.layers {
            let dropout = pass.dropout(self.settings.dropout);
            let end = Finish { activation: self.settings.activation.kernel(), dropout };
            let (weight, bias) = (parameters.matrix(layer.weight), parameters.vector(layer.bias));
            signal = match layer.norm {
                None => linear(signal, weight, bias, end, gradient)?,
                Some((gain, norm_bias)) => {
                    let mapped = linear(signal, weight, bias, Finish::NONE, gradient)?;
                    let (gain, norm_bias) = (parameters.vector(gain), parameters.vector(norm_bias));
                    layer_norm(mapped, gain, norm_bias, end, InputGradient::Needed)?
                }
            };
            gradient = InputGradient::Needed;
        }
        Ok(signal)
    }
}
