//! The encoder of an image: convolutions, then a layer over all places or over the channels' means.

use nodes_kernels::{Activation, Finish, KernelError, Matrix, PutTape, Tape, channel_mean, matrix_from};

use crate::ModelDevice;
use crate::batch::{ImageBlock, Rows};
use crate::convolutions::Convolutions;
use crate::image_config::{ImageEncoderConfig, ImagePooling};
use crate::input_scale::InputScale;
use crate::layer::Linear;
use crate::parameters::{Builder, Parameters, ParametersError};
use crate::pass::Pass;

/// An image encoder whose parameters are in a model's registry.
#[derive(Debug, Clone)]
pub(crate) struct ImageEncoder {
    shape: [usize; 3],
    scale: InputScale,
    convolutions: Convolutions,
    pooling: ImagePooling,
    output: Linear,
    dropout: f64,
}

impl ImageEncoder {
    /// An encoder whose parameters are named `encoders.name.…`, with the scale of its inputs as far as one was learnt.
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        name: &str,
        config: &ImageEncoderConfig,
        scale: Option<InputScale>,
    ) -> Result<Self, ParametersError> {
        let (shape, options, prefix) = (config.shape, &config.options, format!("encoders.{name}"));
        let scale = scale.unwrap_or_else(|| InputScale::identity(shape[0], shape[1] * shape[2]));
        let convolutions = Convolutions::new(builder, &format!("{prefix}.stages"), shape, &options.channels)?;
        let features = match options.pooling {
            ImagePooling::Flatten => convolutions.features(),
            ImagePooling::Mean => convolutions.channels(),
        };
        // As through every rectifier (He et al. 2015, arXiv:1502.01852).
        let bound = (6.0 / features as f64).sqrt();
        let output = Linear::new(builder, &format!("{prefix}.output"), (features, options.width), bound)?;
        Ok(ImageEncoder { shape, scale, convolutions, pooling: options.pooling, output, dropout: options.dropout })
    }

    /// How wide its output is.
    pub(crate) fn width(&self) -> usize {
        self.output.width()
    }

    /// About how many numbers a forward pass holds for each row.
    pub(crate) fn row_cost(&self) -> usize {
        self.convolutions.row_cost()
    }

    pub(crate) fn scale(&self) -> &InputScale {
        &self.scale
    }

    /// Learns the scale of its inputs from some rows of a block.
    pub(crate) fn fit_scale(&mut self, block: &ImageBlock, rows: &Rows<'_>) {
        self.scale.fit(&block.values, self.shape.iter().product(), rows);
    }

    /// Shapes: the rows picked from `block`, which fits the encoder; result `(rows, width)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        device: &D,
        block: &ImageBlock,
        rows: &Rows<'_>,
        pass: &Pass,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let size = self.shape.iter().product();
        let values = self.scale.scaled(&block.values, size, rows);
        let input = matrix_from(device, values, rows.len(), size)?.put_tape(T::default());
        let places = self.convolutions.forward(parameters, input)?;
        let features = match self.pooling {
            ImagePooling::Flatten => places,
            ImagePooling::Mean => channel_mean(places, self.convolutions.channels())?,
        };
        let end = Finish { activation: Activation::Relu, dropout: pass.dropout(self.dropout) };
        self.output.forward(parameters, features, end)
    }
}
