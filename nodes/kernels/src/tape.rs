//! How an operation reaches the gradients of its operands on dfdx's tape.
//!
//! dfdx 0.13 lends one gradient at a time and names the key type of none of them. A [`GradientSlot`] hides the key behind
//! a function, and takes the gradient out of the store while an operation works on several.

use std::sync::Arc;

use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Gradients, Storage, Tensor};

use crate::{Buffer, Element};

/// Whether an operation computes the gradient of its input.
///
/// Raw features and frozen encoders do not need it, and dfdx has no `requires_grad` to say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputGradient {
    /// The input was made by something that learns.
    Needed,
    /// Nothing upstream of the input learns; the work is left out.
    Skipped,
}

type Find<E, D> =
    dyn for<'g> Fn(&'g mut Gradients<E, D>) -> Result<&'g mut Buffer<E, D>, <D as dfdx::tensor::HasErr>::Err>;

/// The place of one tensor's gradient in the store.
#[derive(Clone)]
pub(crate) struct GradientSlot<E: Element, D: Storage<E>> {
    device: D,
    length: usize,
    find: Arc<Find<E, D>>,
}

impl<E: Element, D: Storage<E>> GradientSlot<E, D> {
    /// The slot of a contiguous tensor.
    pub(crate) fn of<S: Shape>(tensor: &Tensor<S, E, D>) -> Self {
        Self::with_length(tensor, tensor.shape().num_elements())
    }

    /// A slot under the key of `tensor` for a gradient of another length than the tensor's own.
    pub(crate) fn with_length<S: Shape>(tensor: &Tensor<S, E, D>, length: usize) -> Self {
        let key = tensor.ghost();
        GradientSlot {
            device: tensor.device().clone(),
            length,
            find: Arc::new(move |gradients| gradients.get_or_alloc_mut(&key)),
        }
    }

    /// Takes what has been gathered so far; nothing if that is only dfdx's placeholder for a key of another length.
    pub(crate) fn take(&self, gradients: &mut Gradients<E, D>) -> Result<Option<Buffer<E, D>>, D::Err> {
        let stored = (self.find)(gradients)?;
        if self.device.len(stored) != self.length {
            return Ok(None);
        }
        Ok(Some(std::mem::replace(stored, self.device.try_alloc_len(0)?)))
    }

    /// Takes what has been gathered so far, or zeros.
    pub(crate) fn take_or_zeros(&self, gradients: &mut Gradients<E, D>) -> Result<Buffer<E, D>, D::Err> {
        match self.take(gradients)? {
            Some(gradient) => Ok(gradient),
            None => self.device.try_alloc_len(self.length),
        }
    }

    /// Puts the gradient back for the operations that still add to it.
    pub(crate) fn put(&self, gradients: &mut Gradients<E, D>, gradient: Buffer<E, D>) -> Result<(), D::Err> {
        *(self.find)(gradients)? = gradient;
        Ok(())
    }
}
