//! Where faces are: SSD at two scales, because one alone misses large faces, or YuNet at one; one box for each face.

use muster_models::DetectorKind;
use muster_models::pixels::{Pyramid, Similarity};
use ort::session::Session;

use super::{Bounds, FACES_MAX, Face, FaceError, runtime};

const SSD_SIDE_PX: usize = 512;
const YUNET_SIDE_PX: usize = 640;
/// The grids of YuNet: pixels from one cell to the next, and the outputs that belong to them.
const YUNET_GRIDS: [(usize, [&str; 3]); 3] =
    [(8, ["cls_8", "obj_8", "bbox_8"]), (16, ["cls_16", "obj_16", "bbox_16"]), (32, ["cls_32", "obj_32", "bbox_32"])];
/// The parts of the canvas that the picture fills: whole for small faces, less than half for large ones.
const SCALES: [f32; 2] = [1.0, 0.45];
/// Two boxes that share more of their union are one face.
const UNION_SHARED_MAX: f32 = 0.4;
/// A box that lies in another one by more than this is the same face at another scale.
const SMALLER_SHARED_MAX: f32 = 0.7;

/// A picture drawn into the upper left of a square, and how far apart its pixels are in the picture.
struct Canvas {
    values: Vec<f32>,
    step: f32,
}

/// The faces in a picture, the surest first.
pub(super) fn faces(
    session: &mut Session,
    kind: DetectorKind,
    pyramid: &Pyramid<'_>,
    score_min: f32,
) -> Result<Vec<Face>, FaceError> {
    let candidates = match kind {
        DetectorKind::Ssd => {
            let mut candidates = Vec::new();
            for part in SCALES {
                candidates.extend(ssd_candidates(session, pyramid, part, score_min)?);
            }
            candidates
        }
        DetectorKind::Yunet => yunet_candidates(session, pyramid, score_min)?,
    };
    Ok(one_box_per_face(candidates))
}

fn ssd_candidates(
    session: &mut Session,
    pyramid: &Pyramid<'_>,
    part: f32,
    score_min: f32,
) -> Result<Vec<Face>, FaceError> {
    let canvas = draw(pyramid, SSD_SIDE_PX, part);
    let shape = [1, 3, SSD_SIDE_PX, SSD_SIDE_PX];
    let [boxes, scores] = runtime::run(session, shape, &canvas.values, ["boxes", "scores"])?;
    let side = SSD_SIDE_PX as f32 * canvas.step;
    let found = boxes.chunks_exact(4).zip(scores).filter(|(_, score)| *score >= score_min);
    let clipped = found.filter_map(|(edges, score)| {
        let [top, left, bottom, right] = [edges[0], edges[1], edges[2], edges[3]].map(|edge| edge * side);
        clip(pyramid, [left, top, right, bottom], score)
    });
    Ok(clipped.collect())
}

fn yunet_candidates(session: &mut Session, pyramid: &Pyramid<'_>, score_min: f32) -> Result<Vec<Face>, FaceError> {
    let mut canvas = draw(pyramid, YUNET_SIDE_PX, 1.0);
    // YuNet was trained on blue, green, red.
    let (red, rest) = canvas.values.split_at_mut(YUNET_SIDE_PX * YUNET_SIDE_PX);
    red.swap_with_slice(&mut rest[YUNET_SIDE_PX * YUNET_SIDE_PX..]);
    let shape = [1, 3, YUNET_SIDE_PX, YUNET_SIDE_PX];
    let names = YUNET_GRIDS.map(|(_, names)| names);
    let outputs = runtime::run::<9>(session, shape, &canvas.values, std::array::from_fn(|at| names[at / 3][at % 3]))?;
    let mut candidates = Vec::new();
    for ((cell, _), grid) in YUNET_GRIDS.into_iter().zip(outputs.chunks_exact(3)) {
        let found = yunet_boxes(cell, [&grid[0], &grid[1], &grid[2]], score_min);
        candidates
            .extend(found.filter_map(|(edges, score)| clip(pyramid, edges.map(|edge| edge * canvas.step), score)));
    }
    Ok(candidates)
}

/// The boxes (left, top, right, bottom in pixels of the canvas) and scores of one grid of YuNet.
fn yunet_boxes<'a>(
    cell: usize,
    [classes, objects, offsets]: [&'a [f32]; 3],
    score_min: f32,
) -> impl Iterator<Item = ([f32; 4], f32)> + 'a {
    let n_columns = YUNET_SIDE_PX / cell;
    let side = cell as f32;
    let cells = classes.iter().zip(objects).zip(offsets.chunks_exact(4)).enumerate();
    cells.filter_map(move |(index, ((class, object), offsets))| {
        let score = (class.clamp(0.0, 1.0) * object.clamp(0.0, 1.0)).sqrt();
        let (column, row) = ((index % n_columns) as f32, (index / n_columns) as f32);
        let (x, y) = ((column + offsets[0]) * side, (row + offsets[1]) * side);
        let (half_width, half_height) = (offsets[2].exp() * side / 2.0, offsets[3].exp() * side / 2.0);
        (score >= score_min).then_some(([x - half_width, y - half_height, x + half_width, y + half_height], score))
    })
}

/// Draws the picture so that its longer side fills this part of the canvas.
fn draw(pyramid: &Pyramid<'_>, side: usize, part: f32) -> Canvas {
    let (width, height) = (pyramid.base().width() as f32, pyramid.base().height() as f32);
    let step = width.max(height) / (side as f32 * part);
    let similarity = Similarity { a: step, b: 0.0, tx: 0.0, ty: 0.0 };
    let (columns, rows) = ((width / step).ceil() as usize, (height / step).ceil() as usize);
    Canvas { values: pyramid.sample(similarity, side, 0..columns, 0..rows), step }
}

/// The part of a box (left, top, right, bottom) that lies in the picture, if there is any.
fn clip(pyramid: &Pyramid<'_>, [left, top, right, bottom]: [f32; 4], score: f32) -> Option<Face> {
    let (width, height) = (pyramid.base().width() as f32, pyramid.base().height() as f32);
    let (left, right) = (left.clamp(0.0, width), right.clamp(0.0, width));
    let (top, bottom) = (top.clamp(0.0, height), bottom.clamp(0.0, height));
    let bounds = Bounds { left, top, width: right - left, height: bottom - top };
    (bounds.width >= 1.0 && bounds.height >= 1.0).then_some(Face { bounds, score })
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
    fn a_cell_of_yunet_gives_its_box() {
        let (mut classes, mut objects, mut offsets) = (vec![0.0; 400], vec![0.0; 400], vec![0.0; 1_600]);
        (classes[21], objects[21]) = (0.9, 0.9);
        offsets[84..88].copy_from_slice(&[0.5, 0.25, 0.0, 2.0_f32.ln()]);
        let found: Vec<_> = yunet_boxes(32, [&classes, &objects, &offsets], 0.7).collect();
        assert_eq!(found.len(), 1);
        assert!((found[0].1 - 0.9).abs() < 1e-6);
        for (edge, expected) in found[0].0.into_iter().zip([32.0, 8.0, 64.0, 72.0]) {
            assert!((edge - expected).abs() < 1e-3, "{:?}", found[0].0);
        }
    }

    #[test]
    fn no_more_faces_are_reported_than_the_limit() {
        let many = (0..FACES_MAX + 5).map(|index| face(index as f32 * 20.0, 10.0, 0.9)).collect();
        assert_eq!(one_box_per_face(many).len(), FACES_MAX);
    }
}
