//! The file with the first admin's password, for a script that starts a server and signs in. It is gone as soon as the
//! account has another password.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::config::Secret;
use crate::durable;

/// Name of the file in DATA_DIR.
const FILE: &str = "first-admin.txt";

/// Where the file is.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Writes address and password, each in a line, for the server's user alone. Blocks.
///
/// # Errors
/// When the file cannot be written.
pub fn write(data_dir: &Path, email: &str, password: &Secret) -> io::Result<()> {
    durable::replace(&path(data_dir), format!("{email}\n{}\n", password.reveal()).as_bytes())
}

/// Removes the file after a change of the password that stands in it.
pub(super) async fn forget(app: &App, email: &str) {
    let (path, email) = (path(&app.config.data.data_dir), email.to_owned());
    let removed = tokio::task::spawn_blocking(move || remove_if_about(&path, &email)).await;
    if let Ok(Err(error)) = removed {
        // The password in it opens nothing any more.
        tracing::warn!(%error, file = FILE, "The file with the first admin's old password could not be removed");
    }
}

fn remove_if_about(path: &Path, email: &str) -> io::Result<()> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if text.lines().next() != Some(email) {
        return Ok(());
    }
    fs::remove_file(path)?;
    durable::sync_folder(durable::parent_of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_the_same_account_removes_the_file_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "admin@muster.example", &Secret::new("p".to_owned())).unwrap();
        let path = path(dir.path());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        remove_if_about(&path, "ada@uni.example").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "admin@muster.example\np\n");
        remove_if_about(&path, "admin@muster.example").unwrap();
        assert!(!path.exists());
        remove_if_about(&path, "admin@muster.example").unwrap();
    }
}
