//! Faces on real pictures, by the real runtime; `muster_tests::models` says who is where.

use image::imageops::{FilterType, blur, brighten, flip_horizontal, overlay, resize};
use image::{Rgb, RgbImage};
use muster_server::face_engine::{self, FaceError, Judgement, Reading};
use muster_tests::models::{
    ANNA_IN_SAMPLE_1, ANNA_IN_SAMPLE_3, BELLA_IN_SAMPLE_6, NOBODY_IN_SAMPLE_3, engine, models_dir, sample, sample_part,
    two_of_one_size,
};

fn read(picture: &RgbImage) -> Reading {
    engine().read(picture).unwrap()
}

fn judged(a: &RgbImage, b: &RgbImage) -> (f32, Judgement) {
    let engine = engine();
    let [a, b] = [a, b].map(|picture| engine.read(picture).unwrap().subject.unwrap().template);
    let distance = face_engine::distance(&a, &b).unwrap();
    (distance, engine.thresholds().unwrap().judge(distance))
}

#[test]
fn the_same_person_on_two_evenings_matches() {
    let (distance, judgement) = judged(&sample_part(1, ANNA_IN_SAMPLE_1), &sample_part(3, ANNA_IN_SAMPLE_3));
    assert_eq!(judgement, Judgement::Match, "distance {distance}");
}

#[test]
fn the_same_picture_smaller_and_mirrored_matches_closely() {
    let picture = sample_part(6, BELLA_IN_SAMPLE_6);
    let smaller = resize(&picture, 300, 372, image::imageops::FilterType::Triangle);
    let (distance, _) = judged(&picture, &flip_horizontal(&smaller));
    assert!(distance < 0.3, "distance {distance}");
}

#[test]
fn another_person_is_a_mismatch() {
    for anna in [sample_part(1, ANNA_IN_SAMPLE_1), sample_part(3, ANNA_IN_SAMPLE_3)] {
        let (distance, judgement) = judged(&anna, &sample_part(6, BELLA_IN_SAMPLE_6));
        assert_eq!(judgement, Judgement::Mismatch, "distance {distance}");
    }
}

#[test]
fn a_picture_without_a_face_has_no_face_and_no_template() {
    for picture in [sample_part(3, NOBODY_IN_SAMPLE_3), RgbImage::new(640, 480), RgbImage::new(1, 1)] {
        let reading = read(&picture);
        assert!(reading.faces.is_empty() && reading.subject.is_none(), "{reading:?}");
    }
}

#[test]
fn a_picture_with_two_faces_of_one_size_has_both_and_is_about_nobody() {
    let reading = read(&two_of_one_size());
    assert_eq!((reading.faces.len(), reading.n_subjects), (2, 2), "{reading:?}");
    assert!(reading.subject.is_none());
}

/// Anna in the middle of a wall, and beside her Bella, half as large.
fn anna_and_a_bystander() -> RgbImage {
    let (anna, bella) = (sample_part(1, ANNA_IN_SAMPLE_1), sample_part(6, BELLA_IN_SAMPLE_6));
    let (width, height) = anna.dimensions();
    let bella = resize(&bella, height / 2 * bella.width() / bella.height(), height / 2, FilterType::Triangle);
    let mut picture = RgbImage::from_pixel(3 * width, height, Rgb([120; 3]));
    overlay(&mut picture, &anna, i64::from(width), 0);
    overlay(&mut picture, &bella, 0, 0);
    picture
}

/// The picture with the camera turned by some degrees.
fn turned(picture: &RgbImage, degrees: f32) -> RgbImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let (x, y) = (x as f32 - width / 2.0, y as f32 - height / 2.0);
        let (x, y) = (cos * x + sin * y + width / 2.0, cos * y - sin * x + height / 2.0);
        let is_inside = (0.0..width).contains(&x) && (0.0..height).contains(&y);
        if is_inside { *picture.get_pixel(x as u32, y as u32) } else { Rgb([0; 3]) }
    })
}

#[test]
fn whoever_is_in_the_middle_is_meant_and_bystanders_are_not() {
    let picture = anna_and_a_bystander();
    let reading = read(&picture);
    assert_eq!((reading.faces.len(), reading.n_subjects), (2, 1), "{reading:?}");
    let (distance, judgement) = judged(&picture, &sample_part(1, ANNA_IN_SAMPLE_1));
    assert_eq!(judgement, Judgement::Match, "distance {distance}");
}

#[test]
fn a_turned_phone_and_a_blurred_lens_find_the_same_face() {
    for (name, upright) in [("Anna", sample_part(3, ANNA_IN_SAMPLE_3)), ("Bella", sample_part(6, BELLA_IN_SAMPLE_6))] {
        let lean = read(&upright).subject.unwrap().quality.lean_degrees;
        let blurred = blur(&upright, upright.width() as f32 / 125.0);
        for (how, changed) in [("right", turned(&upright, 30.0)), ("left", turned(&upright, -30.0)), ("blur", blurred)]
        {
            let (distance, judgement) = judged(&changed, &upright);
            assert_eq!(judgement, Judgement::Match, "{name}, leaning {lean}, {how}: distance {distance}");
        }
    }
}

