//! What a disk holds for certain, and what it may hold besides, after the records of a journal.
//!
//! - Bytes and the size of a file are durable from the end of a flush of that file that began after they were written.
//! - A name that came, went or moved is durable from the end of a flush of a folder that it is in. A move is one step:
//!   when either folder is flushed, both names have changed. Flushing a file does not make its name durable.
//! - Nothing else is durable, whatever file systems usually do.

use std::collections::{BTreeMap, HashMap};

use crate::Result;
use crate::journal::Record;

/// Number of a file or folder; 0 is the root.
pub(crate) type NodeId = usize;
/// The root.
pub(crate) const ROOT: NodeId = 0;

/// Names of a folder.
pub(crate) type Names = BTreeMap<String, NodeId>;

/// A file or a folder, as the server sees it and as the disk holds it.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// A folder.
    Folder { seen: Names, durable: Names },
    /// A file.
    File(File),
}

/// A file.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    /// As the server sees it.
    pub(crate) seen: Vec<u8>,
    /// As the disk holds it for certain.
    pub(crate) durable: Vec<u8>,
    /// What was done to it since, oldest first.
    pub(crate) pending: Vec<(u64, Change)>,
    /// Whether it was also written through memory, which nobody can follow.
    pub(crate) mapped: bool,
    /// Flushes that ended.
    pub(crate) n_syncs: usize,
}

/// A change of a file.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize { size: usize },
}

impl Change {
    /// Does it to the bytes of a file.
    pub(crate) fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => write_at(file, *at, bytes),
            Self::Resize { size } => file.resize(*size, 0),
        }
    }
}

/// Writes into a file, with zeros before it if it was shorter.
pub(crate) fn write_at(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

/// A name that now means something else, or nothing.
#[derive(Debug, Clone)]
struct Renaming {
    folder: NodeId,
    name: String,
    node: Option<NodeId>,
}

/// Everything under the root.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    nodes: Vec<Node>,
    /// Changes of names that no flush has reached, oldest first; each happens as a whole.
    pending: Vec<(u64, Vec<Renaming>)>,
    handles: HashMap<u32, NodeId>,
    syncs: HashMap<u64, (NodeId, u64)>,
    sequence: u64,
    n_syncs: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            nodes: vec![Node::Folder { seen: Names::new(), durable: Names::new() }],
            pending: Vec::new(),
            handles: HashMap::new(),
            syncs: HashMap::new(),
            sequence: 0,
            n_syncs: 0,
        }
    }
}

impl Model {
    /// Puts in what was on the disk before.
    pub(crate) fn add(&mut self, folder: NodeId, name: &str, file: Option<Vec<u8>>) -> Result<NodeId> {
        let node = match file {
            Some(bytes) => Node::File(File { seen: bytes.clone(), durable: bytes, ..File::default() }),
            None => Node::Folder { seen: Names::new(), durable: Names::new() },
        };
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        match &mut self.nodes[folder] {
            Node::Folder { seen, durable } => {
                seen.insert(name.to_owned(), id);
                durable.insert(name.to_owned(), id);
                Ok(id)
            }
            Node::File(_) => Err("a file within a file".into()),
        }
    }

    /// A file or folder.
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Flushes of files and folders that ended.
    pub(crate) fn n_syncs(&self) -> usize {
        self.n_syncs
    }

