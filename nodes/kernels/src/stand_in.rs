//! A learnt vector in the rows where a modality is missing.

use std::sync::Arc;

use dfdx::shapes::HasShape;
use dfdx::tensor::{Cpu, CpuError, PutTape, SplitTape, Storage, Tape};
use dfdx::tensor_ops::{Device, ReshapeTo};

use crate::error::check_size;
use crate::tape::GradientSlot;
use crate::{Buffer, Buffers, Element, InputGradient, KernelError, Matrix, Parameter};

/// The encoded rows where `present`, in their order, and `stand_in` everywhere else.
///
/// Only rows that are there need be encoded: `encoded` has as many rows as `present` has `true`, which may be none.
///
/// Shapes: `encoded` `(rows present, width)`, `stand_in` `(width,)`, `present` `(rows,)`; result `(rows, width)`.
///
/// # Errors
/// [`KernelError::Size`] if the shapes do not fit; [`KernelError::Device`].
///
/// ```
/// use nodes_kernels::*;
/// let device = Cpu::default();
/// let stand_in = Parameter::new(&device, vec![0.5f32, -0.5], (2,), Regularised::No)?;
/// let encoded = matrix_from(&device, vec![1.0, 2.0], 1, 2)?;
/// let whole = with_stand_in(encoded, &stand_in, &[false, true], InputGradient::Skipped)?;
/// assert_eq!(whole.as_vec(), [0.5, -0.5, 1.0, 2.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub fn with_stand_in<E, D, T>(
    encoded: Matrix<E, D, T>,
    stand_in: &Parameter<(usize,), E, D>,
    present: &[bool],
    input_gradient: InputGradient,
) -> Result<Matrix<E, D, T>, KernelError>
where
    E: Element,
    D: StandInKernel<E> + Device<E>,
    T: Tape<E, D> + 'static,
{
    let (encoded, mut tape) = encoded.try_contiguous().map_err(KernelError::device)?.split_tape();
    let &(encoded_rows, width) = encoded.shape();
    let places = Places::new(present);
    check_size("with_stand_in", "encoded rows", places.encoded.len(), encoded_rows)?;
    check_size("with_stand_in", "stand-in", width, stand_in.shape().0)?;

    let device = encoded.device().clone();
    let encoded_slot = (input_gradient == InputGradient::Needed && T::OWNS_TAPE).then(|| GradientSlot::of(&encoded));
    let output = device
        .read(&encoded)
        .and_then(|values| device.stand_in_forward(width, &places, &values, &stand_in.values()))
        .and_then(|output| device.tensor_of(output, (present.len(), width)))
        .map_err(KernelError::device)?;

    if T::OWNS_TAPE {
        let (stand_in_slot, output_slot) = (stand_in.slot(), GradientSlot::of(&output));
        tape.add_backward_op(move |gradients| {
            let output = output_slot.take_or_zeros(gradients)?;
            let gathered = StandInGradients {
                encoded: encoded_slot.as_ref().map(|slot| slot.take_or_zeros(gradients)).transpose()?,
                stand_in: stand_in_slot.take_or_zeros(gradients)?,
            };
            let gathered = device.stand_in_backward(width, &places, &output, gathered)?;
            if let (Some(slot), Some(gradient)) = (&encoded_slot, gathered.encoded) {
                slot.put(gradients, gradient)?;
            }
            stand_in_slot.put(gradients, gathered.stand_in)
        });
    }
    Ok(output.put_tape(tape))
}

/// Which rows of the whole are encoded ones, and which the stand-in's. Cheap to clone.
///
/// Invariant: each row is in one of the two lists, and both rise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    encoded: Arc<[usize]>,
    missing: Arc<[usize]>,
}

impl Places {
    fn new(present: &[bool]) -> Self {
        let (encoded, missing): (Vec<usize>, Vec<usize>) = (0..present.len()).partition(|&row| present[row]);
        Places { encoded: encoded.into(), missing: missing.into() }
    }

    /// The row of the whole in which each encoded row stands.
    pub fn encoded(&self) -> &[usize] {
        &self.encoded
    }

    /// The rows of the whole that hold the stand-in.
    pub fn missing(&self) -> &[usize] {
        &self.missing
    }
}

/// The gradients that the backward pass of [`with_stand_in`] adds to.
#[derive(Debug)]
pub struct StandInGradients<B> {
    /// Of the encoded rows; `None` where nobody needs it.
    pub encoded: Option<B>,
    /// Of the stand-in, shape `(width,)`.
    pub stand_in: B,
}

/// What a device supplies for [`with_stand_in`].
pub trait StandInKernel<E: Element>: Buffers<E> {
    /// The encoded rows and the stand-in in their places.
    ///
    /// # Errors
    /// The device's own error.
    fn stand_in_forward(
        &self,
        width: usize,
        places: &Places,
        encoded: &Buffer<E, Self>,
        stand_in: &Buffer<E, Self>,
    ) -> Result<Buffer<E, Self>, Self::Err>;

    /// Adds the output's gradient to that of the encoded rows, and its sum over the missing rows, in order, to that of
    /// the stand-in.
    ///
    /// # Errors
    /// The device's own error.
    fn stand_in_backward(
        &self,
        width: usize,
        places: &Places,
        output_gradient: &Buffer<E, Self>,
        gathered: StandInGradients<Buffer<E, Self>>,
    ) -> Result<StandInGradients<Buffer<E, Self>>, Self::Err>;
}