#[test]
fn looking_again_finds_nobody_where_nobody_is() {
    let wall = sample_part(3, NOBODY_IN_SAMPLE_3);
    for picture in [turned(&wall, 30.0), turned(&wall, 180.0), blur(&wall, 3.0)] {
        assert!(read(&picture).faces.is_empty());
    }
}

#[test]
fn a_picture_that_could_be_better_says_how() {
    let anna = sample_part(3, ANNA_IN_SAMPLE_3);
    let dark =
        RgbImage::from_fn(anna.width(), anna.height(), |x, y| Rgb(anna.get_pixel(x, y).0.map(|value| value / 3)));
    let small = resize(&anna, anna.width() / 4, anna.height() / 4, FilterType::Triangle);
    for (picture, expected) in [
        (&anna, None),
        (&dark, Some("too_dark")),
        (&brighten(&anna, 120), Some("too_bright")),
        (&blur(&anna, anna.width() as f32 / 60.0), Some("too_blurred")),
        (&turned(&anna, 30.0), Some("tilted")),
        (&small, Some("too_small")),
    ] {
        let reading = read(picture);
        let advice = reading.subject.map(|subject| (subject.quality, subject.quality.advice()));
        let mut codes = advice.iter().flat_map(|(_, advice)| advice).map(|advice| advice.words().0);
        assert_eq!(codes.next(), expected, "{expected:?}: {advice:?}");
    }
}

#[test]
fn every_face_of_the_group_pictures_is_counted_once() {
    let counts = [1, 2, 3, 4, 5, 6].map(|index| read(&sample(index)).faces.len());
    assert_eq!(counts, [3, 3, 3, 4, 5, 4]);
}

#[test]
fn an_empty_picture_is_an_error() {
    assert!(matches!(engine().read(&RgbImage::new(0, 0)), Err(FaceError::EmptyPicture)));
}

#[test]
fn bounds_are_in_pixels_of_a_picture_that_was_shrunk_first() {
    let picture = sample_part(6, BELLA_IN_SAMPLE_6);
    let large = resize(&picture, 594 * 5, 736 * 5, image::imageops::FilterType::Triangle);
    let (small, large) = (read(&picture).faces[0].bounds, read(&large).faces[0].bounds);
    for (small, large) in [(small.left, large.left), (small.top, large.top), (small.width, large.width)] {
        assert!((small * 5.0 - large).abs() < 60.0, "{small} x 5 is not {large}");
    }
}

#[test]
fn threads_share_an_engine_and_agree() {
    let engine = engine();
    let picture = sample_part(1, ANNA_IN_SAMPLE_1);
    std::thread::scope(|scope| {
        let reading = || engine.read(&picture).unwrap().subject.unwrap().template;
        let threads: Vec<_> = (0..5).map(|_| scope.spawn(reading)).collect();
        let templates: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(templates.iter().all(|template| *template == templates[0]));
    });
}

#[test]
fn without_models_the_reason_says_what_to_run() {
    let empty = tempfile::tempdir().unwrap();
    let engine = face_engine::open(empty.path());
    let reason = engine.model_version().unwrap_err().reason().to_owned();
    assert!(reason.contains("onnxruntime") && reason.contains("muster models fetch"), "{reason}");
    assert!(matches!(engine.read(&RgbImage::new(8, 8)), Err(FaceError::Unavailable(_))));
}

#[test]
fn a_changed_model_or_library_is_not_opened() {
    let platform = muster_models::manifest::platform();
    let manifest = muster_models::Manifest::embedded().unwrap();
    let needed: Vec<_> = manifest
        .artifacts
        .iter()
        .filter(|artifact| artifact.runs_on(&platform) && models_dir().join(&artifact.file).exists())
        .filter(|artifact| !artifact.file.contains('/'))
        .collect();
    for changed in ["face_recognition", "onnxruntime"] {
        let dir = tempfile::tempdir().unwrap();
        for artifact in &needed {
            std::fs::copy(models_dir().join(&artifact.file), dir.path().join(&artifact.file)).unwrap();
            if artifact.name.starts_with(changed) {
                let mut bytes = std::fs::read(dir.path().join(&artifact.file)).unwrap();
                bytes[5_000] ^= 1;
                std::fs::write(dir.path().join(&artifact.file), bytes).unwrap();
            }
        }
        let reason = face_engine::open(dir.path()).model_version().unwrap_err().reason().to_owned();
        assert!(reason.contains("sha256") || reason.contains("is missing"), "{changed}: {reason}");
    }
}
