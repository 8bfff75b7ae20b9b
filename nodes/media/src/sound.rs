//! Sound: WAV files as one channel of samples, and back; other sample rates.
//!
//! Promises: memory is taken for what a file holds, not for what its header declares, and the two must agree. Channels are
//! averaged into one. Takes whole numbers of 8, 16, 24 and 32 bits and floats of 32 bits, no compressed sound.

use std::io::{Cursor, Read};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

/// The slowest and fastest sample rates that are taken, in Hz.
pub const SAMPLE_RATES_HZ: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// One channel of sound. Whole numbers of a file become -1 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// The samples.
    pub samples: Vec<f32>,
}

/// Why bytes give no sound.
#[derive(Debug, thiserror::Error)]
pub enum SoundError {
    /// Not a WAV file.
    #[error("its first bytes are those of no WAV file (RIFF ... WAVE)")]
    Format,
    /// A part that must be there is not.
    #[error("it has no `{0}` chunk")]
    Missing(&'static str),
    /// The header promises more than there is.
    #[error("its `{chunk}` chunk declares {declared} bytes, and {found} are left in the file")]
    Lying {
        /// The part of the file.
        chunk: &'static str,
        /// What it declares.
        declared: u64,
        /// What is there.
        found: u64,
    },
    /// There is no sample.
    #[error("it holds no sample")]
    Empty,
    /// A rate that no sound has.
    #[error("its sample rate is {0} Hz; rates from {low} to {high} Hz are taken", low = SAMPLE_RATES_HZ.start(), high = SAMPLE_RATES_HZ.end())]
    Rate(u32),
    /// A sample that is no number.
    #[error("its sample {0} is no finite number")]
    NotFinite(usize),
    /// The decoder's own word.
    #[error("it cannot be decoded: {0}")]
    Damaged(#[from] hound::Error),
}

/// The sound in the WAV file `bytes`.
///
/// # Errors
/// If they are no WAV file, are damaged, or hold less than they declare.
pub fn decode_wav(bytes: &[u8]) -> Result<Sound, SoundError> {
    let Chunks { format, data } = chunks(bytes)?;
    // The decoder is shown the two chunks it needs and nothing else: it trips over padding, and over format chunks of
    // unusual length.
    let mut head = Vec::with_capacity(64);
    head.extend_from_slice(b"RIFF\0\0\0\0WAVEfmt ");
    head.extend_from_slice(&u32::try_from(format.len()).unwrap_or(u32::MAX).to_le_bytes());
    head.extend_from_slice(format);
    head.extend_from_slice(b"data");
    head.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    let reader = WavReader::new(Cursor::new(head).chain(data))?;
    let spec = reader.spec();
    if !SAMPLE_RATES_HZ.contains(&spec.sample_rate) {
        return Err(SoundError::Rate(spec.sample_rate));
    }
    let samples = match spec.sample_format {
        SampleFormat::Float => averaged(reader.into_samples::<f32>(), spec.channels, f64::from)?,
        SampleFormat::Int => {
            let full = f64::from(1_u32 << (spec.bits_per_sample.clamp(1, 32) - 1));
            averaged(reader.into_samples::<i32>(), spec.channels, |sample| f64::from(sample) / full)?
        }
    };
    if samples.is_empty() {
        return Err(SoundError::Empty);
    }
    if let Some(place) = samples.iter().position(|sample| !sample.is_finite()) {
        return Err(SoundError::NotFinite(place));
    }
    Ok(Sound { sample_rate_hz: spec.sample_rate, samples })
}

/// The mean over the channels of each moment.
fn averaged<T>(
    samples: impl Iterator<Item = Result<T, hound::Error>>,
    channels: u16,
    value: impl Fn(T) -> f64,
) -> Result<Vec<f32>, SoundError> {
    let mut means = Vec::new();
    let (mut sum, mut channel) = (0.0, 0);
    for sample in samples {
        sum += value(sample?);
        channel += 1;
        if channel == channels {
            means.push((sum / f64::from(channels)) as f32);
            (sum, channel) = (0.0, 0);
        }
    }
    Ok(means)
}

/// The parts of a WAV file that matter.
struct Chunks<'a> {
    format: &'a [u8],
    data: &'a [u8],
}

/// Finds the parts; every length that is declared is held against what is left.
fn chunks(bytes: &[u8]) -> Result<Chunks<'_>, SoundError> {
    if bytes.len() < 12 || &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
        return Err(SoundError::Format);
    }
    let mut format = None;
    let mut rest = &bytes[12..];
    while let Some((name, after)) = rest.split_at_checked(4) {
        let Some((length, body)) = after.split_at_checked(4) else { break };
        let declared = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        let chunk = match name {
            b"fmt " => "fmt ",
            b"data" => "data",
            _ => "other",
        };
        let lying = || SoundError::Lying { chunk, declared: u64::from(declared), found: body.len() as u64 };
        let (content, behind) =
            usize::try_from(declared).ok().and_then(|length| body.split_at_checked(length)).ok_or_else(lying)?;
        match (chunk, format) {
            ("fmt ", None) => format = Some(content),
            ("data", Some(format)) => return Ok(Chunks { format: plain_format(format), data: content }),
            ("data", None) => return Err(SoundError::Missing("fmt ")),
            _ => {}
        }
        // A chunk of odd length is followed by a byte of padding.
        rest = behind.get(usize::from(declared % 2 == 1)..).unwrap_or(&[]);
    }
    Err(SoundError::Missing(if format.is_some() { "data" } else { "fmt " }))
}

