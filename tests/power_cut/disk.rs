//! Between a [`Model`] and a real folder: reading what was there, comparing, and writing what a power cut leaves.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use crate::Result;
use crate::dice::Dice;
use crate::journal::Record;
use crate::model::{Change, File, Model, Names, Node, NodeId, ROOT, write_at};

/// What becomes of that which no flush has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survival {
    /// All of it is gone.
    Nothing,
    /// Of each unflushed write, sectors of this many bytes survive one by one, with this chance in percent, whatever
    /// came before or after them; of the unflushed names, those up to some point.
    Some { sector_bytes: usize, percent: u64 },
}

impl Survival {
    /// One of several kinds; in every third cut everything is gone.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        match dice.below(3) {
            0 => Self::Nothing,
            _ => Self::Some { sector_bytes: dice.pick(&[512, 4096]), percent: dice.pick(&[10, 50, 90]) },
        }
    }
}

/// A model of a folder whose files are all durable.
pub(crate) fn load(root: &Path) -> Result<Model> {
    let mut model = Model::default();
    load_folder(&mut model, ROOT, root)?;
    Ok(model)
}

fn load_folder(model: &mut Model, id: NodeId, path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| "a file name that is not UTF-8")?;
        if entry.file_type()?.is_dir() {
            let folder = model.add(id, &name, None)?;
            load_folder(model, folder, &entry.path())?;
        } else {
            model.add(id, &name, Some(fs::read(entry.path())?))?;
        }
    }
    Ok(())
}

/// Follows a whole journal of a server that was killed, and checks that the folder is as the model says: whatever was
/// written past the shim would show here. Of the last operation, which the kill may have met, any part may be missing.
pub(crate) fn follow_and_compare(model: &mut Model, records: &[Record], root: &Path) -> Result<()> {
    let Some((last, before)) = records.split_last() else { return Err("the shim was not loaded".into()) };
    if !matches!(records.first(), Some(Record::Start)) {
        return Err("a journal that does not begin with the shim".into());
    }
    for record in before {
        model.follow(record)?;
    }
    let interrupted = Interrupted::of(model, last);
    let without_last = matches!(interrupted, Interrupted::Names).then(|| model.clone());
    model.follow(last)?;
    let found = compare(model, root, &interrupted);
    match without_last {
        Some(earlier) if found.is_err() => compare(&earlier, root, &interrupted),
        _ => found,
    }
}

/// What the last operation of a killed server touched.
enum Interrupted {
    Nothing,
    Names,
    Bytes { file: NodeId, size_before: usize },
}

impl Interrupted {
    fn of(model: &Model, last: &Record) -> Self {
        match last {
            Record::Write { handle, .. } | Record::Resize { handle, .. } | Record::Allocate { handle, .. } => {
                let Some(file) = model.file_of(*handle) else { return Self::Nothing };
                let Node::File(content) = model.node(file) else { return Self::Nothing };
                Self::Bytes { file, size_before: content.seen.len() }
            }
            Record::SyncBegin { .. } | Record::SyncEnd { .. } | Record::Map { .. } | Record::Start => Self::Nothing,
            _ => Self::Names,
        }
    }
}

fn compare(model: &Model, root: &Path, interrupted: &Interrupted) -> Result<()> {
    compare_folder(model, ROOT, root, interrupted)
}

fn compare_folder(model: &Model, id: NodeId, path: &Path, interrupted: &Interrupted) -> Result<()> {
    let Node::Folder { seen, .. } = model.node(id) else {
        return Err(format!("{} is a folder and should not be", path.display()).into());
    };
    let mut found: BTreeMap<String, _> = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        found.insert(entry.file_name().to_string_lossy().into_owned(), entry);
    }
    if !found.keys().eq(seen.keys()) {
        let odd: Vec<_> = found.keys().filter(|name| !seen.contains_key(*name)).collect();
        let missing: Vec<_> = seen.keys().filter(|name| !found.contains_key(*name)).collect();
        return Err(format!(
            "the shim missed something in {}: there but not written down {odd:?}, written down but not there {missing:?}",
            path.display()
        )
        .into());
    }
    for (name, entry) in &found {
        let child = seen[name];
        if entry.file_type()?.is_dir() {
            compare_folder(model, child, &entry.path(), interrupted)?;
        } else if let Node::File(file) = model.node(child) {
            compare_file(child, file, &entry.path(), interrupted)?;
        }
    }
    Ok(())
}

