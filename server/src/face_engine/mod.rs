//! Faces in a picture and how far apart two of them are; what that means for a record is decided elsewhere.
//!
//! Detect, find 68 landmarks, align, embed the face and its mirror image, take the mean. Two engines: [`OnnxEngine`]
//! computes, [`Unavailable`] says why nothing can be computed. Neither makes a result up.

mod align;
mod detect;
mod embed;
mod pool;
mod quality;
mod runtime;
mod subject;

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

pub use embed::{Judgement, ModelMismatch, Template, Thresholds, distance};
pub use quality::{Advice, Quality};
pub use runtime::OnnxEngine;

/// Pictures are halved until their longer side has at most this many pixels.
pub const WORKING_SIDE_MAX_PX: usize = 2_048;
/// A face with a shorter side is counted, but is too small to be compared.
pub const FACE_SIDE_MIN_PX: f32 = 40.0;
/// Most faces that are reported for one picture.
pub const FACES_MAX: usize = 64;

/// What finds and reads faces. Calls take tens of milliseconds: use a blocking thread.
pub trait FaceEngine: Send + Sync {
    /// The version that templates and verdicts name.
    fn model_version(&self) -> Result<&str, &Unavailable>;

    /// The thresholds that belong to that version.
    fn thresholds(&self) -> Result<Thresholds, &Unavailable>;

    /// Finds the faces in a decoded picture.
    fn read(&self, picture: &RgbImage) -> Result<Reading, FaceError>;
}

/// What was found in a picture.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Every face, the surest first.
    pub faces: Vec<Face>,
    /// How many of them the picture may be about: the most central one, and all that are at least as large.
    pub n_subjects: usize,
    /// The one that it is about; `None` if that is nobody or not clear.
    pub subject: Option<Subject>,
}

/// The face that a picture is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What the models make of it.
    pub template: Template,
    /// How good the picture is to compare with.
    pub quality: Quality,
}

/// One face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// Where it is.
    pub bounds: Bounds,
    /// How sure the detector is, from 0 to 1.
    pub score: f32,
}

/// A rectangle in pixels of the picture as it was given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The left edge.
    pub left: f32,
    /// The upper edge.
    pub top: f32,
    /// The width.
    pub width: f32,
    /// The height.
    pub height: f32,
}

impl Face {
    /// Whether it is large enough to be compared.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.side() >= FACE_SIDE_MIN_PX
    }

    /// Whether somebody may mean this one when they look at another face whose side has so many pixels: it can be compared, and
    /// is at least this part as large.
    #[must_use]
    pub fn rivals(&self, side_px: f32, part_min: f32) -> bool {
        self.is_usable() && self.side() >= part_min * side_px
    }

    /// The shorter side, in pixels.
    fn side(&self) -> f32 {
        self.bounds.width.min(self.bounds.height)
    }
}

/// Why faces cannot be read on this machine; as an engine it answers exactly that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("faces are unavailable: {reason}")]
pub struct Unavailable {
    reason: String,
}

impl Unavailable {
    /// An engine that answers with this reason.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }

    /// The reason in words, with what to do next.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl FaceEngine for Unavailable {
    fn model_version(&self) -> Result<&str, &Unavailable> {
        Err(self)
    }

    fn thresholds(&self) -> Result<Thresholds, &Unavailable> {
        Err(self)
    }

    fn read(&self, _: &RgbImage) -> Result<Reading, FaceError> {
        Err(FaceError::Unavailable(self.clone()))
    }
}

/// Why a picture was not read.
#[derive(Debug, thiserror::Error)]
pub enum FaceError {
    /// Nothing can be read on this machine.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The picture has no pixel.
    #[error("the picture is empty")]
    EmptyPicture,
    /// The runtime failed on this picture.
    #[error("the face models failed: {0}")]
    Runtime(String),
}

/// Opens the models in a folder; what is missing or is not the pinned file makes an [`Unavailable`], never a panic.
#[must_use]
pub fn open(dir: &Path) -> Arc<dyn FaceEngine> {
    match OnnxEngine::open(dir) {
        Ok(engine) => Arc::new(engine),
        Err(unavailable) => Arc::new(unavailable),
    }
}
