//! Log-mel spectrograms: what a listener's ear makes of a sound, as frames of bands.
//!
//! The definition is librosa's (McFee et al. 2015): a periodic Hann window, frames centred on every `hop`th sample with the
//! sound mirrored at its ends (librosa's `pad_mode="reflect"`), power, triangular bands of equal area (`norm="slaney"`),
//! decibels against 1 with the floor 1e-10. Held to 1e-4 dB of it by stored values. Computed in f64.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// How frequencies become mels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MelScale {
    /// Linear below 1 kHz, logarithmic above (Slaney 1998, *Auditory Toolbox*).
    Slaney,
    /// 2595 log10(1 + f / 700) (Young et al., *The HTK Book*).
    Htk,
}

/// What a spectrogram is made with.
#[derive(Debug, Clone, PartialEq)]
pub struct MelConfig {
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Samples under the window, and of the Fourier transform.
    pub n_fft: usize,
    /// Samples from frame to frame.
    pub hop: usize,
    /// Bands.
    pub mels: usize,
    /// The scale they are equally wide on.
    pub scale: MelScale,
    /// Where the lowest band begins, in Hz.
    pub low_hz: f64,
    /// Where the highest band ends, in Hz.
    pub high_hz: f64,
    /// What lies more than this below the loudest value of the sound, in dB, is raised to it; librosa's `top_db`.
    pub range_db: Option<f64>,
}

/// A configuration that gives no spectrogram.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MelError {
    /// A size of zero, or one sample under the window.
    #[error("`{0}` is too small")]
    Size(&'static str),
    /// Bounds that are no band.
    #[error("bands from {low_hz} to {high_hz} Hz do not lie between 0 and half the sample rate, {nyquist_hz} Hz")]
    Bounds {
        /// The lower bound.
        low_hz: f64,
        /// The upper bound.
        high_hz: f64,
        /// Half the sample rate.
        nyquist_hz: f64,
    },
    /// A band between two frequencies of the transform.
    #[error(
        "band {band} of {mels} has no frequency of the transform in it, so it would always be silent; take fewer `mels` or a greater `n_fft`"
    )]
    EmptyBand {
        /// The band, from 1.
        band: usize,
        /// How many there are.
        mels: usize,
    },
}

/// A spectrogram ready to be computed of sound after sound.
pub struct LogMel {
    config: MelConfig,
    window: Vec<f64>,
    transform: Arc<dyn RealToComplex<f64>>,
    bands: Vec<Band>,
}

/// The weights of neighbouring frequencies, from `first` on.
struct Band {
    first: usize,
    weights: Vec<f64>,
}

impl LogMel {
    /// Makes windows and bands.
    ///
    /// # Errors
    /// If the configuration gives no spectrogram.
    pub fn new(config: MelConfig) -> Result<LogMel, MelError> {
        for (name, size, least) in [("n_fft", config.n_fft, 2), ("hop", config.hop, 1), ("mels", config.mels, 1)] {
            if size < least {
                return Err(MelError::Size(name));
            }
        }
        let bands = bands(&config)?;
        let turn = std::f64::consts::TAU / config.n_fft as f64;
        let window = (0..config.n_fft).map(|n| 0.5 - 0.5 * (turn * n as f64).cos()).collect();
        let transform = RealFftPlanner::<f64>::new().plan_fft_forward(config.n_fft);
        Ok(LogMel { config, window, transform, bands })
    }

    /// How many frames a sound of `samples` has.
    pub fn frames(&self, samples: usize) -> usize {
        // A window of odd length reaches one sample less to one side.
        1 + samples.saturating_sub(self.config.n_fft % 2) / self.config.hop
    }

    /// The spectrogram of `samples`, frame after frame, lowest band first: (frames, mels) values in dB. No samples are
    /// one frame of silence.
    pub fn compute(&self, samples: &[f32]) -> Vec<f32> {
        let frames = self.frames(samples.len());
        let mut decibels: Vec<f64> = Vec::with_capacity(frames * self.config.mels);
        let mut windowed = self.transform.make_input_vec();
        let mut spectrum = self.transform.make_output_vec();
        let mut scratch = self.transform.make_scratch_vec();
        let mut power = vec![0.0; spectrum.len()];
        for frame in 0..frames {
            self.window(samples, frame, &mut windowed);
            self.transform
                .process_with_scratch(&mut windowed, &mut spectrum, &mut scratch)
                .expect("the buffers are the transform's own");
            power.iter_mut().zip(&spectrum).for_each(|(power, value): (&mut f64, &Complex<f64>)| {
                *power = value.norm_sqr();
            });
            decibels.extend(self.bands.iter().map(|band| {
                let weighted = band.weights.iter().zip(&power[band.first..]).map(|(weight, power)| weight * power);
                10.0 * weighted.sum::<f64>().max(1e-10).log10()
            }));
        }
        if let Some(range) = self.config.range_db {
            let floor = decibels.iter().copied().fold(f64::NEG_INFINITY, f64::max) - range;
            decibels.iter_mut().for_each(|value| *value = value.max(floor));
        }
        decibels.into_iter().map(|value| value as f32).collect()
    }

