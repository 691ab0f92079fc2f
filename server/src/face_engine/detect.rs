//! Where faces are: the detector at two scales, because one alone misses large faces, and one box for each face.

use muster_models::pixels::{Pyramid, Similarity};
use ort::session::Session;

use super::{Bounds, FACES_MAX, Face, FaceError, runtime};

const CANVAS_SIDE_PX: usize = 512;
/// The parts of the canvas that the picture fills: whole for small faces, less than half for large ones.
const SCALES: [f32; 2] = [1.0, 0.45];
/// Two boxes that share more of their union are one face.
const UNION_SHARED_MAX: f32 = 0.4;
/// A box that lies in another one by more than this is the same face at another scale.
const SMALLER_SHARED_MAX: f32 = 0.7;

/// The faces in a picture, the surest first.
pub(super) fn faces(session: &mut Session, pyramid: &Pyramid<'_>, score_min: f32) -> Result<Vec<Face>, FaceError> {
    let mut candidates = Vec::new();
    for part in SCALES {
        candidates.extend(candidates_at(session, pyramid, part, score_min)?);
    }
    Ok(one_box_per_face(candidates))
}

fn candidates_at(
    session: &mut Session,
    pyramid: &Pyramid<'_>,
    part: f32,
    score_min: f32,
) -> Result<Vec<Face>, FaceError> {
    let (width, height) = (pyramid.base().width() as f32, pyramid.base().height() as f32);
    let step = width.max(height) / (CANVAS_SIDE_PX as f32 * part);
    let similarity = Similarity { a: step, b: 0.0, tx: 0.0, ty: 0.0 };
    let (columns, rows) = ((width / step).ceil() as usize, (height / step).ceil() as usize);
    let canvas = pyramid.sample(similarity, CANVAS_SIDE_PX, 0..columns, 0..rows);
    let shape = [1, 3, CANVAS_SIDE_PX, CANVAS_SIDE_PX];
    let [boxes, scores] = runtime::run(session, shape, &canvas, ["boxes", "scores"])?;
    let side = CANVAS_SIDE_PX as f32 * step;
    let found = boxes.chunks_exact(4).zip(scores).filter(|(_, score)| *score >= score_min);
    let clipped = found.filter_map(|(edges, score)| {
        let (top, left) = ((edges[0] * side).clamp(0.0, height), (edges[1] * side).clamp(0.0, width));
        let (bottom, right) = ((edges[2] * side).clamp(0.0, height), (edges[3] * side).clamp(0.0, width));
        let bounds = Bounds { left, top, width: right - left, height: bottom - top };
        (bounds.width >= 1.0 && bounds.height >= 1.0).then_some(Face { bounds, score })
    });
    Ok(clipped.collect())
}

/// Keeps the surest box of each face.
fn one_box_per_face(mut candidates: Vec<Face>) -> Vec<Face> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Face> = Vec::new();
    for candidate in candidates {
        if kept.len() == FACES_MAX {
            break;
        }
        if !kept.iter().any(|face| is_same_face(face.bounds, candidate.bounds)) {
            kept.push(candidate);
        }
    }
    kept
}

fn is_same_face(a: Bounds, b: Bounds) -> bool {
    let width = (a.left + a.width).min(b.left + b.width) - a.left.max(b.left);
    let height = (a.top + a.height).min(b.top + b.height) - a.top.max(b.top);
    if width <= 0.0 || height <= 0.0 {
        return false;
    }
    let (shared, area_a, area_b) = (width * height, a.width * a.height, b.width * b.height);
    shared > UNION_SHARED_MAX * (area_a + area_b - shared) || shared > SMALLER_SHARED_MAX * area_a.min(area_b)
}

impl Bounds {
    /// The same rectangle in a picture that is this many times as large.
    pub(super) fn enlarged(self, factor: f32) -> Self {
        Self {
            left: self.left * factor,
            top: self.top * factor,
            width: self.width * factor,
            height: self.height * factor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(left: f32, side: f32, score: f32) -> Face {
        Face { bounds: Bounds { left, top: 0.0, width: side, height: side }, score }
    }

    #[test]
    fn one_face_seen_at_two_scales_is_counted_once_and_two_faces_twice() {
        let kept = one_box_per_face(vec![face(0.0, 100.0, 0.7), face(8.0, 100.0, 0.9), face(20.0, 50.0, 0.8)]);
        assert_eq!(kept, [face(8.0, 100.0, 0.9)]);
        assert_eq!(one_box_per_face(vec![face(0.0, 100.0, 0.9), face(80.0, 100.0, 0.8)]).len(), 2);
    }

    #[test]
    fn no_more_faces_are_reported_than_the_limit() {
        let many = (0..FACES_MAX + 5).map(|index| face(index as f32 * 20.0, 10.0, 0.9)).collect();
        assert_eq!(one_box_per_face(many).len(), FACES_MAX);
    }
}
