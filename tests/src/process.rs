//! A server in a process of its own, for what only a whole program shows: its log, its environment, its status.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// How often the log is looked at while a server starts, and how often at most.
const START_POLL: Duration = Duration::from_millis(20);
const START_POLLS_MAX: usize = 3_000;

/// A running server; killed when dropped.
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts `binary serve` on a free port with this environment and no other. It logs JSON to `dir/console.log`.
    ///
    /// # Panics
    /// When it does not say within a minute that it listens.
    pub fn start(binary: &str, dir: &Path, environment: &[(&str, &str)]) -> Self {
        let console = dir.join("console.log");
        let mut child = Command::new(binary)
            .env_clear()
            .current_dir(dir)
            .arg("serve")
            .env("PORT", "0")
            .env("DATA_DIR", dir.join("data"))
            .env("LOG_FORMAT", "json")
            .envs(environment.iter().copied())
            .stderr(fs::File::create(&console).expect("a file"))
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary runs");
        for _ in 0..START_POLLS_MAX {
            std::thread::sleep(START_POLL);
            let text = fs::read_to_string(&console).expect("the log");
            let listening = lines(&text).into_iter().find(|line| line["message"] == "Listening");
            if let Some(address) = listening.and_then(|line| line["address"].as_str()?.parse().ok()) {
                return Self { child, address };
            }
            if let Some(status) = child.try_wait().expect("a status") {
                panic!("the server ended with {status}: {text}");
            }
        }
        let _ = child.kill();
        panic!("the server does not listen");
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Stops it in order.
    ///
    /// # Panics
    /// When it cannot be told to.
    pub fn stop(mut self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "the server is told to stop");
        let ended = self.child.wait().expect("a status");
        assert!(ended.success(), "the server ended with {ended}");
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a log that are JSON.
pub fn lines(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
