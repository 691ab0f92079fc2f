//! A key that is lost, damaged, another one, or open to others refuses the start in one sentence; nothing is made anew that
//! the database knows.

use std::fs;
use std::path::PathBuf;

use muster_tests::lecture::{Lecture, NOON_MS};
use muster_tests::{Data, TestServer};

use super::admin::muster;

/// Every key file, with the length of what it holds.
const FILES: [&str; 8] = [
    "server-ed25519.key",
    "session-code.key",
    "master.key",
    "token.key",
    "token-pepper.key",
    "oauth.key",
    "mail.key",
    "legacy-id.key",
];

/// A stopped server that knew people and evidence.
async fn stopped() -> Data {
    let lecture = Lecture::on(TestServer::builder()).await;
    let mut phone = lecture.student(1).await;
    let id = lecture.capture(&mut phone, &lecture.manifest(None)).await;
    lecture.verdict(&id, 1).await;
    lecture.server.stop().await
}

/// Why a server does not start on the data; `None` if it does.
async fn refusal(data: &mut Option<Data>) -> Option<String> {
    let started = TestServer::builder().manual_clock(NOON_MS).data(keep(data)).try_start().await;
    match started {
        Ok(server) => {
            *data = Some(server.stop().await);
            None
        }
        Err(error) => Some(error.to_string()),
    }
}

/// A copy for one start: a server that does not start gives its data back to nobody.
fn keep(data: &mut Option<Data>) -> Data {
    data.as_ref().unwrap().copy().unwrap()
}

