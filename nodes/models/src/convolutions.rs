//! Stages of a convolution, a rectifier and the maximum over small windows, one after the other.

use nodes_kernels::{Activation, Convolution, InputGradient, KernelError, Matrix, Tape, conv2d};

use crate::ModelDevice;
use crate::parameters::{Builder, Initial, MatrixId, Parameters, ParametersError, VectorId};

/// Stages whose parameters are in a model's registry.
#[derive(Debug, Clone)]
pub(crate) struct Convolutions {
    stages: Vec<Stage>,
    /// Channels, height and width after the last.
    output: [usize; 3],
}

#[derive(Debug, Clone)]
struct Stage {
    weight: MatrixId,
    bias: VectorId,
    convolution: Convolution,
}

/// The side of the kernel, and of the windows of which the maximum is taken.
const KERNEL: usize = 3;
const POOL: usize = 2;

impl Convolutions {
    /// A stage for each number of channels over images of `shape`, which are large enough; the parameters are named
    /// `prefix.0.weight` and so on.
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        prefix: &str,
        shape: [usize; 3],
        channels: &[usize],
    ) -> Result<Self, ParametersError> {
        let (mut stages, mut image) = (Vec::new(), shape);
        for (index, &count) in channels.iter().enumerate() {
            let convolution = Convolution {
                image,
                kernel: KERNEL,
                stride: 1,
                // Zeros around the image, so that a convolution keeps its size.
                padding: KERNEL / 2,
                activation: Activation::Relu,
                pool: POOL,
            };
            let inputs = image[0] * KERNEL * KERNEL;
            // The variance 2 / inputs keeps that of the signal through rectifiers (He et al. 2015, arXiv:1502.01852).
            let bound = Initial::Uniform((6.0 / inputs as f64).sqrt());
            let weight = builder.matrix(format!("{prefix}.{index}.weight"), (count, inputs), bound)?;
            let bias = builder.vector(format!("{prefix}.{index}.bias"), count, Initial::Zeros)?;
            stages.push(Stage { weight, bias, convolution });
            image = [count, image[1] / POOL, image[2] / POOL];
        }
        Ok(Convolutions { stages, output: image })
    }

    /// How many channels the last stage gives.
    pub(crate) fn channels(&self) -> usize {
        self.output[0]
    }

    /// How many numbers the last stage gives.
    pub(crate) fn features(&self) -> usize {
        self.output.iter().product()
    }

    /// About how many numbers a forward pass holds for each row.
    pub(crate) fn row_cost(&self) -> usize {
        self.stages.iter().map(|stage| stage.convolution.image.iter().product::<usize>()).sum::<usize>()
            + self.features()
    }

    /// Shapes: `input` `(rows, channels · height · width)`, raw images; result `(rows, features)`, channel by channel.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        input: Matrix<f32, D, T>,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let (mut signal, mut gradient) = (input, InputGradient::Skipped);
        for stage in &self.stages {
            let (weight, bias) = (parameters.matrix(stage.weight), parameters.vector(stage.bias));
            signal = conv2d(signal, weight, bias, stage.convolution, gradient)?;
            gradient = InputGradient::Needed;
        }
        Ok(signal)
    }
}