    /// The samples around the middle of a frame under the window.
    fn window(&self, samples: &[f32], frame: usize, windowed: &mut [f64]) {
        let start = (frame * self.config.hop) as i64 - (self.config.n_fft / 2) as i64;
        let inside = usize::try_from(start).ok().and_then(|start| samples.get(start..start + self.config.n_fft));
        match inside {
            Some(inside) => {
                for ((place, sample), weight) in windowed.iter_mut().zip(inside).zip(&self.window) {
                    *place = f64::from(*sample) * weight;
                }
            }
            None => {
                for (n, (place, weight)) in windowed.iter_mut().zip(&self.window).enumerate() {
                    *place = mirrored(samples, start + n as i64) * weight;
                }
            }
        }
    }
}

/// The sample at `place`, the sound going on in its mirror image beyond its ends, which are not doubled.
fn mirrored(samples: &[f32], place: i64) -> f64 {
    let last = match samples.len() as i64 - 1 {
        -1 => return 0.0,
        last => last,
    };
    if last == 0 {
        return f64::from(samples[0]);
    }
    let place = place.rem_euclid(2 * last);
    f64::from(samples[place.min(2 * last - place) as usize])
}

/// Triangles over the frequencies of the transform, each of area 1 (in units of 1/Hz) on its way up and down.
fn bands(config: &MelConfig) -> Result<Vec<Band>, MelError> {
    let MelConfig { low_hz, high_hz, scale, mels, .. } = *config;
    let nyquist_hz = f64::from(config.sample_rate_hz) / 2.0;
    if !(0.0 <= low_hz && low_hz < high_hz && high_hz <= nyquist_hz) {
        return Err(MelError::Bounds { low_hz, high_hz, nyquist_hz });
    }
    let (low, high) = (scale.to_mels(low_hz), scale.to_mels(high_hz));
    let edge = |index: usize| scale.to_hz(low + (high - low) * index as f64 / (mels + 1) as f64);
    let step_hz = f64::from(config.sample_rate_hz) / config.n_fft as f64;
    let band = |band: usize| {
        let (left, middle, right) = (edge(band), edge(band + 1), edge(band + 2));
        let weight = |place: usize| {
            let hz = place as f64 * step_hz;
            ((hz - left) / (middle - left)).min((right - hz) / (right - middle)).max(0.0) * 2.0 / (right - left)
        };
        let weights: Vec<f64> = (0..=config.n_fft / 2).map(weight).collect();
        let first = weights.iter().position(|weight| *weight > 0.0);
        let last = weights.iter().rposition(|weight| *weight > 0.0);
        match (first, last) {
            (Some(first), Some(last)) => Ok(Band { first, weights: weights[first..=last].to_vec() }),
            _ => Err(MelError::EmptyBand { band: band + 1, mels }),
        }
    };
    (0..mels).map(band).collect()
}

/// Slaney's scale: hertz in a mel below 1 kHz.
const LINEAR_STEP: f64 = 200.0 / 3.0;
/// Where Slaney's scale becomes logarithmic, in Hz.
const CORNER_HZ: f64 = 1_000.0;

impl MelScale {
    /// Hz to mels.
    pub fn to_mels(self, hz: f64) -> f64 {
        match self {
            MelScale::Htk => 2_595.0 * (1.0 + hz / 700.0).log10(),
            MelScale::Slaney if hz < CORNER_HZ => hz / LINEAR_STEP,
            MelScale::Slaney => CORNER_HZ / LINEAR_STEP + (hz / CORNER_HZ).ln() / log_step(),
        }
    }

