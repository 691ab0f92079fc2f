//! A log file that is put aside when it is full: `muster.log`, then `muster.log.1`, up to a number of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the last line was lost. A process has one log file, and nobody to tell but through this.
static FAILS: AtomicBool = AtomicBool::new(false);

/// Whether the last line could not be written into the log file, if there is one.
pub fn log_file_fails() -> bool {
    FAILS.load(Ordering::Relaxed)
}

/// The file that is written now.
pub(super) struct RotatingFile {
    path: PathBuf,
    bytes_max: u64,
    backups_max: u32,
    file: File,
    size_bytes: u64,
}

impl RotatingFile {
    /// Opens the file, or goes on with one that is there; makes the folder that it is in.
    pub(super) fn open(path: &Path, bytes_max: u64, backups_max: u32) -> io::Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        let file = append_to(path)?;
        let size_bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), bytes_max, backups_max, file, size_bytes })
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.backups_max == 0 {
            self.file.set_len(0)?;
        } else {
            for number in (1..self.backups_max).rev() {
                let (from, to) = (self.backup(number), self.backup(number + 1));
                if from.exists() {
                    fs::rename(from, to)?;
                }
            }
            fs::rename(&self.path, self.backup(1))?;
            self.file = append_to(&self.path)?;
        }
        self.size_bytes = 0;
        Ok(())
    }

    fn backup(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

impl Write for RotatingFile {
    /// One call is one line, which is never split between files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size_bytes > 0 && self.size_bytes + line.len() as u64 > self.bytes_max {
            // A line in a file that is too large is better than none.
            let _ = self.rotate();
        }
        let written = self.file.write_all(line);
        FAILS.store(written.is_err(), Ordering::Relaxed);
        written?;
        self.size_bytes += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Nobody but its owner and the owner's group reads a log.
fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs").join("muster.log");
        let mut log = RotatingFile::open(&path, 20, 2).unwrap();
        for number in 0..9 {
            log.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(path.with_file_name(name)).unwrap();
        assert_eq!(read("muster.log"), "line 8\n");
        assert_eq!(read("muster.log.1"), "line 6\nline 7\n");
        assert_eq!(read("muster.log.2"), "line 4\nline 5\n");
        assert!(!path.with_file_name("muster.log.3").exists());
        drop(log);
        let mut again = RotatingFile::open(&path, 20, 2).unwrap();
        again.write_all(b"line 9\n").unwrap();
        assert_eq!(read("muster.log"), "line 8\nline 9\n");
    }
}
