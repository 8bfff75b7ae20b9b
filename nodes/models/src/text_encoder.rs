//! The encoder of a text's tokens: the mean of their vectors, or blocks of attention over them.

use nodes_kernels::{
    BlockParameters, BlockSettings, Finish, InputGradient, KernelError, Matrix, Tape, Tokens, embed_tokens,
    embedding_mean, sequence_mean, transformer_block,
};

use crate::ModelDevice;
use crate::batch::{Rows, TextBlock};
use crate::config::Activation;
use crate::layer::{Linear, Norm, even_bound};
use crate::mlp::{LayerSettings, Mlp};
use crate::parameters::{Builder, Initial, MatrixId, Parameters, ParametersError};
use crate::pass::Pass;
use crate::text_config::{TextArchitecture, TextEncoderConfig};

/// The token that stands for all that have no number of their own.
const UNKNOWN: u32 = 1;

/// A text encoder whose parameters are in a model's registry.
#[derive(Debug, Clone)]
pub(crate) struct TextEncoder {
    vocabulary: usize,
    length: usize,
    width: usize,
    dropout: f64,
    tokens: MatrixId,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    /// Hidden layers over the mean, and a linear one if there are any.
    Mean {
        layers: Mlp,
        output: Option<Linear>,
    },
    Transformer(Transformer),
}

/// What a transformer has beside the tokens' vectors.
#[derive(Debug, Clone)]
struct Transformer {
    heads: usize,
    activation: Activation,
    places: MatrixId,
    blocks: Vec<Block>,
    norm: Norm,
    output: Linear,
}

#[derive(Debug, Clone)]
struct Block {
    attention_norm: Norm,
    projection: Linear,
    attended: Linear,
    layers_norm: Norm,
    first: Linear,
    second: Linear,
}

impl TextEncoder {
    /// An encoder whose parameters are named `encoders.name.…`.
    pub(crate) fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        name: &str,
        config: &TextEncoderConfig,
    ) -> Result<Self, ParametersError> {
        let (options, width, prefix) = (&config.options, config.options.width, format!("encoders.{name}"));
        // The vectors start with a length of about one, as those of categories; padding is never looked up.
        let initial = Initial::UniformExceptFirstRow((3.0 / width as f64).sqrt());
        let tokens = builder.matrix(format!("{prefix}.tokens"), (config.vocabulary, width), initial)?;
        let body = match options.architecture {
            TextArchitecture::EmbeddingMean => {
                let settings =
                    LayerSettings { activation: options.activation, dropout: options.dropout, layer_norm: false };
                let layers = Mlp::new(builder, &format!("{prefix}.layers"), width, &options.hidden, settings)?;
                let output =
                    |last| Linear::new(builder, &format!("{prefix}.output"), (last, width), even_bound(last, width));
                Body::Mean { output: options.hidden.last().copied().map(output).transpose()?, layers }
            }
            TextArchitecture::Transformer => Body::Transformer(Transformer::new(builder, &prefix, config)?),
        };
        let (vocabulary, length, dropout) = (config.vocabulary, config.length, options.dropout);
        Ok(TextEncoder { vocabulary, length, width, dropout, tokens, body })
    }

    /// How wide its output is.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// About how many numbers a forward pass holds for each row.
    pub(crate) fn row_cost(&self) -> usize {
        match &self.body {
            Body::Mean { .. } => self.length + self.width,
            Body::Transformer(transformer) => self.length * (12 * self.width + transformer.heads * self.length),
        }
    }

    /// Shapes: the rows picked from `block`, which fits the encoder; result `(rows, width)`.
    pub(crate) fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        device: &D,
        block: &TextBlock,
        rows: &Rows<'_>,
        pass: &Pass,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        let mut tokens = rows.of(&block.tokens, self.length);
        for token in &mut tokens {
            if *token as usize >= self.vocabulary {
                *token = UNKNOWN;
            }
        }
        let tokens = Tokens::of_padded(&tokens, rows.len(), self.length)?;
        let table = parameters.matrix(self.tokens);
        match &self.body {
            Body::Mean { layers, output } => {
                let end = Finish { dropout: pass.dropout(self.dropout), ..Finish::NONE };
                let mean = embedding_mean(device, &tokens, table, end)?;
                let signal = layers.forward(parameters, mean, InputGradient::Needed, pass)?;
                match output {
                    Some(output) => output.forward(parameters, signal, Finish::NONE),
                    None => Ok(signal),
                }
            }
            Body::Transformer(transformer) => {
                let vectors = embed_tokens(device, &tokens, table, parameters.matrix(transformer.places))?;
                transformer.forward(parameters, vectors, &tokens, self.dropout, pass)
            }
        }
    }
}

