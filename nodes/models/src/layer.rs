//! The smallest parts of encoders: a linear map, and a normalisation.

use nodes_kernels::{Finish, InputGradient, KernelError, Matrix, Parameter, Tape, layer_norm, linear};

use crate::ModelDevice;
use crate::parameters::{Builder, Initial, MatrixId, Parameters, ParametersError, VectorId};

/// A linear map with bias.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear {
    pub(crate) weight: MatrixId,
    pub(crate) bias: VectorId,
    outputs: usize,
}

/// A normalisation over the features of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norm {
    gain: VectorId,
    bias: VectorId,
}

impl Linear {
    /// A map from `inputs` to `outputs` numbers whose weights start uniform within `bound`; its parameters are named
    /// `name.weight` and `name.bias`.
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        name: &str,
        (inputs, outputs): (usize, usize),
        bound: f64,
    ) -> Result<Self, ParametersError> {
        let weight = builder.matrix(format!("{name}.weight"), (inputs, outputs), Initial::Uniform(bound))?;
        Ok(Linear { weight, bias: builder.vector(format!("{name}.bias"), outputs, Initial::Zeros)?, outputs })
    }

    /// How many numbers it gives.
    pub(crate) fn width(&self) -> usize {
        self.outputs
    }

    /// Its weight and bias.
    pub(crate) fn of<'a, D: ModelDevice>(
        &self,
        parameters: &'a Parameters<D>,
    ) -> (&'a Parameter<(usize, usize), f32, D>, &'a Parameter<(usize,), f32, D>) {
        (parameters.matrix(self.weight), parameters.vector(self.bias))
    }

    /// Shapes: `input` `(rows, inputs)`; result `(rows, outputs)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        input: Matrix<f32, D, T>,
        end: Finish,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let (weight, bias) = self.of(parameters);
        linear(input, weight, bias, end, InputGradient::Needed)
    }
}

impl Norm {
    /// A normalisation of `width` features; its parameters are named `name.gain` and `name.bias`.
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        name: &str,
        width: usize,
    ) -> Result<Self, ParametersError> {
        let gain = builder.vector(format!("{name}.gain"), width, Initial::Ones)?;
        Ok(Norm { gain, bias: builder.vector(format!("{name}.bias"), width, Initial::Zeros)? })
    }

    /// Its gain and bias.
    pub(crate) fn of<'a, D: ModelDevice>(&self, parameters: &'a Parameters<D>) -> [&'a Parameter<(usize,), f32, D>; 2] {
        [parameters.vector(self.gain), parameters.vector(self.bias)]
    }

    /// Shapes: `input` and result `(rows, width)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        input: Matrix<f32, D, T>,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let [gain, bias] = self.of(parameters);
        layer_norm(input, gain, bias, Finish::NONE, InputGradient::Needed)
    }
}

/// The bound of uniform weights that keeps the variance of a signal through a linear map, forward and backward (Glorot and
/// Bengio 2010, *Understanding the difficulty of training deep feedforward neural networks*).
pub(crate) fn even_bound(inputs: usize, outputs: usize) -> f64 {
    (6.0 / (inputs + outputs) as f64).sqrt()
}
