//! Faces on real pictures, by the real runtime; `muster_tests::models` says who is where.

use image::RgbImage;
use image::imageops::{flip_horizontal, resize};
use muster_server::face_engine::{self, FaceError, Judgement, Reading};
use muster_tests::models::{
    ANNA_IN_SAMPLE_1, ANNA_IN_SAMPLE_3, BELLA_IN_SAMPLE_6, NOBODY_IN_SAMPLE_3, TWO_IN_SAMPLE_6, engine, models_dir,
    sample, sample_part,
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
fn a_picture_with_two_faces_has_both_and_no_template() {
    let reading = read(&sample_part(6, TWO_IN_SAMPLE_6));
    assert_eq!(reading.faces.len(), 2);
    assert!(reading.subject.is_none());
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