/// A format chunk without what follows the fields that are used: 40 bytes of an extensible one, else 16.
fn plain_format(format: &[u8]) -> &[u8] {
    let wanted = if format.starts_with(&[0xfe, 0xff]) { 40 } else { 16 };
    format.get(..wanted).unwrap_or(format)
}

/// `sound` as a WAV file of 16 bits; what is louder than 1 is cut.
///
/// # Errors
/// If it is longer than the format allows.
pub fn encode_wav(sound: &Sound) -> Result<Vec<u8>, SoundError> {
    let spec = WavSpec {
        channels: 1,
        sample_rate: sound.sample_rate_hz,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::with_capacity(44 + 2 * sound.samples.len()));
    let mut writer = WavWriter::new(&mut bytes, spec)?;
    for sample in &sound.samples {
        writer.write_sample((sample.clamp(-1.0, 1.0) * 32_767.0).round() as i16)?;
    }
    writer.finalize()?;
    Ok(bytes.into_inner())
}

/// Zeros of the sinc on each side of its middle.
const ZEROS: f64 = 32.0;
/// Where the filter begins to close, as a share of the lower of the two Nyquist frequencies.
const ROLL_OFF: f64 = 0.92;
/// The shape of the Kaiser window: about 70 dB.
const BETA: f64 = 8.0;
/// Most filter weights that are kept between samples.
const MOST_KEPT: usize = 1 << 20;

/// `samples` at the rate `to_hz` instead of `from_hz`: the first `most` of them, from the first moment on.
///
/// Each new sample is a sum of old ones under a sinc of 32 zeros a side that a Kaiser window ends (beta 8, some 70 dB),
/// closing at 0.92 of the lower Nyquist frequency; the weights of a sample sum to 1. Before and behind the sound lies
/// silence. The result has ⌈n · to / from⌉ samples, sample m at the time m / to.
pub fn resample(samples: &[f32], from_hz: u32, to_hz: u32, most: usize) -> Vec<f32> {
    if from_hz == to_hz {
        return samples[..samples.len().min(most)].to_vec();
    }
    let common = greatest_common_divisor(from_hz, to_hz);
    let (down, up) = (u64::from(from_hz / common), u64::from(to_hz / common));
    let length = (samples.len() as u64 * up).div_ceil(down).min(most as u64);
    let filter = Filter::new(f64::from(from_hz), f64::from(to_hz));
    let mut kept: Vec<Option<Vec<f64>>> = Vec::new();
    if (up as usize).saturating_mul(filter.width()) <= MOST_KEPT {
        kept.resize_with(up as usize, || None);
    }
    let sample = |m: u64| {
        let (base, phase) = ((m * down / up) as usize, (m * down % up) as usize);
        let at_phase = || filter.weights(phase as f64 / up as f64);
        match kept.get_mut(phase) {
            Some(place) => filter.apply(place.get_or_insert_with(at_phase), samples, base),
            None => filter.apply(&at_phase(), samples, base),
        }
    };
    (0..length).map(sample).collect()
}

