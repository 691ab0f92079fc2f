//! Compiles `shim.c` and puts it under a process.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

const SOURCE: &str = include_str!("shim.c");

/// A compiled shim.
#[derive(Debug, Clone)]
pub(crate) struct Shim(PathBuf);

impl Shim {
    /// Compiles it into a folder.
    pub(crate) fn compile(folder: &Path) -> Result<Self> {
        if !cfg!(target_os = "linux") {
            return Err("power cuts are simulated on Linux only".into());
        }
        let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
        std::fs::write(&source, SOURCE)?;
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let output = Command::new(&compiler)
            .args(["-O2", "-Wall", "-U_FORTIFY_SOURCE", "-fPIC", "-shared", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .output()
            .map_err(|error| format!("{}: {error}; a C compiler is needed", compiler.display()))?;
        if !output.status.success() {
            return Err(format!("shim.c: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(Self(library))
    }

    /// Lets a process that is about to start write down what it does under `root`.
    pub(crate) fn put_under(&self, command: &mut Command, root: &Path, journal: &Path) {
        command.env("LD_PRELOAD", &self.0).env("POWER_CUT_ROOT", root).env("POWER_CUT_JOURNAL", journal);
    }
}
