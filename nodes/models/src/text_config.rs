//! What shapes a text encoder.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Activation;
use crate::config::{ConfigError, check_dropout, check_hidden, check_size};

/// A text encoder: how many tokens a row has and which there are, and the layers over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderConfig {
    /// How many token numbers there are, at least 2: 0 is padding, 1 stands for every token that has no number, and so
    /// for every number from here on.
    pub vocabulary: usize,
    /// How many tokens a row has, its padding included.
    pub length: usize,
    /// The layers.
    pub options: TextEncoderOptions,
}

/// An encoder of token numbers.
///
/// Padding changes nothing. A text without any token is the mean of nothing, zero, before the last layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TextEncoderOptions {
    /// What stands between the tokens and the vector; `embedding_mean` by default.
    pub architecture: TextArchitecture,

    /// The width of a token's vector and of the encoder's output; 128 by default.
    #[schemars(range(min = 1))]
    pub width: usize,

    /// Of `embedding_mean`: the widths of hidden layers between the mean and the output; none by default, and then the
    /// mean itself is the output.
    pub hidden: Vec<usize>,

    /// Of `transformer`: how many blocks there are; 2 by default.
    #[schemars(range(min = 1))]
    pub layers: usize,

    /// Of `transformer`: how many heads attend in a block, a divisor of the width; 4 by default.
    #[schemars(range(min = 1))]
    pub heads: usize,

    /// Of `transformer`: the width between the two layers that end a block; four times the width by default.
    #[schemars(range(min = 1))]
    pub feed_forward: Option<usize>,

    /// The nonlinearity of the hidden layers; `relu` by default.
    pub activation: Activation,

    /// The share of elements that is dropped in training, at least 0 and less than 1; 0.1 by default.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}

/// What stands between the tokens and the vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextArchitecture {
    /// The mean of the tokens' vectors, and hidden layers if any (Joulin et al. 2017, *Bag of Tricks for Efficient Text
    /// Classification*): the order of the tokens does not count. Quick, and hard to beat on few rows.
    #[default]
    EmbeddingMean,
    /// Vectors of tokens and places through blocks of attention (Vaswani et al. 2017, *Attention Is All You Need*), each
    /// normalised before it (Xiong et al. 2020, arXiv:2002.04745), then their mean: the order of the tokens counts.
    Transformer,
}

impl Default for TextEncoderOptions {
    fn default() -> Self {
        TextEncoderOptions {
            architecture: TextArchitecture::EmbeddingMean,
            width: 128,
            hidden: Vec::new(),
            layers: 2,
            heads: 4,
            feed_forward: None,
            activation: Activation::Relu,
            dropout: 0.1,
        }
    }
}

impl TextEncoderOptions {
    /// The width between the two layers that end a block.
    pub fn feed_forward(&self) -> usize {
        self.feed_forward.unwrap_or(4 * self.width)
    }
}

/// Attention compares every token with every other, so texts above this are taken for a mistake.
const LONGEST_TEXT: usize = 1 << 16;

impl TextEncoderConfig {
    pub(crate) fn check(&self, name: &str) -> Result<(), ConfigError> {
        let TextEncoderOptions { architecture, width, layers, heads, dropout, ref hidden, .. } = self.options;
        check_size(&format!("the vocabulary of `{name}`"), self.vocabulary, 2)?;
        check_size(&format!("the number of tokens of `{name}`"), self.length, 1)?;
        check_size(&format!("`width` of `{name}`"), width, 1)?;
        check_dropout(&format!("`{name}`"), dropout)?;
        if architecture == TextArchitecture::EmbeddingMean {
            return check_hidden(&format!("`{name}`"), hidden, dropout);
        }
        if self.length > LONGEST_TEXT {
            let what = format!("the number of tokens of `{name}`");
            return Err(ConfigError::Size { what, found: self.length, smallest: 1, largest: LONGEST_TEXT });
        }
        check_size(&format!("`layers` of `{name}`"), layers, 1)?;
        check_size(&format!("`heads` of `{name}`"), heads, 1)?;
        check_size(&format!("`feed_forward` of `{name}`"), self.options.feed_forward(), 1)?;
        if width.is_multiple_of(heads) {
            Ok(())
        } else {
            Err(ConfigError::Heads { encoder: name.to_string(), heads, width })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let error = |change: &dyn Fn(&mut TextEncoderConfig)| {
            let options = TextEncoderOptions { architecture: TextArchitecture::Transformer, ..Default::default() };
            let mut config = TextEncoderConfig { vocabulary: 10, length: 8, options };
            change(&mut config);
            config.check("words").expect_err("something is wrong").to_string()
        };
        let vocabulary = error(&|config| config.vocabulary = 1);
        assert_eq!(vocabulary, "the vocabulary of `words` is 1, expected 2 to 16777216");
        let length = error(&|config| config.length = 0);
        assert_eq!(length, "the number of tokens of `words` is 0, expected 1 to 16777216");
        let long = error(&|config| config.length = 70_000);
        assert_eq!(long, "the number of tokens of `words` is 70000, expected 1 to 65536");
        let heads = error(&|config| config.options.heads = 3);
        assert_eq!(heads, "`heads` of `words` is 3, which does not divide its `width` 128");
        let dropout = error(&|config| config.options.dropout = -0.1);
        assert_eq!(dropout, "`dropout` of `words` is -0.1, expected at least 0 and less than 1");
    }

    #[test]
    fn options_have_defaults_and_refuse_what_they_do_not_know() {
        let options: TextEncoderOptions =
            serde_json::from_str(r#"{"architecture": "transformer", "width": 64}"#).expect("they are sound");
        assert_eq!((options.feed_forward(), options.layers, options.heads), (256, 2, 4));
        assert!(serde_json::from_str::<TextEncoderOptions>(r#"{"length": 5}"#).is_err());
    }
}
