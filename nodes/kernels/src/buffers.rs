//! How an operation gets at the numbers inside a dfdx tensor, and makes a tensor of its own.
//!
//! dfdx 0.13 keeps the storage of a tensor private. What is public is enough: numbers are copied out with `copy_into`,
//! a vector becomes a tensor without a copy, and gradients are reached through the tape (see [`crate::tape`]).

use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Cpu, CpuError, NoneTape, Storage, Tensor, TensorFromVec};
use rayon::prelude::*;

use crate::error::check_size;
use crate::finish::TASK;
use crate::{Element, KernelError};

/// The storage of numbers on device `D`.
pub type Buffer<E, D> = <D as Storage<E>>::Vec;

/// A tensor without dimensions, such as a loss.
pub type Scalar<E, D, T = NoneTape> = Tensor<(), E, D, T>;

/// A tensor of one dimension, such as a bias.
pub type Vector<E, D, T = NoneTape> = Tensor<(usize,), E, D, T>;

/// A tensor of shape `(rows, columns)`.
pub type Matrix<E, D, T = NoneTape> = Tensor<(usize, usize), E, D, T>;

/// `values`, in row-major order, as a matrix on `device`.
///
/// # Errors
/// [`KernelError::Size`] if there are not `rows * columns` values; [`KernelError::Device`].
pub fn matrix_from<E: Element, D: Buffers<E>>(
    device: &D,
    values: Vec<E>,
    rows: usize,
    columns: usize,
) -> Result<Matrix<E, D>, KernelError> {
    check_size("matrix_from", "values", rows * columns, values.len())?;
    device.upload(values).and_then(|buffer| device.tensor_of(buffer, (rows, columns))).map_err(KernelError::device)
}

/// The numbers of a contiguous tensor, on the host, in row-major order.
///
/// Unlike dfdx's own `as_vec`, which panics there, it takes tensors without elements.
///
/// # Errors
/// [`KernelError::Device`].
pub fn values_of<S: Shape, E: Element, D: Buffers<E>>(tensor: &Tensor<S, E, D>) -> Result<Vec<E>, KernelError> {
    let device = tensor.device();
    device.read(tensor).and_then(|buffer| device.download(buffer)).map_err(KernelError::device)
}

/// A device whose storage the operations can read, make and add to.
pub trait Buffers<E: Element>: Storage<E> {
    /// A copy of the tensor's numbers in row-major order; `tensor` must be contiguous.
    ///
    /// # Errors
    /// The device's own error, most often that it is out of memory.
    fn read<S: Shape>(&self, tensor: &Tensor<S, E, Self>) -> Result<Buffer<E, Self>, Self::Err>;

    /// The numbers as a tensor of `shape`, which must have as many elements.
    ///
    /// # Errors
    /// The device's own error.
    fn tensor_of<S: Shape>(&self, values: Buffer<E, Self>, shape: S) -> Result<Tensor<S, E, Self>, Self::Err>;

    /// Numbers brought from the host to the device.
    ///
    /// # Errors
    /// The device's own error.
    fn upload(&self, values: Vec<E>) -> Result<Buffer<E, Self>, Self::Err>;

    /// Numbers brought from the device to the host.
    ///
    /// # Errors
    /// The device's own error.
    fn download(&self, buffer: Buffer<E, Self>) -> Result<Vec<E>, Self::Err>;

    /// Adds `factor[0] * summand` to `sum`, element by element.
    ///
    /// # Errors
    /// The device's own error.
    fn add_scaled(
        &self,
        sum: &mut Buffer<E, Self>,
        summand: &Buffer<E, Self>,
        factor: &Buffer<E, Self>,
    ) -> Result<(), Self::Err>;
}

impl<E: Element> Buffers<E> for Cpu {
    fn read<S: Shape>(&self, tensor: &Tensor<S, E, Self>) -> Result<Buffer<E, Self>, CpuError> {
        let mut values = <Cpu as Storage<E>>::try_alloc_len(self, tensor.shape().num_elements())?;
        tensor.copy_into(&mut values);
        Ok(values)
    }

    fn tensor_of<S: Shape>(&self, mut values: Buffer<E, Self>, shape: S) -> Result<Tensor<S, E, Self>, CpuError> {
        self.try_tensor_from_vec(std::mem::take(&mut *values), shape)
    }

    fn upload(&self, values: Vec<E>) -> Result<Buffer<E, Self>, CpuError> {
        let mut buffer = <Cpu as Storage<E>>::try_alloc_len(self, 0)?;
        *buffer = values;
        Ok(buffer)
    }

    fn download(&self, mut buffer: Buffer<E, Self>) -> Result<Vec<E>, CpuError> {
        Ok(std::mem::take(&mut *buffer))
    }

    fn add_scaled(
        &self,
        sum: &mut Buffer<E, Self>,
        summand: &Buffer<E, Self>,
        factor: &Buffer<E, Self>,
    ) -> Result<(), CpuError> {
        let factor = factor[0];
        sum.par_chunks_mut(TASK).zip(summand.par_chunks(TASK)).for_each(|(sum, summand)| {
            for (sum, &summand) in sum.iter_mut().zip(summand) {
                *sum += factor * summand;
            }
        });
        Ok(())
    }
}
