//! Support for the tests: numbers, finite differences, thread pools.

use dfdx::shapes::{HasShape, Shape};
use dfdx::tensor::{Cpu, Gradients, OwnedTape, PutTape, SplitTape, Tensor, ZerosTensor};
use dfdx::tensor_ops::{Backward, SumTo};

use crate::{Matrix, Parameter, Regularised, Scalar, Trainable, matrix_from};

/// The tape of double-precision checks.
pub(crate) type Recorded = OwnedTape<f64, Cpu>;

/// `length` numbers between -1 and 1 that look random and are the same every time.
pub(crate) fn numbers(length: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

pub(crate) fn numbers_f32(length: usize, seed: u64) -> Vec<f32> {
    numbers(length, seed).iter().map(|&value| value as f32).collect()
}

pub(crate) fn weight<E: crate::Element>(
    values: Vec<E>,
    rows: usize,
    columns: usize,
) -> Parameter<(usize, usize), E, Cpu> {
    Parameter::new(&Cpu::default(), values, (rows, columns), Regularised::Yes).expect("as many values as elements")
}

pub(crate) fn offset<E: crate::Element>(values: Vec<E>) -> Parameter<(usize,), E, Cpu> {
    let length = values.len();
    Parameter::new(&Cpu::default(), values, (length,), Regularised::No).expect("as many values as elements")
}

pub(crate) fn matrix<E: crate::Element>(values: &[E], rows: usize, columns: usize) -> Matrix<E, Cpu> {
    matrix_from(&Cpu::default(), values.to_vec(), rows, columns).expect("as many values as elements")
}

/// The numbers of a tensor, which may have a tape.
pub(crate) fn read<S: Shape, E: crate::Element, T>(tensor: &Tensor<S, E, Cpu, T>) -> Vec<E> {
    crate::values_of(&tensor.retaped::<dfdx::tensor::NoneTape>()).expect("the CPU does not fail")
}

/// A loss that gives every output element another weight, through dfdx's own operations.
pub(crate) fn weigh(output: Matrix<f64, Cpu, Recorded>) -> Scalar<f64, Cpu, Recorded> {
    let &(rows, columns) = output.shape();
    if rows * columns == 0 {
        // dfdx's operations panic on tensors without elements.
        return Cpu::default().zeros_like(&()).put_tape(output.split_tape().1);
    }
    (output * matrix(&numbers(rows * columns, 99), rows, columns)).sum::<(), _>()
}

/// The gradient of a loss by a contiguous tensor.
pub(crate) fn gradient_of<S: Shape>(gradients: &Gradients<f64, Cpu>, tensor: &Tensor<S, f64, Cpu>) -> Vec<f64> {
    read(&gradients.get(tensor))
}

/// The gradient of a loss by a parameter.
pub(crate) fn gradient_of_parameter<S: Shape>(
    gradients: &mut Gradients<f64, Cpu>,
    parameter: &Parameter<S, f64, Cpu>,
) -> Vec<f64> {
    let taken = parameter.take_gradient(gradients).expect("the CPU does not fail");
    taken.expect("the parameter was used").to_vec()
}

pub(crate) fn backward(loss: Scalar<f64, Cpu, Recorded>) -> Gradients<f64, Cpu> {
    loss.try_backward().expect("the CPU does not fail")
}

/// Asserts that `gradient` is that of `loss` at `point`, by central differences.
///
/// The tolerance is that of a step of 1e-6 in double precision: 1e-12 of curvature and 1e-16 / 1e-6 of rounding, times a
/// few hundred operations.
pub(crate) fn assert_gradient(what: &str, point: &[f64], gradient: &[f64], loss: impl Fn(&[f64]) -> f64) {
    assert_eq!(point.len(), gradient.len(), "{what}");
    let step = 1e-6;
    let mut moved = point.to_vec();
    for (index, &analytic) in gradient.iter().enumerate() {
        moved[index] = point[index] + step;
        let above = loss(&moved);
        moved[index] = point[index] - step;
        let below = loss(&moved);
        moved[index] = point[index];
        let numeric = (above - below) / (2.0 * step);
        let tolerance = 2e-7 * (1.0 + numeric.abs());
        assert!((analytic - numeric).abs() < tolerance, "{what}[{index}]: {analytic} but differences give {numeric}");
    }
}

/// Runs `work` in a rayon pool of its own.
pub(crate) fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started").install(work)
}

/// The bits of each number, so that equal means equal to the last bit, NaN included.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
