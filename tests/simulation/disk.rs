//! A disk that holds one SQLite database in memory, remembers what was flushed, and fails when it is told to.
//!
//! Writes are visible at once and durable after the next flush of their file. A power cut keeps what was flushed and,
//! of the rest, whatever chance leaves: nothing, all, the first writes, or some of them, the last one torn at a sector.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dice::Dice;

/// What a disk writes whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
/// Regions of shared memory have this many words of 8 bytes: 32 KiB, as SQLite asks for.
const REGION_WORDS: usize = 4096;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// The machine stops: from this operation on nothing gets onto the disk.
    PowerCut,
    /// No space for so many writes.
    Full(u32),
    /// One write fails.
    WriteError,
    /// One flush fails.
    FlushError,
}

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskError {
    Io,
    Full,
}

/// A part of the memory that the connections to one database share.
pub(crate) type Region = Arc<[AtomicU64]>;

#[derive(Debug, Clone)]
enum Unflushed {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Debug, Default, Clone)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    unflushed: Vec<Unflushed>,
}

/// Who holds which of SQLite's locks on the database file, and on its shared memory.
#[derive(Debug, Default)]
struct Locks {
    shared: BTreeSet<u64>,
    reserved: Option<u64>,
    pending: Option<u64>,
    exclusive: Option<u64>,
    shm_shared: [BTreeSet<u64>; 8],
    shm_exclusive: [Option<u64>; 8],
    shm_users: BTreeSet<u64>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, File>,
    locks: Locks,
    regions: Vec<Region>,
    /// Harm after so many operations.
    armed: Option<(u64, Harm)>,
    full_writes: u32,
    dead: bool,
    /// What happened, for the tally.
    happened: Vec<&'static str>,
}

/// One disk.
#[derive(Default)]
pub(crate) struct Disk(Mutex<State>);

impl File {
    fn apply(bytes: &mut Vec<u8>, change: &Unflushed) {
        match change {
            Unflushed::Write(offset, data) => {
                if bytes.len() < *offset {
                    bytes.resize(*offset, 0);
                }
                let (inside, beyond) = data.split_at(data.len().min(bytes.len() - offset));
                bytes[*offset..offset + inside.len()].copy_from_slice(inside);
                bytes.extend_from_slice(beyond);
            }
            Unflushed::Truncate(len) => bytes.truncate(*len),
        }
    }

    fn change(&mut self, change: Unflushed) {
        Self::apply(&mut self.live, &change);
        self.unflushed.push(change);
    }

    fn flush(&mut self) {
        for change in self.unflushed.drain(..) {
            Self::apply(&mut self.durable, &change);
        }
    }

    /// What is left after a power cut.
    fn survive(&mut self, dice: &mut Dice) -> &'static str {
        let mut waiting = std::mem::take(&mut self.unflushed);
        let (name, kept) = match (waiting.len() as u64, dice.below(4)) {
            (0, _) => ("cut: all was flushed", Vec::new()),
            (_, 0) => ("cut: unflushed all lost", Vec::new()),
            (_, 1) => ("cut: unflushed all kept", waiting),
            (len, 2) => {
                waiting.truncate(dice.between(1, len) as usize);
                tear(waiting.last_mut(), dice);
                ("cut: torn tail", waiting)
            }
            _ => {
                waiting.retain(|_| dice.percent(50));
                let torn = if waiting.is_empty() { None } else { Some(dice.index(waiting.len())) };
                tear(torn.and_then(|index| waiting.get_mut(index)), dice);
                ("cut: some kept, one torn", waiting)
            }
        };
        for change in kept {
            Self::apply(&mut self.durable, &change);
        }
        self.live.clone_from(&self.durable);
        name
    }
}

/// Cuts a write at a sector's end.
fn tear(change: Option<&mut Unflushed>, dice: &mut Dice) {
    if let Some(Unflushed::Write(offset, data)) = change {
        let first = SECTOR_BYTES - *offset % SECTOR_BYTES;
        let sectors = data.len().saturating_sub(first).div_ceil(SECTOR_BYTES) as u64 + 1;
        let kept = dice.below(sectors + 1) as usize;
        data.truncate(if kept == 0 { 0 } else { first + (kept - 1) * SECTOR_BYTES });
    }
}

