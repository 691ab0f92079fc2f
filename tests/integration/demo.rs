//! The demo as a newcomer runs it: every fate and every verdict of its story, over real HTTP.

use std::process::ExitCode;

use muster_server::cli::demo::{Demo, run_to};
use muster_server::config::Environment;
use muster_tests::models::models_dir;

fn demo(data: &tempfile::TempDir) -> Demo {
    Demo {
        exit: true,
        port: 0,
        data_dir: data.path().to_owned(),
        models_dir: Some(models_dir().to_owned()),
        no_faces: false,
        seed: 7,
        env: Environment::Dev,
        log_level: "error".to_owned(),
    }
}

/// Runs it: status, and what was told.
fn run(demo: &Demo) -> (ExitCode, String) {
    let mut told = Vec::new();
    let status = run_to(demo, false, &mut told).unwrap_or_else(|error| panic!("{error}"));
    (status, String::from_utf8(told).unwrap())
}

#[test]
fn every_fate_and_verdict_of_the_story_is_what_it_says() {
    let data = tempfile::tempdir().unwrap();
    let (status, told) = run(&demo(&data));
    assert_eq!(status, ExitCode::SUCCESS, "{told}");
    assert!(told.contains("All 40 came out as the story says"), "{told}");
    let csv = std::fs::read_to_string(data.path().join("demo-attendance.csv")).unwrap();
    assert!(csv.lines().count() >= 40, "{csv}");
    let left: Vec<_> = std::fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["demo-attendance.csv"], "the demo leaves nothing but its CSV");
}

#[test]
fn without_faces_the_story_says_that_none_was_compared() {
    let data = tempfile::tempdir().unwrap();
    let (status, told) = run(&Demo { no_faces: true, seed: 8, ..demo(&data) });
    assert_eq!(status, ExitCode::SUCCESS, "{told}");
    assert!(told.contains("Going on WITHOUT faces") && told.contains("face_unavailable"), "{told}");
    assert!(!told.contains("face_mismatch"), "{told}");
}

#[test]
fn the_demo_does_not_run_in_production() {
    let data = tempfile::tempdir().unwrap();
    let refused = run_to(&Demo { env: Environment::Prod, ..demo(&data) }, false, &mut Vec::new()).unwrap_err();
    assert!(refused.to_string().contains("ENV=prod"), "{refused}");
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}
