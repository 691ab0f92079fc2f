//! From a detected face to the upright 150-pixel chip that the embedder was trained on.

use muster_models::pixels::{Pyramid, Similarity};
use ort::session::Session;

use super::detect::Found;
use super::{FaceError, runtime};

/// The side of the picture that the landmark network takes.
const LANDMARKS_SIDE_PX: usize = 112;
/// The side of the aligned chip.
pub(super) const CHIP_SIDE_PX: usize = 150;
/// The room around the face in a chip, as dlib's training pictures have it.
const CHIP_PADDING: f32 = 0.25;
const N_POINTS: usize = 68;
/// The jaw's points come first and say little about the pose.
const N_JAW_POINTS: usize = N_POINTS - N_INNER_POINTS;
const N_INNER_POINTS: usize = 51;

/// A place in a picture: x and y.
type Point = (f32, f32);

/// Where brows, nose, eyes and mouth are in the mean face, in parts of the chip without its padding: x.
const MEAN_FACE_X: [f32; N_INNER_POINTS] = [
    0.000213256,
    0.0752622,
    0.18113,
    0.29077,
    0.393397,
    0.586856,
    0.689483,
    0.799124,
    0.904991,
    0.98004,
    0.490127,
    0.490127,
    0.490127,
    0.490127,
    0.36688,
    0.426036,
    0.490127,
    0.554217,
    0.613373,
    0.121737,
    0.187122,
    0.265825,
    0.334606,
    0.260918,
    0.182743,
    0.645647,
    0.714428,
    0.793132,
    0.858516,
    0.79751,
    0.719335,
    0.254149,
    0.340985,
    0.428858,
    0.490127,
    0.551395,
    0.639268,
    0.726104,
    0.642159,
    0.556721,
    0.490127,
    0.423532,
    0.338094,
    0.290379,
    0.428096,
    0.490127,
    0.552157,
    0.689874,
    0.553364,
    0.490127,
    0.42689,
];
/// The same points: y.
const MEAN_FACE_Y: [f32; N_INNER_POINTS] = [
    0.106454, 0.038915, 0.0187482, 0.0344891, 0.0773906, 0.0773906, 0.0344891, 0.0187482, 0.038915, 0.106454, 0.203352,
    0.307009, 0.409805, 0.515625, 0.587326, 0.609345, 0.628106, 0.609345, 0.587326, 0.216423, 0.178758, 0.179852,
    0.231733, 0.245099, 0.244077, 0.231733, 0.179852, 0.178758, 0.216423, 0.244077, 0.245099, 0.780233, 0.745405,
    0.727388, 0.742578, 0.727388, 0.745405, 0.780233, 0.864805, 0.902192, 0.909281, 0.902192, 0.864805, 0.784792,
    0.778746, 0.785343, 0.778746, 0.784792, 0.824182, 0.831803, 0.824182,
];

/// The 68 points of a face, in pixels of the picture.
pub(super) fn landmarks(session: &mut Session, pyramid: &Pyramid<'_>, found: &Found) -> Result<Vec<Point>, FaceError> {
    let (side, bounds) = (LANDMARKS_SIDE_PX as f32, found.upright);
    let step = bounds.width.max(bounds.height) / side;
    let (width, height) = (bounds.width / step, bounds.height / step);
    let (margin_x, margin_y) = ((side - width) / 2.0, (side - height) / 2.0);
    let to_frame = Similarity { a: step, b: 0.0, tx: bounds.left - margin_x * step, ty: bounds.top - margin_y * step };
    let similarity = found.frame.after(to_frame);
    let columns = margin_x.round() as usize..(margin_x + width).round() as usize;
    let rows = margin_y.round() as usize..(margin_y + height).round() as usize;
    let crop = pyramid.sample(similarity, LANDMARKS_SIDE_PX, columns, rows);
    let [points] = runtime::run(session, [1, 3, LANDMARKS_SIDE_PX, LANDMARKS_SIDE_PX], &crop, ["points"])?;
    if points.len() != 2 * N_POINTS {
        return Err(FaceError::Runtime(format!("{} values are not {N_POINTS} landmarks", points.len())));
    }
    Ok(points.chunks_exact(2).map(|point| similarity.apply(point[0] * side, point[1] * side)).collect())
}

/// The similarity, nearest by least squares, from the chip to the picture.
pub(super) fn chip_to_picture(points: &[Point]) -> Similarity {
    let place = |part: f32| (CHIP_PADDING + part) / (1.0 + 2.0 * CHIP_PADDING) * CHIP_SIDE_PX as f32;
    let chip = MEAN_FACE_X.iter().zip(&MEAN_FACE_Y).map(|(x, y)| (place(*x), place(*y)));
    let pairs: Vec<(Point, Point)> = chip.zip(points.iter().skip(N_JAW_POINTS).copied()).collect();
    let n_pairs = pairs.len().max(1) as f32;
    let mean = |pick: fn(&(Point, Point)) -> f32| pairs.iter().map(pick).sum::<f32>() / n_pairs;
    let (cx, cy) = (mean(|pair| pair.0.0), mean(|pair| pair.0.1));
    let (px, py) = (mean(|pair| pair.1.0), mean(|pair| pair.1.1));
    let (mut along, mut across, mut spread) = (0.0, 0.0, 0.0);
    for ((x, y), (u, v)) in pairs {
        let (x, y, u, v) = (x - cx, y - cy, u - px, v - py);
        along += x * u + y * v;
        across += x * v - y * u;
        spread += x * x + y * y;
    }
    let (a, b) = (along / spread, across / spread);
    Similarity { a, b, tx: px - a * cx + b * cy, ty: py - b * cx - a * cy }
}

/// The aligned face.
pub(super) fn chip(pyramid: &Pyramid<'_>, chip_to_picture: Similarity) -> Vec<f32> {
    pyramid.sample(chip_to_picture, CHIP_SIDE_PX, 0..CHIP_SIDE_PX, 0..CHIP_SIDE_PX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_and_shifted_mean_face_gives_back_its_similarity() {
        let made = Similarity { a: 1.5, b: -0.4, tx: 80.0, ty: 33.0 };
        let place = |part: f32| (CHIP_PADDING + part) / 1.5 * 150.0;
        let inner = MEAN_FACE_X.iter().zip(&MEAN_FACE_Y).map(|(x, y)| made.apply(place(*x), place(*y)));
        let points: Vec<_> = std::iter::repeat_n((0.0, 0.0), N_JAW_POINTS).chain(inner).collect();
        let found = chip_to_picture(&points);
        for (found, made) in [(found.a, made.a), (found.b, made.b), (found.tx, made.tx), (found.ty, made.ty)] {
            assert!((found - made).abs() < 1e-3, "{found} is not {made}");
        }
    }
}
