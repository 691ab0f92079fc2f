//! Whom a picture is about: the face in its middle, unless another one is as large.

use super::Face;

/// How large another face has to be to be meant as likely as the most central one, as a part of its side. Boxes of one face
/// differ by a tenth.
const RIVAL_PART_MIN: f32 = 0.9;

/// The faces that a picture may be about, the most central one first: none, one, or several between which nobody but a
/// person can choose. People in the background are smaller than whoever holds the phone.
pub(super) fn subjects(faces: &[Face], (width, height): (f32, f32)) -> Vec<usize> {
    let from_middle = |face: &Face| {
        let bounds = face.bounds;
        let (x, y) = (bounds.left + bounds.width / 2.0 - width / 2.0, bounds.top + bounds.height / 2.0 - height / 2.0);
        x.hypot(y)
    };
    let usable = faces.iter().enumerate().filter(|(_, face)| face.is_usable());
    let nearest = |a: &(usize, &Face), b: &(usize, &Face)| from_middle(a.1).total_cmp(&from_middle(b.1));
    let Some((central, face)) = usable.min_by(nearest) else { return Vec::new() };
    let rivals = faces.iter().enumerate();
    let rivals = rivals.filter(|(index, other)| *index != central && other.rivals(face.side(), RIVAL_PART_MIN));
    std::iter::once(central).chain(rivals.map(|(index, _)| index)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Bounds;
    use super::*;

    const PICTURE: (f32, f32) = (400.0, 400.0);

    fn face(left: f32, side: f32) -> Face {
        Face { bounds: Bounds { left, top: 200.0 - side / 2.0, width: side, height: side }, score: 0.9 }
    }

    #[test]
    fn the_central_face_is_meant_and_smaller_ones_are_the_background() {
        assert_eq!(subjects(&[face(0.0, 89.0), face(150.0, 100.0)], PICTURE), [1]);
        assert_eq!(subjects(&[face(150.0, 100.0), face(0.0, 41.0), face(350.0, 41.0)], PICTURE), [0]);
    }

    #[test]
    fn one_as_large_as_the_central_one_is_as_likely_to_be_meant() {
        assert_eq!(subjects(&[face(0.0, 90.0), face(150.0, 100.0)], PICTURE), [1, 0]);
        assert_eq!(subjects(&[face(0.0, 180.0), face(185.0, 45.0), face(300.0, 40.0)], PICTURE), [1, 0]);
    }

    #[test]
    fn faces_that_are_too_small_to_be_compared_are_nobody() {
        assert_eq!(subjects(&[face(180.0, 39.9)], PICTURE), [0; 0]);
        assert_eq!(subjects(&[face(180.0, 40.0)], PICTURE), [0]);
        assert_eq!(subjects(&[], PICTURE), [0; 0]);
    }
}
