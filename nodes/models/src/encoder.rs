//! An encoder of any modality, as the model sees it.

use nodes_kernels::{KernelError, Matrix, Tape};

use crate::batch::{Block, Rows};
use crate::config::{EncoderConfig, NamedEncoder};
use crate::image_encoder::ImageEncoder;
use crate::input_scale::InputScale;
use crate::parameters::{Builder, Parameters};
use crate::pass::Pass;
use crate::sound_encoder::SoundEncoder;
use crate::table_encoder::TableEncoder;
use crate::text_encoder::TextEncoder;
use crate::{ModelDevice, ModelError};

/// An encoder whose parameters are in a model's registry: a block of inputs in, a vector per row out.
#[derive(Debug, Clone)]
pub(crate) enum Encoder {
    Table(TableEncoder),
    Text(TextEncoder),
    Image(ImageEncoder),
    Sound(SoundEncoder),
}

impl EncoderConfig {
    /// Whether a scale of inputs, if there is one, is for such inputs.
    fn fits_scale(&self, scale: Option<&InputScale>) -> bool {
        match (self, scale) {
            (_, None) => true,
            (EncoderConfig::Image(image), Some(scale)) => {
                scale.is_sound(image.shape[0], image.shape[1] * image.shape[2])
            }
            (EncoderConfig::Sound(sound), Some(scale)) => scale.is_sound(sound.shape[1], 1),
            (EncoderConfig::Table(_) | EncoderConfig::Text(_), Some(_)) => false,
        }
    }
}

impl Encoder {
    /// The encoder, with the scale of its inputs as far as one was learnt.
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        config: &NamedEncoder,
        scale: Option<InputScale>,
    ) -> Result<Self, ModelError> {
        let name = &config.name;
        if !config.encoder.fits_scale(scale.as_ref()) {
            return Err(ModelError::InputScale { encoder: name.clone() });
        }
        match &config.encoder {
            EncoderConfig::Table(table) => Ok(Encoder::Table(TableEncoder::new(builder, name, table)?)),
            EncoderConfig::Text(text) => Ok(Encoder::Text(TextEncoder::new(builder, name, text)?)),
            EncoderConfig::Image(image) => Ok(Encoder::Image(ImageEncoder::new(builder, name, image, scale)?)),
            EncoderConfig::Sound(sound) => Ok(Encoder::Sound(SoundEncoder::new(builder, name, sound, scale)?)),
        }
    }

    /// How wide its output is.
    pub(crate) fn width(&self) -> usize {
        match self {
            Encoder::Table(encoder) => encoder.width(),
            Encoder::Text(encoder) => encoder.width(),
            Encoder::Image(encoder) => encoder.width(),
            Encoder::Sound(encoder) => encoder.width(),
        }
    }

    /// About how many numbers a forward pass holds for each row.
    pub(crate) fn row_cost(&self) -> usize {
        match self {
            Encoder::Table(encoder) => encoder.width(),
            Encoder::Text(encoder) => encoder.row_cost(),
            Encoder::Image(encoder) => encoder.row_cost(),
            Encoder::Sound(encoder) => encoder.row_cost(),
        }
    }

    /// Learns the scale of its inputs from some rows of a block.
    pub(crate) fn fit_scale(&mut self, block: &Block, rows: &Rows<'_>) {
        match (self, block) {
            (Encoder::Image(encoder), Block::Image(block)) => encoder.fit_scale(block, rows),
            (Encoder::Sound(encoder), Block::Sound(block)) => encoder.fit_scale(block, rows),
            _ => {}
        }
    }

    /// The scale of its inputs, if it has one.
    pub(crate) fn scale(&self) -> Option<&InputScale> {
        match self {
            Encoder::Table(_) | Encoder::Text(_) => None,
            Encoder::Image(encoder) => Some(encoder.scale()),
            Encoder::Sound(encoder) => Some(encoder.scale()),
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
            (Encoder::Text(encoder), Block::Text(block)) => encoder.forward(parameters, device, block, rows, pass),
            (Encoder::Image(encoder), Block::Image(block)) => encoder.forward(parameters, device, block, rows, pass),
            (Encoder::Sound(encoder), Block::Sound(block)) => encoder.forward(parameters, device, block, rows, pass),
            _ => unreachable!("the inputs were checked against the configuration"),
        }
    }
}
