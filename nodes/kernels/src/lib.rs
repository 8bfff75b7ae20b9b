//! Typed tensor operations with their own forward and backward passes.
//!
//! Every operation is one file: a function on dfdx tensors (`Tensor<(usize, usize), E, D, T>`, typed by rank, element and
//! device, sizes at run time) that records its own backward pass on dfdx's tape, and one small `…Kernel` trait that says
//! what a device has to supply for it. [`Cpu`] supplies all of them for `f32` and `f64`.
//!
//! What holds for every operation:
//! - **Batch-invariant.** The bits of a row of the result depend on that row and on the parameters, never on the rows
//!   beside it or on how many there are.
//! - **Independent of threads.** Sums over rows go over blocks of fixed size in a fixed order, never per thread.
//! - **Contained.** A NaN in one row of the input stays in that row of the output.
//! - **Seeded.** The only randomness is [`Dropout`], whose mask is a function of a key and the element's position.
//! - Input gradients are computed only where [`InputGradient::Needed`] says so: dfdx itself has no such switch.
//!
//! The crate knows nothing of models, data sets or training loops. Its `unsafe` code is all in [`matrix`]; besides
//! `nodes-models` nothing else names dfdx.

mod attention;
mod buffers;
mod concat;
mod conv2d;
mod cross_entropy;
#[cfg(feature = "cuda")]
mod cuda;
mod element;
mod embedding;
mod error;
mod finish;
mod gate;
mod gru;
mod layer_norm;
mod linear;
pub mod matrix;
mod multimodal_loss;
mod optimiser;
mod parameter;
pub mod reduction;
mod regression_loss;
mod sequence;
mod sequence_mean;
mod stand_in;
mod tape;
mod token_embedding;
mod transformer;

#[cfg(test)]
mod check;

pub use attention::{Attended, AttentionKernel, AttentionShape};
pub use buffers::{Buffer, Buffers, Matrix, Scalar, Vector, matrix_from, values_of};
pub use concat::{ConcatKernel, concat};
pub use conv2d::{Conv2dGradients, Conv2dKernel, Conv2dShape, Convolution, CpuConv2dKept, conv2d};
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use element::Element;
pub use embedding::{Codes, EmbeddingKernel, embed};
pub use error::KernelError;
pub use finish::{Activation, Dropout, Finish};
pub use gate::{GateKernel, GateShape, GatedSum, gated_sum};
pub use gru::{GruGradients, GruKept, GruKernel, GruShape, GruWeights, States, gru};
pub use layer_norm::{LayerNormGradients, LayerNormKept, LayerNormKernel, layer_norm};
pub use linear::{LinearGradients, LinearKernel, LinearShape, linear};
pub use multimodal_loss::{
    HeadLoss, HeadRows, LossHead, LossTargets, LossesAndGradients, MultimodalLoss, MultimodalLossKernel,
    multimodal_loss,
};
pub use optimiser::{Optimiser, OptimiserKernel, OptimiserSettings, Rule, StepSizes};
pub use parameter::{Parameter, Regularised, Trainable};
pub use regression_loss::{RegressionLoss, Residual, regression_loss};
pub use sequence::{PADDING, Spans, Tokens};
pub use sequence_mean::{SequenceMeanKernel, channel_mean, sequence_mean};
pub use stand_in::{Places, StandInGradients, StandInKernel, with_stand_in};
pub use tape::InputGradient;
pub use token_embedding::{TokenKernel, embed_tokens, embedding_mean};
pub use transformer::{BlockParameters, BlockSettings, Layer, transformer_block};

pub use dfdx::shapes::Shape;
#[cfg(feature = "cuda")]
pub use dfdx::tensor::Cuda;
pub use dfdx::tensor::{Cpu, Gradients, NoneTape, OwnedTape, PutTape, SplitTape, Tape, Tensor};
pub use dfdx::tensor_ops::{Backward, Device};

/// A device that supplies every operation of this crate.
pub trait Kernels<E: Element>:
    Device<E>
    + LinearKernel<E>
    + EmbeddingKernel<E>
    + ConcatKernel<E>
    + Conv2dKernel<E>
    + LayerNormKernel<E>
    + MultimodalLossKernel<E>
    + StandInKernel<E>
    + GateKernel<E>
    + TokenKernel<E>
    + AttentionKernel<E>
    + GruKernel<E>
    + SequenceMeanKernel<E>
    + OptimiserKernel<E>
{
}

impl<E: Element, D> Kernels<E> for D where
    D: Device<E>
        + LinearKernel<E>
        + EmbeddingKernel<E>
        + ConcatKernel<E>
        + Conv2dKernel<E>
        + LayerNormKernel<E>
        + MultimodalLossKernel<E>
        + StandInKernel<E>
        + GateKernel<E>
        + TokenKernel<E>
        + AttentionKernel<E>
        + GruKernel<E>
        + SequenceMeanKernel<E>
        + OptimiserKernel<E>
{
}
