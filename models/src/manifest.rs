//! The manifest: which files exist, where they come from, and what they must hash to.

use std::sync::OnceLock;

use serde::Deserialize;

use crate::Error;

const TEXT: &str = include_str!("../manifest.toml");

/// What a file is for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Finds faces in a picture.
    Detector,
    /// Finds 68 points in a face.
    Landmarks,
    /// Turns an aligned face into 128 values.
    Embedder,
    /// The shared library that runs the networks.
    Runtime,
    /// A picture to try the pipeline on.
    Sample,
    /// A licence text.
    Licence,
}

/// The registry a package is published in, which decides the client that brings it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Registry {
    /// Brought by `npm pack`.
    Npm,
    /// Brought by `pip download`.
    Pypi,
}

/// How bytes inside an archive become a file.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Conversion {
    /// The SSD-MobileNet face detector.
    SsdMobilenetv1,
    /// The 68 landmarks.
    #[serde(rename = "face_landmark_68")]
    FaceLandmark68,
    /// The 128-value ResNet.
    FaceRecognition,
}

/// How the outputs of a detector are read.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DetectorKind {
    /// Boxes and scores, at two scales of the canvas.
    Ssd,
    /// Offsets over three grids, at one scale.
    Yunet,
}

/// One archive of one package, pinned.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// How artifacts refer to it.
    pub name: String,
    /// Where it is published.
    pub registry: Registry,
    /// The package's name there.
    pub package: String,
    /// Its exact version.
    pub version: String,
    /// The file name that the client writes.
    pub archive: String,
    /// The archive's size.
    pub size_bytes: u64,
    /// The archive's digest.
    pub sha256: String,
    /// The platform tag that pip is asked for.
    pub wheel_platform: Option<String>,
}

/// One file in the models folder, pinned.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its name; alternatives of a runtime have names of their own.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub role: Role,
    /// Its path inside the models folder.
    pub file: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest after extraction or conversion.
    pub sha256: String,
    /// The source it comes from; none if it is only used when somebody put it there.
    pub source: Option<String>,
    /// The archive entries it is made of.
    #[serde(default)]
    pub members: Vec<String>,
    /// How it is made of them; otherwise the single entry is the file.
    pub convert: Option<Conversion>,
    /// The platform it runs on, such as `linux-x86_64`; otherwise every one.
    pub platform: Option<String>,
    /// The SPDX name of its licence.
    pub licence: String,
    /// Where that licence is stated.
    pub licence_source: String,
    /// The fixed input shape of a network.
    #[serde(default)]
    pub input: Vec<usize>,
}

/// A detector, landmarks and an embedder that were measured together, and the thresholds that belong to them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The version that templates and verdicts name.
    pub version: String,
    /// The artifact that detects.
    pub detector: String,
    /// How its outputs are read.
    pub detector_kind: DetectorKind,
    /// The artifact that finds landmarks.
    pub landmarks: String,
    /// The artifact that embeds.
    pub embedder: String,
    /// The least score of a detection.
    pub detector_score_min: f32,
    /// The least score of one in a picture in which the first look found nobody.
    pub detector_second_score_min: f32,
    /// The greatest Euclidean distance that passes.
    pub match_distance_max: f32,
    /// The greatest Euclidean distance that is `face_borderline`; beyond it is `face_mismatch`.
    pub borderline_distance_max: f32,
}

/// The whole manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Archives.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// Files.
    #[serde(rename = "artifact")]
    pub artifacts: Vec<Artifact>,
    /// Pipelines, the preferred one first.
    #[serde(rename = "pipeline")]
    pub pipelines: Vec<Pipeline>,
}

impl Manifest {
    /// The manifest that this build was made with.
    ///
    /// # Errors
    /// Never in a build whose tests passed.
    pub fn embedded() -> Result<&'static Self, Error> {
        static PARSED: OnceLock<Result<Manifest, String>> = OnceLock::new();
        PARSED
            .get_or_init(|| Self::parse(TEXT).map_err(|error| error.to_string()))
            .as_ref()
            .map_err(|reason| Error::Manifest(reason.clone()))
    }

    /// Reads a manifest and checks that it is consistent.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let manifest: Self = toml::from_str(text).map_err(|error| Error::Manifest(error.to_string()))?;
        for artifact in &manifest.artifacts {
            manifest.check(artifact)?;
        }
        for pipeline in &manifest.pipelines {
            for name in [&pipeline.detector, &pipeline.landmarks, &pipeline.embedder] {
                manifest.artifact(name).ok_or_else(|| Error::Manifest(format!("no artifact {name}")))?;
            }
        }
        Ok(manifest)
    }

    /// The artifact of a name.
    #[must_use]
    pub fn artifact(&self, name: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.name == name)
    }

    /// The source of a name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// The runtimes that load on a platform, the preferred one first.
    pub fn runtimes<'a>(&'a self, platform: &'a str) -> impl Iterator<Item = &'a Artifact> {
        self.artifacts.iter().filter(move |artifact| artifact.role == Role::Runtime && artifact.runs_on(platform))
    }

    fn check(&self, artifact: &Artifact) -> Result<(), Error> {
        let refuse = |reason: &str| Err(Error::Manifest(format!("artifact {}: {reason}", artifact.name)));
        if !crate::archive::is_plain_path(&artifact.file) {
            return refuse("its file name leaves the models folder");
        }
        if artifact.sha256.len() != 64 {
            return refuse("its sha256 is not 64 digits");
        }
        match &artifact.source {
            Some(name) if self.source(name).is_none() => refuse("its source is not listed"),
            Some(_) if artifact.members.is_empty() => refuse("it names no entry of its archive"),
            _ => Ok(()),
        }
    }
}

impl Artifact {
    /// Whether this machine could use the file.
    #[must_use]
    pub fn runs_on(&self, platform: &str) -> bool {
        self.platform.as_deref().is_none_or(|only| only == platform)
    }
}

/// The platform of this process, as the manifest writes it.
#[must_use]
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_manifest_is_consistent_and_covers_four_platforms() {
        let manifest = Manifest::embedded().unwrap();
        for platform in ["linux-x86_64", "linux-aarch64", "macos-aarch64", "windows-x86_64"] {
            assert!(manifest.runtimes(platform).count() >= 2, "{platform} needs a runtime from either registry");
        }
        assert!(manifest.pipelines.iter().all(|line| line.match_distance_max < line.borderline_distance_max));
    }

    #[test]
    fn a_file_name_that_leaves_the_folder_is_refused() {
        let text = TEXT.replace("file = \"ssd_mobilenetv1.onnx\"", "file = \"../ssd_mobilenetv1.onnx\"");
        assert!(Manifest::parse(&text).unwrap_err().to_string().contains("leaves the models folder"));
    }
}
