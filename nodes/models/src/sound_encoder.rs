//! The encoder of a spectrogram: a recurrent network over its frames, or convolutions over it as an image.

use nodes_kernels::{Activation, Finish, InputGradient, KernelError, Matrix, PutTape, States, Tape, gru, matrix_from};

use crate::ModelDevice;
use crate::batch::{Rows, SoundBlock};
use crate::convolutions::Convolutions;
use crate::input_scale::InputScale;
use crate::layer::{Linear, even_bound};
use crate::parameters::{Builder, Parameters, ParametersError};
use crate::pass::Pass;
use crate::sound_config::{SoundArchitecture, SoundEncoderConfig, SoundPooling};

/// A sound encoder whose parameters are in a model's registry.
#[derive(Debug, Clone)]
pub(crate) struct SoundEncoder {
    shape: [usize; 2],
    scale: InputScale,
    body: Body,
    output: Linear,
    activation: Activation,
    dropout: f64,
}

#[derive(Debug, Clone)]
enum Body {
    Recurrent { hidden: usize, by_input: Linear, by_state: Linear, states: States },
    Convolutions(Convolutions),
}

impl SoundEncoder {
    /// An encoder whose parameters are named `encoders.name.…`, with the scale of its inputs as far as one was learnt.
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        name: &str,
        config: &SoundEncoderConfig,
        scale: Option<InputScale>,
    ) -> Result<Self, ParametersError> {
        let ([frames, bands], options, prefix) = (config.shape, &config.options, format!("encoders.{name}"));
        let scale = scale.unwrap_or_else(|| InputScale::identity(bands, 1));
        let (body, features, activation) = match options.architecture {
            SoundArchitecture::Gru => {
                let hidden = options.hidden;
                // As in cuDNN and PyTorch: so small that a long sequence neither drowns nor blows up the state.
                let bound = (1.0 / hidden as f64).sqrt();
                let by_input = Linear::new(builder, &format!("{prefix}.by_input"), (bands, 3 * hidden), bound)?;
                let by_state = Linear::new(builder, &format!("{prefix}.by_state"), (hidden, 3 * hidden), bound)?;
                let states = match options.pooling {
                    SoundPooling::Last => States::Last,
                    SoundPooling::Mean => States::Mean,
                };
                (Body::Recurrent { hidden, by_input, by_state, states }, hidden, Activation::None)
            }
            SoundArchitecture::Cnn => {
                let convolutions =
                    Convolutions::new(builder, &format!("{prefix}.stages"), [1, frames, bands], &options.channels)?;
                let features = convolutions.features();
                (Body::Convolutions(convolutions), features, Activation::Relu)
            }
        };
        // As through a linear map, or through a rectifier (He et al. 2015, arXiv:1502.01852).
        let bound = match activation {
            Activation::None => even_bound(features, options.width),
            _ => (6.0 / features as f64).sqrt(),
        };
        let output = Linear::new(builder, &format!("{prefix}.output"), (features, options.width), bound)?;
        Ok(SoundEncoder { shape: config.shape, scale, body, output, activation, dropout: options.dropout })
    }

    /// How wide its output is.
    pub(crate) fn width(&self) -> usize {
        self.output.width()
    }

    /// About how many numbers a forward pass holds for each row.
    pub(crate) fn row_cost(&self) -> usize {
        let [frames, bands] = self.shape;
        match &self.body {
            Body::Recurrent { hidden, .. } => frames * (bands + 3 * hidden),
            Body::Convolutions(convolutions) => frames * bands + convolutions.row_cost(),
        }
    }

    pub(crate) fn scale(&self) -> &InputScale {
        &self.scale
    }

    /// Learns the scale of its inputs from some rows of a block.
    pub(crate) fn fit_scale(&mut self, block: &SoundBlock, rows: &Rows<'_>) {
        self.scale.fit(&block.values, self.shape.iter().product(), rows);
    }

    /// Shapes: the rows picked from `block`, which fits the encoder; result `(rows, width)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        device: &D,
        block: &SoundBlock,
        rows: &Rows<'_>,
        pass: &Pass,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let [frames, bands] = self.shape;
        let values = self.scale.scaled(&block.values, frames * bands, rows);
        let input = matrix_from(device, values, rows.len(), frames * bands)?.put_tape(T::default());
        let features = match &self.body {
            Body::Recurrent { by_input, by_state, states, .. } => {
                let layers = (by_input.of(parameters), by_state.of(parameters));
                gru(input, frames, layers.0, layers.1, *states, InputGradient::Skipped)?
            }
            Body::Convolutions(convolutions) => convolutions.forward(parameters, input)?,
        };
        let end = Finish { activation: self.activation, dropout: pass.dropout(self.dropout) };
        self.output.forward(parameters, features, end)
    }
}
