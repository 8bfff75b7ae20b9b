//! `extract.log_mel`: sound as log-mel spectrograms of one length.

use std::sync::Arc;

use engine_core::{Digest, LogicalType, NumericClass, Serving, Size};
use engine_table::{
    Blobs, Change, Cpus, Describe, InputTypes, NodeError, OPTION_INVALID, Problem, ReduceInputs, RowFunction, RowLocal,
    TableType, tensor_column,
};
use nodes_media::mel::{LogMel, MelConfig, MelError, MelScale};
use nodes_media::parallel;
use nodes_media::sound::{SoundError, decode_wav, resample};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::media::{self, DamagedMedia, OnDamage};
use crate::place;

/// Makes a `tensor[frames, mels]` column of a column of sound: log-mel spectrograms in decibels.
///
/// WAV files are read: 8, 16, 24 and 32 bits, floats of 32 bits; channels are averaged; other sample rates are resampled by a
/// windowed sinc. Each sound is cut, or padded with silence at its end, to `frames` times `hop` samples (less one). Frames
/// stand `hop` samples apart, the first centred on the first sample, under a periodic Hann window of `n_fft` samples; at the
/// ends the sound is mirrored. The power goes through triangular bands of equal area and becomes 10 log10(max(power,
/// 1e-10)). This is `librosa.feature.melspectrogram(pad_mode="reflect")` and `librosa.power_to_db`.
///
/// A missing cell becomes zeros. Where cells may be missing (the column may have gaps, or `on_error` is `missing`) a second
/// column, named `<as>_present`, says which are there; encoders read it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogMelOptions {
    /// The column of sound.
    pub column: String,

    /// The sample rate the spectrogram is made at, in Hz, from 1000 to 768000; other sounds are resampled.
    #[schemars(range(min = 1000, max = 768000))]
    pub sample_rate: u32,

    /// How many frames the tensor has, from 1 to 65536. Give this or `seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub frames: Option<u64>,

    /// How long the tensor is, in seconds, above 0: seconds × `sample_rate` / `hop` frames, rounded up. Give this or
    /// `frames`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86400.0), extend("exclusiveMinimum" = 0))]
    pub seconds: Option<f64>,

    /// How many bands, from 1 to 1024; 40 by default.
    #[serde(default = "default_mels")]
    #[schemars(range(min = 1, max = 1024))]
    pub mels: u64,

    /// How many samples lie under the window, from 2 to 65536; 512 by default.
    #[serde(default = "default_n_fft")]
    #[schemars(range(min = 2, max = 65536))]
    pub n_fft: u64,

    /// How many samples lie between frames, from 2 to 65536; a quarter of `n_fft` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 65536))]
    pub hop: Option<u64>,

    /// The scale on which bands are equally wide; `slaney` by default.
    #[serde(default)]
    pub scale: ScaleName,

    /// Where the lowest band begins, in Hz, from 0; 0 by default.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub low_hz: f64,

    /// Where the highest band ends, in Hz, at most half the sample rate, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub high_hz: Option<f64>,

    /// What lies more decibels than this below the loudest value of its sound is raised to it, above 0; 80 by default.
    #[serde(default = "default_range_db")]
    #[schemars(range(max = 1000.0), extend("exclusiveMinimum" = 0))]
    pub range_db: f64,

    /// What is done to the decibels of each sound in the end; `none` by default.
    #[serde(default)]
    pub normalise: Normalise,

    /// What becomes of a damaged sound; `error` by default.
    #[serde(default)]
    pub on_error: OnDamage,

    /// The name of the tensor column.
    #[serde(rename = "as")]
    #[schemars(length(min = 1))]
    pub written: String,
}

fn default_mels() -> u64 {
    40
}

fn default_n_fft() -> u64 {
    512
}

fn default_range_db() -> f64 {
    80.0
}

/// A mel scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ScaleName {
    /// Linear below 1 kHz, logarithmic above (Slaney, Auditory Toolbox).
    #[default]
    Slaney,
    /// 2595 log10(1 + f / 700) (The HTK Book).
    Htk,
}

/// What is done to the decibels of a sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Normalise {
    /// Nothing: they are decibels against a power of 1.
    #[default]
    None,
    /// The mean of all values of the sound is subtracted and they are divided by their deviation, padding included; a
    /// sound of one value becomes zeros. Loudness is gone then.
    Clip,
}

