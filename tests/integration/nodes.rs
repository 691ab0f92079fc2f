//! Several servers on one PostgreSQL database: they admit one storm without loss or doubles, hear from each other, and
//! refuse to start where a failover would lose what they acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use muster_server::config::{ASYNC_STANDBY_WORDS, UNSAFE_POSTGRES_WORDS};
use muster_server::db::{Allowances, Db, DbError, Tx};
use muster_server::params;
use muster_sync_core::Locator;
use muster_sync_core::sync::message::{CONTENT_TYPE, Fate, FateKind, Response};
use muster_tests::phone::{Item, Phone};
use muster_tests::postgres::{self, Cluster, TestDatabase, WITHOUT_FLUSHES};
use muster_tests::{Data, TestServer};
use serde_json::json;

use super::db_alike::some_server;

const NOON_MS: i64 = 1_763_640_000_000;
const PHONES: u8 = 8;
const RECORDS: u8 = 25;
/// Records that each request of the storm carries.
const PER_REQUEST: usize = 5;

/// A `muster serve` in a process of its own; killed when dropped.
struct Process {
    child: Child,
    base: String,
}

impl Process {
    fn start(data: &Data, url: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_load"))
            .args(["serve", "--rl-user-limit", "1000000", "--rl-anonymous-ip-limit", "1000000"])
            .args(["--port", "0", "--data-dir"])
            .arg(data.path())
            .args(postgres::options(url))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = lines.by_ref().map(Result::unwrap).find(|line| line.contains("Listening"));
        let listening = listening.expect("the server starts");
        let at = listening.find("127.0.0.1:").unwrap();
        let address: String =
            listening[at..].chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
        // Whoever writes into a pipe that nobody reads stands still.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, base: format!("http://{address}") }
    }

    fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pushes until there is an answer: a server that is busy asks for patience.
async fn push(http: reqwest::Client, base: String, token: String, body: Vec<u8>) -> Vec<Fate> {
    for _ in 0..3_000 {
        let request = http.post(format!("{base}/api/v1/sync")).bearer_auth(&token);
        let reply = request.header("content-type", CONTENT_TYPE).body(body.clone()).send().await.unwrap();
        match reply.status().as_u16() {
            200 => return Response::decode(&reply.bytes().await.unwrap()).unwrap().fates,
            503 => tokio::time::sleep(Duration::from_millis(20)).await,
            other => panic!("{other}: {}", reply.text().await.unwrap()),
        }
    }
    panic!("busy for too long");
}

fn storm(phone: &mut Phone, seed: u8) -> Vec<Item> {
    let locator = |index: u8| Locator::from_random([seed, index, 0, 0]);
    (0..RECORDS).map(|index| phone.submission(locator(index), "123456", NOON_MS)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_admit_one_storm_without_loss_doubles_or_gaps() {
    let Some((url, _cluster)) = some_server() else { return };
    let data = Data::new(tempfile::tempdir().unwrap(), Some(TestDatabase::on(&url)));
    let url = data.database().unwrap().url();
    let server = TestServer::builder().data(data).start().await;
    let mut requests = Vec::new();
    for seed in 1..=PHONES {
        let mut phone = Phone::new(server.client("student").await, seed);
        phone.bind(&server).await;
        let items = storm(&mut phone, seed);
        let token = phone.client.token().unwrap().to_owned();
        let bodies: Vec<Vec<u8>> =
            items.chunks(PER_REQUEST).map(|items| phone.body(items, &HashMap::new(), false)).collect();
        requests.extend(bodies.into_iter().map(|body| (token.clone(), body)));
    }
    let data = server.stop().await;
    let before = count(&data, "SELECT count(*) FROM change_log").await;
    let (left, right) = (Process::start(&data, &url), Process::start(&data, &url));
    let http = muster_tests::http::client().build().unwrap();
    // Both get everything, the one from the front and the other from the back.
    let send = |base: &str, at: usize| {
        let (token, body) = requests[at].clone();
        tokio::spawn(push(http.clone(), base.to_owned(), token, body))
    };
    let n = requests.len();
    let sent: Vec<_> = (0..n).map(|at| (at, send(&left.base, at), n - 1 - at, send(&right.base, n - 1 - at))).collect();
    let (mut of_left, mut of_right) = (BTreeMap::new(), BTreeMap::new());
    for (at_left, left, at_right, right) in sent {
        of_left.insert(at_left, left.await.unwrap());
        of_right.insert(at_right, right.await.unwrap());
    }
    assert_eq!(of_left, of_right, "one receipt for one record, whoever was asked");
    let fates: Vec<&Fate> = of_left.values().flatten().collect();
    assert_eq!(fates.len(), usize::from(PHONES) * usize::from(RECORDS));
    assert!(fates.iter().all(|fate| fate.kind == FateKind::Accepted), "{fates:?}");
    left.stop();
    right.stop();
    let indexes = "SELECT log_index FROM change_log ORDER BY log_index";
    let indexes = rows(&data, indexes).await;
    assert_eq!(indexes, (1..=indexes.len() as i64).collect::<Vec<_>>(), "log indexes have no gaps");
    let head = count(&data, "SELECT last_index FROM log_heads").await;
    assert_eq!(head, indexes.len() as i64);
    let submissions = count(&data, "SELECT count(*) FROM submissions").await;
    assert_eq!(submissions, fates.len() as i64, "each record once");
    assert!(indexes.len() as i64 >= before + submissions);
    let doubled = "SELECT count(*) FROM (SELECT document_id FROM verdicts GROUP BY document_id, of_hash
        HAVING count(*) > 1) AS twice";
    assert_eq!(count(&data, doubled).await, 0, "each record is judged once");
}

async fn rows(data: &Data, sql: &'static str) -> Vec<i64> {
    let database = data.database().unwrap().url();
    let open = move || Db::open_postgres(&database, postgres::allowances(), 0).unwrap();
    let db = tokio::task::spawn_blocking(open).await.unwrap();
    let read: Result<Vec<i64>, DbError> = db.read(move |tx: &Tx<'_>| tx.query(sql, params![], |row| row.get(0))).await;
    tokio::task::spawn_blocking(move || db.close()).await.unwrap();
    read.unwrap()
}

async fn count(data: &Data, sql: &'static str) -> i64 {
    rows(data, sql).await[0]
}

/// Two servers in this process over one database, with the same keys.
async fn pair(url: &str) -> (TestServer, TestServer) {
    let first = Data::new(tempfile::tempdir().unwrap(), Some(TestDatabase::on(url)));
    let first = TestServer::builder().data(first).start().await;
    let second = TestServer::builder().beside(&first).start().await;
    (first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_stream_hears_what_the_other_server_admitted() {
    let Some((url, _cluster)) = some_server() else { return };
    let (here, there) = pair(&url).await;
    let mut phone = Phone::new(here.client("student").await, 1);
    phone.bind(&here).await;
    let listener = there.with_token(phone.client.token().unwrap());
    let mut stream = listener.request(reqwest::Method::GET, "/api/v1/sync/live").send().await.unwrap();
    let ready = stream.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&ready).contains("event: ready"));
    let item = phone.submission(Locator::from_random([1; 4]), "123456", NOON_MS);
    phone.push(&[item]).await;
    let wanted = format!("data: user:{}", phone.client.user_id());
    loop {
        let moved =
            tokio::time::timeout(Duration::from_secs(60), stream.chunk()).await.expect("the other server tells");
        if String::from_utf8_lossy(&moved.unwrap().unwrap()).contains(&wanted) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ended_at_one_server_ends_at_the_other() {
    let Some((url, _cluster)) = some_server() else { return };
    let (here, there) = pair(&url).await;
    let admin = here.client("admin").await;
    let student = here.client("student").await;
    let elsewhere = there.with_token(student.token().unwrap());
    elsewhere.get("/api/v1/auth/me").await.expect(200);
    let path = format!("/api/v1/admin/users/{}", student.user_id());
    admin.patch(&path, &json!({ "role": "lecturer" })).await.expect(200);
    for _ in 0..3_000 {
        if elsewhere.get("/api/v1/auth/me").await.status == 401 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the other server still takes the token after a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_that_start_at_once_make_the_tables_once() {
    let Some((url, _cluster)) = some_server() else { return };
    let empty = TestDatabase::empty_on(&url);
    let opened = [0, 1, 2].map(|_| {
        let url = empty.url();
        std::thread::spawn(move || Db::open_postgres(&url, postgres::allowances(), 0))
    });
    for db in opened {
        db.join().unwrap().expect("the tables are there").close();
    }
}

/// Opens and closes; what stopped it, if anything.
fn refusal(url: &str, allowances: Allowances) -> Option<String> {
    match Db::open_postgres(url, allowances, 0) {
        Ok(db) => {
            db.close();
            None
        }
        Err(DbError::Refused(text)) => Some(text),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_server_that_forgets_on_a_crash_is_refused_unless_allowed_in_words() {
    if some_server().is_none() {
        return;
    }
    let careless = Cluster::start(&WITHOUT_FLUSHES);
    let text = refusal(&careless.url("postgres"), Allowances::default()).unwrap();
    assert!(text.contains("fsync=off") && text.contains(UNSAFE_POSTGRES_WORDS), "{text}");
    assert_eq!(refusal(&careless.url("postgres"), postgres::allowances()), None);
    let careful = Cluster::start(&["synchronous_commit = off"]);
    assert_eq!(refusal(&careful.url("postgres"), Allowances::default()), None);
    let db = Db::open_postgres(&careful.url("postgres"), Allowances::default(), 0).unwrap();
    let shown: Result<_, DbError> =
        db.write_blocking(|tx: &Tx<'_>| tx.query_one("SHOW synchronous_commit", params![], |row| row.get::<String>(0)));
    assert_eq!(shown.unwrap().as_deref(), Some("on"), "a session waits for its commits whatever the default is");
    db.close();
}

#[test]
fn a_second_server_beside_an_asynchronous_standby_is_refused_unless_allowed_in_words() {
    if some_server().is_none() {
        return;
    }
    let cluster = Cluster::start(&["wal_level = replica"]);
    let url = cluster.url("postgres");
    let mut standby = cluster
        .command("pg_receivewal")
        .args(["--no-loop", "-U", "postgres", "-h"])
        .arg(cluster.folder())
        .arg("-D")
        .arg(cluster.folder())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first = Db::open_postgres(&url, Allowances::default(), 0).unwrap();
    let standbys = || -> i64 {
        let count = "SELECT count(*) FROM pg_stat_replication";
        let counted: Result<_, DbError> =
            first.read_blocking(move |tx: &Tx<'_>| tx.query_one(count, params![], |row| row.get(0)));
        counted.unwrap().unwrap()
    };
    while standbys() == 0 {
        std::thread::yield_now();
    }
    let text = refusal(&url, Allowances::default()).expect("the second server must not start");
    assert!(text.contains("asynchronous") && text.contains(ASYNC_STANDBY_WORDS), "{text}");
    assert_eq!(refusal(&url, Allowances { async_standby: true, ..Allowances::default() }), None);
    first.close();
    assert_eq!(refusal(&url, Allowances::default()), None, "alone, nobody fails over to the standby");
    standby.kill().unwrap();
    standby.wait().unwrap();
}

#[test]
fn a_connection_that_is_lost_comes_back_and_nothing_is_acknowledged_in_vain() {
    if some_server().is_none() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let db = Db::open_postgres(&cluster.url("postgres"), Allowances::default(), 0).unwrap();
    let insert = |id: i64| {
        let sql = "INSERT INTO channel_entries (channel_key, number, log_index) VALUES (1, ?1, 1)";
        db.write_blocking(move |tx: &Tx<'_>| tx.send(sql, params![id]))
    };
    let mut acknowledged = Vec::new();
    let mut keep = |id: i64| {
        let result: Result<(), DbError> = insert(id);
        match result {
            Ok(()) => acknowledged.push(id),
            Err(DbError::Lost(_) | DbError::Busy(_)) => {}
            Err(other) => panic!("{other}"),
        }
    };
    (0..20).for_each(&mut keep);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'muster'";
    postgres::sql(&cluster.url("postgres"), vec![end.to_owned()]);
    (20..40).for_each(&mut keep);
    cluster.crash_and_restart();
    (40..60).for_each(&mut keep);
    let read: Result<Vec<i64>, DbError> = db.read_blocking(|tx: &Tx<'_>| {
        tx.query("SELECT number FROM channel_entries ORDER BY number", params![], |row| row.get(0))
    });
    let kept = read.unwrap();
    assert!(acknowledged.iter().all(|id| kept.contains(id)), "{acknowledged:?} and {kept:?}");
    assert!(acknowledged.len() >= 57, "each loss costs one request at most: {acknowledged:?}");
    db.close();
}

/// A cluster that takes encrypted connections on a port of this machine, and the file of its certificate.
fn encrypted_cluster() -> (Cluster, u16, std::path::PathBuf) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cluster = Cluster::start(&[]);
    let (key, certificate) = (cluster.folder().join("server.key"), cluster.folder().join("server.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=muster test", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    cluster.own(&key);
    let set = |name: &str, value: &str| format!("ALTER SYSTEM SET {name} = '{value}'");
    let settings = vec![
        set("listen_addresses", "127.0.0.1"),
        set("port", &port.to_string()),
        set("ssl", "on"),
        set("ssl_key_file", key.to_str().unwrap()),
        set("ssl_cert_file", certificate.to_str().unwrap()),
    ];
    postgres::sql(&cluster.url("postgres"), settings);
    cluster.crash_and_restart();
    (cluster, port, certificate)
}

#[test]
fn an_encrypted_connection_needs_a_server_that_proves_its_name() {
    if some_server().is_none() {
        return;
    }
    let (_cluster, port, certificate) = encrypted_cluster();
    let believed = format!("sslmode=require&sslrootcert={}", certificate.display());
    let open = |host: &str, options: &str| {
        Db::open_postgres(&format!("postgresql://postgres@{host}:{port}/postgres?{options}"), Allowances::default(), 0)
    };
    let db = open("127.0.0.1", &believed).unwrap();
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let encrypted: Result<_, DbError> =
        db.read_blocking(move |tx: &Tx<'_>| tx.query_one(encrypted, params![], |row| row.get::<bool>(0)));
    assert_eq!(encrypted, Ok(Some(true)));
    db.close();
    for (host, options) in [("localhost", believed.as_str()), ("127.0.0.1", "sslmode=verify-full")] {
        let refused = open(host, options).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("certificate") || refused.contains("authority"), "{host} {options}: {refused}");
    }
}
