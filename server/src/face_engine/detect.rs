//! Where faces are: SSD at two scales, because one alone misses large faces, or YuNet at one; one box for each face. Where
//! that finds nobody to compare, it looks again: smaller, less sure, and with the head to one side.

use std::f32::consts::FRAC_PI_6;

use muster_models::DetectorKind;
use muster_models::pixels::{Pyramid, Similarity};
use ort::session::Session;

use super::{Bounds, FACES_MAX, Face, FaceError, runtime};

const SSD_SIDE_PX: usize = 512;
const YUNET_SIDE_PX: usize = 640;
/// The grids of YuNet: pixels from one cell to the next, and the outputs that belong to them.
const YUNET_GRIDS: [(usize, [&str; 3]); 3] =
    [(8, ["cls_8", "obj_8", "bbox_8"]), (16, ["cls_16", "obj_16", "bbox_16"]), (32, ["cls_32", "obj_32", "bbox_32"])];
/// The parts of the canvas that the picture fills for SSD: whole for small faces, less than half for large ones.
const SSD_PARTS: [f32; 2] = [1.0, 0.45];
/// The part for YuNet, which sees large faces too.
const YUNET_PARTS: [f32; 1] = [1.0];
/// The part of a second look, at which a face that fills the picture is as large as those that the detectors learnt from,
/// and blur is sharp.
const SECOND_PART: f32 = 0.3;
/// The part of a look at a turned picture: a face that is worth comparing is large.
const TURNED_PART: f32 = 0.45;
/// How far the head may lean, in radians: detectors miss what leans further, and landmarks follow less.
const LEANS: [f32; 2] = [FRAC_PI_6, -FRAC_PI_6];
/// Two boxes that share more of their union are one face.
const UNION_SHARED_MAX: f32 = 0.4;
/// A box that lies in another one by more than this is the same face at another scale.
const SMALLER_SHARED_MAX: f32 = 0.7;

/// A face, and where it stands upright.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// As it lies in the picture.
    pub(super) face: Face,
    /// Its box in the frame.
    pub(super) upright: Bounds,
    /// From the frame to the picture.
    pub(super) frame: Similarity,
}

/// How sure the detector has to be, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scores {
    /// At the first look, and of leaning faces.
    pub(super) first: f32,
    /// Of upright faces, once the first look found nobody.
    pub(super) second: f32,
}

/// A picture as it is looked at: turned, in a frame that holds all of it.
struct View<'a> {
    pyramid: &'a Pyramid<'a>,
    /// From the frame to the picture.
    frame: Similarity,
    width: f32,
    height: f32,
}

/// A picture drawn into the upper left of a square, and how far apart its pixels are in the frame.
struct Canvas {
    values: Vec<f32>,
    step: f32,
}

/// The faces in a picture, the surest first. It looks again until one has a side of `side_min_px`, or nothing is left to try.
pub(super) fn faces(
    session: &mut Session,
    kind: DetectorKind,
    pyramid: &Pyramid<'_>,
    scores: Scores,
    side_min_px: f32,
) -> Result<Vec<Found>, FaceError> {
    let parts: &[f32] = match kind {
        DetectorKind::Ssd => &SSD_PARTS,
        DetectorKind::Yunet => &YUNET_PARTS,
    };
    let upright = View::turned(pyramid, 0.0);
    let mut candidates = Vec::new();
    for part in parts {
        candidates.extend(look(session, kind, &upright, *part, scores.second)?);
    }
    let sure = |candidates: &[Found], score_min: f32| {
        one_box_per_face(candidates.iter().filter(|found| found.face.score >= score_min).copied().collect())
    };
    let first = sure(&candidates, scores.first);
    let is_somebody = |found: &[Found]| found.iter().any(|found| found.face.side() >= side_min_px);
    if is_somebody(&first) {
        return Ok(first);
    }
    candidates.extend(look(session, kind, &upright, SECOND_PART, scores.second)?);
    let second = sure(&candidates, scores.second);
    if is_somebody(&second) {
        return Ok(second);
    }
    for lean in LEANS {
        candidates.extend(look(session, kind, &View::turned(pyramid, lean), TURNED_PART, scores.first)?);
    }
    let leaning = sure(&candidates, scores.first);
    Ok(if is_somebody(&leaning) { leaning } else { first })
}