/// The kind.
pub struct LogMelKind {
    options: LogMelOptions,
    config: MelConfig,
    frames: u64,
}

impl Describe for LogMelKind {
    const KIND: &'static str = "extract.log_mel";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Same;
    // The Fourier transform takes the widest instructions there are.
    const NUMERICS: NumericClass = NumericClass::Kernel;
    const CPUS: Cpus = Cpus::All;
    const EXAMPLE: &'static str = r"fuseline: 1
name: claims
nodes:
  rows: {uses: ingest.claims, with: {rows: 100}}
  sounds:
    uses: extract.log_mel
    with: {column: voice, sample_rate: 4000, frames: 20, mels: 20, n_fft: 256, hop: 64, as: spectrogram}
    in: rows
";
    type Options = LogMelOptions;

    fn new(options: LogMelOptions) -> Result<LogMelKind, Vec<Problem>> {
        let refuse =
            |option: &str, message: String| vec![Problem::error(&OPTION_INVALID, place::option(option), message)];
        let hop = options.hop.unwrap_or(options.n_fft / 4).max(2);
        let frames = match (options.frames, options.seconds) {
            (Some(frames), None) => frames,
            (None, Some(seconds)) => {
                let frames = (seconds * f64::from(options.sample_rate) / hop as f64).ceil();
                if !(1.0..=65_536.0).contains(&frames) {
                    let message = format!("{seconds} seconds are {frames} frames; from 1 to 65536 are taken");
                    return Err(refuse("seconds", message));
                }
                frames as u64
            }
            (Some(_), Some(_)) => {
                let message = "`frames` and `seconds` both say how long the tensor is".to_owned();
                return Err(refuse("seconds", message));
            }
            (None, None) => {
                let message = "how long the tensor is, is not said; write `frames` or `seconds`".to_owned();
                return Err(vec![Problem::error(&OPTION_INVALID, engine_table::At::Node, message)]);
            }
        };
        let config = MelConfig {
            sample_rate_hz: options.sample_rate,
            n_fft: options.n_fft as usize,
            hop: hop as usize,
            mels: options.mels as usize,
            scale: match options.scale {
                ScaleName::Slaney => MelScale::Slaney,
                ScaleName::Htk => MelScale::Htk,
            },
            low_hz: options.low_hz,
            high_hz: options.high_hz.unwrap_or(f64::from(options.sample_rate) / 2.0),
            range_db: Some(options.range_db),
        };
        // Made once to see whether it can be.
        if let Err(error) = LogMel::new(config.clone()) {
            let option = match error {
                MelError::Size(name) => name,
                MelError::Bounds { .. } if options.high_hz.is_some() => "high_hz",
                MelError::Bounds { .. } => "low_hz",
                MelError::EmptyBand { .. } => "mels",
            };
            return Err(refuse(option, error.to_string()));
        }
        Ok(LogMelKind { options, config, frames })
    }
}

impl RowLocal for LogMelKind {
    fn infer(&self, inputs: &InputTypes) -> Result<Change, Vec<Problem>> {
        let table = inputs.table("table");
        let may_be_missing = self.may_be_missing(table).map_err(|problem| vec![problem])?;
        let shape = vec![Size::Known(self.frames), Size::Known(self.options.mels)];
        let reads = vec![self.options.column.clone()];
        let tensor = LogicalType::Tensor(shape);
        let writes = media::writes(table, &self.options.written, tensor, &reads, may_be_missing)?;
        Ok(Change { reads, writes, ..Change::default() })
    }

    fn prepare(&self, side: &ReduceInputs) -> Result<Box<dyn RowFunction>, NodeError> {
        let may_be_missing =
            self.may_be_missing(side.types.table("table")).map_err(|problem| NodeError::Failed(problem.message))?;
        let spectrograms = Spectrograms {
            options: self.options.clone(),
            frames: self.frames as usize,
            // One less, or there would be one frame more.
            samples: self.frames as usize * self.config.hop - 1,
            log_mel: LogMel::new(self.config.clone()).map_err(NodeError::failed)?,
            may_be_missing,
            blobs: side.blobs.clone(),
        };
        Ok(Box::new(spectrograms))
    }
}

impl LogMelKind {
    fn may_be_missing(&self, table: &TableType) -> Result<bool, Problem> {
        let takes = "this kind takes sound: `ingest.files` makes an audio column of paths";
        let column = media::source(table, &self.options.column, place::option("column"), &["audio"], takes)?;
        Ok(column.nullable || self.options.on_error == OnDamage::Missing)
    }
}

