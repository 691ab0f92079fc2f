//! ONNX Runtime: loading the verified library once per process, and sessions that are opened from verified bytes.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use image::RgbImage;
use muster_models::pixels::{Pixels, Pyramid};
use muster_models::{Manifest, Pipeline};
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;

use super::detect::Scores;
use super::pool::Pool;
use super::{
    FACE_SIDE_MIN_PX, Face, FaceEngine, FaceError, Quality, Reading, Subject, Template, Thresholds, Unavailable,
    WORKING_SIDE_MAX_PX, align, detect, embed, subject,
};

/// The smallest level that a picture is halved to; smaller ones are never sampled.
const PYRAMID_SIDE_MIN_PX: usize = 128;

/// The engine that computes.
pub struct OnnxEngine {
    pipeline: &'static Pipeline,
    environment: Environment,
    files: ModelFiles,
    sessions: Pool<Sessions>,
}

/// The bytes of the networks, verified when they were read.
struct ModelFiles {
    detector: Vec<u8>,
    landmarks: Vec<u8>,
    embedder: Vec<u8>,
}

/// One thread's networks.
pub(super) struct Sessions {
    pub(super) detector: Session,
    pub(super) landmarks: Session,
    pub(super) embedder: Session,
}

impl OnnxEngine {
    /// Opens the first pipeline whose files are all there.
    pub fn open(dir: &Path) -> Result<Self, Unavailable> {
        let unavailable = |error: muster_models::Error| Unavailable::new(error.to_string());
        let manifest = Manifest::embedded().map_err(unavailable)?;
        let environment = load_library(dir, manifest)?;
        let mut last_error = None;
        for pipeline in &manifest.pipelines {
            match ModelFiles::read(dir, manifest, pipeline) {
                Ok(files) => return Self::start(pipeline, environment, files),
                // The last pipeline is the one that can be fetched; what keeps it from running is the reason.
                Err(error) => {
                    if !matches!(error, muster_models::Error::Missing { .. }) {
                        tracing::warn!(pipeline = %pipeline.version, %error, "Face pipeline cannot be used");
                    }
                    last_error = Some(error);
                }
            }
        }
        Err(last_error.map_or_else(|| Unavailable::new("the manifest has no pipeline"), unavailable))
    }

    fn start(pipeline: &'static Pipeline, environment: Environment, files: ModelFiles) -> Result<Self, Unavailable> {
        let first = Sessions::open(&environment, &files).map_err(|error| Unavailable::new(error.to_string()))?;
        let n_sessions_max = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { pipeline, environment, files, sessions: Pool::new(first, n_sessions_max) })
    }
}

impl FaceEngine for OnnxEngine {
    fn model_version(&self) -> Result<&str, &Unavailable> {
        Ok(&self.pipeline.version)
    }

    fn thresholds(&self) -> Result<Thresholds, &Unavailable> {
        Ok(Thresholds {
            match_distance_max: self.pipeline.match_distance_max,
            borderline_distance_max: self.pipeline.borderline_distance_max,
        })
    }

    fn read(&self, picture: &RgbImage) -> Result<Reading, FaceError> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut pixels = Pixels::new(width, height, picture.as_raw()).ok_or(FaceError::EmptyPicture)?;
        let mut enlargement = 1.0;
        while pixels.width().max(pixels.height()) > WORKING_SIDE_MAX_PX {
            pixels = pixels.halved();
            enlargement *= 2.0;
        }
        let pyramid = Pyramid::new(pixels, PYRAMID_SIDE_MIN_PX);
        let mut sessions = self.sessions.take(|| Sessions::open(&self.environment, &self.files))?;
        let scores =
            Scores { first: self.pipeline.detector_score_min, second: self.pipeline.detector_second_score_min };
        let (kind, side_min_px) = (self.pipeline.detector_kind, FACE_SIDE_MIN_PX / enlargement);
        let found = detect::faces(&mut sessions.detector, kind, &pyramid, scores, side_min_px)?;
        let faces: Vec<Face> = found.iter().map(|found| found.face.enlarged(enlargement)).collect();
        let subjects = subject::subjects(&faces, (width as f32, height as f32));
        let subject = match subjects[..] {
            [only] => {
                let points = align::landmarks(&mut sessions.landmarks, &pyramid, &found[only])?;
                let chip_to_picture = align::chip_to_picture(&points);
                let chip = align::chip(&pyramid, chip_to_picture);
                let quality = Quality::of(&chip, chip_to_picture, faces[only].side());
                let values = embed::values(&mut sessions.embedder, chip)?;
                Some(Subject { template: Template::new(self.pipeline.version.clone(), values), quality })
            }
            _ => None,
        };
        Ok(Reading { faces, n_subjects: subjects.len(), subject })
    }
}

