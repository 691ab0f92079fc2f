//! Weights as TensorFlow.js publishes them: a JSON list of tensors over one shard, some quantised to eight bits.

use std::collections::HashMap;

use serde::Deserialize;

use crate::Error;
use crate::limits::TENSOR_VALUES_MAX;

#[derive(Deserialize)]
struct Group {
    weights: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<Quantization>,
}

#[derive(Deserialize)]
struct Quantization {
    dtype: String,
    scale: f64,
    min: f64,
}

/// A dense tensor, last axis fastest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    /// The length of each axis.
    pub(crate) shape: Vec<usize>,
    /// The values.
    pub(crate) values: Vec<f32>,
}

/// The tensors of one network by name.
pub(crate) struct Weights {
    network: String,
    tensors: HashMap<String, Tensor>,
}

impl Weights {
    /// Reads the list and the shard it describes; quantised values become `value * scale + min`.
    pub(crate) fn read(network: &str, list: &[u8], shard: &[u8]) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Weights { network: network.to_owned(), reason };
        let groups: Vec<Group> = serde_json::from_slice(list).map_err(|error| refuse(error.to_string()))?;
        let mut rest = shard;
        let mut tensors = HashMap::new();
        for entry in groups.into_iter().flat_map(|group| group.weights) {
            let values =
                take_values(&entry, &mut rest).map_err(|reason| refuse(format!("{}: {reason}", entry.name)))?;
            // Integers are TensorFlow's own bookkeeping; no layer reads them.
            if entry.dtype == "float32" {
                tensors.insert(entry.name, Tensor { shape: entry.shape, values });
            }
        }
        if rest.is_empty() {
            Ok(Self { network: network.to_owned(), tensors })
        } else {
            Err(refuse(format!("{} bytes of the shard belong to no tensor", rest.len())))
        }
    }

    /// The tensor of a name, which must have this many axes.
    pub(crate) fn tensor(&self, name: &str, n_axes: usize) -> Result<&Tensor, Error> {
        let refuse = |reason: String| Error::Weights { network: self.network.clone(), reason };
        let tensor = self.tensors.get(name).ok_or_else(|| refuse(format!("no tensor {name}")))?;
        if tensor.shape.len() == n_axes {
            Ok(tensor)
        } else {
            Err(refuse(format!("tensor {name} has shape {:?}, not {n_axes} axes", tensor.shape)))
        }
    }
}

fn take_values(entry: &Entry, rest: &mut &[u8]) -> Result<Vec<f32>, String> {
    let n_values = entry.shape.iter().try_fold(1_usize, |product, axis| product.checked_mul(*axis));
    let n_values = n_values.filter(|n| *n <= TENSOR_VALUES_MAX).ok_or("it is too large")?;
    let width = if entry.quantization.is_some() { 1 } else { 4 };
    let (bytes, after) = rest.split_at_checked(n_values * width).ok_or("the shard ends inside it")?;
    *rest = after;
    match &entry.quantization {
        Some(quantization) if quantization.dtype == "uint8" => {
            let widen = |byte: &u8| (f64::from(*byte) * quantization.scale + quantization.min) as f32;
            Ok(bytes.iter().map(widen).collect())
        }
        Some(quantization) => Err(format!("quantisation {} is not known", quantization.dtype)),
        None => {
            Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"[{"weights":[
        {"name":"q","shape":[2],"dtype":"float32","quantization":{"dtype":"uint8","scale":0.5,"min":-1}},
        {"name":"f","shape":[1,1],"dtype":"float32"}]}]"#;

    #[test]
    fn quantised_and_plain_values_are_read() {
        let weights = Weights::read("test", LIST.as_bytes(), &[0, 4, 0, 0, 128, 63]).unwrap();
        assert_eq!(weights.tensor("q", 1).unwrap().values, [-1.0, 1.0]);
        assert_eq!(weights.tensor("f", 2).unwrap().values, [1.0]);
    }

    #[test]
    fn a_shard_that_is_too_short_or_too_long_is_refused() {
        for shard in [&[0, 4, 0][..], &[0; 7][..]] {
            assert!(Weights::read("test", LIST.as_bytes(), shard).is_err());
        }
    }
}