/// A windowed sinc over old samples.
struct Filter {
    /// Its cut-off as a share of the old Nyquist frequency.
    cut_off: f64,
    /// Old samples on each side.
    reach: usize,
}

impl Filter {
    fn new(from_hz: f64, to_hz: f64) -> Filter {
        let cut_off = ROLL_OFF * (to_hz / from_hz).min(1.0);
        Filter { cut_off, reach: (ZEROS / cut_off).ceil() as usize }
    }

    fn width(&self) -> usize {
        2 * self.reach
    }

    /// Weights of the old samples from `reach - 1` before the one at or before the new sample, which lies `phase` (0 to
    /// 1) behind it.
    fn weights(&self, phase: f64) -> Vec<f64> {
        let half = ZEROS / self.cut_off;
        let weight = |place: usize| {
            let distance = place as f64 - (self.reach as f64 - 1.0) - phase;
            let inside = 1.0 - (distance / half).powi(2);
            if inside <= 0.0 { 0.0 } else { sinc(self.cut_off * distance) * bessel(BETA * inside.sqrt()) }
        };
        let mut weights: Vec<f64> = (0..self.width()).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        weights
    }

    fn apply(&self, weights: &[f64], samples: &[f32], base: usize) -> f32 {
        let skipped = (self.reach - 1).saturating_sub(base);
        let first = (base + skipped + 1).saturating_sub(self.reach);
        let near = samples.get(first..).unwrap_or(&[]);
        weights[skipped..].iter().zip(near).map(|(weight, sample)| weight * f64::from(*sample)).sum::<f64>() as f32
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a.max(1) } else { greatest_common_divisor(b, a % b) }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) }
}

