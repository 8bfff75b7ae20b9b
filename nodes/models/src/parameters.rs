//! The named parameters of a model.
//!
//! Layers hold typed ids, so a layer asks for "my weight matrix" and cannot get anything else. The first values of a
//! parameter depend on the seed and on its name alone: another encoder beside it does not change them.

use std::sync::Arc;

use nodes_kernels::{Buffer, KernelError, Parameter, Regularised, Trainable};

use crate::ModelDevice;
use crate::randomness::{Purpose, Stream};
use crate::weights::{Numbers, Weight, Weights};

/// Weights that do not belong to the model they are loaded into.
#[derive(Debug, thiserror::Error)]
pub enum ParametersError {
    /// A parameter of the model has no weights.
    #[error("the weights lack `{0}`")]
    Missing(String),

    /// There are weights that no parameter of the model has.
    #[error("the weights hold `{0}`, which the model does not have")]
    Unknown(String),

    /// The weights of a parameter have another shape.
    #[error("weight `{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The parameter's name.
        name: String,
        /// The shape by the model's configuration.
        expected: Vec<usize>,
        /// The shape of the weights.
        found: Vec<usize>,
    },

    /// The weights of a parameter have another element type.
    #[error("weight `{0}` is in double precision, expected single")]
    Element(String),

    /// The weights of a parameter are infinite or not numbers.
    #[error("weight `{0}` holds a value that is not finite")]
    NotFinite(String),

    /// The model is larger than any machine this is meant for.
    #[error("with `{name}` the model learns {count} numbers, more than {LARGEST_COUNT}; make it narrower")]
    TooLarge {
        /// The parameter with which it becomes too large.
        name: String,
        /// How many numbers there would be to learn.
        count: usize,
    },

    /// The device failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// More numbers than this, 8 GiB of them, are taken for a mistake.
const LARGEST_COUNT: usize = 1 << 31;

/// The id of a parameter of shape `(rows, columns)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatrixId(usize);

/// The id of a parameter of shape `(length,)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VectorId(usize);

/// The first values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Initial {
    Zeros,
    Ones,
    /// Uniform between minus and plus this bound.
    Uniform(f64),
    /// As `Uniform`, but the first row is zero.
    UniformExceptFirstRow(f64),
}

/// Where the values of new parameters come from.
pub(crate) enum Source {
    Seed(u64),
    Weights(Weights),
}

/// Parameters under construction.
pub(crate) struct Builder<D: ModelDevice> {
    device: D,
    source: Source,
    count: usize,
    encoder: Option<usize>,
    parameters: Parameters<D>,
}

/// A parameter of shape `(rows, columns)`.
pub(crate) type MatrixParameter<D> = Parameter<(usize, usize), f32, D>;

/// A parameter of shape `(length,)`.
pub(crate) type VectorParameter<D> = Parameter<(usize,), f32, D>;

/// The parameters of a model, in the order its layers made them.
#[derive(Debug, Clone)]
pub(crate) struct Parameters<D: ModelDevice> {
    matrices: Vec<Named<MatrixParameter<D>>>,
    vectors: Vec<Named<VectorParameter<D>>>,
}

#[derive(Debug, Clone)]
struct Named<P> {
    name: String,
    parameter: P,
    /// The encoder it belongs to, if to one.
    encoder: Option<usize>,
}

/// The values of all parameters at one moment.
pub(crate) struct Snapshot<D: ModelDevice>(Vec<Arc<Buffer<f32, D>>>);

impl<D: ModelDevice> Builder<D> {
    pub(crate) fn new(device: &D, source: Source) -> Self {
        let parameters = Parameters { matrices: Vec::new(), vectors: Vec::new() };
        Builder { device: device.clone(), source, count: 0, encoder: None, parameters }
    }

    /// Says which encoder the next parameters belong to, if to one.
    pub(crate) fn belonging_to(&mut self, encoder: Option<usize>) -> &mut Self {
        self.encoder = encoder;
        self
    }

    /// A weight matrix or an embedding: it is regularised.
    pub(crate) fn matrix(
        &mut self,
        name: String,
        shape: (usize, usize),
        initial: Initial,
    ) -> Result<MatrixId, ParametersError> {
        let values = self.values(&name, &[shape.0, shape.1], initial)?;
        let parameter = Parameter::new(&self.device, values, shape, Regularised::Yes)?;
        self.parameters.matrices.push(Named { name, parameter, encoder: self.encoder });
        Ok(MatrixId(self.parameters.matrices.len() - 1))
    }

