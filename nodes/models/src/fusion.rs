//! Fusion: the outputs of the encoders become one vector.

use nodes_kernels::{InputGradient, KernelError, Matrix, Tape, concat};

use crate::config::{FusionArchitecture, ModelConfig};
use crate::parameters::{Builder, Parameters};
use crate::{ConfigError, ModelDevice, ModelError};

/// A fusion of encoder outputs of known widths.
#[derive(Debug, Clone)]
pub(crate) enum Fusion {
    Concat { width: usize },
}

impl Fusion {
    /// The fusion of all encoders of a model.
    pub(crate) fn new<D: ModelDevice>(_builder: &mut Builder<D>, config: &ModelConfig) -> Result<Self, ModelError> {
        let widths = config.encoders.iter().map(|named| named.encoder.width());
        match config.fusion.architecture {
            FusionArchitecture::Concat => Ok(Fusion::Concat { width: widths.sum() }),
            FusionArchitecture::Gated => Err(ConfigError::UnavailableFusion.into()),
        }
    }

    /// How wide the joined vector is.
    pub(crate) fn width(&self) -> usize {
        match self {
            Fusion::Concat { width } => *width,
        }
    }

    /// Shapes: part i `(rows, width i)`; result `(rows, width)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        _parameters: &Parameters<D>,
        device: &D,
        mut parts: Vec<Matrix<f32, D, T>>,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        match self {
            Fusion::Concat { .. } => match parts.pop() {
                // A single vector is its own concatenation.
                Some(only) if parts.is_empty() => Ok(only),
                last => {
                    concat(device, parts.into_iter().chain(last).map(|part| (part, InputGradient::Needed)).collect())
                }
            },
        }
    }
}
