//! An encoder of any modality, as the model sees it.

use nodes_kernels::{KernelError, Matrix, Tape};

use crate::ModelDevice;
use crate::batch::{Block, Rows};
use crate::config::{EncoderConfig, NamedEncoder};
use crate::parameters::{Builder, Parameters, ParametersError};
use crate::pass::Pass;
use crate::table_encoder::TableEncoder;

/// An encoder whose parameters are in a model's registry: a block of inputs in, a vector per row out.
#[derive(Debug, Clone)]
pub(crate) enum Encoder {
    Table(TableEncoder),
}

impl Encoder {
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        config: &NamedEncoder,
    ) -> Result<Self, ParametersError> {
        match &config.encoder {
            EncoderConfig::Table(table) => Ok(Encoder::Table(TableEncoder::new(builder, &config.name, table)?)),
        }
    }

    /// How wide its output is.
    pub(crate) fn width(&self) -> usize {
        match self {
            Encoder::Table(encoder) => encoder.width(),
        }
    }

    /// Shapes: the rows picked from `block`, which fits the encoder; result `(rows, width)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        device: &D,
        block: &Block,
        rows: &Rows<'_>,
        pass: &Pass,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        match (self, block) {
            (Encoder::Table(encoder), Block::Table(block)) => encoder.forward(parameters, device, block, rows, pass),
        }
    }
}