fn key(data: &Option<Data>, name: &str) -> PathBuf {
    data.as_ref().unwrap().path().join("keys").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_lost_or_another_one_refuses_the_start_and_is_not_made_anew() {
    let mut data = Some(stopped().await);
    for name in FILES {
        let path = key(&data, name);
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let refused = refusal(&mut data).await.expect(name);
        assert!(refused.contains(name) && refused.contains("is missing") && refused.contains("the id "), "{refused}");
        assert!(!refused.contains('\n') && refused.contains("backup"), "{refused}");
        assert!(!path.exists(), "{name} was made anew");

        // One bit, where the file is raw; one sign of base64 that is another one, where it is not.
        let mut flipped = whole.clone();
        flipped[3] = if name == "master.key" && whole[3] == b'A' {
            b'B'
        } else if name == "master.key" {
            b'A'
        } else {
            whole[3] ^ 1
        };
        muster_server::keys::place_new(path.parent().unwrap(), name, &flipped, &muster_server::clock::SystemEntropy)
            .unwrap();
        let refused = refusal(&mut data).await.expect(name);
        assert!(refused.contains(name) && refused.contains("another key"), "{refused}");
        fs::write(&path, &whole[..whole.len() - 2]).unwrap();
        let refused = refusal(&mut data).await.expect(name);
        assert!(refused.contains(name) && !refused.contains('\n'), "{refused}");
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(refusal(&mut data).await, None, "with all of them back it starts");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_others_can_open_refuses_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let mut data = Some(stopped().await);
    for name in FILES {
        let path = key(&data, name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name} is made private");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = refusal(&mut data).await.expect(name);
        assert!(refused.contains(name) && refused.contains("chmod 600"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(refusal(&mut data).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_one_file_is_refused_and_commands_beside_it_are_not() {
    let data = Data::sqlite();
    let folder = data.path().to_owned();
    let server = TestServer::builder().data(data).start().await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["serve", "--port", "0", "--log-level", "error", "--data-dir"])
        .arg(&folder)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("another server") && said.contains("muster.db"), "{said}");
    for arguments in [&["admin", "list"][..], &["audit", "verify"][..]] {
        let output = muster(server.data(), arguments, "");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    // It ends with the server.
    let data = server.stop().await;
    let again = TestServer::builder().data(data).start().await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_with_other_keys_is_refused_and_one_with_the_same_is_not() {
    let first = TestServer::start().await;
    if first.data().is_sqlite() {
        return;
    }
    TestServer::builder().beside(&first).start().await.stop().await;
    let alien = Data::sqlite();
    let url = first.data().database().unwrap().url();
    let options = muster_tests::postgres::options(&url);
    let mut builder = TestServer::builder().data(alien);
    for pair in options.chunks(2) {
        builder = builder.option(&pair[0], &pair[1]);
    }
    let Err(refused) = builder.try_start().await else { panic!("a node with keys of its own started") };
    assert!(refused.to_string().contains("is missing"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_checked_copied_for_the_safe_put_back_and_replaced_by_command() {
    let mut data = Some(stopped().await);
    let folder = data.as_ref().unwrap().path().to_owned();
    let run = |data: &Option<Data>, arguments: &[&str]| {
        let output = muster(data.as_ref().unwrap(), arguments, "");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (fits, said) = run(&data, &["keys", "check"]);
    assert!(fits && said.contains("token-pepper"), "{said}");
    let passphrase = folder.join("passphrase");
    fs::write(&passphrase, "correct horse battery\n").unwrap();
    let (sealed, clear) = (folder.join("sealed.json"), folder.join("clear.json"));
    let (sealed, clear) = (sealed.to_str().unwrap(), clear.to_str().unwrap());
    let with = ["--passphrase-file", passphrase.to_str().unwrap()];
    assert!(run(&data, &[&["keys", "export", sealed], &with[..]].concat()).0);
    let (copied, said) = run(&data, &["keys", "export", clear]);
    assert!(copied && said.contains("in clear"), "{said}");
    assert!(!run(&data, &["keys", "export", clear]).0, "a copy is never written over");

    let (mail, server) = (key(&data, "mail.key"), key(&data, "server-ed25519.key"));
    let whole = fs::read(&server).unwrap();
    fs::remove_file(&mail).unwrap();
    fs::remove_file(&server).unwrap();
    let (fits, said) = run(&data, &["keys", "check"]);
    assert!(!fits && said.contains("mail.key is missing") && said.contains("server-ed25519.key is missing"), "{said}");
    assert!(!run(&data, &["keys", "import", sealed]).0, "without its passphrase it says nothing");
    assert!(run(&data, &[&["keys", "import", sealed], &with[..]].concat()).0);
    assert_eq!(fs::read(&server).unwrap(), whole);
    assert_eq!(refusal(&mut data).await, None);

    // The server of the copy has its data elsewhere now.
    let mail = key(&data, "mail.key");
    fs::remove_file(&mail).unwrap();
    let (replaced, said) = run(&data, &["keys", "replace", "mail"]);
    assert!(replaced && said.contains("given up"), "{said}");
    for lasting in ["server", "master", "mfa", "nonsense"] {
        assert!(!run(&data, &["keys", "replace", lasting]).0, "{lasting}");
    }
    assert_eq!(refusal(&mut data).await, None);
    assert!(run(&data, &["keys", "check"]).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_earlier_release_knows_its_keys_by_what_they_signed_and_sealed() {
    let stopped = stopped().await;
    if !stopped.is_sqlite() {
        return;
    }
    let mut data = Some(stopped);
    let forget = |data: &Option<Data>| {
        let file = rusqlite::Connection::open(data.as_ref().unwrap().path().join("muster.db")).unwrap();
        assert_eq!(file.execute("DELETE FROM key_marks", []).unwrap(), FILES.len());
    };
    forget(&data);
    assert_eq!(refusal(&mut data).await, None, "its own keys are taken over");
    forget(&data);
    for name in ["server-ed25519.key", "master.key"] {
        let path = key(&data, name);
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let refused = refusal(&mut data).await.expect(name);
        assert!(refused.contains(name) && refused.contains("is missing") && !path.exists(), "{refused}");
        let mut another = whole.clone();
        another[3] = if whole[3] == b'A' { b'B' } else { b'A' };
        fs::write(&path, &another).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let refused = refusal(&mut data).await.expect(name);
        assert!(refused.contains(name) && refused.contains("another key"), "{refused}");
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(refusal(&mut data).await, None);
}
