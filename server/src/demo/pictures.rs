//! The faces of the story: crops of the sample photographs that come with the models, each one taken a little differently.

use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, RgbImage};

use super::DemoError;
use super::time::Dice;

/// Left, top, width and height in a sample photograph, after the photograph's number.
type Crop = (u32, u32, u32, u32, u32);

/// Somebody in the photographs: where the reference photo is taken from, and where the selfie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Face {
    reference: Crop,
    selfie: Crop,
}

/// The people in the photographs whose faces are large and alone enough. The first was photographed on two evenings.
pub(super) const FACES: [Face; 8] = [
    Face { reference: (3, 856, 0, 704, 865), selfie: (1, 1330, 53, 489, 525) },
    same((6, 456, 98, 594, 736)),
    same((5, 1239, 221, 498, 604)),
    same((4, 504, 0, 502, 580)),
    same((5, 659, 0, 408, 465)),
    same((6, 1306, 80, 567, 656)),
    same((3, 422, 167, 522, 594)),
    same((6, 85, 206, 504, 810)),
];
/// A part of a photograph with nobody in it.
const NOBODY: Crop = (3, 0, 0, 420, 700);
/// A part of a photograph with two people in it, whose faces are of one size.
const TWO: Crop = (6, 1040, 28, 681, 829);

/// Width of a picture as a phone sends it, in pixels.
const WIDTH_PX: u32 = 420;
/// A phone never frames a face twice alike: it moves by up to this many thousandths of the picture.
const FRAMING_PERMILLE: u64 = 25;
/// How much lighter or darker a picture gets, at most.
const LIGHT_MAX: u64 = 8;
/// Quality of the JPEG files.
const QUALITY: std::ops::Range<u64> = 84..93;
/// Photographs that come with the models.
const N_SAMPLES: u32 = 6;

const fn same(crop: Crop) -> Face {
    Face { reference: crop, selfie: crop }
}

/// What a camera is pointed at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Motif {
    /// A student at the office's desk, on the day of enrolment.
    Reference(Face),
    /// A student in class.
    Selfie(Face),
    /// A door.
    Nobody,
    /// Two people at once.
    Two,
}

/// The photographs, or none.
pub(super) struct Album {
    samples: Vec<RgbImage>,
}

impl Album {
    /// Opens the photographs in the models folder.
    pub(super) fn open(models_dir: &Path) -> Result<Self, DemoError> {
        let open = |index| {
            let path = models_dir.join(format!("samples/sample{index}.jpg"));
            image::open(&path).map(|picture| picture.to_rgb8()).map_err(DemoError::Picture)
        };
        Ok(Self { samples: (1..=N_SAMPLES).map(open).collect::<Result<_, _>>()? })
    }

    /// No photographs: every picture is then a test pattern, and nobody says otherwise.
    pub(super) fn empty() -> Self {
        Self { samples: Vec::new() }
    }

    /// A JPEG file of the motif, unlike every other one.
    pub(super) fn shoot(&self, motif: Motif, dice: &Dice) -> Result<Vec<u8>, DemoError> {
        let crop = match motif {
            Motif::Reference(face) => face.reference,
            Motif::Selfie(face) => face.selfie,
            Motif::Nobody => NOBODY,
            Motif::Two => TWO,
        };
        let (index, left, top, width, height) = crop;
        let picture = match self.samples.get(index as usize - 1) {
            Some(sample) => {
                let moved = |length: u32| (dice.below(u64::from(length) * FRAMING_PERMILLE / 1000 + 1)) as u32;
                let (right_by, down_by) = (moved(width), moved(height));
                imageops::crop_imm(sample, left + right_by, top + down_by, width - right_by, height - down_by)
                    .to_image()
            }
            None => pattern(width, height, dice),
        };
        let height_px = (WIDTH_PX * picture.height()).div_ceil(picture.width());
        let small = imageops::resize(&picture, WIDTH_PX, height_px, FilterType::Triangle);
        let light = dice.below(2 * LIGHT_MAX + 1) as i32 - LIGHT_MAX as i32;
        let quality = QUALITY.start + dice.below(QUALITY.end - QUALITY.start);
        let mut file = Cursor::new(Vec::new());
        let encoder = JpegEncoder::new_with_quality(&mut file, quality as u8);
        DynamicImage::from(small).brighten(light).write_with_encoder(encoder).map_err(DemoError::Picture)?;
        Ok(file.into_inner())
    }
}

/// Stripes: a picture that nobody takes for a face.
fn pattern(width: u32, height: u32, dice: &Dice) -> RgbImage {
    let [red, green, blue, stripe] = dice.bytes();
    RgbImage::from_fn(width, height, |x, y| {
        let on = (x + y) / (u32::from(stripe) + 8) % 2 == 0;
        image::Rgb(if on { [red, green, blue] } else { [blue, red, green] })
    })
}
