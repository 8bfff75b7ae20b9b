//! The head: the joined vector becomes scores or standardised numbers.

use nodes_kernels::{Finish, InputGradient, KernelError, Matrix, Tape, linear};

use crate::ModelDevice;
use crate::config::HeadConfig;
use crate::mlp::{LayerSettings, Mlp};
use crate::parameters::{Builder, Initial, MatrixId, Parameters, ParametersError, VectorId};
use crate::pass::Pass;

/// Hidden layers and a linear one.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    layers: Mlp,
    weight: MatrixId,
    bias: VectorId,
}

impl Head {
    /// A head over `inputs` features with `outputs` numbers; its parameters are named `name.weight` and so on.
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        name: &str,
        inputs: usize,
        outputs: usize,
        config: &HeadConfig,
    ) -> Result<Self, ParametersError> {
        let settings = LayerSettings { activation: config.activation, dropout: config.dropout, layer_norm: false };
        let layers = Mlp::new(builder, &format!("{name}.layers"), inputs, &config.hidden, settings)?;
        // Small first scores: the model starts near even odds.
        let bound = (1.0 / layers.width() as f64).sqrt();
        let weight = builder.matrix(format!("{name}.weight"), (layers.width(), outputs), Initial::Uniform(bound))?;
        let bias = builder.vector(format!("{name}.bias"), outputs, Initial::Zeros)?;
        Ok(Head { layers, weight, bias })
    }

    /// Shapes: `input` `(rows, inputs)`; result `(rows, outputs)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        input: Matrix<f32, D, T>,
        pass: &Pass,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let signal = self.layers.forward(parameters, input, InputGradient::Needed, pass)?;
        let (weight, bias) = (parameters.matrix(self.weight), parameters.vector(self.bias));
        linear(signal, weight, bias, Finish::NONE, InputGradient::Needed)
    }
}