impl Disk {
    /// A disk with a database on it.
    pub(crate) fn with(files: BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let file = |bytes: Vec<u8>| File { live: bytes.clone(), durable: bytes, unflushed: Vec::new() };
        let files = files.into_iter().map(|(name, bytes)| (name, file(bytes))).collect();
        Arc::new(Self(Mutex::new(State { files, ..State::default() })))
    }

    /// What is on it now, by the end of the file's name.
    pub(crate) fn image(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock().files.iter().map(|(name, file)| (name.clone(), file.live.clone())).collect()
    }

    /// Lets something go wrong after `operations` writes and flushes.
    pub(crate) fn arm(&self, operations: u64, harm: Harm) {
        self.lock().armed = Some((operations, harm));
    }

    /// Nothing goes wrong any more.
    pub(crate) fn disarm(&self) {
        let mut state = self.lock();
        (state.armed, state.full_writes) = (None, 0);
    }

    /// The power goes now.
    pub(crate) fn cut(&self) {
        self.lock().dead = true;
    }

    /// Whether the power is gone.
    pub(crate) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Whether somebody uses a database on it.
    pub(crate) fn is_in_use(&self) -> bool {
        let state = self.lock();
        !state.locks.shared.is_empty() || !state.locks.shm_users.is_empty()
    }

    /// The power is back. Nobody may have a file open.
    pub(crate) fn reboot(&self, dice: &mut Dice) {
        assert!(!self.is_in_use(), "a file is open during a reboot");
        let mut state = self.lock();
        let survived: Vec<_> = state.files.values_mut().map(|file| file.survive(dice)).collect();
        let files = std::mem::take(&mut state.files);
        *state =
            State { files, happened: [std::mem::take(&mut state.happened), survived].concat(), ..State::default() };
    }

