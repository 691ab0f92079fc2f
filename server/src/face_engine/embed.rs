//! What a face looks like as 128 values, how far apart two are, and what a distance means.

use std::fmt;

use muster_models::pixels::mirrored;
use ort::session::Session;
use zeroize::Zeroize;

use super::align::CHIP_SIDE_PX;
use super::{FaceError, runtime};

/// How many values a template has.
pub(super) const TEMPLATE_VALUES: usize = 128;
/// The first byte of a stored template.
const FORMAT: u8 = 1;
/// The longest model version that a stored template can name.
const MODEL_VERSION_BYTES_MAX: usize = 255;

/// A face as values of one model version. It is personal data: encrypt it, and erase it with its subject.
#[derive(Clone, PartialEq)]
pub struct Template {
    model_version: String,
    values: [f32; TEMPLATE_VALUES],
}

/// Two templates of different model versions cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a template of {0} cannot be compared with one of {1}")]
pub struct ModelMismatch(
    /// The one version.
    pub String,
    /// The other version.
    pub String,
);

/// The bands of distances of one model version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// The greatest distance that matches.
    pub match_distance_max: f32,
    /// The greatest distance that is borderline.
    pub borderline_distance_max: f32,
}

/// What a distance means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The same person.
    Match,
    /// Too close to call: a person looks.
    Borderline,
    /// Not the same person.
    Mismatch,
}

impl Thresholds {
    /// Judges a distance; one that is not a number is a mismatch.
    #[must_use]
    pub fn judge(&self, distance: f32) -> Judgement {
        if distance <= self.match_distance_max {
            Judgement::Match
        } else if distance <= self.borderline_distance_max {
            Judgement::Borderline
        } else {
            Judgement::Mismatch
        }
    }
}

/// The Euclidean distance between two faces.
pub fn distance(a: &Template, b: &Template) -> Result<f32, ModelMismatch> {
    if a.model_version != b.model_version {
        return Err(ModelMismatch(a.model_version.clone(), b.model_version.clone()));
    }
    Ok(a.values.iter().zip(&b.values).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt())
}

impl Template {
    pub(super) fn new(model_version: String, values: [f32; TEMPLATE_VALUES]) -> Self {
        Self { model_version, values }
    }

    /// The mean of several pictures of one face, which is nearer to the next one than any of them; `None` without a picture.
    ///
    /// # Errors
    /// When they are of different model versions.
    pub fn mean(templates: &[Self]) -> Result<Option<Self>, ModelMismatch> {
        let Some(first) = templates.first() else { return Ok(None) };
        if let Some(other) = templates.iter().find(|other| other.model_version != first.model_version) {
            return Err(ModelMismatch(first.model_version.clone(), other.model_version.clone()));
        }
        let mean = |index: usize| templates.iter().map(|template| template.values[index]).sum::<f32>();
        let values = std::array::from_fn(|index| mean(index) / templates.len() as f32);
        Ok(Some(Self::new(first.model_version.clone(), values)))
    }

    /// The version of the models that made it.
    #[must_use]
    pub fn model_version(&self) -> &str {
        &self.model_version
    }

    /// What is stored: format, length of the version, version, values in little-endian order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let version = &self.model_version.as_bytes()[..self.model_version.len().min(MODEL_VERSION_BYTES_MAX)];
        let mut bytes = Vec::with_capacity(2 + version.len() + 4 * TEMPLATE_VALUES);
        bytes.extend([FORMAT, version.len() as u8]);
        bytes.extend_from_slice(version);
        bytes.extend(self.values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; none if it is anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[format, length], rest) = bytes.split_first_chunk()?;
        let (version, rest) = rest.split_at_checked(usize::from(length))?;
        if format != FORMAT || rest.len() != 4 * TEMPLATE_VALUES {
            return None;
        }
        let mut values = [0.0; TEMPLATE_VALUES];
        for (value, four) in values.iter_mut().zip(rest.chunks_exact(4)) {
            *value = f32::from_le_bytes(four.try_into().ok()?);
        }
        let is_finite = values.iter().all(|value| value.is_finite());
        is_finite.then_some(Self { model_version: String::from_utf8(version.to_vec()).ok()?, values })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Template({})", self.model_version)
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

/// The mean of what the embedder says of an aligned face and of its mirror image.
pub(super) fn values(session: &mut Session, mut chips: Vec<f32>) -> Result<[f32; TEMPLATE_VALUES], FaceError> {
    let mirror_image = mirrored(&chips, CHIP_SIDE_PX);
    chips.extend(mirror_image);
    let [pair] = runtime::run(session, [2, 3, CHIP_SIDE_PX, CHIP_SIDE_PX], &chips, ["values"])?;
    if pair.len() != 2 * TEMPLATE_VALUES || !pair.iter().all(|value| value.is_finite()) {
        return Err(FaceError::Runtime(format!("{} values are not two faces", pair.len())));
    }
    Ok(std::array::from_fn(|index| (pair[index] + pair[TEMPLATE_VALUES + index]) / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(version: &str, first: f32) -> Template {
        let mut values = [0.1; TEMPLATE_VALUES];
        values[0] = first;
        Template::new(version.into(), values)
    }

    #[test]
    fn a_stored_template_comes_back_and_other_bytes_do_not() {
        let bytes = template("m/1", 0.5).to_bytes();
        assert_eq!(Template::from_bytes(&bytes), Some(template("m/1", 0.5)));
        for length in 0..bytes.len() {
            assert_eq!(Template::from_bytes(&bytes[..length]), None);
        }
        assert_eq!(Template::from_bytes(&template("m/1", f32::NAN).to_bytes()), None);
    }

    #[test]
    fn only_templates_of_one_version_are_compared() {
        assert_eq!(distance(&template("m/1", 0.5), &template("m/1", 0.1)), Ok(0.4));
        assert!(distance(&template("m/1", 0.5), &template("m/2", 0.5)).is_err());
    }

    #[test]
    fn the_mean_lies_between_its_pictures() {
        let mean = Template::mean(&[template("m/1", 0.5), template("m/1", 0.1)]).unwrap();
        assert_eq!(mean, Some(template("m/1", 0.3)));
        assert_eq!(Template::mean(&[]), Ok(None));
        assert!(Template::mean(&[template("m/1", 0.5), template("m/2", 0.1)]).is_err());
    }

    #[test]
    fn a_distance_on_a_threshold_belongs_to_the_nearer_band() {
        let thresholds = Thresholds { match_distance_max: 0.52, borderline_distance_max: 0.58 };
        let judged = [0.0, 0.52, 0.53, 0.58, 0.59, f32::NAN].map(|distance| thresholds.judge(distance));
        use Judgement::{Borderline, Match, Mismatch};
        assert_eq!(judged, [Match, Match, Borderline, Borderline, Mismatch, Mismatch]);
    }

    #[test]
    fn a_template_does_not_print_its_values() {
        assert_eq!(format!("{:?}", template("m/1", 0.5)), "Template(m/1)");
    }
}