impl ModelFiles {
    fn read(dir: &Path, manifest: &Manifest, pipeline: &Pipeline) -> Result<Self, muster_models::Error> {
        let read = |name: &str| {
            let artifact = manifest.artifact(name);
            let missing = || muster_models::Error::Manifest(format!("no artifact {name}"));
            muster_models::read_verified(dir, artifact.ok_or_else(missing)?)
        };
        Ok(Self {
            detector: read(&pipeline.detector)?,
            landmarks: read(&pipeline.landmarks)?,
            embedder: read(&pipeline.embedder)?,
        })
    }
}

impl Sessions {
    fn open(environment: &Environment, files: &ModelFiles) -> Result<Self, FaceError> {
        Ok(Self {
            detector: open_session(environment, &files.detector)?,
            landmarks: open_session(environment, &files.landmarks)?,
            embedder: open_session(environment, &files.embedder)?,
        })
    }
}

/// One thread each: requests run beside each other, so that splitting one picture over cores only adds waiting.
fn open_session(environment: &Environment, model: &[u8]) -> Result<Session, FaceError> {
    let builder = Session::builder(environment).map_err(failed)?;
    let builder = builder.with_intra_threads(1).map_err(failed)?;
    let mut builder = builder.with_inter_threads(1).map_err(failed)?;
    builder.commit_from_memory(model).map_err(failed)
}

/// Runs a network on its one input and returns a copy of each named output.
pub(super) fn run<const N: usize>(
    session: &mut Session,
    shape: [usize; 4],
    values: &[f32],
    outputs: [&str; N],
) -> Result<[Vec<f32>; N], FaceError> {
    let input = TensorRef::from_array_view((shape, values)).map_err(failed)?;
    let results = session.run(ort::inputs![input]).map_err(failed)?;
    let mut copies = [const { Vec::new() }; N];
    for (name, copy) in outputs.into_iter().zip(&mut copies) {
        let result = results.get(name).ok_or_else(|| FaceError::Runtime(format!("there is no output {name}")))?;
        let (_, values) = result.try_extract_tensor::<f32>().map_err(failed)?;
        *copy = values.to_vec();
    }
    Ok(copies)
}

/// Loads the runtime unless this process already has one; `ort` itself panics if it is used before that succeeded.
fn load_library(dir: &Path, manifest: &Manifest) -> Result<Environment, Unavailable> {
    // The environment ends with its last handle and can be made only once, so that the process keeps it.
    static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);
    let platform = muster_models::manifest::platform();
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut reason = None;
    // The library of this folder is verified even if another one is loaded, so that one folder has one answer.
    for artifact in manifest.runtimes(&platform) {
        let path = match muster_models::verified_path(dir, artifact) {
            Ok(path) => path,
            // A missing alternative is worth naming only if nothing worse was found.
            Err(error) => {
                let is_missing = matches!(error, muster_models::Error::Missing { .. });
                reason = reason.filter(|_| is_missing).or_else(|| Some(error.to_string()));
                continue;
            }
        };
        if let Some(made) = &*environment {
            return Ok(made.clone());
        }
        let loaded = path.canonicalize().map_err(|error| error.to_string()).and_then(|path| {
            let builder = ort::init_from(path).map_err(|error| error.to_string())?;
            builder.with_name("muster").with_telemetry(false).build().map_err(|error| error.to_string())
        });
        match loaded {
            Ok(made) => {
                *environment = Some(made.clone());
                return Ok(made);
            }
            Err(error) => reason = Some(format!("ONNX Runtime does not load: {error}")),
        }
    }
    Err(Unavailable::new(reason.unwrap_or_else(|| format!("there is no pinned ONNX Runtime for {platform}"))))
}

fn failed(error: impl std::fmt::Display) -> FaceError {
    FaceError::Runtime(error.to_string())
}
