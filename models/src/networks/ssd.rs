//! The face detector: MobileNet v1 with six single-shot box predictors over a 512-pixel canvas.

use super::layers::{Padding, conv, depthwise, normalise, relu6, signed};
use crate::Error;
use crate::onnx::{Attribute, Graph, Value};
use crate::tfjs::Weights;

const BATCH_NORM_EPSILON: f64 = 0.001_000_000_047_497_451_3;
const N_PAIRS: usize = 13;
const STRIDE_2_PAIRS: [usize; 4] = [2, 4, 6, 12];
/// The pair whose output feeds the first, finest predictor.
const FINE_PAIR: usize = 11;
const N_PREDICTION_CONVS: usize = 8;
/// Scores are given for background, face and one unused class.
const N_CLASSES: usize = 3;
// The divisors with which the boxes were encoded in training.
const CENTRE_DIVISOR: f32 = 10.0;
const SIZE_DIVISOR: f32 = 5.0;

/// Outputs `boxes` (top, left, bottom, right in parts of the canvas) and `scores`.
pub(super) fn build(weights: &Weights) -> Result<Vec<u8>, Error> {
    let mut graph = Graph::new("ssd_mobilenetv1");
    let picture = graph.input("picture", &[1, 3, 512, 512]);
    let x = normalise(&mut graph, &picture, [127.5; 3], 127.5);
    let (fine, coarse) = mobilenet(&mut graph, weights, &x)?;
    let mut scales = vec![fine, coarse.clone()];
    let mut x = coarse;
    for index in 0..N_PREDICTION_CONVS {
        let stride = 1 + index % 2;
        x = pointwise(&mut graph, weights, &format!("Prediction/Conv2d_{index}_pointwise"), &x, stride)?;
        if stride == 2 {
            scales.push(x.clone());
        }
    }
    let (mut boxes, mut scores) = (Vec::new(), Vec::new());
    for (index, scale) in scales.iter().enumerate() {
        let prefix = format!("Prediction/BoxPredictor_{index}");
        boxes.push(predict(&mut graph, weights, &format!("{prefix}/BoxEncodingPredictor"), scale, 4)?);
        scores.push(predict(&mut graph, weights, &format!("{prefix}/ClassPredictor"), scale, N_CLASSES)?);
    }
    let (encodings, classes) = (concat(&mut graph, &boxes, 1), concat(&mut graph, &scores, 1));
    let boxes = decode(&mut graph, weights, &encodings)?;
    graph.output("boxes", &boxes);
    let face = slice(&mut graph, &classes, 1, 2);
    let scores = graph.node("Sigmoid", &[&face], &[], &face.shape);
    graph.output("scores", &scores);
    Ok(graph.finish())
}

fn mobilenet(graph: &mut Graph, weights: &Weights, x: &Value) -> Result<(Value, Value), Error> {
    let mut x = pointwise(graph, weights, "MobilenetV1/Conv2d_0_pointwise", x, 2)?;
    let mut fine = x.clone();
    for index in 1..=N_PAIRS {
        let stride = if STRIDE_2_PAIRS.contains(&index) { 2 } else { 1 };
        x = depthwise_normalised(graph, weights, &format!("MobilenetV1/Conv2d_{index}_depthwise"), &x, stride)?;
        x = pointwise(graph, weights, &format!("MobilenetV1/Conv2d_{index}_pointwise"), &x, 1)?;
        if index == FINE_PAIR {
            fine = x.clone();
        }
    }
    Ok((fine, x))
}

fn pointwise(graph: &mut Graph, weights: &Weights, name: &str, x: &Value, stride: usize) -> Result<Value, Error> {
    let kernel = weights.tensor(&format!("{name}/weights"), 4)?;
    let bias = weights.tensor(&format!("{name}/convolution_bn_offset"), 1)?;
    let x = conv(graph, x, kernel, None, &bias.values, stride, Padding::Same);
    Ok(relu6(graph, &x))
}

