//! The server that loses its power: a process under the shim, and the disk that it leaves.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::dice::Dice;
use crate::disk::{self, Survival};
use crate::journal;
use crate::model::{Model, Node};
use crate::shim::Shim;

/// The file that [`leave_sentinel`] writes.
const SENTINEL: &str = "never-flushed";
/// The fault that the server in this program begins with.
const FAULT: &str = "POWER_CUT_FAULT";
/// How often one looks for what a server has written, and how many times at most.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOKS_MAX: usize = 12_000;

/// What every server of a run has in common.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The shim.
    pub(crate) shim: Shim,
    /// A binary of `muster`; `None` for the server in this program.
    pub(crate) muster: Option<PathBuf>,
    /// `none`, `normal` or `early`; see [`begin_with_fault`].
    pub(crate) fault: String,
    /// Everything of this run.
    pub(crate) folder: PathBuf,
}

impl Setup {
    /// What stands for the disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// The server's data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.disk().join("data")
    }

    fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// What the server logged.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// What the server printed.
    pub(crate) fn printed(&self) -> PathBuf {
        self.folder.join("server.out")
    }
}

/// In the process of the server: the fault that this run asks for.
pub(crate) fn begin_with_fault() {
    use muster_server::db::faults::{self, Fault};
    match std::env::var(FAULT).as_deref() {
        Ok("normal") => faults::set(Fault::SynchronousNormal),
        Ok("early") => faults::set(Fault::AnswersBeforeCommit),
        _ => {}
    }
}

/// In the process of the server: a file that is never flushed, so that it must be gone after a cut.
pub(crate) fn leave_sentinel() {
    if let Some(root) = std::env::var_os("POWER_CUT_ROOT") {
        let _ = fs::write(Path::new(&root).join(SENTINEL), "this must not survive");
    }
}

/// A running server whose disk is written down.
pub(crate) struct Victim {
    setup: Setup,
    child: Child,
    model: Model,
}

/// What a cut left, and how much the server had done before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Records of the journal.
    pub(crate) n_operations: usize,
    /// Flushes that ended.
    pub(crate) n_syncs: usize,
    /// Flushes of the database file, which is when the write-ahead log is copied into it.
    pub(crate) n_checkpoints: usize,
}

impl Victim {
    /// Starts a server on what is on the disk. It may not listen yet.
    pub(crate) fn spawn(setup: &Setup) -> Result<Self> {
        let model = disk::load(&setup.disk())?;
        let _ = fs::remove_file(setup.journal());
        let mut command = serve(setup, &setup.data())?;
        setup.shim.put_under(&mut command, &setup.disk(), &setup.journal());
        let child = command.stderr(File::create(setup.log())?).stdout(File::create(setup.printed())?).spawn()?;
        Ok(Self { setup: setup.clone(), child, model })
    }

    /// Waits until it listens.
    pub(crate) fn address(&mut self) -> Result<SocketAddr> {
        listening_address(&self.setup.log(), &mut self.child)
    }

