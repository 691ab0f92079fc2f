//! The generated Python binding on the built library: captures with no server, then syncs to a real one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use muster_server::{devices, ids::TenantId, log};
use muster_sync_core::document::{Binding, BindingAction, Label};
use muster_sync_core::{DeviceKey, DocumentName};
use muster_tests::{PASSWORD, TestServer};
use tempfile::TempDir;
use uniffi::{GenerateOptions, TargetLanguage};

const STUDENT: &str = "student@example.org";

/// A folder with the library that this build made and the Python binding that is generated from it.
fn binding() -> TempDir {
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
struct Program {
    binding: TempDir,
    store: TempDir,
}

impl Program {
    async fn run(&self, server: &str, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mobile-ffi/python/offline_lecture.py");
        let mut command = Command::new("python3");
        command.arg("-B").arg(script).args(arguments).args(["--server", server, "--email", STUDENT]);
        command.arg("--binding").arg(self.binding.path()).arg("--store").arg(self.store.path());
        command.env("MUSTER_PASSWORD", PASSWORD);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Runs it to its end, which must be a good one.
    #[track_caller]
    fn check(output: Output) -> String {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
        out.into_owned()
    }
}

async fn approve(server: &TestServer, user: &str, key: DeviceKey) {
    let name = DocumentName::DeviceBinding { user: user.to_owned() };
    let by = Label::new("an-admin").unwrap();
    let binding = Binding { key, action: BindingAction::Bind, of: None, reason: None, by };
    let entries = vec![(name.clone(), log::channels_of(&name, None), binding.into())];
    let tenant = TenantId::default_tenant();
    let project = |tx: &muster_server::db::Tx<'_>, appended: &[log::Appended]| {
        appended.iter().try_for_each(|change| devices::project(tx, change, None)).map_err(Into::into)
    };
    log::append_as_server(server.app(), &tenant, entries, project).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_captures_with_no_server_wait_for_the_approval_and_get_their_receipts() {
    let server = TestServer::start().await;
    let user = server.create_user(STUDENT, "student").await;
    let phone = Program { binding: binding(), store: tempfile::tempdir().unwrap() };
    let out = Program::check(phone.run(&server.url(""), &["prepare"]).await);
    let key = out.trim().rsplit(' ').next().and_then(DeviceKey::from_hex).unwrap();

    let address = server.url("");
    let data = server.stop().await;
    let out = Program::check(phone.run(&address, &["capture", "--images", "0"]).await);
    assert!(out.contains("50 records, 0 not as expected; pending: 51 changes"), "{out}");

    let server = TestServer::builder().data(data).start().await;
    let waiting = ["sync", "--expect", "waiting", "--expect-reason", "device_unbound"];
    let out = Program::check(phone.run(&server.url(""), &waiting).await);
    assert!(out.contains("50 in quarantine"), "{out}");

    approve(&server, &user, key).await;
    let out = Program::check(phone.run(&server.url(""), &["sync"]).await);
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
