//! Bringing what is missing: from a folder or the package clients, verified, converted, and put in place.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::limits::ARCHIVE_BYTES_MAX;
use crate::manifest::{Artifact, Manifest, Role, Source, platform};
use crate::store::State;
use crate::{Error, archive, clients, networks, store};

/// Where archives may come from.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A folder with archives that somebody already brought; nothing is downloaded then.
    pub from: Option<PathBuf>,
}

/// What fetching is doing.
#[derive(Clone, Debug)]
pub enum Progress<'a> {
    /// A file was already there and is what the manifest says.
    Kept(&'a Artifact),
    /// An archive is being brought.
    Obtaining(&'a Source),
    /// An archive is being verified and unpacked.
    Unpacking(&'a Source),
    /// Weights are being converted.
    Converting(&'a Artifact),
    /// A file was put in place.
    Installed(&'a Artifact),
    /// One way to a file failed and the next one is tried.
    Failed(&'a Source, &'a str),
}

/// Brings everything that is missing in `dir`; what is there and verified is kept, so that it can be run again.
///
/// # Errors
/// The first file that no source could bring; what was installed before it stays.
pub fn fetch(dir: &Path, options: &Options, report: &mut dyn FnMut(Progress<'_>)) -> Result<(), Error> {
    let manifest = Manifest::embedded()?;
    let lock = store::lock(dir)?;
    store::sweep(dir, &lock)?;
    let platform = platform();
    if manifest.runtimes(&platform).next().is_none() {
        return Err(Error::Platform { platform });
    }
    let mut missing: Vec<(&Source, Vec<&Artifact>)> = Vec::new();
    for artifact in manifest.artifacts.iter().filter(|artifact| artifact.role != Role::Runtime) {
        let Some(source) = artifact.source.as_deref().and_then(|name| manifest.source(name)) else { continue };
        if store::state(dir, artifact)? == State::Verified {
            report(Progress::Kept(artifact));
            continue;
        }
        match missing.iter_mut().find(|(other, _)| other.name == source.name) {
            Some((_, artifacts)) => artifacts.push(artifact),
            None => missing.push((source, vec![artifact])),
        }
    }
    for (source, artifacts) in missing {
        bring(dir, options, source, &artifacts, report)?;
    }
    bring_runtime(dir, options, manifest, &platform, report)
}

/// One runtime is enough: the first that is there, else the first that can be brought.
fn bring_runtime(
    dir: &Path,
    options: &Options,
    manifest: &Manifest,
    platform: &str,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
    for artifact in manifest.runtimes(platform) {
        if store::state(dir, artifact)? == State::Verified {
            report(Progress::Kept(artifact));
            return Ok(());
        }
    }
    let mut first_error = None;
    for artifact in manifest.runtimes(platform) {
        let Some(source) = artifact.source.as_deref().and_then(|name| manifest.source(name)) else { continue };
        match bring(dir, options, source, &[artifact], report) {
            Ok(()) => return Ok(()),
            Err(error) => {
                report(Progress::Failed(source, &error.to_string()));
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or_else(|| Error::Platform { platform: platform.to_owned() }))
}

fn bring(
    dir: &Path,
    options: &Options,
    source: &Source,
    artifacts: &[&Artifact],
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
    report(Progress::Obtaining(source));
    let scratch = store::scratch(dir)?;
    let path = match &options.from {
        Some(folder) => folder.join(&source.archive),
        None => clients::obtain(source, scratch.path()).map_err(|reason| Error::Client {
            package: source.package.clone(),
            version: source.version.clone(),
            archive: source.archive.clone(),
            reason,
        })?,
    };
    let bytes = read_archive(&path)?;
    report(Progress::Unpacking(source));
    let wanted: Vec<&str> = artifacts.iter().flat_map(|artifact| &artifact.members).map(String::as_str).collect();
    let members = archive::open(source, &bytes, &wanted)?;
    for artifact in artifacts {
        let converted;
        let content = match artifact.convert {
            None => &members[&artifact.members[0]],
            Some(conversion) => {
                report(Progress::Converting(artifact));
                let [list, shard] = parts(artifact, &members)?;
                converted = networks::convert(conversion, list, shard)?;
                &converted
            }
        };
        store::install(dir, artifact, content)?;
        report(Progress::Installed(artifact));
    }
    Ok(())
}

fn parts<'a>(artifact: &Artifact, members: &'a HashMap<String, Vec<u8>>) -> Result<[&'a [u8]; 2], Error> {
    match &artifact.members[..] {
        [list, shard] => Ok([&members[list], &members[shard]]),
        _ => Err(Error::Manifest(format!("artifact {} is converted from a weight list and one shard", artifact.name))),
    }
}

fn read_archive(path: &Path) -> Result<Vec<u8>, Error> {
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let mut bytes = Vec::new();
    file.take(ARCHIVE_BYTES_MAX).read_to_end(&mut bytes).map_err(Error::io(path))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_archive_in_the_folder_is_refused_and_nothing_is_left_behind() {
        let (dir, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for source in &Manifest::embedded().unwrap().sources {
            std::fs::write(from.path().join(&source.archive), b"not the archive").unwrap();
        }
        let options = Options { from: Some(from.path().to_owned()) };
        let error = fetch(dir.path(), &options, &mut |_| ()).unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{error}");
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".lock"]);
    }

    #[test]
    fn an_archive_that_nobody_brought_is_named() {
        let (dir, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options = Options { from: Some(from.path().to_owned()) };
        let error = fetch(dir.path(), &options, &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains(".tgz"), "{error}");
    }
}