    /// The file or folder that the server sees at a path.
    pub(crate) fn find(&self, path: &str) -> Option<NodeId> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(ROOT, |folder, name| match &self.nodes[folder] {
            Node::Folder { seen, .. } => seen.get(name).copied(),
            Node::File(_) => None,
        })
    }

    /// The file that a handle stands for.
    pub(crate) fn file_of(&self, handle: u32) -> Option<NodeId> {
        self.handles.get(&handle).copied()
    }

    /// Follows one record.
    pub(crate) fn follow(&mut self, record: &Record) -> Result<()> {
        self.sequence += 1;
        match record {
            Record::Start => Ok(()),
            Record::Open { handle, path, create, truncate } => self.open(*handle, path, *create, *truncate),
            Record::Write { handle, at, bytes, durable } => {
                self.change(*handle, Change::Write { at: *at, bytes: bytes.clone() })?;
                if *durable { self.write_through(*handle, *at, bytes) } else { Ok(()) }
            }
            Record::Resize { handle, size } => self.change(*handle, Change::Resize { size: *size }),
            Record::Allocate { handle, size } => {
                let size = self.file(*handle)?.seen.len().max(*size);
                self.change(*handle, Change::Resize { size })
            }
            Record::SyncBegin { handle, token } => {
                let node = self.file_of(*handle).ok_or("a flush of an unknown handle")?;
                self.syncs.insert(*token, (node, self.sequence));
                Ok(())
            }
            Record::SyncEnd { token, succeeded } => {
                let (node, until) = self.syncs.remove(token).ok_or("the end of an unknown flush")?;
                if *succeeded {
                    self.flush(node, until);
                }
                Ok(())
            }
            Record::Rename { from, to } => self.rename(from, to),
            Record::Link { from, to } => {
                let node = self.find(from).ok_or_else(|| format!("a link to {from}, which is not there"))?;
                self.set_names(vec![self.naming(to, Some(node))?])
            }
            Record::Unlink { path } | Record::Rmdir { path } => self.set_names(vec![self.naming(path, None)?]),
            Record::Mkdir { path } => {
                self.nodes.push(Node::Folder { seen: Names::new(), durable: Names::new() });
                self.set_names(vec![self.naming(path, Some(self.nodes.len() - 1))?])
            }
            Record::Map { handle } => {
                self.file(*handle)?.mapped = true;
                Ok(())
            }
            Record::Unknown { what } => Err(format!("the server did what the shim cannot follow: {what}").into()),
        }
    }

    /// What is certain, with the first `n_names` of the pending changes of names besides, and the files by `content`.
    pub(crate) fn names_after(&self, n_names: usize) -> HashMap<NodeId, Names> {
        let mut folders: HashMap<NodeId, Names> = HashMap::new();
        for (id, node) in self.nodes.iter().enumerate() {
            if let Node::Folder { durable, .. } = node {
                folders.insert(id, durable.clone());
            }
        }
        for naming in self.pending.iter().take(n_names).flat_map(|(_, namings)| namings) {
            if let Some(names) = folders.get_mut(&naming.folder) {
                set(names, naming);
            }
        }
        folders
    }

    /// Changes of names that no flush has reached.
    pub(crate) fn n_pending_names(&self) -> usize {
        self.pending.len()
    }

    fn open(&mut self, handle: u32, path: &str, create: bool, truncate: bool) -> Result<()> {
        let node = match self.find(path) {
            Some(node) => node,
            None if create => {
                self.nodes.push(Node::File(File::default()));
                let node = self.nodes.len() - 1;
                self.set_names(vec![self.naming(path, Some(node))?])?;
                node
            }
            None => return Err(format!("the server opened {path}, which is not there").into()),
        };
        self.handles.insert(handle, node);
        if truncate { self.change(handle, Change::Resize { size: 0 }) } else { Ok(()) }
    }

    fn file(&mut self, handle: u32) -> Result<&mut File> {
        let node = self.file_of(handle).ok_or("an unknown handle")?;
        match &mut self.nodes[node] {
            Node::File(file) => Ok(file),
            Node::Folder { .. } => Err("a folder where a file is expected".into()),
        }
    }

    fn change(&mut self, handle: u32, change: Change) -> Result<()> {
        let sequence = self.sequence;
        let file = self.file(handle)?;
        change.apply(&mut file.seen);
        file.pending.push((sequence, change));
        Ok(())
    }

    /// A synchronous write is durable, but what was written before it elsewhere in the file is not.
    fn write_through(&mut self, handle: u32, at: usize, bytes: &[u8]) -> Result<()> {
        let file = self.file(handle)?;
        let end = at + bytes.len();
        let mut kept = Vec::with_capacity(file.pending.len());
        for (sequence, change) in file.pending.drain(..) {
            let Change::Write { at: start, bytes: old } = &change else {
                kept.push((sequence, change));
                continue;
            };
            let before = old[..at.saturating_sub(*start).min(old.len())].to_vec();
            let after = old[end.saturating_sub(*start).min(old.len())..].to_vec();
            let after_at = start + old.len() - after.len();
            for (at, bytes) in [(*start, before), (after_at, after)] {
                if !bytes.is_empty() {
                    kept.push((sequence, Change::Write { at, bytes }));
                }
            }
        }
        file.pending = kept;
        write_at(&mut file.durable, at, bytes);
        Ok(())
    }

    fn flush(&mut self, node: NodeId, until: u64) {
        self.n_syncs += 1;
        match &mut self.nodes[node] {
            Node::File(file) => {
                let reached = file.pending.partition_point(|(sequence, _)| *sequence < until);
                for (_, change) in file.pending.drain(..reached) {
                    change.apply(&mut file.durable);
                }
                file.n_syncs += 1;
            }
            Node::Folder { .. } => self.flush_names(node, until),
        }
    }

    fn flush_names(&mut self, folder: NodeId, until: u64) {
        let mut waiting: Vec<(u64, Vec<Renaming>)> = Vec::new();
        for (sequence, namings) in std::mem::take(&mut self.pending) {
            if sequence >= until || !namings.iter().any(|naming| naming.folder == folder) {
                waiting.push((sequence, namings));
                continue;
            }
            for naming in namings {
                // What an older change said of this name is history.
                for (_, older) in &mut waiting {
                    older.retain(|other| other.folder != naming.folder || other.name != naming.name);
                }
                if let Node::Folder { durable, .. } = &mut self.nodes[naming.folder] {
                    set(durable, &naming);
                }
            }
        }
        waiting.retain(|(_, namings)| !namings.is_empty());
        self.pending = waiting;
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let node = self.find(from).ok_or_else(|| format!("a move of {from}, which is not there"))?;
        self.set_names(vec![self.naming(from, None)?, self.naming(to, Some(node))?])
    }

    fn naming(&self, path: &str, node: Option<NodeId>) -> Result<Renaming> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.find(parent).ok_or_else(|| format!("{path} is in no folder"))?;
        Ok(Renaming { folder, name: name.to_owned(), node })
    }

    fn set_names(&mut self, namings: Vec<Renaming>) -> Result<()> {
        for naming in &namings {
            match &mut self.nodes[naming.folder] {
                Node::Folder { seen, .. } => set(seen, naming),
                Node::File(_) => return Err("a file where a folder is expected".into()),
            }
        }
        self.pending.push((self.sequence, namings));
        Ok(())
    }
}

fn set(names: &mut Names, naming: &Renaming) {
    match naming.node {
        Some(node) => drop(names.insert(naming.name.clone(), node)),
        None => drop(names.remove(&naming.name)),
    }
}
