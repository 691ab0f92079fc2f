//! The 68 landmarks: four dense blocks of separable convolutions over a 112-pixel face.

use super::embedder::{MEAN, RANGE};
use super::layers::{Padding, add, conv, depthwise, flatten, normalise, pool, relu};
use crate::Error;
use crate::onnx::{Graph, Value};
use crate::tfjs::Weights;

const N_BLOCKS: usize = 4;
const N_CONVS_PER_BLOCK: usize = 4;

/// Outputs `points`: x and y of each landmark in parts of the picture.
pub(super) fn build(weights: &Weights) -> Result<Vec<u8>, Error> {
    let mut graph = Graph::new("face_landmark_68");
    let picture = graph.input("picture", &[1, 3, 112, 112]);
    let mut x = normalise(&mut graph, &picture, MEAN, RANGE);
    for block in 0..N_BLOCKS {
        x = dense_block(&mut graph, weights, block, &x)?;
    }
    let x = pool(&mut graph, "AveragePool", &x, 7, 2);
    let x = flatten(&mut graph, &x);
    let (kernel, bias) = (weights.tensor("fc/weights", 2)?, weights.tensor("fc/bias", 1)?);
    let n_out = bias.values.len();
    let kernel = graph.floats(&kernel.shape, &kernel.values);
    let bias = graph.floats(&[n_out], &bias.values);
    let points = graph.node("Gemm", &[&x, &kernel, &bias], &[], &[1, n_out]);
    graph.output("points", &points);
    Ok(graph.finish())
}

/// Each convolution adds to the sum of those before it; the first halves the picture.
fn dense_block(graph: &mut Graph, weights: &Weights, block: usize, x: &Value) -> Result<Value, Error> {
    let first = if block == 0 {
        let kernel = weights.tensor("dense0/conv0/filters", 4)?;
        let bias = weights.tensor("dense0/conv0/bias", 1)?;
        conv(graph, x, kernel, None, &bias.values, 2, Padding::Same)
    } else {
        separable(graph, weights, &format!("dense{block}/conv0"), x, 2)?
    };
    let mut sum = relu(graph, &first);
    let mut x = sum.clone();
    for index in 1..N_CONVS_PER_BLOCK {
        let out = separable(graph, weights, &format!("dense{block}/conv{index}"), &x, 1)?;
        sum = add(graph, &sum, &out);
        x = relu(graph, &sum);
    }
    Ok(x)
}

fn separable(graph: &mut Graph, weights: &Weights, name: &str, x: &Value, stride: usize) -> Result<Value, Error> {
    let kernel = weights.tensor(&format!("{name}/depthwise_filter"), 4)?;
    let mix = weights.tensor(&format!("{name}/pointwise_filter"), 4)?;
    let bias = weights.tensor(&format!("{name}/bias"), 1)?;
    let x = depthwise(graph, x, kernel, None, None, stride);
    Ok(conv(graph, &x, mix, None, &bias.values, 1, Padding::Same))
}
