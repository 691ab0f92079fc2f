//! The three networks as graphs: which layers there are, in which order, and which weights they take.
//!
//! Inputs are pictures of fixed shape, channels first, RGB from 0 to 255; normalisation is part of the graph.

mod embedder;
mod landmarks;
mod layers;
mod ssd;

use crate::Error;
use crate::manifest::Conversion;
use crate::tfjs::Weights;

/// Turns a weight list and its shard into an ONNX file; the same bytes in give the same bytes out.
pub fn convert(conversion: Conversion, list: &[u8], shard: &[u8]) -> Result<Vec<u8>, Error> {
    match conversion {
        Conversion::SsdMobilenetv1 => ssd::build(&Weights::read("ssd_mobilenetv1", list, shard)?),
        Conversion::FaceLandmark68 => landmarks::build(&Weights::read("face_landmark_68", list, shard)?),
        Conversion::FaceRecognition => embedder::build(&Weights::read("face_recognition", list, shard)?),
    }
}