    /// A bias or a gain: it is not regularised.
    pub(crate) fn vector(
        &mut self,
        name: String,
        length: usize,
        initial: Initial,
    ) -> Result<VectorId, ParametersError> {
        let values = self.values(&name, &[length], initial)?;
        let parameter = Parameter::new(&self.device, values, (length,), Regularised::No)?;
        self.parameters.vectors.push(Named { name, parameter, encoder: self.encoder });
        Ok(VectorId(self.parameters.vectors.len() - 1))
    }

    fn values(&mut self, name: &str, shape: &[usize], initial: Initial) -> Result<Vec<f32>, ParametersError> {
        let size = shape.iter().copied().fold(1, usize::saturating_mul);
        self.count = self.count.saturating_add(size);
        if self.count > LARGEST_COUNT {
            return Err(ParametersError::TooLarge { name: name.to_string(), count: self.count });
        }
        self.source.values(name, shape, initial)
    }

    /// The parameters; fails if there are weights that none of them took.
    pub(crate) fn finish(self) -> Result<Parameters<D>, ParametersError> {
        match self.source {
            Source::Weights(left) if !left.is_empty() => {
                Err(ParametersError::Unknown(left.into_keys().next().unwrap_or_default()))
            }
            _ => Ok(self.parameters),
        }
    }
}

impl Source {
    fn values(&mut self, name: &str, shape: &[usize], initial: Initial) -> Result<Vec<f32>, ParametersError> {
        match self {
            Source::Seed(seed) => Ok(initial_values(*seed, name, shape, initial)),
            Source::Weights(weights) => {
                let weight = weights.remove(name).ok_or_else(|| ParametersError::Missing(name.to_string()))?;
                if weight.shape != shape {
                    let (name, expected) = (name.to_string(), shape.to_vec());
                    return Err(ParametersError::Shape { name, expected, found: weight.shape });
                }
                match weight.numbers {
                    Numbers::F64(_) => Err(ParametersError::Element(name.to_string())),
                    Numbers::F32(values) if values.iter().all(|value| value.is_finite()) => Ok(values),
                    Numbers::F32(_) => Err(ParametersError::NotFinite(name.to_string())),
                }
            }
        }
    }
}

fn initial_values(seed: u64, name: &str, shape: &[usize], initial: Initial) -> Vec<f32> {
    let length = shape.iter().product();
    let mut stream = Stream::named(seed, Purpose::Initial, name);
    let mut uniform = |bound: f64| (0..length).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32).collect();
    match initial {
        Initial::Zeros => vec![0.0; length],
        Initial::Ones => vec![1.0; length],
        Initial::Uniform(bound) => uniform(bound),
        Initial::UniformExceptFirstRow(bound) => {
            let mut values: Vec<f32> = uniform(bound);
            let first_row = shape.iter().skip(1).product::<usize>().min(length);
            values[..first_row].fill(0.0);
            values
        }
    }
}

impl<D: ModelDevice> Parameters<D> {
    pub(crate) fn matrix(&self, id: MatrixId) -> &MatrixParameter<D> {
        &self.matrices[id.0].parameter
    }

    pub(crate) fn vector(&self, id: VectorId) -> &VectorParameter<D> {
        &self.vectors[id.0].parameter
    }

    /// All parameters in a fixed order, to be moved by an optimiser.
    pub(crate) fn trainables(&mut self) -> Vec<&mut dyn Trainable<f32, D>> {
        let matrices = self.matrices.iter_mut().map(|named| &mut named.parameter as &mut dyn Trainable<f32, D>);
        let vectors = self.vectors.iter_mut().map(|named| &mut named.parameter as &mut dyn Trainable<f32, D>);
        matrices.chain(vectors).collect()
    }

    /// All parameters with their names, in the same order.
    fn named(&self) -> impl Iterator<Item = (&str, &dyn Trainable<f32, D>)> {
        let matrices =
            self.matrices.iter().map(|named| (named.name.as_str(), &named.parameter as &dyn Trainable<f32, D>));
        let vectors =
            self.vectors.iter().map(|named| (named.name.as_str(), &named.parameter as &dyn Trainable<f32, D>));
        matrices.chain(vectors)
    }

    /// For each of them, in the same order, the encoder it belongs to, if to one.
    pub(crate) fn encoders(&self) -> impl Iterator<Item = Option<usize>> {
        let matrices = self.matrices.iter().map(|named| named.encoder);
        matrices.chain(self.vectors.iter().map(|named| named.encoder))
    }

    /// How many numbers there are to learn.
    pub(crate) fn count(&self) -> usize {
        self.named().map(|(_, parameter)| parameter.sizes().iter().product::<usize>()).sum()
    }

    pub(crate) fn snapshot(&self) -> Snapshot<D> {
        Snapshot(self.named().map(|(_, parameter)| parameter.share()).collect())
    }

