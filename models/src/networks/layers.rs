//! Layers shared by the networks, with TensorFlow's padding and weight order turned into ONNX's.

use crate::onnx::{Attribute, Graph, Value};
use crate::tfjs::Tensor;

/// How a convolution treats the border.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Padding {
    /// Zeros so that the output has `ceil(input / stride)` values; the odd one goes after.
    Same,
    /// None.
    Valid,
}

/// A convolution over all channels; weights are height, width, in, out, and are multiplied by `scale` per output.
pub(super) fn conv(
    graph: &mut Graph,
    x: &Value,
    weights: &Tensor,
    scale: Option<&[f32]>,
    bias: &[f32],
    stride: usize,
    padding: Padding,
) -> Value {
    let [height, width, n_in, n_out] = axes(&weights.shape);
    let mut kernel = vec![0.0; weights.values.len()];
    for (index, value) in weights.values.iter().enumerate() {
        let (out, rest) = (index % n_out, index / n_out);
        let (channel, place) = (rest % n_in, rest / n_in);
        kernel[(out * n_in + channel) * height * width + place] = value * scale.map_or(1.0, |scale| scale[out]);
    }
    let kernel = graph.floats(&[n_out, n_in, height, width], &kernel);
    let bias = graph.floats(&[n_out], bias);
    window(graph, "Conv", &[x, &kernel, &bias], [height, width], n_out, stride, padding, 1)
}

/// A convolution of each channel on its own; weights are height, width, channel, 1.
pub(super) fn depthwise(
    graph: &mut Graph,
    x: &Value,
    weights: &Tensor,
    scale: Option<&[f32]>,
    bias: Option<&[f32]>,
    stride: usize,
) -> Value {
    let [height, width, n_channels, _] = axes(&weights.shape);
    let mut kernel = vec![0.0; weights.values.len()];
    for (index, value) in weights.values.iter().enumerate() {
        let (channel, place) = (index % n_channels, index / n_channels);
        kernel[channel * height * width + place] = value * scale.map_or(1.0, |scale| scale[channel]);
    }
    let kernel = graph.floats(&[n_channels, 1, height, width], &kernel);
    let bias = bias.map(|bias| graph.floats(&[n_channels], bias));
    let inputs: Vec<&Value> = [x, &kernel].into_iter().chain(bias.as_ref()).collect();
    window(graph, "Conv", &inputs, [height, width], n_channels, stride, Padding::Same, n_channels)
}

/// A pooling window without padding.
pub(super) fn pool(graph: &mut Graph, op: &str, x: &Value, side: usize, stride: usize) -> Value {
    window(graph, op, &[x], [side, side], x.shape[1], stride, Padding::Valid, 1)
}

#[expect(clippy::too_many_arguments, reason = "these are the parameters of a convolution")]
fn window(
    graph: &mut Graph,
    op: &str,
    inputs: &[&Value],
    kernel: [usize; 2],
    n_out: usize,
    stride: usize,
    padding: Padding,
    n_groups: usize,
) -> Value {
    let [n_pictures, _, height, width] = axes(&inputs[0].shape);
    let (height_out, top, bottom) = axis_window(height, kernel[0], stride, padding);
    let (width_out, left, right) = axis_window(width, kernel[1], stride, padding);
    let kernel_shape = kernel.map(signed);
    let (strides, pads) = ([signed(stride); 2], [top, left, bottom, right].map(signed));
    let mut attributes = vec![
        ("kernel_shape", Attribute::Ints(&kernel_shape)),
        ("strides", Attribute::Ints(&strides)),
        ("pads", Attribute::Ints(&pads)),
    ];
    if n_groups > 1 {
        attributes.push(("group", Attribute::Int(signed(n_groups))));
    }
    graph.node(op, inputs, &attributes, &[n_pictures, n_out, height_out, width_out])
}

/// The output length of one axis, and the zeros before and after it.
fn axis_window(length: usize, kernel: usize, stride: usize, padding: Padding) -> (usize, usize, usize) {
    if padding == Padding::Valid {
        return ((length - kernel) / stride + 1, 0, 0);
    }
    let length_out = length.div_ceil(stride);
    let n_zeros = ((length_out - 1) * stride + kernel).saturating_sub(length);
    (length_out, n_zeros / 2, n_zeros - n_zeros / 2)
}

pub(super) fn relu(graph: &mut Graph, x: &Value) -> Value {
    graph.node("Relu", &[x], &[], &x.shape)
}

/// Cuts values to the range from 0 to 6.
pub(super) fn relu6(graph: &mut Graph, x: &Value) -> Value {
    let (low, high) = (graph.floats(&[], &[0.0]), graph.floats(&[], &[6.0]));
    graph.node("Clip", &[x, &low, &high], &[], &x.shape)
}

pub(super) fn add(graph: &mut Graph, a: &Value, b: &Value) -> Value {
    graph.node("Add", &[a, b], &[], &a.shape)
}

/// `(x - mean) / divisor` per channel.
pub(super) fn normalise(graph: &mut Graph, x: &Value, mean: [f32; 3], divisor: f32) -> Value {
    let mean = graph.floats(&[1, 3, 1, 1], &mean);
    let divisor = graph.floats(&[], &[divisor]);
    let centred = graph.node("Sub", &[x, &mean], &[], &x.shape);
    graph.node("Div", &[&centred, &divisor], &[], &x.shape)
}

/// Keeps the first axis and lays the others end to end.
pub(super) fn flatten(graph: &mut Graph, x: &Value) -> Value {
    graph.node("Flatten", &[x], &[("axis", Attribute::Int(1))], &[x.shape[0], x.shape[1..].iter().product()])
}

pub(super) fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn axes(shape: &[usize]) -> [usize; 4] {
    shape.try_into().expect("the caller asked for a tensor of four axes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_follows_tensorflow() {
        assert_eq!(axis_window(512, 3, 2, Padding::Same), (256, 0, 1));
        assert_eq!(axis_window(256, 3, 1, Padding::Same), (256, 1, 1));
        assert_eq!(axis_window(5, 3, 2, Padding::Same), (3, 1, 1));
        assert_eq!(axis_window(150, 7, 2, Padding::Valid), (72, 0, 0));
    }
}