fn look(
    session: &mut Session,
    kind: DetectorKind,
    view: &View<'_>,
    part: f32,
    score_min: f32,
) -> Result<Vec<Found>, FaceError> {
    match kind {
        DetectorKind::Ssd => ssd_candidates(session, view, part, score_min),
        DetectorKind::Yunet => yunet_candidates(session, view, part, score_min),
    }
}

fn ssd_candidates(session: &mut Session, view: &View<'_>, part: f32, score_min: f32) -> Result<Vec<Found>, FaceError> {
    let canvas = view.draw(SSD_SIDE_PX, part);
    let shape = [1, 3, SSD_SIDE_PX, SSD_SIDE_PX];
    let [boxes, scores] = runtime::run(session, shape, &canvas.values, ["boxes", "scores"])?;
    let side = SSD_SIDE_PX as f32 * canvas.step;
    let found = boxes.chunks_exact(4).zip(scores).filter(|(_, score)| *score >= score_min);
    let clipped = found.filter_map(|(edges, score)| {
        let [top, left, bottom, right] = [edges[0], edges[1], edges[2], edges[3]].map(|edge| edge * side);
        view.found([left, top, right, bottom], score)
    });
    Ok(clipped.collect())
}

fn yunet_candidates(
    session: &mut Session,
    view: &View<'_>,
    part: f32,
    score_min: f32,
) -> Result<Vec<Found>, FaceError> {
    let mut canvas = view.draw(YUNET_SIDE_PX, part);
    // YuNet was trained on blue, green, red.
    let (red, rest) = canvas.values.split_at_mut(YUNET_SIDE_PX * YUNET_SIDE_PX);
    red.swap_with_slice(&mut rest[YUNET_SIDE_PX * YUNET_SIDE_PX..]);
    let shape = [1, 3, YUNET_SIDE_PX, YUNET_SIDE_PX];
    let names = YUNET_GRIDS.map(|(_, names)| names);
    let outputs = runtime::run::<9>(session, shape, &canvas.values, std::array::from_fn(|at| names[at / 3][at % 3]))?;
    let mut candidates = Vec::new();
    for ((cell, _), grid) in YUNET_GRIDS.into_iter().zip(outputs.chunks_exact(3)) {
        let found = yunet_boxes(cell, [&grid[0], &grid[1], &grid[2]], score_min);
        candidates.extend(found.filter_map(|(edges, score)| view.found(edges.map(|edge| edge * canvas.step), score)));
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

impl<'a> View<'a> {
    /// The picture turned about its middle, so that a head that leans by this many radians to the right stands upright.
    fn turned(pyramid: &'a Pyramid<'a>, lean: f32) -> Self {
        let (width, height) = (pyramid.base().width() as f32, pyramid.base().height() as f32);
        let (b, a) = lean.sin_cos();
        let (frame_width, frame_height) = (width * a.abs() + height * b.abs(), width * b.abs() + height * a.abs());
        let turn = Similarity { a, b, tx: 0.0, ty: 0.0 };
        let (x, y) = turn.apply(frame_width / 2.0, frame_height / 2.0);
        let frame = Similarity { tx: width / 2.0 - x, ty: height / 2.0 - y, ..turn };
        Self { pyramid, frame, width: frame_width, height: frame_height }
    }

    /// Draws the picture so that its longer side fills this part of the canvas.
    fn draw(&self, side: usize, part: f32) -> Canvas {
        let step = self.width.max(self.height) / (side as f32 * part);
        let to_frame = Similarity { a: step, b: 0.0, tx: 0.0, ty: 0.0 };
        let (columns, rows) = ((self.width / step).ceil() as usize, (self.height / step).ceil() as usize);
        Canvas { values: self.pyramid.sample(self.frame.after(to_frame), side, 0..columns, 0..rows), step }
    }

    /// The part of a box (left, top, right, bottom) that lies in the frame, if there is any.
    fn found(&self, [left, top, right, bottom]: [f32; 4], score: f32) -> Option<Found> {
        let (left, right) = (left.clamp(0.0, self.width), right.clamp(0.0, self.width));
        let (top, bottom) = (top.clamp(0.0, self.height), bottom.clamp(0.0, self.height));
        let upright = Bounds { left, top, width: right - left, height: bottom - top };
        if upright.width < 1.0 || upright.height < 1.0 {
            return None;
        }
        let (x, y) = self.frame.apply(left + upright.width / 2.0, top + upright.height / 2.0);
        // A turned box is shown by an upright one of its size around the same middle.
        let bounds = Bounds { left: x - upright.width / 2.0, top: y - upright.height / 2.0, ..upright };
        Some(Found { face: Face { bounds, score }, upright, frame: self.frame })
    }
}

/// Keeps the surest box of each face.
fn one_box_per_face(mut candidates: Vec<Found>) -> Vec<Found> {
    candidates.sort_by(|a, b| b.face.score.total_cmp(&a.face.score));
    let mut kept: Vec<Found> = Vec::new();
    for candidate in candidates {
        if kept.len() == FACES_MAX {
            break;
        }
        if !kept.iter().any(|found| is_same_face(found.face.bounds, candidate.face.bounds)) {
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

impl Face {
    /// The same face in a picture that is this many times as large.
    pub(super) fn enlarged(self, factor: f32) -> Self {
        let Bounds { left, top, width, height } = self.bounds;
        let bounds = Bounds { left: left * factor, top: top * factor, width: width * factor, height: height * factor };
        Self { bounds, ..self }
    }
}

#[cfg(test)]
mod tests {
    use muster_models::pixels::Pixels;

    use super::*;

    fn found(left: f32, side: f32, score: f32) -> Found {
        let bounds = Bounds { left, top: 0.0, width: side, height: side };
        let frame = Similarity { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };
        Found { face: Face { bounds, score }, upright: bounds, frame }
    }

    #[test]
    fn one_face_seen_at_two_scales_is_counted_once_and_two_faces_twice() {
        let kept = one_box_per_face(vec![found(0.0, 100.0, 0.7), found(8.0, 100.0, 0.9), found(20.0, 50.0, 0.8)]);
        assert_eq!(kept.iter().map(|found| found.face).collect::<Vec<_>>(), [found(8.0, 100.0, 0.9).face]);
        assert_eq!(one_box_per_face(vec![found(0.0, 100.0, 0.9), found(80.0, 100.0, 0.8)]).len(), 2);
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
    fn a_turned_view_holds_the_whole_picture_and_leads_back_to_it() {
        let rgb = vec![200; 40 * 20 * 3];
        let pyramid = Pyramid::new(Pixels::new(40, 20, &rgb).unwrap(), 8);
        for lean in [0.0, LEANS[0], LEANS[1]] {
            let view = View::turned(&pyramid, lean);
            let middle = view.frame.apply(view.width / 2.0, view.height / 2.0);
            assert!((middle.0 - 20.0).abs() < 1e-3 && (middle.1 - 10.0).abs() < 1e-3, "{middle:?}");
            let drawn = view.draw(64, 1.0).values.iter().filter(|value| **value > 0.0).count() as f32 / 3.0;
            let step = view.width.max(view.height) / 64.0;
            assert!((drawn * step * step - 800.0).abs() < 60.0, "{lean}: all of it is drawn, {}", drawn * step * step);
            let box_ =
                [view.width / 2.0 - 4.0, view.height / 2.0 - 4.0, view.width / 2.0 + 4.0, view.height / 2.0 + 4.0];
            let found = view.found(box_, 0.9).unwrap();
            assert!((found.face.bounds.left - 16.0).abs() < 1e-3 && (found.face.bounds.top - 6.0).abs() < 1e-3);
        }
    }

    #[test]
    fn no_more_faces_are_reported_than_the_limit() {
        let many = (0..FACES_MAX + 5).map(|index| found(index as f32 * 20.0, 10.0, 0.9)).collect();
        assert_eq!(one_box_per_face(many).len(), FACES_MAX);
    }
}