    /// Waits until the shim is loaded and the sentinel is there, which is before the server does anything.
    pub(crate) fn has_begun(&self) -> Result<()> {
        let sign = match self.setup.muster {
            Some(_) => self.setup.journal(),
            None => self.setup.disk().join(SENTINEL),
        };
        for _ in 0..LOOKS_MAX {
            if fs::metadata(&sign).is_ok_and(|file| file.len() > 0) {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err("the server does not begin: the shim is not in effect".into())
    }

    /// Tells it to stop in order.
    pub(crate) fn ask_to_stop(&self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        Ok(())
    }

    /// Bytes of the journal so far: what was done before now lies within them.
    pub(crate) fn journal_bytes(&self) -> Result<usize> {
        journal::length(&self.setup.journal())
    }

    /// Kills it. What it sent before can still be read.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The bytes of the journal of a killed server.
    pub(crate) fn into_journal(self) -> Result<Vec<u8>> {
        Ok(fs::read(self.setup.journal())?)
    }

    /// After [`Victim::kill`]: checks that the shim saw everything, and puts the disk into the state that the cut left.
    pub(crate) fn lose_power(mut self, survival: Survival, dice: &mut Dice) -> Result<Cut> {
        let disk = self.setup.disk();
        let records = journal::read(&self.setup.journal())?;
        disk::follow_and_compare(&mut self.model, &records, &disk)?;
        let left = self.setup.folder.join("left");
        fs::create_dir(&left)?;
        disk::write_remains(&self.model, survival, dice, &left)?;
        if self.setup.muster.is_none() {
            check_sentinel(&self.model, survival, &left)?;
        }
        fs::remove_dir_all(&disk)?;
        fs::rename(&left, &disk)?;
        let n_checkpoints = match self.model.find("data/muster.db").map(|id| self.model.node(id)) {
            Some(Node::File(file)) => file.n_syncs,
            _ => 0,
        };
        Ok(Cut { n_operations: records.len(), n_syncs: self.model.n_syncs(), n_checkpoints })
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server without the shim, on some data folder; killed when dropped.
pub(crate) struct Plain {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Plain {
    /// Starts it and waits until it listens.
    pub(crate) fn start(setup: &Setup, data: &Path) -> Result<Self> {
        let mut command = serve(setup, data)?;
        let mut child = command.stderr(File::create(setup.log())?).stdout(File::create(setup.printed())?).spawn()?;
        match listening_address(&setup.log(), &mut child) {
            Ok(address) => Ok(Self { child, address }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `serve` with default settings, whatever the environment says.
fn serve(setup: &Setup, data: &Path) -> Result<Command> {
    let program = match &setup.muster {
        Some(muster) => muster.clone(),
        None => std::env::current_exe()?,
    };
    let mut command = Command::new(program);
    command.env_clear().env(FAULT, &setup.fault).stdin(Stdio::null());
    command.args(["serve", "--port", "0", "--access-token-expire-minutes", "60", "--rl-user-limit", "1000000"]);
    command.arg("--data-dir").arg(data);
    Ok(command)
}

fn listening_address(log: &Path, child: &mut Child) -> Result<SocketAddr> {
    for _ in 0..LOOKS_MAX {
        let text = fs::read_to_string(log)?;
        let line = text.lines().find(|line| line.contains("Listening"));
        if let Some((line, at)) = line.and_then(|line| Some((line, line.find("127.0.0.1:")?)))
            && text.ends_with('\n')
        {
            let address: String =
                line[at..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
            return Ok(address.parse()?);
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("the server ended with {status}: {text}").into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err("the server does not listen".into())
}

/// Warnings and errors that a server logged.
pub(crate) fn complaints(log: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(log)?;
    let complains = |line: &&str| line.contains(" WARN ") || line.contains("ERROR ") || line.contains("panicked");
    Ok(text.lines().filter(complains).map(str::to_owned).collect())
}

/// What a server printed, once it holds `word`.
pub(crate) fn printed(setup: &Setup, word: &str) -> Result<String> {
    for _ in 0..LOOKS_MAX {
        let text = fs::read_to_string(setup.printed())?;
        if text.contains(word) && text.ends_with('\n') {
            return Ok(text);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(format!("the server did not print {word}").into())
}

/// The shim saw the sentinel, and a cut that leaves nothing did not leave it.
fn check_sentinel(model: &Model, survival: Survival, left: &Path) -> Result<()> {
    let Some(Node::File(file)) = model.find(SENTINEL).map(|id| model.node(id)) else {
        return Err("the shim did not see the file that the server left unflushed".into());
    };
    if file.seen.is_empty() {
        return Err("the shim did not see the bytes that the server left unflushed".into());
    }
    let path = left.join(SENTINEL);
    if survival == Survival::Nothing && fs::read(&path).is_ok_and(|bytes| !bytes.is_empty()) {
        return Err("a file that was never flushed survived the cut".into());
    }
    let _ = fs::remove_file(path);
    Ok(())
}