impl<E: Element> StandInKernel<E> for Cpu {
    fn stand_in_forward(
        &self,
        width: usize,
        places: &Places,
        encoded: &Buffer<E, Self>,
        stand_in: &Buffer<E, Self>,
    ) -> Result<Buffer<E, Self>, CpuError> {
        let rows = places.encoded.len() + places.missing.len();
        let mut output = <Cpu as Storage<E>>::try_alloc_len(self, rows * width)?;
        for (index, &row) in places.encoded.iter().enumerate() {
            output[row * width..][..width].copy_from_slice(&encoded[index * width..][..width]);
        }
        for &row in &*places.missing {
            output[row * width..][..width].copy_from_slice(stand_in);
        }
        Ok(output)
    }

    fn stand_in_backward(
        &self,
        width: usize,
        places: &Places,
        output_gradient: &Buffer<E, Self>,
        mut gathered: StandInGradients<Buffer<E, Self>>,
    ) -> Result<StandInGradients<Buffer<E, Self>>, CpuError> {
        let add_row = |row: usize, sums: &mut [E]| {
            for (sum, &value) in sums.iter_mut().zip(&output_gradient[row * width..][..width]) {
                *sum += value;
            }
        };
        if let Some(encoded) = &mut gathered.encoded {
            for (index, &row) in places.encoded.iter().enumerate() {
                add_row(row, &mut encoded[index * width..][..width]);
            }
        }
        for &row in &*places.missing {
            add_row(row, &mut gathered.stand_in);
        }
        Ok(gathered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::*;
    use proptest::prelude::*;

    /// Output, weighted loss, and the loss's gradients by the encoded rows and the stand-in.
    fn run(encoded: &[f64], stand_in: &[f64], present: &[bool]) -> (Vec<f64>, f64, [Vec<f64>; 2]) {
        let (input, parameter) =
            (matrix(encoded, encoded.len() / stand_in.len(), stand_in.len()), offset(stand_in.to_vec()));
        let recorded = input.clone().put_tape(Recorded::default());
        let output = with_stand_in(recorded, &parameter, present, InputGradient::Needed).expect("shapes fit");
        let values = read(&output);
        let loss = weigh(output);
        let value = read(&loss)[0];
        let mut gradients = backward(loss);
        let by = [gradient_of(&gradients, &input), gradient_of_parameter(&mut gradients, &parameter)];
        (values, value, by)
    }

    proptest! {
        #[test]
        fn rows_are_in_their_places_and_gradients_the_differences(
            present in prop::collection::vec(any::<bool>(), 0..9), width in 1usize..5,
        ) {
            let count = present.iter().filter(|&&present| present).count();
            let (encoded, stand_in) = (numbers(count * width, 1), numbers(width, 2));
            let (output, _, by) = run(&encoded, &stand_in, &present);
            let mut rows = encoded.chunks_exact(width);
            let plain: Vec<f64> = present
                .iter()
                .flat_map(|&present| if present { rows.next().expect("one per row present") } else { &stand_in })
                .copied()
                .collect();
            prop_assert_eq!(output, plain);
            assert_gradient("encoded", &encoded, &by[0], |encoded| run(encoded, &stand_in, &present).1);
            assert_gradient("stand-in", &stand_in, &by[1], |stand_in| run(&encoded, stand_in, &present).1);
        }
    }

    #[test]
    fn without_a_row_present_every_row_is_the_stand_in() {
        let (output, _, [encoded, stand_in]) = run(&[], &[1.0, 2.0], &[false, false]);
        assert_eq!(output, [1.0, 2.0, 1.0, 2.0]);
        let weights = numbers(4, 99);
        assert_eq!((encoded, stand_in), (vec![], vec![weights[0] + weights[2], weights[1] + weights[3]]));
    }

    #[test]
    fn with_all_rows_present_the_stand_in_learns_nothing() {
        let (output, _, [encoded, stand_in]) = run(&[1.0, 2.0], &[f64::NAN], &[true, true]);
        assert_eq!((output, encoded, stand_in), (vec![1.0, 2.0], numbers(2, 99), vec![0.0]));
    }

    #[test]
    fn a_nan_stays_in_its_row() {
        let (output, ..) = run(&[f64::NAN, 2.0], &[3.0], &[true, false, true]);
        assert!(output[0].is_nan());
        assert_eq!(output[1..], [3.0, 2.0]);
    }

    #[test]
    fn a_stand_in_used_twice_gets_both_gradients() {
        use dfdx::tensor_ops::SumTo;
        let stand_in = offset(vec![1.0]);
        let part = || {
            let encoded = matrix(&[7.0], 1, 1).put_tape(Recorded::default());
            with_stand_in(encoded, &stand_in, &[true, false], InputGradient::Skipped).expect("shapes fit")
        };
        let mut gradients = backward((part() + part()).sum::<(), _>());
        assert_eq!(gradient_of_parameter(&mut gradients, &stand_in), [2.0]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let fails = |encoded_rows: usize, width: usize| {
            let encoded = matrix(&vec![0.0; encoded_rows * 2], encoded_rows, 2);
            with_stand_in(encoded, &offset(vec![0.0; width]), &[true, false], InputGradient::Skipped)
                .expect_err("the operands do not fit")
                .to_string()
        };
        assert_eq!(fails(2, 2), "`with_stand_in` takes encoded rows of size 1, found 2");
        assert_eq!(fails(1, 3), "`with_stand_in` takes stand-in of size 2, found 3");
    }
}