    /// Mels to Hz.
    pub fn to_hz(self, mels: f64) -> f64 {
        let corner = CORNER_HZ / LINEAR_STEP;
        match self {
            MelScale::Htk => 700.0 * (10.0_f64.powf(mels / 2_595.0) - 1.0),
            MelScale::Slaney if mels < corner => mels * LINEAR_STEP,
            MelScale::Slaney => CORNER_HZ * ((mels - corner) * log_step()).exp(),
        }
    }
}

/// 27 mels from 1 kHz to 6.4 kHz.
fn log_step() -> f64 {
    6.4_f64.ln() / 27.0
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn config() -> MelConfig {
        MelConfig {
            sample_rate_hz: 4_000,
            n_fft: 256,
            hop: 64,
            mels: 20,
            scale: MelScale::Slaney,
            low_hz: 0.0,
            high_hz: 2_000.0,
            range_db: Some(80.0),
        }
    }

    /// The signal of the stored values: a tone that rises, one that stays, and a fast one.
    fn signal(samples: usize, rate: f64) -> Vec<f32> {
        let sample = |n: usize| {
            let t = n as f64 / rate;
            let rising = (std::f64::consts::TAU * (200.0 + 900.0 * t) * t).sin();
            let steady = (std::f64::consts::TAU * 440.0 * t).sin();
            (0.5 * rising + 0.25 * steady + 0.01 * (1.7 * n as f64).cos()) as f32
        };
        (0..samples).map(sample).collect()
    }

    #[test]
    fn spectrograms_are_librosas() {
        let stored: Value = serde_json::from_str(include_str!("../fixtures/log_mel.json")).unwrap();
        let cases = stored["cases"].as_array().unwrap();
        assert!(cases.len() >= 4);
        for case in cases {
            let size = |name: &str| usize::try_from(case[name].as_u64().unwrap()).unwrap();
            let config = MelConfig {
                sample_rate_hz: u32::try_from(size("sample_rate")).unwrap(),
                n_fft: size("n_fft"),
                hop: size("hop"),
                mels: size("mels"),
                scale: if case["scale"] == "htk" { MelScale::Htk } else { MelScale::Slaney },
                low_hz: case["low_hz"].as_f64().unwrap(),
                high_hz: case["high_hz"].as_f64().unwrap(),
                range_db: case["range_db"].as_f64(),
            };
            let found =
                LogMel::new(config.clone()).unwrap().compute(&signal(size("samples"), size("sample_rate") as f64));
            let expected: Vec<f64> =
                case["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
            assert_eq!(found.len(), expected.len(), "{config:?}");
            for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!((f64::from(*found) - expected).abs() < 1e-4, "{config:?} {place}: {found} {expected}");
            }
        }
    }

    #[test]
    fn scales_are_the_published_ones_and_turn_back() {
        // Slaney: 3 mels at 200 Hz, 15 at 1 kHz, 42 at 6.4 kHz. HTK: 1000 mels at 1 kHz, nearly.
        for (hz, mels) in [(200.0, 3.0), (1_000.0, 15.0), (6_400.0, 42.0)] {
            assert!((MelScale::Slaney.to_mels(hz) - mels).abs() < 1e-9);
        }
        assert!((MelScale::Htk.to_mels(1_000.0) - 999.985_5).abs() < 1e-3);
        for scale in [MelScale::Slaney, MelScale::Htk] {
            for hz in [0.0, 50.0, 999.0, 1_000.0, 3_333.0] {
                assert!((scale.to_hz(scale.to_mels(hz)) - hz).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn silence_lies_on_the_floor_and_short_sounds_are_mirrored() {
        let log_mel = LogMel::new(config()).unwrap();
        assert!(log_mel.compute(&[0.0; 200]).iter().all(|value| *value == -100.0));
        assert_eq!(log_mel.compute(&[]).len(), 20);
        assert_eq!(log_mel.compute(&[0.3]).len(), 20);
        let samples = [1.0, 2.0, 3.0];
        let found: Vec<f64> = (-3..6).map(|place| mirrored(&samples, place)).collect();
        assert_eq!(found, [2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]);
    }

    #[test]
    fn a_configuration_without_a_spectrogram_says_why() {
        let error = |config: MelConfig| LogMel::new(config).err().unwrap().to_string();
        assert!(error(MelConfig { mels: 128, n_fft: 64, ..config() }).starts_with("band 1 of 128 has no frequency"));
        assert!(error(MelConfig { high_hz: 3_000.0, ..config() }).contains("half the sample rate, 2000 Hz"));
        assert_eq!(error(MelConfig { hop: 0, ..config() }), "`hop` is too small");
    }
}
