//! An encoder of any modality, as the model sees it.

use nodes_kernels::{KernelError, Matrix, Tape};

use crate::batch::{Block, Rows};
use crate::config::{EncoderConfig, NamedEncoder};
use crate::input_scale::InputScale;
use crate::parameters::{Builder, Parameters};
use crate::pass::Pass;
use crate::table_encoder::TableEncoder;
use crate::{ConfigError, ModelDevice, ModelError};

/// An encoder whose parameters are in a model's registry: a block of inputs in, a vector per row out.
#[derive(Debug, Clone)]
pub(crate) enum Encoder {
    Table(TableEncoder),
}

impl Encoder {
    /// The encoder, with the scale of its inputs as far as one was learnt.
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        config: &NamedEncoder,
        _scale: Option<InputScale>,
    ) -> Result<Self, ModelError> {
        match &config.encoder {
            EncoderConfig::Table(table) => Ok(Encoder::Table(TableEncoder::new(builder, &config.name, table)?)),
            other => {
                let (encoder, modality) = (config.name.clone(), other.modality());
                Err(ConfigError::Unavailable { encoder, modality }.into())
            }
        }
    }

    /// How wide its output is.
    pub(crate) fn width(&self) -> usize {
        match self {
            Encoder::Table(encoder) => encoder.width(),
        }
    }

    /// About how many numbers a forward pass holds for each row.
    pub(crate) fn row_cost(&self) -> usize {
        match self {
            Encoder::Table(_) => 1,
        }
    }

    /// Learns the scale of its inputs from some rows of a block.
    pub(crate) fn fit_scale(&mut self, block: &Block, _rows: &Rows<'_>) {
        match (self, block) {
            (Encoder::Table(_), _) => {}
        }
    }

    /// The scale of its inputs, if it has one.
    pub(crate) fn scale(&self) -> Option<&InputScale> {
        match self {
            Encoder::Table(_) => None,
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
            _ => unreachable!("the inputs were checked against the configuration"),
        }
    }
}
