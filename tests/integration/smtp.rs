//! A mail server of the tests' own: aiosmtpd, which the mailman project keeps, in a process of its own.
//!
//! It is a better judge of what we send than anything that we would write ourselves. Python is needed for the phone's
//! library already; pip brings the three packages, whose hashes are pinned, once per target folder.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How often an inbox is looked at before a test gives up, and how often in a second.
const POLLS_MAX: usize = 6_000;
const POLL: Duration = Duration::from_millis(10);

/// Who may send.
pub(crate) const USER: &str = "muster-at-mail";
/// With which password.
pub(crate) const SMTP_PASSWORD: &str = "canary-of-the-mail-server";

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    None,
    Starttls,
    Always,
}

impl Encryption {
    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starttls => "starttls",
            Self::Always => "tls",
        }
    }
}

/// A mail server; it ends with this value.
pub(crate) struct MailServer {
    child: Child,
    pub(crate) port: u16,
    folder: TempDir,
}

/// A message that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Mail(pub(crate) Value);

impl MailServer {
    /// One that takes everything in clear.
    pub(crate) fn plain() -> Self {
        Self::start(Encryption::None, 0, false)
    }

    /// One that wants a name and a password.
    pub(crate) fn start(tls: Encryption, port: u16, sign_in: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("certificate.pem"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut command = Command::new(PYTHON);
        command
            .env("PYTHONPATH", &*PACKAGES)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(source().join("server.py"))
            .args(["--port", &port.to_string(), "--tls", tls.as_str(), "--inbox"])
            .arg(folder.path())
            .arg("--certificate")
            .arg(folder.path().join("certificate.pem"))
            .arg("--key")
            .arg(folder.path().join("key.pem"))
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .stdout(Stdio::piped());
        if sign_in {
            command.args(["--user", USER, "--password", SMTP_PASSWORD]);
        }
        let mut child = command.spawn().expect("Python 3 runs the mail server");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the mail server does not start: {}", said()));
        Self { child, port, folder }
    }

    /// The certificate that it proves itself with, which signs itself.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// How it answers from now on: `ok`, a code, or `vanish`.
    pub(crate) fn mood(&self, mood: &str) {
        fs::write(self.folder.path().join("mood.new"), mood).unwrap();
        fs::rename(self.folder.path().join("mood.new"), self.folder.path().join("mood")).unwrap();
    }

    /// What it was told so far, such as `MAIL encrypted`.
    pub(crate) fn commands(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("commands")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What arrived so far, oldest first.
    pub(crate) fn inbox(&self) -> Vec<Mail> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        files.sort();
        files.iter().map(|path| Mail(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())).collect()
    }

    /// Waits until that many messages have arrived, and gives the last one.
    pub(crate) async fn nth(&self, count: usize) -> Mail {
        for _ in 0..POLLS_MAX {
            let mut inbox = self.inbox();
            if inbox.len() >= count {
                assert_eq!(inbox.len(), count, "{inbox:#?}");
                return inbox.pop().unwrap();
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("{} messages instead of {count}", self.inbox().len());
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mail {
    /// Everything behind the header, with soft line breaks and `=XX` undone.
    pub(crate) fn body(&self) -> String {
        let (_, body) = self.text().split_once("\r\n\r\n").expect("a header and a body");
        decode(&body.replace("=\r\n", ""))
    }

    /// A header field, unfolded. The tests' subjects are ASCII.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let (header, _) = self.text().split_once("\r\n\r\n").expect("a header and a body");
        let unfolded = header.replace("\r\n ", " ").replace("\r\n\t", " ");
        let found = unfolded.lines().filter_map(|line| line.split_once(": "));
        found.filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    }

    /// Who the server was told to give it to.
    pub(crate) fn recipients(&self) -> Vec<&str> {
        self.0["to"].as_array().unwrap().iter().map(|to| to.as_str().unwrap()).collect()
    }

    /// The link in it with a token, and the token.
    pub(crate) fn link(&self) -> (String, String) {
        let body = self.body();
        let at = body.find("#token=").expect("a link with a token");
        let start = body[..at].rfind(char::is_whitespace).unwrap() + 1;
        let end = body[at..].find(char::is_whitespace).unwrap() + at;
        (body[start..end].to_owned(), body[at + "#token=".len()..end].to_owned())
    }

    fn text(&self) -> &str {
        self.0["text"].as_str().unwrap()
    }
}

fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('=') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        match rest.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[at + 3..];
            }
            None => {
                bytes.push(b'=');
                rest = &rest[at + 1..];
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap()
}

const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("smtp")
}

/// The folder of the server's packages, brought once.
static PACKAGES: LazyLock<PathBuf> = LazyLock::new(|| {
    let requirements = source().join("requirements.txt");
    let ready = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aiosmtpd-1.4.6");
    if ready.exists() {
        return ready;
    }
    let draft = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let installed = Command::new(PYTHON)
        .args(["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"])
        .args(["--only-binary=:all:", "--require-hashes", "--no-deps", "--target"])
        .arg(draft.path())
        .arg("-r")
        .arg(requirements)
        .status();
    let installed = installed.is_ok_and(|status| status.success());
    assert!(
        installed,
        "pip could not bring aiosmtpd, the mail server of these tests: Python 3 with pip and a network are needed once"
    );
    // Whoever else brought it meanwhile brought the same.
    if fs::rename(draft.path(), &ready).is_ok() {
        let _ = draft.keep();
    }
    ready
});