/// The modified Bessel function of order 0, by its series (Abramowitz and Stegun 1964, 9.6.12).
fn bessel(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut term, mut sum, mut order) = (1.0, 1.0, 1.0);
    while term > sum * f64::EPSILON {
        term *= quarter / (order * order);
        sum += term;
        order += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;

    fn tone(hz: f32, rate: u32, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| (TAU * hz * n as f32 / rate as f32).sin() * 0.5).collect()
    }

    fn written<S: hound::Sample + Copy>(channels: u16, bits: u16, format: SampleFormat, samples: &[S]) -> Vec<u8> {
        let spec = WavSpec { channels, sample_rate: 8_000, bits_per_sample: bits, sample_format: format };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_depth_is_read_between_minus_one_and_one() {
        let depth = |bits, samples: &[i32]| decode_wav(&written(1, bits, SampleFormat::Int, samples)).unwrap().samples;
        assert_eq!(depth(8, &[0, 64, -128]), [0.0, 0.5, -1.0]);
        assert_eq!(depth(16, &[0, 1 << 14, -1 << 15]), [0.0, 0.5, -1.0]);
        assert_eq!(depth(24, &[0, 1 << 22, -1 << 23]), [0.0, 0.5, -1.0]);
        assert_eq!(depth(32, &[0, 1 << 30, i32::MIN]), [0.0, 0.5, -1.0]);
        let floats = decode_wav(&written(1, 32, SampleFormat::Float, &[0.0_f32, 0.25, -1.5])).unwrap();
        assert_eq!(floats.samples, [0.0, 0.25, -1.5]);
        assert_eq!(floats.sample_rate_hz, 8_000);
    }

    #[test]
    fn channels_are_averaged() {
        let stereo = written(2, 16, SampleFormat::Int, &[16_384_i32, 0, -16_384, 16_384]);
        assert_eq!(decode_wav(&stereo).unwrap().samples, [0.25, 0.0]);
    }

    #[test]
    fn a_written_sound_is_read_back_to_half_a_step() {
        let sound = Sound { sample_rate_hz: 4_000, samples: tone(440.0, 4_000, 100) };
        let read = decode_wav(&encode_wav(&sound).unwrap()).unwrap();
        let furthest = read.samples.iter().zip(&sound.samples).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Half a step of 16 bits, and the 32,767 of writing against the 32,768 of reading.
        assert!(furthest < 1.01 / 32_768.0, "{furthest}");
    }

    #[test]
    fn other_chunks_and_their_padding_are_passed_over() {
        let plain = written(1, 16, SampleFormat::Int, &[5_i32, 6]);
        let mut with_list = plain[..12].to_vec();
        with_list.extend_from_slice(b"LIST\x03\0\0\0abc\0");
        with_list.extend_from_slice(&plain[12..]);
        with_list.extend_from_slice(b"id3 tail");
        assert_eq!(decode_wav(&with_list).unwrap(), decode_wav(&plain).unwrap());
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_is_refused() {
        let mut bytes = written(1, 16, SampleFormat::Int, &[1_i32, 2, 3]);
        bytes[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = decode_wav(&bytes).unwrap_err().to_string();
        assert_eq!(error, "its `data` chunk declares 4294967295 bytes, and 6 are left in the file");
        let mut bytes = written(1, 16, SampleFormat::Int, &[1_i32]);
        // The rate and the bytes a second, which must agree.
        bytes[24..28].copy_from_slice(&2_000_000_u32.to_le_bytes());
        bytes[28..32].copy_from_slice(&4_000_000_u32.to_le_bytes());
        assert!(matches!(decode_wav(&bytes).unwrap_err(), SoundError::Rate(2_000_000)));
        assert!(matches!(decode_wav(b"ID3 no sound").unwrap_err(), SoundError::Format));
        assert!(matches!(decode_wav(&bytes[..36]).unwrap_err(), SoundError::Missing("data")));
        let empty = written::<i32>(1, 16, SampleFormat::Int, &[]);
        assert!(matches!(decode_wav(&empty).unwrap_err(), SoundError::Empty));
        let nan = written(1, 32, SampleFormat::Float, &[0.0, f32::NAN]);
        assert!(matches!(decode_wav(&nan).unwrap_err(), SoundError::NotFinite(1)));
    }

    #[test]
    fn a_tone_stays_the_same_tone_at_another_rate() {
        for (from, to) in [(8_000, 4_000), (44_100, 8_000), (8_000, 11_025), (8_000, 16_000), (7_919, 8_000)] {
            let found = resample(&tone(440.0, from, from as usize / 4), from, to, usize::MAX);
            assert_eq!(found.len(), (from as usize / 4 * to as usize).div_ceil(from as usize));
            let expected = tone(440.0, to, found.len());
            // The silence before and behind reaches as far in as the filter does.
            let edge = (ZEROS / ROLL_OFF * f64::from(to) / f64::from(from.min(to))) as usize + 2;
            for n in edge..found.len() - edge {
                assert!((found[n] - expected[n]).abs() < 2e-4, "{from} {to} {n}: {} {}", found[n], expected[n]);
            }
            assert_eq!(resample(&tone(440.0, from, from as usize / 4), from, to, 10), found[..10]);
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let found = resample(&tone(3_000.0, 8_000, 2_000), 8_000, 4_000, usize::MAX);
        let loudest = found[40..found.len() - 40].iter().map(|sample| sample.abs()).fold(0.0, f32::max);
        // 70 dB below the tone's 0.5.
        assert!(loudest < 0.5 * 10.0_f32.powf(-70.0 / 20.0), "{loudest}");
        assert_eq!(resample(&[0.1, 0.2], 8_000, 8_000, 1), [0.1]);
    }

    #[test]
    fn the_bessel_function_is_the_published_one() {
        // Abramowitz and Stegun 1964, table 9.8: e^-x I0(x) at 1 and 5.
        assert!((bessel(1.0) * (-1.0_f64).exp() - 0.465_759_607_6).abs() < 1e-10);
        assert!((bessel(5.0) * (-5.0_f64).exp() - 0.183_540_813_0).abs() < 1e-9);
    }
}
