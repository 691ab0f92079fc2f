//! Two phones that are Python programs on the generated binding meet with no server, and one carries for the other.

use std::path::Path;
use std::process::Command;

use muster_tests::pocket::approve_all;
use muster_tests::{PASSWORD, TestServer};
use serde_json::json;

use crate::mobile::{Program, binding};

const LECTURER: &str = "lecturer@example.org";
const STUDENT: &str = "student@example.org";

#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_from_phone_to_phone_and_its_receipt_comes_back() {
    let server = TestServer::start().await;
    let student = server.create_known_user(STUDENT, "student").await;
    server.create_known_user(LECTURER, "lecturer").await;
    let lecturer = server.sign_in(LECTURER).await;
    let course = lecturer.post("/api/v1/courses", &json!({"code": "CS101", "title": "A course"})).await.expect(201);
    let course = course["id"].as_str().unwrap().to_owned();
    lecturer.post(&format!("/api/v1/courses/{course}/students"), &json!({"user_ids": [student]})).await.expect(200);

    let (binding, store) = (binding(), tempfile::tempdir().unwrap());
    let run = |command: &'static str, server: String| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mobile-ffi/python/basement.py");
        let mut program = Command::new("python3");
        program.arg("-B").arg(script).args([command, "--server", &server, "--course", &course]);
        program.args(["--lecturer", LECTURER, "--student", STUDENT]).env("MUSTER_PASSWORD", PASSWORD);
        program.arg("--binding").arg(binding.path()).arg("--store").arg(store.path());
        async move { Program::check(tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap()) }
    };
    run("prepare", server.url("")).await;
    approve_all(&server.client("admin").await).await;

    let address = server.url("");
    let data = server.stop().await;
    let out = run("meet", address).await;
    assert!(out.contains("handed over one record"), "{out}");

    let server = TestServer::builder().data(data).start().await;
    let out = run("deliver", server.url("")).await;
    assert!(out.contains("came back through the relay"), "{out}");
}