impl Transformer {
    fn new<D: ModelDevice>(
        builder: &mut Builder<D>,
        prefix: &str,
        config: &TextEncoderConfig,
    ) -> Result<Self, ParametersError> {
        let (options, width, hidden) = (&config.options, config.options.width, config.options.feed_forward());
        let places = Initial::Uniform((3.0 / width as f64).sqrt());
        let places = builder.matrix(format!("{prefix}.places"), (config.length, width), places)?;
        // 2 · layers summands go into each token's vector; scaled so, their sum keeps its size whatever the depth (Radford
        // et al. 2019, *Language Models are Unsupervised Multitask Learners*).
        let summand = 1.0 / (2.0 * options.layers as f64).sqrt();
        let mut map = |name: String, inputs, outputs, scale| {
            Linear::new(builder, &name, (inputs, outputs), scale * even_bound(inputs, outputs))
        };
        let output = map(format!("{prefix}.output"), width, width, 1.0)?;
        let mut maps = Vec::new();
        for index in 0..options.layers {
            let name = |part: &str| format!("{prefix}.blocks.{index}.{part}");
            maps.push((
                map(name("projection"), width, 3 * width, 1.0)?,
                map(name("attended"), width, width, summand)?,
                map(name("first"), width, hidden, 1.0)?,
                map(name("second"), hidden, width, summand)?,
            ));
        }
        let mut blocks = Vec::new();
        for (index, (projection, attended, first, second)) in maps.into_iter().enumerate() {
            let attention_norm = Norm::new(builder, &format!("{prefix}.blocks.{index}.attention_norm"), width)?;
            let layers_norm = Norm::new(builder, &format!("{prefix}.blocks.{index}.layers_norm"), width)?;
            blocks.push(Block { attention_norm, projection, attended, layers_norm, first, second });
        }
        let norm = Norm::new(builder, &format!("{prefix}.norm"), width)?;
        Ok(Transformer { heads: options.heads, activation: options.activation, places, blocks, norm, output })
    }

    /// Shapes: `vectors` `(tokens of all rows, width)`; result `(rows, width)`.
    fn forward<D: ModelDevice, T: Tape<f32, D> + 'static>(
        &self,
        parameters: &Parameters<D>,
        mut vectors: Matrix<f32, D, T>,
        tokens: &Tokens,
        dropout: f64,
        pass: &Pass,
    ) -> Result<Matrix<f32, D, T>, KernelError> {
        for block in &self.blocks {
            let block = BlockParameters {
                attention_norm: block.attention_norm.of(parameters),
                projection: block.projection.of(parameters),
                attended: block.attended.of(parameters),
                layers_norm: block.layers_norm.of(parameters),
                first: block.first.of(parameters),
                second: block.second.of(parameters),
            };
            let dropout = [(); 3].map(|()| pass.dropout(dropout));
            let settings = BlockSettings { heads: self.heads, activation: self.activation.kernel(), dropout };
            vectors = transformer_block(vectors, tokens.spans(), &block, settings)?;
        }
        let normalised = self.norm.forward(parameters, vectors)?;
        let mean = sequence_mean(normalised, tokens.spans(), self.output.width())?;
        self.output.forward(parameters, mean, Finish { dropout: pass.dropout(dropout), ..Finish::NONE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TextEncoderOptions;
    use crate::parameters::Source;
    use nodes_kernels::{Cpu, NoneTape, values_of};

    fn vectors(architecture: TextArchitecture, tokens: &[u32], length: usize) -> Vec<f32> {
        let options = TextEncoderOptions { architecture, width: 8, heads: 2, hidden: vec![5], ..Default::default() };
        let (device, config) = (Cpu::default(), TextEncoderConfig { vocabulary: 6, length, options });
        let mut builder = Builder::new(&device, Source::Seed(1));
        let encoder = TextEncoder::new(&mut builder, "words", &config).expect("it can be built");
        let parameters = builder.finish().expect("it can be built");
        let block = TextBlock { length, tokens: tokens.to_vec() };
        let rows = Rows::Range(0..tokens.len() / length);
        let vectors = encoder.forward::<_, NoneTape>(&parameters, &device, &block, &rows, &Pass::Inference);
        values_of(&vectors.expect("sizes fit")).expect("on the CPU")
    }

    #[test]
    fn unknown_tokens_are_all_alike_and_the_order_counts_for_a_transformer_alone() {
        for architecture in [TextArchitecture::EmbeddingMean, TextArchitecture::Transformer] {
            let found = vectors(architecture, &[2, 3, 1, 2, 3, 6, 2, 3, 77, 3, 2, 1], 3);
            let rows: Vec<&[f32]> = found.chunks(8).collect();
            assert_eq!((rows[0], rows[0]), (rows[1], rows[2]));
            let near = rows[0].iter().zip(rows[3]).all(|(left, right)| (left - right).abs() < 1e-5);
            assert_eq!(near, architecture == TextArchitecture::EmbeddingMean);
        }
    }

    #[test]
    fn an_empty_text_is_encoded_too() {
        for architecture in [TextArchitecture::EmbeddingMean, TextArchitecture::Transformer] {
            assert!(vectors(architecture, &[0, 0, 4, 5, 0, 0], 2).iter().all(|value| value.is_finite()));
        }
    }
}
