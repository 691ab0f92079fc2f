//! The files of heads beside the keys: each is one list, signed as a whole, and whatever is not is said.

use std::fs;

use muster_tests::Data;
use serde_json::{Value, json};

use super::key_rotation::{copy_of, keys, run, stopped};

/// What `muster verify` and `muster audit verify` say of the files of heads beside the keys.
fn heads_say(data: &Data) -> (bool, String) {
    let (whole, log) = run(data, &["verify"]);
    let (is_audit_whole, audit) = run(data, &["audit", "verify"]);
    (whole && is_audit_whole, format!("{log}{audit}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_heads_that_is_missing_emptied_or_an_older_one_is_said_and_its_lines_count_together() {
    let (data, _) = stopped().await;
    let (whole, said) = heads_say(&data);
    assert!(whole && !said.contains("note: "), "{said}");
    for name in ["log-heads.json", "audit-heads.json"] {
        let path = keys(&data).join(name);
        let text = fs::read_to_string(&path).unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        assert!(list["counter"].as_u64().unwrap() > 0 && list["signature"].is_string(), "{list}");
        let with = |change: &dyn Fn(&mut Value)| {
            let mut changed = list.clone();
            change(&mut changed);
            fs::write(&path, serde_json::to_vec(&changed).unwrap()).unwrap();
            heads_say(&data)
        };
        // Every line is signed as it was, and still the list is not.
        let edits: [&dyn Fn(&mut Value); 4] = [
            &|list| list["heads"] = json!([]),
            &|list| list["counter"] = json!(list["counter"].as_u64().unwrap() + 1),
            &|list| list["heads"] = json!([list["heads"][0], list["heads"][0]]),
            &|list| drop(list.as_object_mut().unwrap().remove("signature")),
        ];
        for edit in edits {
            let (whole, said) = with(edit);
            assert!(!whole && said.contains(name), "{said}");
        }
        // As an earlier release wrote it, or somebody who wants it to look so.
        let (whole, said) = with(&|list| {
            *list = json!({"version": 1, "heads": []});
        });
        assert!(whole && said.contains("not signed as a whole") && said.contains("no signed head covers"), "{said}");
        fs::remove_file(&path).unwrap();
        let (whole, said) = heads_say(&data);
        assert!(whole && said.contains(&format!("{name}: a lost tail cannot be seen")), "{said}");
        fs::write(&path, &text).unwrap();
    }
    let (whole, said) = heads_say(&data);
    assert!(whole && !said.contains("note: "), "{said}");
}

/// What a server says in its log while it starts.
fn start_says(data: &Data) -> String {
    let log = data.path().join("start.log");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["serve", "--port", "0", "--log-file"])
        .arg(&log)
        .arg("--data-dir")
        .arg(data.path())
        .args(data.database().map(|database| muster_tests::postgres::options(&database.url())).into_iter().flatten())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let mut said = String::new();
    for line in lines.map(Result::unwrap) {
        said.push_str(&line);
        said.push('\n');
        if line.contains("Listening") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_warns_of_a_list_of_heads_that_is_missing_emptied_or_of_an_earlier_release() {
    let (stopped, _) = stopped().await;
    let said = start_says(&stopped.copy().unwrap());
    assert!(!said.contains("heads"), "{said}");
    for name in ["log-heads.json", "audit-heads.json"] {
        let list: Value = serde_json::from_slice(&copy_of(&keys(&stopped).join(name))).unwrap();
        let mut emptied = list.clone();
        emptied["heads"] = json!([]);
        let earlier = json!({"version": 1, "heads": []});
        for (content, word) in
            [(None, "is missing"), (Some(emptied), "says nothing"), (Some(earlier), "earlier release")]
        {
            let data = stopped.copy().unwrap();
            let path = keys(&data).join(name);
            fs::remove_file(&path).unwrap();
            if let Some(content) = &content {
                fs::write(&path, serde_json::to_vec(content).unwrap()).unwrap();
            }
            let said = start_says(&data);
            let line = said.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{name} {word}: {said}"));
            assert!(line.contains("heads"), "{line}");
        }
    }
}