/// Most sounds worked on at once.
const MOST_AT_ONCE: usize = 256;

/// The kind, ready.
struct Spectrograms {
    options: LogMelOptions,
    frames: usize,
    /// Samples of each sound, at the rate of the options.
    samples: usize,
    log_mel: LogMel,
    may_be_missing: bool,
    blobs: Arc<dyn Blobs>,
}

impl RowFunction for Spectrograms {
    fn apply(&self, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        let column = rows.column(&self.options.column).map_err(NodeError::failed)?;
        let places = self.frames * self.options.mels as usize;
        let mut values = vec![0.0_f32; rows.height() * places];
        let mut present = vec![false; rows.height()];
        let shared = media::sharing_rows(media::digests(column)?);
        for some in shared.chunks(MOST_AT_ONCE) {
            let computed = parallel::map(some.iter().collect(), |(digest, _)| self.spectrogram(digest));
            for ((digest, rows), computed) in some.iter().zip(computed) {
                match computed? {
                    Ok(spectrogram) => rows.iter().for_each(|row| {
                        values[row * places..(row + 1) * places].copy_from_slice(&spectrogram);
                        present[*row] = true;
                    }),
                    Err(_) if self.options.on_error == OnDamage::Missing => {}
                    Err(error) => {
                        return Err(NodeError::failed(DamagedMedia {
                            row: rows[0],
                            column: self.options.column.clone(),
                            what: "sound",
                            digest: digest.short(),
                            reason: error.to_string(),
                        }));
                    }
                }
            }
        }
        let tensor = tensor_column(&self.options.written, places, values)?;
        media::frame(tensor, self.may_be_missing.then_some(present))
    }
}

impl Spectrograms {
    fn spectrogram(&self, digest: &Digest) -> Result<Result<Vec<f32>, SoundError>, NodeError> {
        let bytes = self.blobs.read(digest)?;
        Ok(decode_wav(&bytes).map(|sound| {
            let rate = self.options.sample_rate;
            let mut samples = resample(&sound.samples, sound.sample_rate_hz, rate, self.samples);
            samples.resize(self.samples, 0.0);
            let mut decibels = self.log_mel.compute(&samples);
            if self.options.normalise == Normalise::Clip {
                normalise(&mut decibels);
            }
            decibels
        }))
    }
}

/// Mean 0 and deviation 1; equal values become 0.
fn normalise(values: &mut [f32]) {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let variance = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count;
    let scale = if variance > 1e-12 { variance.sqrt().recip() } else { 0.0 };
    values.iter_mut().for_each(|value| *value = ((f64::from(*value) - mean) * scale) as f32);
}

#[cfg(test)]
mod tests {
    use engine_table::{ColumnType, MemoryBlobs, tensor_slice};
    use nodes_media::sound::{Sound, encode_wav};
    use serde_json::json;

    use super::super::media::tests::{Counting, applied, present, table};
    use super::*;

    fn kind(options: serde_json::Value) -> Result<LogMelKind, Vec<Problem>> {
        let mut all = json!({"column": "call", "sample_rate": 4000, "mels": 8, "n_fft": 128, "as": "mel"});
        for (name, value) in options.as_object().unwrap() {
            all[name] = value.clone();
        }
        LogMelKind::new(serde_json::from_value(all).unwrap())
    }

    fn columns(nullable: bool) -> TableType {
        table(vec![
            ColumnType::new("call", LogicalType::Audio).with_nullable(nullable),
            ColumnType::new("name", LogicalType::Text),
        ])
    }

    fn tone(rate: u32, samples: usize) -> Vec<u8> {
        let sample = |n: usize| 0.5 * (std::f32::consts::TAU * 500.0 * n as f32 / rate as f32).sin();
        encode_wav(&Sound { sample_rate_hz: rate, samples: (0..samples).map(sample).collect() }).unwrap()
    }

    fn rows(blobs: &dyn Blobs, sounds: &[Option<&[u8]>]) -> DataFrame {
        let digest = |bytes: &[u8]| blobs.put(bytes).unwrap().to_string();
        df!["call" => sounds.iter().map(|sound| sound.map(digest)).collect::<Vec<_>>()].unwrap()
    }

