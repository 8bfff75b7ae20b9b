//! The scale of raw tensors: each channel of an image, or band of a spectrogram, to mean zero and deviation one.
//!
//! Networks learn badly from numbers far from zero or of very different sizes (LeCun et al. 1998, *Efficient BackProp*),
//! and decibels or bytes are such numbers.

use serde::{Deserialize, Serialize};

use crate::batch::Rows;

/// What is subtracted from each channel and what it is then divided by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputScale {
    means: Vec<f32>,
    deviations: Vec<f32>,
    /// How many neighbouring elements have one channel.
    run: usize,
}

impl InputScale {
    /// The scale that changes nothing: of tensors of `channels` channels, each in runs of `run` elements.
    pub(crate) fn identity(channels: usize, run: usize) -> Self {
        InputScale { means: vec![0.0; channels], deviations: vec![1.0; channels], run }
    }

    /// Learns the scale of the picked rows of `values`, of `columns` elements each. Sums go over the rows in order.
    pub(crate) fn fit(&mut self, values: &[f32], columns: usize, rows: &Rows<'_>) {
        let channels = self.means.len();
        let count = (rows.len() * columns / channels) as f64;
        if count == 0.0 {
            return;
        }
        let runs = || {
            let rows = rows.numbers().map(|row| &values[row * columns..(row + 1) * columns]);
            rows.flat_map(|row| row.chunks_exact(self.run).enumerate())
        };
        let mut means = vec![0.0; channels];
        for (index, run) in runs() {
            means[index % channels] += run.iter().map(|&value| f64::from(value)).sum::<f64>();
        }
        means.iter_mut().for_each(|mean| *mean /= count);
        let mut squares = vec![0.0; channels];
        for (index, run) in runs() {
            let mean = means[index % channels];
            squares[index % channels] += run.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
        }
        for (channel, (mean, square)) in means.into_iter().zip(squares).enumerate() {
            let deviation = (square / count).sqrt();
            self.means[channel] = mean as f32;
            // Rounding leaves a little variance in a constant channel; dividing by it would blow that up.
            let varies = deviation > 1e-6 * mean.abs() && deviation as f32 > f32::MIN_POSITIVE;
            self.deviations[channel] = if varies { deviation as f32 } else { 1.0 };
        }
    }

    /// The picked rows of `values`, of `columns` elements each, on the scale.
    pub(crate) fn scaled(&self, values: &[f32], columns: usize, rows: &Rows<'_>) -> Vec<f32> {
        let mut scaled = Vec::with_capacity(rows.len() * columns);
        let factors: Vec<f32> = self.deviations.iter().map(|deviation| 1.0 / deviation).collect();
        for row in rows.numbers() {
            let row = &values[row * columns..(row + 1) * columns];
            if self.run == 1 {
                // One band after the other: the whole frame at once.
                for frame in row.chunks_exact(self.means.len()) {
                    let bands = frame.iter().zip(&self.means).zip(&factors);
                    scaled.extend(bands.map(|((value, mean), factor)| on_scale(*value, *mean, *factor)));
                }
            } else {
                for (run, (mean, factor)) in row.chunks_exact(self.run).zip(self.means.iter().zip(&factors)) {
                    scaled.extend(run.iter().map(|value| on_scale(*value, *mean, *factor)));
                }
            }
        }
        scaled
    }

    /// Whether it fits tensors of such channels and holds usable numbers.
    pub(crate) fn is_sound(&self, channels: usize, run: usize) -> bool {
        self.run == run
            && self.means.len() == channels
            && self.deviations.len() == channels
            && self.means.iter().all(|mean| mean.is_finite())
            && self.deviations.iter().all(|deviation| deviation.is_finite() && *deviation > 0.0)
    }
}

/// A value that no train row comes near stays within the numbers a network can take.
fn on_scale(value: f32, mean: f32, factor: f32) -> f32 {
    ((value - mean) * factor).clamp(-LARGEST, LARGEST)
}

/// Deviations further off than this say no more than "far off".
const LARGEST: f32 = 1e4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_images_and_bands_of_frames_have_mean_zero_and_deviation_one() {
        // Two images of two channels of 1 x 3, or two sounds of three frames of two bands.
        let values = [0.0, 2.0, 4.0, 10.0, 10.0, 10.0, 6.0, 8.0, 10.0, 10.0, 10.0, 10.0];
        let mut image = InputScale::identity(2, 3);
        image.fit(&values, 6, &Rows::Range(0..2));
        assert_eq!((&image.means[..], image.deviations[1]), (&[5.0, 10.0][..], 1.0));
        let deviation = (35.0f32 / 3.0).sqrt();
        assert_eq!(image.deviations[0], deviation);
        let scaled = image.scaled(&values, 6, &Rows::Picked(&[1]));
        for (found, expected) in scaled.iter().zip([1.0 / deviation, 3.0 / deviation, 5.0 / deviation, 0.0, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
        let mut sound = InputScale::identity(2, 1);
        sound.fit(&values, 6, &Rows::Range(0..2));
        let scaled = sound.scaled(&values, 6, &Rows::Range(0..2));
        for band in 0..2 {
            let band: Vec<f32> = scaled.iter().skip(band).step_by(2).copied().collect();
            assert!(band.iter().sum::<f32>().abs() < 1e-5);
            assert!((band.iter().map(|value| value * value).sum::<f32>() - 6.0).abs() < 1e-4);
        }
    }

    #[test]
    fn only_the_picked_rows_are_learnt_from() {
        let mut scale = InputScale::identity(1, 2);
        scale.fit(&[1.0, 3.0, 1e9, 1e9], 2, &Rows::Picked(&[0]));
        assert_eq!(scale, InputScale { means: vec![2.0], deviations: vec![1.0], run: 2 });
        let mut none = InputScale::identity(1, 2);
        none.fit(&[], 2, &Rows::Range(0..0));
        assert_eq!(none, InputScale::identity(1, 2));
    }

    #[test]
    fn what_is_far_off_stays_finite() {
        let mut scale = InputScale::identity(1, 1);
        scale.fit(&[0.0, 1e-30], 1, &Rows::Range(0..2));
        assert!(scale.is_sound(1, 1));
        assert!(scale.scaled(&[f32::MAX, f32::MIN], 1, &Rows::Range(0..2)).iter().all(|value| value.is_finite()));
    }
}
