//! Power cuts against the real server, a short run of each kind; `just power-cut` runs many.

use std::process::Command;

/// Runs the program: whether it succeeded, and what it said. The database is always the embedded one.
fn power_cut(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_power-cut"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.contains("DATABASE")) {
        command.env_remove(name);
    }
    let output = command.args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn no_acknowledged_record_or_image_is_lost_when_the_power_goes() {
    let (succeeded, told) = power_cut(&["--cuts", "6"]);
    assert!(succeeded, "{told}");
    assert!(told.contains("6 cuts in ") && told.contains(" 0 cuts with a loss"), "{told}");
}

#[test]
fn a_database_that_does_not_wait_for_the_disk_is_caught() {
    let (succeeded, told) = power_cut(&["--cuts", "20", "--fault", "normal", "--until-loss"]);
    assert!(succeeded && told.contains(" 1 cuts with a loss"), "{told}");
}

#[test]
fn a_database_that_answers_before_its_commit_is_caught() {
    let (succeeded, told) = power_cut(&["--cuts", "20", "--fault", "early", "--until-loss"]);
    assert!(succeeded && told.contains(" 1 cuts with a loss"), "{told}");
}

#[test]
fn a_first_start_can_be_cut_after_each_of_its_flushes() {
    let (succeeded, told) = power_cut(&["first-start"]);
    assert!(succeeded, "{told}");
}
