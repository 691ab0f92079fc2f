//! The ONNX models: which they are, how they are obtained from package registries, converted and verified.
//!
//! It does not run them: that is `face_engine` in the server. Nothing here knows the host name of a registry.

mod archive;
mod clients;
mod digest;
mod error;
mod fetch;
pub mod limits;
pub mod manifest;
mod networks;
mod onnx;
pub mod pixels;
mod store;
mod tfjs;

use std::path::Path;

pub use error::Error;
pub use fetch::{Options, Progress, fetch};
pub use manifest::{Artifact, Conversion, DetectorKind, Manifest, Pipeline, Role, Source};
pub use networks::convert;
pub use store::{State, read_verified, verified_path};

/// One line of [`status`].
#[derive(Clone, Debug)]
pub struct Status {
    /// The file.
    pub artifact: &'static Artifact,
    /// Whether it can be used.
    pub state: State,
}

/// Looks at every file that this machine could use, and changes nothing.
pub fn status(dir: &Path) -> Result<Vec<Status>, Error> {
    let platform = manifest::platform();
    let usable = Manifest::embedded()?.artifacts.iter().filter(|artifact| artifact.runs_on(&platform));
    usable.map(|artifact| Ok(Status { artifact, state: store::state(dir, artifact)? })).collect()
}

/// Whether everything that recognising faces needs is there and verified.
pub fn is_complete(dir: &Path) -> Result<bool, Error> {
    let (mut missing, mut has_runtime) = (false, false);
    for line in status(dir)? {
        let is_verified = line.state == State::Verified;
        match line.artifact.role {
            Role::Runtime => has_runtime |= is_verified,
            _ if line.artifact.source.is_some() => missing |= !is_verified,
            _ => {}
        }
    }
    Ok(has_runtime && !missing)
}