/// Batch normalisation is folded into the kernel and the bias.
fn depthwise_normalised(
    graph: &mut Graph,
    weights: &Weights,
    name: &str,
    x: &Value,
    stride: usize,
) -> Result<Value, Error> {
    let kernel = weights.tensor(&format!("{name}/depthwise_weights"), 4)?;
    let norm = |part: &str| weights.tensor(&format!("{name}/BatchNorm/{part}"), 1);
    let (gamma, beta, mean) = (norm("gamma")?, norm("beta")?, norm("moving_mean")?);
    let variance = norm("moving_variance")?;
    let factors: Vec<f64> = gamma
        .values
        .iter()
        .zip(&variance.values)
        .map(|(gamma, variance)| f64::from(*gamma) / (f64::from(*variance) + BATCH_NORM_EPSILON).sqrt())
        .collect();
    let scale: Vec<f32> = factors.iter().map(|factor| *factor as f32).collect();
    let shift = |((factor, beta), mean): ((&f64, &f32), &f32)| (f64::from(*beta) - f64::from(*mean) * factor) as f32;
    let bias: Vec<f32> = factors.iter().zip(&beta.values).zip(&mean.values).map(shift).collect();
    let x = depthwise(graph, x, kernel, Some(&scale), Some(&bias), stride);
    Ok(relu6(graph, &x))
}

/// One predictor's values, laid out as one row per candidate box.
fn predict(graph: &mut Graph, weights: &Weights, name: &str, x: &Value, n_columns: usize) -> Result<Value, Error> {
    let kernel = weights.tensor(&format!("{name}/weights"), 4)?;
    let bias = weights.tensor(&format!("{name}/biases"), 1)?;
    let x = conv(graph, x, kernel, None, &bias.values, 1, Padding::Same);
    let (channels, height, width) = (x.shape[1], x.shape[2], x.shape[3]);
    let channels_last = [1, height, width, channels];
    let x = graph.node("Transpose", &[&x], &[("perm", Attribute::Ints(&[0, 2, 3, 1]))], &channels_last);
    let n_rows = channels * height * width / n_columns;
    let shape = graph.ints(&[1, signed(n_rows), signed(n_columns)]);
    Ok(graph.node("Reshape", &[&x, &shape], &[], &[1, n_rows, n_columns]))
}

/// Moves and stretches the prior boxes by the predicted encodings.
fn decode(graph: &mut Graph, weights: &Weights, encodings: &Value) -> Result<Value, Error> {
    let priors = weights.tensor("Output/extra_dim", 3)?;
    let n_rows = encodings.shape[1];
    if priors.shape != [1, n_rows, 4] {
        let reason = format!("there are {n_rows} predictions for priors of shape {:?}", priors.shape);
        return Err(Error::Weights { network: "ssd_mobilenetv1".into(), reason });
    }
    let (mut sizes, mut centres) = (Vec::new(), Vec::new());
    for prior in priors.values.chunks_exact(4) {
        for axis in 0..2 {
            let size = prior[axis + 2] - prior[axis];
            sizes.push(size);
            centres.push(prior[axis] + size / 2.0);
        }
    }
    let shape = [1, n_rows, 2];
    let (sizes, centres) = (graph.floats(&shape, &sizes), graph.floats(&shape, &centres));
    let (centre_divisor, size_divisor) = (graph.floats(&[], &[CENTRE_DIVISOR]), graph.floats(&[], &[SIZE_DIVISOR]));
    let half = graph.floats(&[], &[0.5]);

    let offset = slice(graph, encodings, 0, 2);
    let offset = graph.node("Div", &[&offset, &centre_divisor], &[], &shape);
    let offset = graph.node("Mul", &[&offset, &sizes], &[], &shape);
    let centre = graph.node("Add", &[&offset, &centres], &[], &shape);
    let stretch = slice(graph, encodings, 2, 4);
    let stretch = graph.node("Div", &[&stretch, &size_divisor], &[], &shape);
    let stretch = graph.node("Exp", &[&stretch], &[], &shape);
    let stretch = graph.node("Mul", &[&stretch, &sizes], &[], &shape);
    let reach = graph.node("Mul", &[&stretch, &half], &[], &shape);
    let low = graph.node("Sub", &[&centre, &reach], &[], &shape);
    let high = graph.node("Add", &[&centre, &reach], &[], &shape);
    Ok(concat(graph, &[low, high], 2))
}

fn concat(graph: &mut Graph, values: &[Value], axis: usize) -> Value {
    let mut shape = values[0].shape.clone();
    shape[axis] = values.iter().map(|value| value.shape[axis]).sum();
    let inputs: Vec<&Value> = values.iter().collect();
    graph.node("Concat", &inputs, &[("axis", Attribute::Int(signed(axis)))], &shape)
}

/// The columns from `from` up to `to`.
fn slice(graph: &mut Graph, x: &Value, from: usize, to: usize) -> Value {
    let (starts, ends) = (graph.ints(&[signed(from)]), graph.ints(&[signed(to)]));
    let axes = graph.ints(&[2]);
    graph.node("Slice", &[x, &starts, &ends, &axes], &[], &[x.shape[0], x.shape[1], to - from])
}
