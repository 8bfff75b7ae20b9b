//! What shapes a sound encoder.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, check_dropout, check_size};
use crate::image_config::check_stages;

/// A sound encoder: the size of the spectrograms, and the layers over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoundEncoderConfig {
    /// Frames, and bands of each.
    pub shape: [usize; 2],
    /// The layers.
    pub options: SoundEncoderOptions,
}

/// An encoder of spectrograms of one length.
///
/// Each band is first brought to mean zero and deviation one, as learnt from the train rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SoundEncoderOptions {
    /// What stands between the spectrogram and the vector; `gru` by default.
    pub architecture: SoundArchitecture,

    /// The width of the encoder's output; 128 by default.
    #[schemars(range(min = 1))]
    pub width: usize,

    /// Of `gru`: the width of its state; 128 by default.
    #[schemars(range(min = 1))]
    pub hidden: usize,

    /// Of `gru`: which of its states the last layer reads; `last` by default.
    pub pooling: SoundPooling,

    /// Of `cnn`: how many channels each stage gives; 16 and 32 by default. A stage halves frames and bands.
    #[schemars(length(min = 1), inner(range(min = 1)))]
    pub channels: Vec<usize>,

    /// The share of the output's elements that is dropped in training, at least 0 and less than 1; 0.1 by default.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}

/// What stands between the spectrogram and the vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SoundArchitecture {
    /// A recurrent network over the frames (Cho et al. 2014, arXiv:1406.1078), then a linear layer.
    #[default]
    Gru,
    /// The stages of an image's `cnn` over the spectrogram as an image of one channel, then a linear layer over all
    /// places and a rectifier.
    Cnn,
}

/// Which states of a recurrent network count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SoundPooling {
    /// The last one.
    #[default]
    Last,
    /// The mean of all.
    Mean,
}

impl Default for SoundEncoderOptions {
    fn default() -> Self {
        SoundEncoderOptions {
            architecture: SoundArchitecture::Gru,
            width: 128,
            hidden: 128,
            pooling: SoundPooling::Last,
            channels: vec![16, 32],
            dropout: 0.1,
        }
    }
}

impl SoundEncoderConfig {
    pub(crate) fn check(&self, name: &str) -> Result<(), ConfigError> {
        let [frames, bands] = self.shape;
        check_size(&format!("the number of frames of `{name}`"), frames, 1)?;
        check_size(&format!("the number of bands of `{name}`"), bands, 1)?;
        check_size(&format!("the size of a spectrogram of `{name}`"), frames.saturating_mul(bands), 1)?;
        check_size(&format!("`width` of `{name}`"), self.options.width, 1)?;
        check_dropout(&format!("`{name}`"), self.options.dropout)?;
        match self.options.architecture {
            SoundArchitecture::Gru => check_size(&format!("`hidden` of `{name}`"), self.options.hidden, 1),
            SoundArchitecture::Cnn => check_stages(name, [1, frames, bands], &self.options.channels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let error = |change: &dyn Fn(&mut SoundEncoderConfig)| {
            let mut config = SoundEncoderConfig { shape: [64, 40], options: SoundEncoderOptions::default() };
            assert_eq!(config.check("voice"), Ok(()));
            change(&mut config);
            config.check("voice").expect_err("something is wrong").to_string()
        };
        let state = error(&|config| config.options.hidden = 0);
        assert_eq!(state, "`hidden` of `voice` is 0, expected 1 to 16777216");
        let bands = error(&|config| config.shape[1] = 0);
        assert_eq!(bands, "the number of bands of `voice` is 0, expected 1 to 16777216");
        let stages = error(&|config| {
            config.options.architecture = SoundArchitecture::Cnn;
            config.options.channels = vec![2; 7];
        });
        assert_eq!(stages, "`voice` has 7 stages of `channels`, but images of 64 x 40 can be halved 5 times");
    }

    #[test]
    fn options_have_defaults_and_refuse_what_they_do_not_know() {
        let options: SoundEncoderOptions = serde_json::from_str(r#"{"architecture": "cnn"}"#).expect("they are sound");
        assert_eq!(options, SoundEncoderOptions { architecture: SoundArchitecture::Cnn, ..Default::default() });
        assert!(serde_json::from_str::<SoundEncoderOptions>(r#"{"layers": 5}"#).is_err());
    }
}