    pub(crate) fn restore(&mut self, snapshot: Snapshot<D>) {
        for (parameter, values) in self.trainables().into_iter().zip(snapshot.0) {
            parameter.restore(values);
        }
    }

    pub(crate) fn to_weights(&self) -> Result<Weights, KernelError> {
        self.named()
            .map(|(name, parameter)| {
                let numbers = Numbers::F32(parameter.to_vec()?);
                Ok((name.to_string(), Weight { shape: parameter.sizes(), numbers }))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nodes_kernels::Cpu;

    fn built(source: Source, names: &[&str]) -> Result<Parameters<Cpu>, ParametersError> {
        let mut builder = Builder::new(&Cpu::default(), source);
        for name in names {
            builder.matrix(format!("{name}.weight"), (2, 3), Initial::Uniform(0.5))?;
            builder.vector(format!("{name}.bias"), 3, Initial::Ones)?;
        }
        builder.finish()
    }

    fn weights(source: Source, names: &[&str]) -> Weights {
        built(source, names).expect("they can be built").to_weights().expect("on the CPU")
    }

    #[test]
    fn first_values_depend_on_the_seed_and_the_name_alone() {
        let alone = weights(Source::Seed(1), &["a"]);
        let beside = weights(Source::Seed(1), &["b", "a"]);
        assert_eq!(alone["a.weight"], beside["a.weight"]);
        assert_ne!(beside["a.weight"], beside["b.weight"]);
        assert_ne!(alone["a.weight"], weights(Source::Seed(2), &["a"])["a.weight"]);
    }

    #[test]
    fn uniform_values_stay_within_their_bound_and_the_first_row_may_be_zero() {
        let values = initial_values(1, "table", &[100, 5], Initial::UniformExceptFirstRow(0.2));
        assert!(values[..5].iter().all(|&value| value == 0.0));
        assert!(values[5..].iter().all(|value| value.abs() <= 0.2));
        assert!(values.iter().any(|&value| value > 0.19) && values.iter().any(|&value| value < -0.19));
    }

    #[test]
    fn weights_come_back_as_they_were() {
        let first = weights(Source::Seed(1), &["a", "b"]);
        assert_eq!(weights(Source::Weights(first.clone()), &["a", "b"]), first);
    }

    #[test]
    fn weights_that_do_not_fit_are_named() {
        let error = |change: &dyn Fn(&mut Weights)| {
            let mut weights = weights(Source::Seed(1), &["a"]);
            change(&mut weights);
            built(Source::Weights(weights), &["a"]).expect_err("they do not fit").to_string()
        };
        let double = Weight { shape: vec![3], numbers: Numbers::F64(vec![0.0; 3]) };
        let nan = Weight { shape: vec![3], numbers: Numbers::F32(vec![f32::NAN; 3]) };
        let short = Weight { shape: vec![2], numbers: Numbers::F32(vec![0.0; 2]) };
        let insert = |weight: &Weight| {
            let weight = weight.clone();
            error(&move |weights| drop(weights.insert("a.bias".to_string(), weight.clone())))
        };
        assert_eq!(error(&|weights| drop(weights.remove("a.bias"))), "the weights lack `a.bias`");
        assert_eq!(insert(&double), "weight `a.bias` is in double precision, expected single");
        assert_eq!(insert(&nan), "weight `a.bias` holds a value that is not finite");
        assert_eq!(insert(&short), "weight `a.bias` has shape [2], expected [3]");
        let extra = error(&|weights| drop(weights.insert("z".to_string(), short.clone())));
        assert_eq!(extra, "the weights hold `z`, which the model does not have");
    }

    #[test]
    fn a_model_beyond_reason_is_refused_before_memory_is_taken() {
        let mut builder = Builder::new(&Cpu::default(), Source::Seed(1));
        builder.matrix("small".to_string(), (2, 3), Initial::Zeros).expect("it is small");
        let error = builder.matrix("large".to_string(), (1 << 24, 1 << 24), Initial::Zeros).expect_err("it is large");
        let expected = "with `large` the model learns 281474976710662 numbers, more than 2147483648; make it narrower";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_snapshot_brings_the_values_back() {
        let mut parameters = built(Source::Seed(1), &["a"]).expect("they can be built");
        let (snapshot, before) = (parameters.snapshot(), parameters.to_weights().expect("on the CPU"));
        for parameter in parameters.trainables() {
            parameter.values_mut().fill(7.0);
        }
        assert_ne!(parameters.to_weights().expect("on the CPU"), before);
        parameters.restore(snapshot);
        assert_eq!(parameters.to_weights().expect("on the CPU"), before);
        assert_eq!(parameters.count(), 9);
    }
}
