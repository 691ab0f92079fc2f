//! The few messages of the ONNX protobuf that three networks need, written by hand and always in the same order.

/// What an operator's attribute holds.
pub(crate) enum Attribute<'a> {
    /// One number.
    Int(i64),
    /// Several numbers.
    Ints(&'a [i64]),
}

/// A value that flows through the graph, with its fixed shape.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

/// A graph under construction.
pub(crate) struct Graph {
    name: String,
    body: Vec<u8>,
    n_values: usize,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
}

// Operator set 13 is the oldest in which every operator used here has its present form.
const OPSET: u64 = 13;
const IR_VERSION: u64 = 8;
const FLOAT: u64 = 1;
const INT64: u64 = 7;

impl Graph {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), body: Vec::new(), n_values: 0, inputs: Vec::new(), outputs: Vec::new() }
    }

    pub(crate) fn input(&mut self, name: &str, shape: &[usize]) -> Value {
        let value = Value { name: name.to_owned(), shape: shape.to_vec() };
        self.inputs.push(value.clone());
        value
    }

    /// Names a value as a result, keeping its name in the graph.
    pub(crate) fn output(&mut self, name: &str, value: &Value) {
        let renamed = Value { name: name.to_owned(), shape: value.shape.clone() };
        self.write_node("Identity", &[value], &renamed.name, &[]);
        self.outputs.push(renamed);
    }

    pub(crate) fn floats(&mut self, shape: &[usize], values: &[f32]) -> Value {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(shape, FLOAT, &raw)
    }

    pub(crate) fn ints(&mut self, values: &[i64]) -> Value {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(&[values.len()], INT64, &raw)
    }

    /// Adds an operator; the caller knows the shape that comes out.
    pub(crate) fn node(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
        shape: &[usize],
    ) -> Value {
        let name = self.next_name();
        self.write_node(op, inputs, &name, attributes);
        Value { name, shape: shape.to_vec() }
    }

    /// The finished model file.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut graph = self.body;
        bytes_field(&mut graph, 2, self.name.as_bytes());
        for value in &self.inputs {
            bytes_field(&mut graph, 11, &value_info(value));
        }
        for value in &self.outputs {
            bytes_field(&mut graph, 12, &value_info(value));
        }
        let mut opset = Vec::new();
        bytes_field(&mut opset, 1, b"");
        int_field(&mut opset, 2, OPSET);
        let mut model = Vec::with_capacity(graph.len() + 64);
        int_field(&mut model, 1, IR_VERSION);
        bytes_field(&mut model, 2, b"muster-models");
        bytes_field(&mut model, 7, &graph);
        bytes_field(&mut model, 8, &opset);
        model
    }

    fn next_name(&mut self) -> String {
        self.n_values += 1;
        format!("v{}", self.n_values)
    }

    fn constant(&mut self, shape: &[usize], kind: u64, raw: &[u8]) -> Value {
        let name = self.next_name();
        let mut tensor = Vec::with_capacity(raw.len() + 64);
        for axis in shape {
            int_field(&mut tensor, 1, *axis as u64);
        }
        int_field(&mut tensor, 2, kind);
        bytes_field(&mut tensor, 8, name.as_bytes());
        bytes_field(&mut tensor, 9, raw);
        bytes_field(&mut self.body, 5, &tensor);
        Value { name, shape: shape.to_vec() }
    }

    fn write_node(&mut self, op: &str, inputs: &[&Value], output: &str, attributes: &[(&str, Attribute<'_>)]) {
        let mut node = Vec::new();
        for input in inputs {
            bytes_field(&mut node, 1, input.name.as_bytes());
        }
        bytes_field(&mut node, 2, output.as_bytes());
        bytes_field(&mut node, 4, op.as_bytes());
        for (name, attribute) in attributes {
            bytes_field(&mut node, 5, &attribute_message(name, attribute));
        }
        bytes_field(&mut self.body, 1, &node);
    }
}

fn attribute_message(name: &str, attribute: &Attribute<'_>) -> Vec<u8> {
    let mut message = Vec::new();
    bytes_field(&mut message, 1, name.as_bytes());
    match attribute {
        Attribute::Int(value) => {
            int_field(&mut message, 3, value.cast_unsigned());
            int_field(&mut message, 20, 2);
        }
        Attribute::Ints(values) => {
            for value in *values {
                int_field(&mut message, 8, value.cast_unsigned());
            }
            int_field(&mut message, 20, 7);
        }
    }
    message
}

fn value_info(value: &Value) -> Vec<u8> {
    let mut shape = Vec::new();
    for axis in &value.shape {
        let mut dimension = Vec::new();
        int_field(&mut dimension, 1, *axis as u64);
        bytes_field(&mut shape, 1, &dimension);
    }
    let mut tensor = Vec::new();
    int_field(&mut tensor, 1, FLOAT);
    bytes_field(&mut tensor, 2, &shape);
    let mut kind = Vec::new();
    bytes_field(&mut kind, 1, &tensor);
    let mut message = Vec::new();
    bytes_field(&mut message, 1, value.name.as_bytes());
    bytes_field(&mut message, 2, &kind);
    message
}

fn int_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, (field << 3) | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_protobuf_does() {
        let mut out = Vec::new();
        int_field(&mut out, 20, 300);
        bytes_field(&mut out, 1, b"ab");
        assert_eq!(out, [0xa0, 0x01, 0xac, 0x02, 0x0a, 0x02, b'a', b'b']);
    }
}
