//! A trainable tensor.

use std::sync::Arc;

use dfdx::shapes::Shape;
use dfdx::tensor::{Gradients, ZerosTensor};

use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, Element, KernelError, Scalar};

/// Whether L2 and weight decay pull a parameter towards zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regularised {
    /// Weights and embeddings.
    Yes,
    /// Biases, gains and other offsets, whose size says nothing about complexity.
    No,
}

/// A trainable tensor of shape `S` on device `D`.
///
/// Its numbers are shared with the operations that read them, so that a forward pass copies no weights. On the tape it is
/// known by the key of an empty tensor, beneath which its gradient is kept.
#[derive(Debug, Clone)]
pub struct Parameter<S: Shape, E: Element, D: Buffers<E>> {
    shape: S,
    values: Arc<Buffer<E, D>>,
    key: Scalar<E, D>,
    regularised: Regularised,
}

impl<S: Shape, E: Element, D: Buffers<E>> Parameter<S, E, D> {
    /// A parameter with `values` in row-major order.
    ///
    /// # Errors
    /// [`KernelError::Size`] if there are not as many values as `shape` has elements; [`KernelError::Device`].
    pub fn new(device: &D, values: Vec<E>, shape: S, regularised: Regularised) -> Result<Self, KernelError>
    where
        D: ZerosTensor<E>,
    {
        crate::error::check_size("parameter", "values", shape.num_elements(), values.len())?;
        let values = Arc::new(device.upload(values).map_err(KernelError::device)?);
        let key = device.try_zeros_like(&()).map_err(KernelError::device)?;
        Ok(Parameter { shape, values, key, regularised })
    }

    /// The parameter's shape.
    pub fn shape(&self) -> &S {
        &self.shape
    }

    /// The device it lives on.
    pub fn device(&self) -> &D {
        self.key.device()
    }

    /// Its numbers, shared.
    pub fn values(&self) -> Arc<Buffer<E, D>> {
        Arc::clone(&self.values)
    }

    pub(crate) fn slot(&self) -> GradientSlot<E, D> {
        GradientSlot::with_length(&self.key, self.shape.num_elements())
    }
}

/// A parameter of any shape, as the optimiser and the registry of a model see it.
pub trait Trainable<E: Element, D: Buffers<E>> {
    /// The sizes of its dimensions.
    fn sizes(&self) -> Vec<usize>;

    /// Whether L2 and decay apply.
    fn regularised(&self) -> Regularised;

    /// Its numbers, shared: cheap to keep as a snapshot, because the next update then works on a copy.
    fn share(&self) -> Arc<Buffer<E, D>>;

    /// Its numbers, to be changed in place; copied first if a snapshot or a tape still shares them.
    fn values_mut(&mut self) -> &mut Buffer<E, D>;

    /// Puts a snapshot made by [`Trainable::share`] back.
    fn restore(&mut self, values: Arc<Buffer<E, D>>);

    /// A copy of its numbers on the host, in row-major order.
    ///
    /// # Errors
    /// [`KernelError::Device`].
    fn to_vec(&self) -> Result<Vec<E>, KernelError>;

    /// Takes its gradient out of the store; nothing if no operation used the parameter.
    ///
    /// # Errors
    /// [`KernelError::Device`].
    fn take_gradient(&self, gradients: &mut Gradients<E, D>) -> Result<Option<Buffer<E, D>>, KernelError>;
}

impl<S: Shape, E: Element, D: Buffers<E>> Trainable<E, D> for Parameter<S, E, D> {
    fn sizes(&self) -> Vec<usize> {
        self.shape.concrete().as_ref().to_vec()
    }

    fn regularised(&self) -> Regularised {
        self.regularised
    }

    fn share(&self) -> Arc<Buffer<E, D>> {
        self.values()
    }

    fn values_mut(&mut self) -> &mut Buffer<E, D> {
        Arc::make_mut(&mut self.values)
    }

    fn restore(&mut self, values: Arc<Buffer<E, D>>) {
        self.values = values;
    }

    fn to_vec(&self) -> Result<Vec<E>, KernelError> {
        self.device().download((*self.values).clone()).map_err(KernelError::device)
    }

    fn take_gradient(&self, gradients: &mut Gradients<E, D>) -> Result<Option<Buffer<E, D>>, KernelError> {
        self.slot().take(gradients).map_err(KernelError::device)
    }
}
