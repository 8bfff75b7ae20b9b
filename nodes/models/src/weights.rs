//! Named tensors to and from safetensors bytes.
//!
//! Tensors are written sorted by name and without metadata, so equal tensors give equal bytes. Reading checks the header
//! against the length of the file before anything is allocated.

use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, View};

/// Bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The bytes are not in the safetensors format.
    #[error("the weights are not in the safetensors format: {0}")]
    Format(String),

    /// A tensor holds elements of a type that models do not use.
    #[error("weight `{name}` has elements of type {found}, expected F32 or F64")]
    Element {
        /// The tensor's name.
        name: String,
        /// Its element type.
        found: String,
    },
}

/// The numbers of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// A tensor without a device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weight {
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Numbers,
}

/// Tensors by name.
pub(crate) type Weights = BTreeMap<String, Weight>;

impl View for &Weight {
    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::F32(_) => Dtype::F32,
            Numbers::F64(_) => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match &self.numbers {
            Numbers::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Numbers::F64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        match &self.numbers {
            Numbers::F32(values) => values.len() * 4,
            Numbers::F64(values) => values.len() * 8,
        }
    }
}

/// The tensors as safetensors bytes.
pub(crate) fn to_bytes(weights: &Weights) -> Result<Vec<u8>, WeightsError> {
    safetensors::serialize(weights, None).map_err(|error| WeightsError::Format(error.to_string()))
}

/// The tensors in safetensors bytes.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Weights, WeightsError> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| WeightsError::Format(error.to_string()))?;
    tensors
        .iter()
        .map(|(name, view)| {
            let numbers = match view.dtype() {
                Dtype::F32 => {
                    let four = view.data().as_chunks::<4>().0;
                    Numbers::F32(four.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
                }
                Dtype::F64 => {
                    let eight = view.data().as_chunks::<8>().0;
                    Numbers::F64(eight.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
                }
                other => return Err(WeightsError::Element { name: name.to_string(), found: format!("{other:?}") }),
            };
            Ok((name.to_string(), Weight { shape: view.shape().to_vec(), numbers }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some() -> Weights {
        let single = Weight { shape: vec![2, 1], numbers: Numbers::F32(vec![1.5, -2.0]) };
        let double = Weight { shape: vec![3], numbers: Numbers::F64(vec![0.1, 0.2, f64::MIN_POSITIVE]) };
        let empty = Weight { shape: vec![0, 4], numbers: Numbers::F32(vec![]) };
        Weights::from([("b".to_string(), single), ("a".to_string(), double), ("c".to_string(), empty)])
    }

    #[test]
    fn writing_then_reading_is_the_identity() {
        let bytes = to_bytes(&some()).expect("they can be written");
        assert_eq!(from_bytes(&bytes).expect("they were just written"), some());
        assert_eq!(to_bytes(&some()).expect("they can be written"), bytes);
    }

    #[test]
    fn other_elements_are_named() {
        let header = br#"{"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend([0; 8]);
        let error = from_bytes(&bytes).expect_err("integers are no weights");
        assert_eq!(error.to_string(), "weight `w` has elements of type I64, expected F32 or F64");
    }

    proptest! {
        #[test]
        fn damaged_bytes_give_an_error_or_tensors_but_no_panic(at in 0usize..400, value in 0u8.., cut in 0usize..400) {
            let mut bytes = to_bytes(&some()).expect("they can be written");
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = from_bytes(&bytes);
            bytes.truncate(cut);
            let _ = from_bytes(&bytes);
        }
    }
}