    /// What went wrong since the last time.
    pub(crate) fn take_happened(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.lock().happened)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.lock().files.contains_key(name)
    }

    pub(crate) fn create(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.lock();
        if state.dead {
            return Err(DiskError::Io);
        }
        state.files.entry(name.to_owned()).or_default();
        Ok(())
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.lock();
        state.operate(false)?;
        state.files.remove(name);
        Ok(())
    }

    /// Reads as much as is there.
    pub(crate) fn read(&self, name: &str, offset: usize, into: &mut [u8]) -> usize {
        let state = self.lock();
        let bytes = state.files.get(name).map_or(&[][..], |file| &file.live);
        let from = bytes.get(offset.min(bytes.len())..).unwrap_or_default();
        let len = from.len().min(into.len());
        into[..len].copy_from_slice(&from[..len]);
        len
    }

    pub(crate) fn size(&self, name: &str) -> usize {
        self.lock().files.get(name).map_or(0, |file| file.live.len())
    }

    pub(crate) fn write(&self, name: &str, offset: usize, bytes: &[u8]) -> Result<(), DiskError> {
        self.change(name, Unflushed::Write(offset, bytes.to_vec()))
    }

    pub(crate) fn truncate(&self, name: &str, len: usize) -> Result<(), DiskError> {
        self.change(name, Unflushed::Truncate(len))
    }

    fn change(&self, name: &str, change: Unflushed) -> Result<(), DiskError> {
        let mut state = self.lock();
        let alive = !state.dead;
        let operated = state.operate(false);
        // The write during which the power went may have got onto the disk in part.
        let in_part = alive && state.dead;
        if (operated.is_ok() || in_part)
            && let Some(file) = state.files.get_mut(name)
        {
            file.change(change);
        }
        operated
    }

    pub(crate) fn flush(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.lock();
        state.operate(true)?;
        if let Some(file) = state.files.get_mut(name) {
            file.flush();
        }
        Ok(())
    }

    /// The lock levels of SQLite: 1 shared, 2 reserved, 4 exclusive. `false` if somebody else is in the way.
    pub(crate) fn lock_file(&self, holder: u64, level: i32) -> bool {
        let mut state = self.lock();
        let locks = &mut state.locks;
        let others = |held: Option<u64>| held.is_some_and(|other| other != holder);
        match level {
            1 => {
                if others(locks.exclusive) || others(locks.pending) {
                    return false;
                }
                locks.shared.insert(holder);
            }
            2 => {
                if others(locks.reserved) {
                    return false;
                }
                locks.reserved = Some(holder);
            }
            _ => {
                if others(locks.reserved) || others(locks.pending) {
                    return false;
                }
                locks.pending = Some(holder);
                if locks.shared.iter().any(|other| *other != holder) {
                    return false;
                }
                locks.exclusive = Some(holder);
            }
        }
        true
    }

    pub(crate) fn unlock_file(&self, holder: u64, level: i32) {
        let mut state = self.lock();
        let locks = &mut state.locks;
        for held in [&mut locks.reserved, &mut locks.pending, &mut locks.exclusive] {
            if *held == Some(holder) {
                *held = None;
            }
        }
        if level == 0 {
            locks.shared.remove(&holder);
        }
    }

    pub(crate) fn is_reserved(&self) -> bool {
        self.lock().locks.reserved.is_some()
    }

    /// A region of the shared memory; `None` if it is not there and not to be made.
    pub(crate) fn region(&self, holder: u64, index: usize, make: bool) -> Option<Region> {
        let mut state = self.lock();
        state.locks.shm_users.insert(holder);
        while make && state.regions.len() <= index {
            state.regions.push((0..REGION_WORDS).map(|_| AtomicU64::new(0)).collect());
        }
        state.regions.get(index).cloned()
    }

    /// The last one to leave takes the memory away.
    pub(crate) fn leave_regions(&self, holder: u64) {
        let mut state = self.lock();
        state.locks.shm_users.remove(&holder);
        if state.locks.shm_users.is_empty() {
            state.regions.clear();
        }
    }

    pub(crate) fn lock_region(&self, holder: u64, slots: std::ops::Range<usize>, exclusive: bool) -> bool {
        let mut state = self.lock();
        let locks = &mut state.locks;
        for slot in slots.clone() {
            let taken = locks.shm_exclusive[slot].is_some_and(|other| other != holder);
            if taken || (exclusive && locks.shm_shared[slot].iter().any(|other| *other != holder)) {
                return false;
            }
        }
        for slot in slots {
            if exclusive {
                locks.shm_exclusive[slot] = Some(holder);
            } else {
                locks.shm_shared[slot].insert(holder);
            }
        }
        true
    }

    pub(crate) fn unlock_region(&self, holder: u64, slots: std::ops::Range<usize>) {
        let mut state = self.lock();
        for slot in slots {
            state.locks.shm_shared[slot].remove(&holder);
            if state.locks.shm_exclusive[slot] == Some(holder) {
                state.locks.shm_exclusive[slot] = None;
            }
        }
    }
}

impl State {
    /// Counts an operation, and lets it fail if its time has come.
    fn operate(&mut self, is_flush: bool) -> Result<(), DiskError> {
        if self.dead {
            return Err(DiskError::Io);
        }
        if self.full_writes > 0 && !is_flush {
            self.full_writes -= 1;
            return Err(DiskError::Full);
        }
        let Some((left, harm)) = self.armed else { return Ok(()) };
        let fits = match harm {
            Harm::PowerCut => true,
            Harm::FlushError => is_flush,
            Harm::Full(_) | Harm::WriteError => !is_flush,
        };
        if left > 0 || !fits {
            self.armed = Some((left.saturating_sub(1), harm));
            return Ok(());
        }
        self.armed = None;
        match harm {
            Harm::PowerCut => {
                self.dead = true;
                self.happened.push("power cut at a write");
                Err(DiskError::Io)
            }
            Harm::Full(writes) => {
                self.full_writes = writes;
                self.happened.push("disk full");
                Err(DiskError::Full)
            }
            Harm::WriteError => {
                self.happened.push("write error");
                Err(DiskError::Io)
            }
            Harm::FlushError => {
                self.happened.push("flush error");
                Err(DiskError::Io)
            }
        }
    }
}