    fn values(frame: &DataFrame, row: usize) -> Vec<f32> {
        let cell = frame.slice(row as i64, 1);
        tensor_slice(cell.column("mel").unwrap().as_materialized_series()).unwrap().to_vec()
    }

    #[test]
    fn sounds_are_cut_or_padded_with_silence_to_the_frames() {
        let blobs = Arc::new(MemoryBlobs::default());
        let (short, long) = (tone(4_000, 100), tone(4_000, 4_000));
        let rows = rows(&*blobs, &[Some(&short), Some(&long)]);
        let found = applied(&kind(json!({"frames": 10})).unwrap(), columns(false), &rows, blobs).unwrap();
        assert_eq!(found.width(), 1, "nothing can be missing");
        let (short, long) = (values(&found, 0), values(&found, 1));
        assert_eq!((short.len(), long.len()), (80, 80));
        assert!(short[..8].iter().zip(&long[..8]).all(|(a, b)| (a - b).abs() < 1.0), "{short:?} {long:?}");
        let loudest = |frame: &[f32]| frame.iter().copied().fold(f32::MIN, f32::max);
        // Silence lies 80 dB below the loudest value.
        assert!((loudest(&short) - loudest(&short[72..]) - 80.0).abs() < 1e-3);
        assert!(loudest(&long[72..]) > loudest(&long) - 3.0);
    }

    #[test]
    fn a_sound_of_another_rate_is_the_same_sound() {
        let blobs = Arc::new(MemoryBlobs::default());
        let (slow, fast) = (tone(4_000, 2_000), tone(11_025, 5_513));
        let rows = rows(&*blobs, &[Some(&slow), Some(&fast)]);
        let found =
            applied(&kind(json!({"seconds": 0.32, "range_db": 40})).unwrap(), columns(false), &rows, blobs).unwrap();
        let (slow, fast) = (values(&found, 0), values(&found, 1));
        assert_eq!(slow.len(), 40 * 8, "0.32 s are 40 frames of 32 samples");
        // But for the first frames, where the filter reaches into the silence before the sound.
        let furthest = slow[24..].iter().zip(&fast[24..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest < 0.5, "{furthest}");
    }

    #[test]
    fn a_missing_or_damaged_sound_is_zeros_and_says_so() {
        let blobs = Arc::new(Counting::default());
        let sound = tone(4_000, 500);
        let rows = rows(&*blobs, &[Some(&sound), None, Some(&sound[..200]), Some(&sound)]);
        let strict = kind(json!({"frames": 4})).unwrap();
        let error = applied(&strict, columns(true), &rows, blobs.clone()).unwrap_err().to_string();
        assert!(error.starts_with("row 2, column `call`: the sound "), "{error}");
        assert!(error.contains("its `data` chunk declares 1000 bytes, and 156 are left"), "{error}");
        let lenient = kind(json!({"frames": 4, "on_error": "missing", "normalise": "clip"})).unwrap();
        let found = applied(&lenient, columns(false), &rows, blobs).unwrap();
        assert_eq!(present(&found, "mel_present"), [true, false, false, true]);
        assert_eq!(values(&found, 1), [0.0; 32]);
        assert_eq!(values(&found, 0), values(&found, 3));
        let clip = values(&found, 0);
        let mean = clip.iter().sum::<f32>() / 32.0;
        let variance = clip.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / 32.0;
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
    }

    #[test]
    fn equal_values_are_normalised_to_zeros() {
        let mut values = [-100.0; 5];
        normalise(&mut values);
        assert_eq!(values, [0.0; 5]);
    }

    #[test]
    fn options_that_give_no_spectrogram_are_problems_at_their_place() {
        let at = |options| format!("{:?}", kind(options).err().unwrap()[0].at);
        assert_eq!(at(json!({})), "Node");
        assert_eq!(at(json!({"frames": 4, "seconds": 1.0})), "Option(\"/seconds\")");
        assert_eq!(at(json!({"seconds": 9999.0})), "Option(\"/seconds\")");
        assert_eq!(at(json!({"frames": 4, "high_hz": 2001.0})), "Option(\"/high_hz\")");
        assert_eq!(at(json!({"frames": 4, "mels": 300})), "Option(\"/mels\")");
        let kind = kind(json!({"frames": 4, "column": "name"})).unwrap();
        let problems = kind.infer(&InputTypes::of_table(columns(false))).unwrap_err();
        assert_eq!(problems[0].code.name, "column.type");
    }
}
