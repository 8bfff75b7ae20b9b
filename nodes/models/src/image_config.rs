//! What shapes an image encoder.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, check_dropout, check_size};

/// An image encoder: the size of the images, and the layers over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageEncoderConfig {
    /// Channels, height and width.
    pub shape: [usize; 3],
    /// The layers.
    pub options: ImageEncoderOptions,
}

/// An encoder of images of one size.
///
/// Each channel is first brought to mean zero and deviation one, as learnt from the train rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ImageEncoderOptions {
    /// What stands between the image and the vector; `cnn` is all there is.
    pub architecture: ImageArchitecture,

    /// The width of the encoder's output; 128 by default.
    #[schemars(range(min = 1))]
    pub width: usize,

    /// How many channels each stage gives; 32 and 64 by default. A stage halves height and width.
    #[schemars(length(min = 1), inner(range(min = 1)))]
    pub channels: Vec<usize>,

    /// What the last stage hands to the last layer; `flatten` by default.
    pub pooling: ImagePooling,

    /// The share of the output's elements that is dropped in training, at least 0 and less than 1; 0.1 by default.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}

/// What stands between the image and the vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageArchitecture {
    /// Stages of a 3 x 3 convolution, a rectifier and the maximum over 2 x 2 (LeCun et al. 1998, *Gradient-Based Learning
    /// Applied to Document Recognition*; with the small kernels of Simonyan and Zisserman 2015, arXiv:1409.1556), then a
    /// linear layer and a rectifier.
    #[default]
    Cnn,
}

/// What the last stage of a convolutional network hands to its last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImagePooling {
    /// Every place of every channel: what lies where counts. The last layer grows with the image.
    #[default]
    Flatten,
    /// The mean of every channel: where things lie does not count (Lin et al. 2014, arXiv:1312.4400).
    Mean,
}

impl Default for ImageEncoderOptions {
    fn default() -> Self {
        ImageEncoderOptions {
            architecture: ImageArchitecture::Cnn,
            width: 128,
            channels: vec![32, 64],
            pooling: ImagePooling::Flatten,
            dropout: 0.1,
        }
    }
}

impl ImageEncoderConfig {
    pub(crate) fn check(&self, name: &str) -> Result<(), ConfigError> {
        for (what, size) in ["channels", "height", "width"].into_iter().zip(self.shape) {
            check_size(&format!("the {what} of the images of `{name}`"), size, 1)?;
        }
        check_size(&format!("`width` of `{name}`"), self.options.width, 1)?;
        check_dropout(&format!("`{name}`"), self.options.dropout)?;
        check_stages(name, self.shape, &self.options.channels)
    }
}

/// Checks that an image of `shape` can go through stages of so many channels.
pub(crate) fn check_stages(name: &str, shape: [usize; 3], channels: &[usize]) -> Result<(), ConfigError> {
    let [mut before, mut height, mut width] = shape;
    check_size(&format!("the number of stages of `{name}`"), channels.len(), 1)?;
    check_size(&format!("the size of an image of `{name}`"), before.saturating_mul(height).saturating_mul(width), 1)?;
    for (stage, &count) in channels.iter().enumerate() {
        check_size(&format!("the number of channels of stage {stage} of `{name}`"), count, 1)?;
        let size = count.max(before.saturating_mul(9)).saturating_mul(height).saturating_mul(width);
        check_size(&format!("the size of stage {stage} of `{name}`"), size, 1)?;
        (before, height, width) = (count, height / 2, width / 2);
        if height == 0 || width == 0 {
            let (encoder, found) = (name.to_string(), channels.len());
            let [_, height, width] = shape;
            return Err(ConfigError::Stages { encoder, height, width, most: stage, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let error = |change: &dyn Fn(&mut ImageEncoderConfig)| {
            let mut config = ImageEncoderConfig { shape: [3, 32, 20], options: ImageEncoderOptions::default() };
            assert_eq!(config.check("photos"), Ok(()));
            change(&mut config);
            config.check("photos").expect_err("something is wrong").to_string()
        };
        let small = error(&|config| config.options.channels = vec![4; 5]);
        assert_eq!(small, "`photos` has 5 stages of `channels`, but images of 32 x 20 can be halved 4 times");
        let none = error(&|config| config.options.channels.clear());
        assert_eq!(none, "the number of stages of `photos` is 0, expected 1 to 16777216");
        let flat = error(&|config| config.shape[1] = 0);
        assert_eq!(flat, "the height of the images of `photos` is 0, expected 1 to 16777216");
        assert!(
            error(&|config| config.shape = [3, 1 << 20, 1 << 20]).starts_with("the size of an image of `photos` is")
        );
    }

    #[test]
    fn options_have_defaults_and_refuse_what_they_do_not_know() {
        let options: ImageEncoderOptions = serde_json::from_str(r#"{"pooling": "mean"}"#).expect("they are sound");
        assert_eq!(options, ImageEncoderOptions { pooling: ImagePooling::Mean, ..Default::default() });
        assert!(serde_json::from_str::<ImageEncoderOptions>(r#"{"hidden": [5]}"#).is_err());
    }
}
