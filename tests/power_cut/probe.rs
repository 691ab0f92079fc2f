//! A program whose outcome is known: each case is done once with the flush that it needs and once without.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::Result;
use crate::dice::Dice;
use crate::disk::{self, Survival};
use crate::journal;
use crate::victim::Setup;

/// Writes that wait for the disk; the same number wherever this runs.
const O_DSYNC: i32 = 0o10_000;

/// What is there when everything unflushed is gone: name and content, sorted.
const CERTAIN: &[(&str, &str)] = &[
    ("both-names", "one file"),
    ("flushed", "whole"),
    ("grown", "first"),
    ("linked", "one file"),
    ("name-only", ""),
    ("new-name", "moved"),
    ("old-name-unflushed", "moved"),
    ("overwritten", "aaBBaa"),
    ("removed-unflushed", "here"),
    ("shortened", "short"),
    ("shortened-unflushed", "not short"),
    ("through", "..durable"),
];

/// What is there besides when all of it happens to survive.
const LUCKY: &[(&str, &str)] = &[
    ("both-names", "one file"),
    ("file-only", "whole"),
    ("flushed", "whole"),
    ("folder/inside", "whole"),
    ("grown", "first second"),
    ("linked", "one file"),
    ("name-only", "late"),
    ("new-name", "moved"),
    ("new-name-unflushed", "moved"),
    ("overwritten", "aaBBCC"),
    ("shortened", "short"),
    ("shortened-unflushed", "not"),
    ("through", "..durable, not"),
];

/// Does what [`CERTAIN`] and [`LUCKY`] tell, says so, and waits for its end.
pub(crate) fn play() -> ExitCode {
    let done = std::env::var_os("POWER_CUT_ROOT").ok_or("no root".into()).and_then(|root| act(Path::new(&root)));
    match done {
        Ok(()) => {
            crate::say("done");
            let _ = std::io::stdin().read(&mut [0]);
            ExitCode::SUCCESS
        }
        Err(error) => {
            crate::say(&format!("probe: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn act(root: &Path) -> Result<()> {
    let path = |name: &str| root.join(name);
    let flushed = |name: &str, content: &str| -> Result<File> {
        let mut file = File::create(path(name))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        Ok(file)
    };
    flushed("flushed", "whole")?;
    let mut grown = flushed("grown", "first")?;
    let overwritten = flushed("overwritten", "aaaaaa")?;
    let shortened = flushed("shortened", "short and more")?;
    let shortened_unflushed = flushed("shortened-unflushed", "not short")?;
    for name in ["removed", "removed-unflushed"] {
        flushed(name, "here")?;
    }
    for name in ["old-name", "old-name-unflushed"] {
        flushed(name, "moved")?;
    }
    flushed("both-names", "one file")?;
    let mut name_only = File::create(path("name-only"))?;
    let through =
        OpenOptions::new().write(true).create(true).truncate(false).custom_flags(O_DSYNC).open(path("through"))?;
    fs::rename(path("old-name"), path("new-name"))?;
    fs::remove_file(path("removed"))?;
    fs::hard_link(path("both-names"), path("linked"))?;
    File::open(root)?.sync_all()?;
    // From here on names are not flushed.
    overwritten.write_at(b"BB", 2)?;
    overwritten.try_clone()?.sync_data()?;
    overwritten.write_at(b"CC", 4)?;
    shortened.set_len(5)?;
    shortened.sync_data()?;
    shortened_unflushed.set_len(3)?;
    grown.write_all(b" second")?;
    name_only.write_all(b"late")?;
    through.write_at(b"..durable", 0)?;
    OpenOptions::new().append(true).open(path("through"))?.write_all(b", not")?;
    fs::rename(path("old-name-unflushed"), path("new-name-unflushed"))?;
    fs::remove_file(path("removed-unflushed"))?;
    flushed("file-only", "whole")?;
    fs::create_dir(path("folder"))?;
    flushed("folder/inside", "whole")?;
    File::open(path("folder"))?.sync_all()?;
    Ok(())
}

/// Cuts its power, and compares what is left with what is known.
pub(crate) fn check(setup: &Setup) -> Result<()> {
    let (root, journal) = (setup.folder.join("probe"), setup.folder.join("probe.journal"));
    fs::create_dir(&root)?;
    let mut command = Command::new(std::env::current_exe()?);
    setup.shim.put_under(command.arg("probe").stdin(Stdio::piped()).stdout(Stdio::piped()), &root, &journal);
    let mut child = command.spawn()?;
    let mut said = [0; 4];
    let read = child.stdout.as_mut().ok_or("no output")?.read_exact(&mut said);
    child.kill()?;
    child.wait()?;
    if read.is_err() || &said != b"done" {
        return Err("the probe did not do its work".into());
    }
    let mut model = disk::load(&setup.folder.join("empty")).or_else(|_| {
        fs::create_dir(setup.folder.join("empty"))?;
        disk::load(&setup.folder.join("empty"))
    })?;
    disk::follow_and_compare(&mut model, &journal::read(&journal)?, &root)
        .map_err(|error| format!("the shim is not in effect: {error}"))?;
    let certain = setup.folder.join("certain");
    fs::create_dir(&certain)?;
    disk::write_remains(&model, Survival::Nothing, &mut Dice::new(0), &certain)?;
    expect(&certain, CERTAIN, "a cut that leaves nothing unflushed")?;
    expect(&root, LUCKY, "no cut at all")
}

fn expect(root: &Path, known: &[(&str, &str)], what: &str) -> Result<()> {
    let mut found = Vec::new();
    collect(root, &mut PathBuf::new(), &mut found)?;
    found.sort();
    let known: Vec<(String, String)> =
        known.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    if found == known {
        return Ok(());
    }
    Err(format!("after {what} there is {found:?} instead of {known:?}").into())
}

fn collect(root: &Path, within: &mut PathBuf, found: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(root.join(&within))? {
        let entry = entry?;
        within.push(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, within, found)?;
        } else {
            found.push((within.display().to_string(), fs::read_to_string(entry.path())?));
        }
        within.pop();
    }
    Ok(())
}
