//! The embedder: dlib's residual network from a 150-pixel aligned face to 128 values, for a face and its mirror image at once.

use super::layers::{Padding, add, conv, flatten, normalise, pool, relu, signed};
use crate::Error;
use crate::onnx::{Graph, Value};
use crate::tfjs::Weights;

/// The mean colour of the training pictures.
pub(super) const MEAN: [f32; 3] = [122.782, 117.001, 104.298];
/// The range of a colour.
pub(super) const RANGE: f32 = 255.0;
/// The residual layers after the stem, in order; those that end in `down` or `down_out` halve the picture.
const RESIDUALS: [&str; 14] = [
    "conv32_1",
    "conv32_2",
    "conv32_3",
    "conv64_down",
    "conv64_1",
    "conv64_2",
    "conv64_3",
    "conv128_down",
    "conv128_1",
    "conv128_2",
    "conv256_down",
    "conv256_1",
    "conv256_2",
    "conv256_down_out",
];

/// Outputs `values`: 128 for the face, 128 for its mirror image.
pub(super) fn build(weights: &Weights) -> Result<Vec<u8>, Error> {
    let mut graph = Graph::new("face_recognition");
    let pictures = graph.input("pictures", &[2, 3, 150, 150]);
    let x = normalise(&mut graph, &pictures, MEAN, RANGE);
    let x = scaled_conv(&mut graph, weights, "conv32_down", &x, 2, Padding::Valid)?;
    let x = relu(&mut graph, &x);
    let mut x = pool(&mut graph, "MaxPool", &x, 3, 2);
    for name in RESIDUALS {
        x = residual(&mut graph, weights, name, &x)?;
    }
    let x = graph.node("GlobalAveragePool", &[&x], &[], &[x.shape[0], x.shape[1], 1, 1]);
    let x = flatten(&mut graph, &x);
    let mix = weights.tensor("fc", 2)?;
    let n_out = mix.shape[1];
    let mix = graph.floats(&mix.shape, &mix.values);
    let values = graph.node("MatMul", &[&x, &mix], &[], &[x.shape[0], n_out]);
    graph.output("values", &values);
    Ok(graph.finish())
}

fn residual(graph: &mut Graph, weights: &Weights, name: &str, x: &Value) -> Result<Value, Error> {
    let is_down = name.contains("_down");
    let (stride, padding) = if is_down { (2, Padding::Valid) } else { (1, Padding::Same) };
    let out = scaled_conv(graph, weights, &format!("{name}/conv1"), x, stride, padding)?;
    let out = relu(graph, &out);
    let out = scaled_conv(graph, weights, &format!("{name}/conv2"), &out, 1, Padding::Same)?;
    let shortcut = if is_down { pool(graph, "AveragePool", x, 2, 2) } else { x.clone() };
    // The two branches round their sizes differently and differ in channels: zeros make up for both.
    let shape: Vec<usize> = out.shape.iter().zip(&shortcut.shape).map(|(a, b)| *a.max(b)).collect();
    let (out, shortcut) = (zero_extend(graph, &out, &shape), zero_extend(graph, &shortcut, &shape));
    let sum = add(graph, &shortcut, &out);
    Ok(relu(graph, &sum))
}

fn zero_extend(graph: &mut Graph, x: &Value, shape: &[usize]) -> Value {
    if x.shape == shape {
        return x.clone();
    }
    let after = shape.iter().zip(&x.shape).map(|(wanted, present)| signed(wanted - present));
    let pads: Vec<i64> = std::iter::repeat_n(0, shape.len()).chain(after).collect();
    let pads = graph.ints(&pads);
    graph.node("Pad", &[x, &pads], &[], shape)
}

/// A convolution followed by a factor and an offset per channel, which are folded into it.
fn scaled_conv(
    graph: &mut Graph,
    weights: &Weights,
    name: &str,
    x: &Value,
    stride: usize,
    padding: Padding,
) -> Result<Value, Error> {
    let kernel = weights.tensor(&format!("{name}/conv/filters"), 4)?;
    let bias = weights.tensor(&format!("{name}/conv/bias"), 1)?;
    let factor = weights.tensor(&format!("{name}/scale/weights"), 1)?;
    let offset = weights.tensor(&format!("{name}/scale/biases"), 1)?;
    let folded: Vec<f32> = bias
        .values
        .iter()
        .zip(&factor.values)
        .zip(&offset.values)
        .map(|((bias, factor), offset)| bias * factor + offset)
        .collect();
    Ok(conv(graph, x, kernel, Some(&factor.values), &folded, stride, padding))
}
