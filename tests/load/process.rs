//! A real `muster serve` in a process of its own, and what the kernel says that it used.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use muster_server::clock::Stopwatch;
use muster_tests::{Data, postgres};

use crate::Result;

/// Clock ticks per second in `/proc/PID/stat`; the same on every Linux that we know of.
const TICKS_PER_S: f64 = 100.0;
/// How long a server may take to write its last line.
const STOP_POLLS_MAX: usize = 600;
const STOP_POLL: Duration = Duration::from_millis(50);
/// How often the log is looked at while a server starts.
const START_POLL: Duration = Duration::from_millis(5);
/// How often at most.
const START_POLLS_MAX: usize = 60_000;

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    listening_after: Duration,
}

/// What a process holds in memory, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now_kib: u64,
    pub(crate) peak_kib: u64,
}

impl Server {
    /// Starts the release binary on a free port over `data`, with default settings but those limits that would stop one client that asks for many; its log goes to a file in there.
    pub(crate) fn start(data: &Data) -> Result<Self> {
        Self::start_with(data, &[])
    }

    /// The same with more options.
    pub(crate) fn start_with(data: &Data, options: &[&str]) -> Result<Self> {
        let roomy = ["--rl-user-limit", "1000000", "--rl-anonymous-ip-limit", "1000000"];
        Self::spawn(data, &[&roomy, options].concat())
    }

    /// The same with the limits that a server has which nobody configured.
    pub(crate) fn start_as_shipped(data: &Data) -> Result<Self> {
        Self::spawn(data, &[])
    }

    fn spawn(data: &Data, options: &[&str]) -> Result<Self> {
        let binary = binary()?;
        let log = data.path().join("server.log");
        let watch = Stopwatch::start();
        let mut child = Command::new(&binary)
            .arg("serve")
            .args(["--port", "0", "--data-dir"])
            .arg(data.path())
            .args(options)
            .args(data.database().map(|database| postgres::options(&database.url())).into_iter().flatten())
            .stderr(fs::File::create(&log)?)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}; build it with cargo build --release", binary.display()))?;
        match listening_address(&log, &mut child) {
            Ok(address) => Ok(Self { child, address, listening_after: watch.elapsed() }),
            Err(error) => {
                let _ = child.kill();
                Err(error)
            }
        }
    }

    /// From the start of the process until it said that it listens, to the nearest poll.
    pub(crate) fn listening_after(&self) -> Duration {
        self.listening_after
    }

    /// CPU seconds so far, user and system, of all threads.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        cpu_s(self.child.id())
    }

    /// Memory now, and the most so far.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        let missing = "the kernel does not say how much memory the server has";
        Ok(Memory { now_kib: field("VmRSS:").ok_or(missing)?, peak_kib: field("VmHWM:").ok_or(missing)? })
    }

    /// Stops in order, so that everything is in the database file.
    pub(crate) fn stop(mut self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        for _ in 0..STOP_POLLS_MAX {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(STOP_POLL);
        }
        Err("the server did not stop".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU seconds of a process, user and system.
pub(crate) fn cpu_s(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in parentheses that may hold anything.
    let after_name = stat.rsplit_once(')').ok_or("unreadable /proc/PID/stat")?.1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / TICKS_PER_S)
}

/// The most memory that a process has held so far, in KiB.
pub(crate) fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Runs a command of the server's binary over `data`; what it prints goes where ours goes.
pub(crate) fn command(arguments: &[&str], data: &Path) -> Result<()> {
    let status = Command::new(binary()?).args(arguments).arg("--data-dir").arg(data).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("muster {} ended with {status}", arguments.join(" ")).into()),
    }
}

/// The server's binary.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("MUSTER") {
        return Ok(named.into());
    }
    Ok(std::env::current_exe()?.with_file_name("muster"))
}

/// Waits for the line that says where it listens.
fn listening_address(log: &Path, child: &mut Child) -> Result<SocketAddr> {
    for _ in 0..START_POLLS_MAX {
        std::thread::sleep(START_POLL);
        for line in BufReader::new(fs::File::open(log)?).lines() {
            let line = line?;
            if let Some(at) = line.find("127.0.0.1:").filter(|_| line.contains("Listening")) {
                let address: String =
                    line[at..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
                return Ok(address.parse()?);
            }
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("the server ended: {status}; see {}", log.display()).into());
        }
    }
    Err("the server does not listen".into())
}
