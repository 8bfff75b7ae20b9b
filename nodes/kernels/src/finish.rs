//! The elementwise end of an operation: offset, activation, dropout, in one pass over each row.
//!
//! For the backward pass one number per element is kept, its *slope*: the derivative of the finished value by the value
//! before. The gradient then is a single product, whatever the activation and the mask.

use rayon::prelude::*;

use crate::Element;

/// The nonlinearity after a linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// x
    #[default]
    None,
    /// max(x, 0)
    Relu,
    /// x Φ(x), with the exact normal distribution function (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// x / (1 + e^-x), also known as swish (Elfwing, Uchibe and Doya 2018).
    Silu,
    /// (e^x - e^-x) / (e^x + e^-x)
    Tanh,
}

/// Sets a share of the elements to zero and scales the rest so that the mean stays (Srivastava et al. 2014).
///
/// The mask is a function of the key, the row and the column, so the same key gives the same mask on any number of
/// threads. Rates are rounded to multiples of 1/65536.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropout {
    key: u64,
    /// An element is dropped if its 16 random bits are below this.
    threshold: u32,
}

impl Dropout {
    /// Drops a share `rate` of the elements, at least 0 and below 1; the nearest of the two ends stands in for a rate
    /// outside.
    pub fn new(rate: f64, key: u64) -> Self {
        Dropout { key, threshold: (rate * 65_536.0).round().clamp(0.0, 65_535.0) as u32 }
    }

    /// What the kept elements are multiplied by.
    pub fn scale(&self) -> f64 {
        65_536.0 / f64::from(65_536 - self.threshold)
    }

    /// Whether the element is kept.
    pub fn keeps(&self, row: usize, column: usize, width: usize) -> bool {
        self.bits(row, column / 4, width) >> (16 * (column % 4)) & 0xffff >= u64::from(self.threshold)
    }

    /// The random bits of four neighbouring elements: SplitMix64 at a counter (Steele, Lea and Flood 2014).
    #[inline(always)]
    fn bits(&self, row: usize, quad: usize, width: usize) -> u64 {
        let counter = (row * width.div_ceil(4) + quad) as u64;
        let mut bits = self.key.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// What happens to each element after an operation's own work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Finish {
    /// The activation.
    pub activation: Activation,
    /// The dropout after it; none outside training.
    pub dropout: Option<Dropout>,
}

impl Finish {
    /// Nothing.
    pub const NONE: Finish = Finish { activation: Activation::None, dropout: None };