fn compare_file(id: NodeId, file: &File, path: &Path, interrupted: &Interrupted) -> Result<()> {
    let real = fs::read(path)?;
    if file.mapped || real == file.seen {
        return Ok(());
    }
    if let Interrupted::Bytes { file: touched, size_before } = interrupted
        && *touched == id
        && let Some((_, last)) = file.pending.last()
    {
        let (start, end) = match last {
            Change::Write { at, bytes } => (*at, at + bytes.len()),
            Change::Resize { size } => (*size.min(size_before), *size.max(size_before)),
        };
        let outside = |bytes: &[u8]| -> (Vec<u8>, Vec<u8>) {
            (bytes[..start.min(bytes.len())].to_vec(), bytes[end.min(bytes.len())..].to_vec())
        };
        if outside(&real) == outside(&file.seen) {
            return Ok(());
        }
    }
    let differs = real.iter().zip(&file.seen).position(|(real, seen)| real != seen);
    Err(format!(
        "the shim missed a write to {}: {} bytes there, {} written down, first difference at {differs:?}",
        path.display(),
        real.len(),
        file.seen.len()
    )
    .into())
}

/// Writes what a power cut leaves into an empty folder. Files that were written through memory have any content.
pub(crate) fn write_remains(model: &Model, survival: Survival, dice: &mut Dice, target: &Path) -> Result<()> {
    let n_names = match survival {
        Survival::Nothing => 0,
        Survival::Some { .. } => dice.below(model.n_pending_names() as u64 + 1) as usize,
    };
    let folders = model.names_after(n_names);
    write_folder(model, &folders, ROOT, target, survival, dice)
}

fn write_folder(
    model: &Model,
    folders: &HashMap<NodeId, Names>,
    id: NodeId,
    target: &Path,
    survival: Survival,
    dice: &mut Dice,
) -> Result<()> {
    for (name, child) in folders.get(&id).into_iter().flatten() {
        let path = target.join(name);
        match model.node(*child) {
            Node::Folder { .. } => {
                create_private(&path)?;
                write_folder(model, folders, *child, &path, survival, dice)?;
            }
            Node::File(file) => write_private(&path, &remains(file, survival, dice))?,
        }
    }
    Ok(())
}

fn remains(file: &File, survival: Survival, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    let Survival::Some { sector_bytes, percent } = survival else { return bytes };
    for (_, change) in &file.pending {
        match change {
            Change::Write { at, bytes: written } => {
                let mut start = 0;
                while start < written.len() {
                    // Sectors are those of the disk, so the first piece may be shorter.
                    let length = (sector_bytes - (at + start) % sector_bytes).min(written.len() - start);
                    if dice.below(100) < percent {
                        write_at(&mut bytes, at + start, &written[start..start + length]);
                    }
                    start += length;
                }
            }
            Change::Resize { .. } => {
                if dice.below(100) < percent {
                    change.apply(&mut bytes);
                }
            }
        }
    }
    if file.mapped && dice.below(2) == 0 {
        for byte in &mut bytes {
            *byte = dice.below(256) as u8;
        }
    }
    bytes
}

#[cfg(unix)]
fn create_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    Ok(fs::DirBuilder::new().mode(0o700).create(path)?)
}

/// The server refuses key files that others can read.
#[cfg(unix)]
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(bytes)?)
}
