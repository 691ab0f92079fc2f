//! How good a picture of a face is to compare with, so that whoever enrols it hears at once what to do better.

use muster_models::pixels::Similarity;

use super::align::CHIP_SIDE_PX;

/// The least mean brightness of a face, from 0 to 255.
const BRIGHTNESS_MIN: f32 = 50.0;
/// The greatest.
const BRIGHTNESS_MAX: f32 = 215.0;
/// The least variance of the Laplacian over an aligned face; a face out of focus or in motion has less.
const SHARPNESS_MIN: f32 = 20.0;
/// How far a head may lean, in degrees.
const LEAN_DEGREES_MAX: f32 = 20.0;
/// The shorter side of a face below which details are missing, in pixels.
const SIDE_GOOD_PX: f32 = 80.0;

/// What was measured of a face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Mean brightness, from 0 to 255.
    pub brightness: f32,
    /// Variance of the Laplacian over the aligned face.
    pub sharpness: f32,
    /// How far the head leans, in degrees; positive to the right.
    pub lean_degrees: f32,
    /// The shorter side of the face in the picture, in pixels.
    pub side_px: f32,
}

/// What would make a picture better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// More light on the face.
    TooDark,
    /// Less light, or from another side.
    TooBright,
    /// Hold still, clean the lens.
    TooBlurred,
    /// Hold the head upright.
    Tilted,
    /// Come closer.
    TooSmall,
}

impl Advice {
    /// Its code and a sentence for whoever took the picture.
    #[must_use]
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::TooDark => ("too_dark", "the face is dark; turn towards the light"),
            Self::TooBright => ("too_bright", "the face is too bright; turn away from the light"),
            Self::TooBlurred => ("too_blurred", "the face is not sharp; hold still and clean the lens"),
            Self::Tilted => ("tilted", "the head leans to one side; hold it upright"),
            Self::TooSmall => ("too_small", "the face is small; come closer"),
        }
    }
}

impl Quality {
    /// Of an aligned face: its values, channels first, how it lay in the picture, and its size there.
    pub(super) fn of(chip: &[f32], chip_to_picture: Similarity, side_px: f32) -> Self {
        let grey = grey(chip);
        let lean = chip_to_picture.b.atan2(chip_to_picture.a);
        Self {
            brightness: grey.iter().sum::<f32>() / grey.len().max(1) as f32,
            sharpness: sharpness(&grey),
            lean_degrees: lean.to_degrees(),
            side_px,
        }
    }

    /// What to do better, the most important first.
    #[must_use]
    pub fn advice(&self) -> Vec<Advice> {
        let wrong = [
            (self.side_px < SIDE_GOOD_PX, Advice::TooSmall),
            (self.brightness < BRIGHTNESS_MIN, Advice::TooDark),
            (self.brightness > BRIGHTNESS_MAX, Advice::TooBright),
            (self.sharpness < SHARPNESS_MIN, Advice::TooBlurred),
            (self.lean_degrees.abs() > LEAN_DEGREES_MAX, Advice::Tilted),
        ];
        wrong.into_iter().filter_map(|(is_wrong, advice)| is_wrong.then_some(advice)).collect()
    }
}

/// The middle of the chip, where the face is, in grey (ITU-R BT.601).
fn grey(chip: &[f32]) -> Vec<f32> {
    let plane = CHIP_SIDE_PX * CHIP_SIDE_PX;
    let inner = CHIP_SIDE_PX / 6..CHIP_SIDE_PX - CHIP_SIDE_PX / 6;
    let places = inner.clone().flat_map(|row| inner.clone().map(move |column| row * CHIP_SIDE_PX + column));
    places.map(|at| 0.299 * chip[at] + 0.587 * chip[plane + at] + 0.114 * chip[2 * plane + at]).collect()
}

/// Variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000).
fn sharpness(grey: &[f32]) -> f32 {
    let side = CHIP_SIDE_PX - 2 * (CHIP_SIDE_PX / 6);
    let inner = 1..side - 1;
    let edges: Vec<f32> = inner
        .clone()
        .flat_map(|row| inner.clone().map(move |column| row * side + column))
        .map(|at| grey[at - 1] + grey[at + 1] + grey[at - side] + grey[at + side] - 4.0 * grey[at])
        .collect();
    let mean = edges.iter().sum::<f32>() / edges.len() as f32;
    edges.iter().map(|edge| (edge - mean) * (edge - mean)).sum::<f32>() / edges.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Quality = Quality { brightness: 120.0, sharpness: 60.0, lean_degrees: 3.0, side_px: 150.0 };
    const UPRIGHT: Similarity = Similarity { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };

    #[test]
    fn each_measure_has_its_advice_on_both_sides_of_its_limit() {
        let advice = |quality: Quality| quality.advice().first().map(|advice| advice.words().0);
        assert_eq!(advice(GOOD), None);
        for (almost, beyond, code) in [
            (Quality { brightness: 50.0, ..GOOD }, Quality { brightness: 49.9, ..GOOD }, "too_dark"),
            (Quality { brightness: 215.0, ..GOOD }, Quality { brightness: 215.1, ..GOOD }, "too_bright"),
            (Quality { sharpness: 20.0, ..GOOD }, Quality { sharpness: 19.9, ..GOOD }, "too_blurred"),
            (Quality { lean_degrees: -20.0, ..GOOD }, Quality { lean_degrees: -20.1, ..GOOD }, "tilted"),
            (Quality { side_px: 80.0, ..GOOD }, Quality { side_px: 79.9, ..GOOD }, "too_small"),
        ] {
            assert_eq!((advice(almost), advice(beyond)), (None, Some(code)));
        }
    }

    #[test]
    fn a_plain_chip_has_its_brightness_and_no_edge() {
        let plain = vec![90.0; 3 * CHIP_SIDE_PX * CHIP_SIDE_PX];
        let quality = Quality::of(&plain, UPRIGHT, 100.0);
        assert!((quality.brightness - 90.0).abs() < 0.1 && quality.sharpness < 1e-3, "{quality:?}");
        let stripes: Vec<f32> = (0..plain.len()).map(|index| if index % 2 == 0 { 0.0 } else { 180.0 }).collect();
        assert!(Quality::of(&stripes, UPRIGHT, 100.0).sharpness > 1_000.0);
        let leaning = Similarity { a: 0.5, b: 0.5, ..UPRIGHT };
        assert!((Quality::of(&plain, leaning, 100.0).lean_degrees - 45.0).abs() < 1e-3);
    }
}