    /// Whether the slope of every element is one, so that none need be kept.
    pub fn is_none(&self) -> bool {
        *self == Finish::NONE
    }
}

/// Elements that one task works on.
pub(crate) const TASK: usize = 16_384;

/// Adds `offset` to each row of `values` and finishes them in place.
pub(crate) fn finish<E: Element>(finish: Finish, offset: Option<&[E]>, width: usize, values: &mut [E]) {
    for_row_chunks(width, values, |first_row, rows| {
        for (index, row) in rows.chunks_exact_mut(width).enumerate() {
            add_offset(offset, row);
            match finish.activation {
                Activation::None => {}
                Activation::Relu => row.iter_mut().for_each(|value| *value = relu(*value).0),
                Activation::Gelu => row.iter_mut().for_each(|value| *value = gelu(*value).0),
                Activation::Silu => row.iter_mut().for_each(|value| *value = silu(*value).0),
                Activation::Tanh => row.iter_mut().for_each(|value| *value = tanh(*value).0),
            }
            if let Some(dropout) = finish.dropout {
                drop_out(dropout, first_row + index, row, None);
            }
        }
    });
}

/// As [`finish`], and writes the slope of each element, of which there are as many as values.
pub(crate) fn finish_with_slopes<E: Element>(
    finish: Finish,
    offset: Option<&[E]>,
    width: usize,
    values: &mut [E],
    slopes: &mut [E],
) {
    if width == 0 {
        return;
    }
    let chunk = chunk_length(width);
    let work = |(chunk_index, (values, slopes)): (usize, (&mut [E], &mut [E]))| {
        let rows = values.chunks_exact_mut(width).zip(slopes.chunks_exact_mut(width));
        for (index, (row, slopes)) in rows.enumerate() {
            add_offset(offset, row);
            match finish.activation {
                Activation::None => slopes.fill(E::ONE),
                Activation::Relu => activate(relu, row, slopes),
                Activation::Gelu => activate(gelu, row, slopes),
                Activation::Silu => activate(silu, row, slopes),
                Activation::Tanh => activate(tanh, row, slopes),
            }
            if let Some(dropout) = finish.dropout {
                drop_out(dropout, chunk_index * (chunk / width) + index, row, Some(slopes));
            }
        }
    };
    if values.len() <= chunk {
        work((0, (values, slopes)));
    } else {
        values.par_chunks_mut(chunk).zip(slopes.par_chunks_mut(chunk)).enumerate().for_each(work);
    }
}

/// Multiplies the gradients by the slopes.
pub(crate) fn multiply_by_slopes<E: Element>(gradients: &mut [E], slopes: &[E]) {
    gradients.par_chunks_mut(TASK).zip(slopes.par_chunks(TASK)).for_each(|(gradients, slopes)| {
        for (gradient, &slope) in gradients.iter_mut().zip(slopes) {
            *gradient *= slope;
        }
    });
}

/// Calls `work(first_row, rows)` for chunks of whole rows; on this thread alone if there is only one.
pub(crate) fn for_row_chunks<E: Element>(width: usize, values: &mut [E], work: impl Fn(usize, &mut [E]) + Sync) {
    if width == 0 {
        return;
    }
    let chunk = chunk_length(width);
    if values.len() <= chunk {
        work(0, values);
    } else {
        values.par_chunks_mut(chunk).enumerate().for_each(|(index, rows)| work(index * (chunk / width), rows));
    }
}

/// A whole number of rows of about [`TASK`] elements.
fn chunk_length(width: usize) -> usize {
    (TASK / width).max(1) * width
}

#[inline(always)]
fn add_offset<E: Element>(offset: Option<&[E]>, row: &mut [E]) {
    if let Some(offset) = offset {
        for (value, &offset) in row.iter_mut().zip(offset) {
            *value += offset;
        }
    }
}

#[inline(always)]
fn activate<E: Element>(function: impl Fn(E) -> (E, E), row: &mut [E], slopes: &mut [E]) {
    for (value, slope) in row.iter_mut().zip(slopes) {
        (*value, *slope) = function(*value);
    }
}

/// Written so that a NaN stays one.
#[inline(always)]
fn relu<E: Element>(x: E) -> (E, E) {
    (if x < E::ZERO { E::ZERO } else { x }, if x > E::ZERO { E::ONE } else { E::ZERO })
}

#[inline(always)]
fn gelu<E: Element>(x: E) -> (E, E) {
    let (distribution, density) = x.normal();
    (x * distribution, x.mul_add(density, distribution))
}

#[inline(always)]
fn silu<E: Element>(x: E) -> (E, E) {
    let sigmoid = x.sigmoid();
    (x * sigmoid, sigmoid * x.mul_add(E::ONE - sigmoid, E::ONE))
}

/// By the logistic function, which has no branch and no overflow: tanh x = 2 / (1 + e^-2x) - 1.
#[inline(always)]
fn tanh<E: Element>(x: E) -> (E, E) {
    let two = E::ONE + E::ONE;
    let value = two.mul_add((two * x).sigmoid(), -E::ONE);
    (value, E::ONE - value * value)
}

fn drop_out<E: Element>(dropout: Dropout, row_index: usize, row: &mut [E], slopes: Option<&mut [E]>) {
    // Looked up and multiplied, as a branch on random bits is guessed wrong too often.
    let factors = [E::ZERO, E::of(dropout.scale())];
    let width = row.len();
    let factor =
        |bits: u64, lane: usize| factors[usize::from(bits >> (16 * lane) & 0xffff >= u64::from(dropout.threshold))];
    let fours = row.chunks_mut(4).enumerate();
    match slopes {
        None => fours.for_each(|(quad, four)| {
            let bits = dropout.bits(row_index, quad, width);
            four.iter_mut().enumerate().for_each(|(lane, number)| *number *= factor(bits, lane));
        }),
        // The random bits cost more than anything else here, so both are masked in one go.
        Some(slopes) => fours.zip(slopes.chunks_mut(4)).for_each(|((quad, four), slopes)| {
            let bits = dropout.bits(row_index, quad, width);
            for (lane, (number, slope)) in four.iter_mut().zip(slopes).enumerate() {
                let factor = factor(bits, lane);
                *number *= factor;
                *slope *= factor;
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::numbers;

    const ALL: [Activation; 5] =
        [Activation::None, Activation::Relu, Activation::Gelu, Activation::Silu, Activation::Tanh];

    #[test]
    fn slopes_are_the_derivatives() {
        for activation in ALL {
            let finish_with = |x: f64| {
                let (mut value, mut slope) = ([x], [0.0]);
                finish_with_slopes(Finish { activation, dropout: None }, None, 1, &mut value, &mut slope);
                (value[0], slope[0])
            };
            for x in [-30.0, -3.0, -1.0, -0.2, 0.3, 1.0, 5.0, 40.0] {
                let step = 1e-6;
                let difference = (finish_with(x + step).0 - finish_with(x - step).0) / (2.0 * step);
                assert!((finish_with(x).1 - difference).abs() < 1e-8, "{activation:?} at {x}");
            }
        }
    }

    #[test]
    fn activations_have_their_published_values() {
        let finished = |activation, x: f64| {
            let mut value = [x];
            finish(Finish { activation, dropout: None }, None, 1, &mut value);
            value[0]
        };
        assert_eq!(finished(Activation::Relu, -2.0), 0.0);
        assert_eq!(finished(Activation::Relu, 2.0), 2.0);
        // x Φ(x) with Φ from Abramowitz and Stegun 1964, table 26.1; x / (1 + e^-x) at 1 is 1 / (1 + 1/e).
        assert!((finished(Activation::Gelu, 1.0) - 0.841_344_746_068_543).abs() < 1e-14);
        assert!((finished(Activation::Gelu, -1.0) + 0.158_655_253_931_457).abs() < 1e-14);
        assert!((finished(Activation::Silu, 1.0) - 1.0 / (1.0 + (-1.0f64).exp())).abs() < 1e-15);
        for x in [-50.0, -1.0, -0.01, 0.0, 0.3, 2.0, 50.0f64] {
            assert!((finished(Activation::Tanh, x) - x.tanh()).abs() < 1e-15);
        }
    }

    #[test]
    fn the_slope_of_gelu_is_right_where_dfdx_has_it_wrong() {
        // At -1 the derivative is Φ(-1) - φ(-1) = -0.0833; dfdx 0.13 says -0.1835.
        let slope = gelu(-1.0f64).1;
        assert!((slope + 0.083_315_470_587_687).abs() < 1e-12, "{slope}");
    }

    #[test]
    fn values_are_the_same_with_and_without_slopes() {
        for activation in ALL {
            let end = Finish { activation, dropout: Some(Dropout::new(0.3, 9)) };
            let plain: Vec<f32> = numbers(5 * 37, 4).iter().map(|&value| value as f32).collect();
            let offset: Vec<f32> = numbers(37, 5).iter().map(|&value| value as f32).collect();
            let (mut first, mut second, mut slopes) = (plain.clone(), plain.clone(), vec![0.0; plain.len()]);
            finish(end, Some(&offset), 37, &mut first);
            finish_with_slopes(end, Some(&offset), 37, &mut second, &mut slopes);
            assert_eq!(first, second);
        }
    }

    #[test]
    fn dropout_drops_its_share_and_keeps_the_mean() {
        for rate in [0.0, 0.1, 0.5, 0.9] {
            let (rows, width) = (500, 203);
            let mut values = vec![1.0f64; rows * width];
            finish(
                Finish { activation: Activation::None, dropout: Some(Dropout::new(rate, 1)) },
                None,
                width,
                &mut values,
            );
            let dropped = values.iter().filter(|&&value| value == 0.0).count() as f64 / values.len() as f64;
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            // Five standard deviations of a share of 101,500 draws.
            assert!(
                (dropped - rate).abs() < 5.0 * (rate * (1.0 - rate) / 101_500.0).sqrt() + 1e-5,
                "{dropped} at {rate}"
            );
            assert!((mean - 1.0).abs() < 0.05, "{mean} at {rate}");
        }
    }

    #[test]
    fn dropout_says_which_elements_it_keeps() {
        let dropout = Dropout::new(0.4, 77);
        let mut values = vec![1.0f32; 3 * 7];
        finish(Finish { activation: Activation::None, dropout: Some(dropout) }, None, 7, &mut values);
        for (index, value) in values.iter().enumerate() {
            assert_eq!(*value != 0.0, dropout.keeps(index / 7, index % 7, 7));
        }
    }

    #[test]
    fn keys_give_unrelated_masks() {
        let same =
            (0..10_000).filter(|&row| Dropout::new(0.5, 1).keeps(row, 0, 1) == Dropout::new(0.5, 2).keeps(row, 0, 1));
        assert!((4_800..5_200).contains(&same.count()));
    }

    #[test]
    fn a_nan_stays_in_its_place() {
        for activation in ALL {
            let mut values = [1.0f32, f32::NAN, -1.0];
            finish(Finish { activation, dropout: None }, None, 3, &mut values);
            assert!(values[1].is_nan() && values[0].is_finite() && values[2].is_finite(), "{activation:?}");
        }
    }
}
