//! The generated Python binding on the built library: captures with no server, then syncs to a real one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use muster_tests::{PASSWORD, TestServer};
use tempfile::TempDir;
use uniffi::{GenerateOptions, TargetLanguage};

const STUDENT: &str = "student@example.org";

/// A folder with the library that this build made and the Python binding that is generated from it.
pub(crate) fn binding() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let library = library();
    let options = GenerateOptions {
        languages: vec![TargetLanguage::Python],
        source: library.to_str().unwrap().into(),
        out_dir: dir.path().to_str().unwrap().into(),
        ..GenerateOptions::default()
    };
    uniffi::generate(options).unwrap();
    std::fs::copy(&library, dir.path().join(library.file_name().unwrap())).unwrap();
    dir
}

/// Cargo puts the library of a dependency beside the test programs.
fn library() -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let name = format!("{DLL_PREFIX}muster_mobile{DLL_SUFFIX}");
    std::env::current_exe().unwrap().with_file_name(name)
}

/// A phone that is a Python program.
pub(crate) struct Program {
    binding: TempDir,
    store: TempDir,
}

impl Program {
    async fn run(&self, server: &str, arguments: &[&str]) -> Output {
        self.run_alone(server, &[arguments, &["--email", STUDENT]].concat()).await
    }

    /// Without an account: the phone has its key and nothing else.
    async fn run_alone(&self, server: &str, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mobile-ffi/python/offline_lecture.py");
        let mut command = Command::new("python3");
        command.arg("-B").arg(script).args(arguments).args(["--server", server]);
        command.arg("--binding").arg(self.binding.path()).arg("--store").arg(self.store.path());
        command.env("MUSTER_PASSWORD", PASSWORD);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Runs it to its end, which must be a good one.
    #[track_caller]
    pub(crate) fn check(output: Output) -> String {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
        out.into_owned()
    }
}

/// The admin approves the only request that waits.
async fn approve(server: &TestServer) {
    let admin = server.client("admin").await;
    let requests = admin.get("/api/v1/admin/device-requests?status=pending").await.expect(200);
    assert_eq!(requests["items"].as_array().unwrap().len(), 1, "{requests}");
    let hash = requests["items"][0]["hash"].as_str().unwrap().to_owned();
    admin.post(&format!("/api/v1/admin/device-requests/{hash}/approve"), &serde_json::json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_captures_with_no_server_wait_for_the_approval_and_get_their_receipts() {
    let server = TestServer::start().await;
    server.create_known_user(STUDENT, "student").await;
    let phone = Program { binding: binding(), store: tempfile::tempdir().unwrap() };
    Program::check(phone.run(&server.url(""), &["prepare"]).await);

    let address = server.url("");
    let data = server.stop().await;
    let out = Program::check(phone.run(&address, &["capture"]).await);
    assert!(out.contains("50 records, 0 not as expected; pending: 51 changes"), "{out}");

    let server = TestServer::builder().data(data).start().await;
    let waiting = ["sync", "--expect", "waiting", "--expect-reason", "device_unbound"];
    let out = Program::check(phone.run(&server.url(""), &waiting).await);
    assert!(out.contains("50 in quarantine"), "{out}");

    let alone = phone.run_alone(&server.url(""), &["sync"]).await;
    assert!(String::from_utf8_lossy(&alone.stderr).contains("somebody has to sign in"), "{alone:?}");
    approve(&server).await;
    let out = Program::check(phone.run_alone(&server.url(""), &["sync"]).await);
    assert!(out.contains("signed in by the device's key, for 900 s"), "{out}");
    assert!(out.contains("pending: 0 changes, 0 in quarantine, 0 refused, 0 images"), "{out}");
    assert_eq!(out.matches("receipt #").count(), 50, "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_app_s_own_code_come_back_as_values() {
    let binding = binding();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mobile-ffi/python");
    let mut command = Command::new("python3");
    command.args(["-B", "-m", "unittest", "discover", "-s"]).arg(folder).env("MUSTER_BINDING", binding.path());
    Program::check(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap());
}
