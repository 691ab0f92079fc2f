//! Whether the server says truly how it stands, and to whom.

use muster_server::db::DbError;
use muster_tests::models::models_dir;
use muster_tests::{Data, TestServer};
use serde_json::{Value, json};

const EVERYWHERE: [&str; 3] = ["", "/v1", "/api/v1"];

#[tokio::test]
async fn every_health_path_of_the_sources_answers() {
    let server = TestServer::start().await;
    let client = server.anonymous();
    for prefix in EVERYWHERE {
        assert_eq!(client.get(&format!("{prefix}/health")).await.expect(200)["status"], "ok");
        assert_eq!(client.get(&format!("{prefix}/ready")).await.expect(200)["status"], "ok");
        assert_eq!(client.get(&format!("{prefix}/health/full")).await.expect(200)["status"], "healthy");
    }
    assert_eq!(client.get("/").await.expect(200)["name"], "Muster");
}

#[tokio::test]
async fn the_full_health_has_the_components_of_the_source_with_true_values() {
    let server = TestServer::start().await;
    let body = server.anonymous().get("/health/full").await.expect(200);
    assert_eq!(body["environment"], "development");
    let components = &body["components"];
    assert_eq!(components["api"], "running");
    assert_eq!(components["database"], "running");
    assert_eq!(components["cache"]["enabled"], true);
    assert_eq!(components["cache"]["backend"], "memory");
    assert_eq!(components["background_tasks"]["enabled"], true);
    assert!(components["background_tasks"]["workers"].as_u64().unwrap() >= 4, "{body}");
    assert_eq!(components["background_tasks"]["pending"], 0);
    assert_eq!(components["scheduler"]["running"], true);
    assert_eq!(components["scheduler"]["tasks_count"], 0);
    add_job(&server, "pending", server.clock_ms() + 3_600_000).await;
    let body = server.anonymous().get("/health/full").await.expect(200);
    assert_eq!(body["components"]["scheduler"]["tasks_count"], 1, "{body}");
}

#[tokio::test]
async fn in_production_the_components_are_for_admins() {
    let server = TestServer::builder().production().start().await;
    let public = server.anonymous().get("/health/full").await.expect(200);
    assert_eq!(public["status"], "healthy");
    assert_eq!(public["environment"], "production");
    assert_eq!(public.get("components"), None);
    assert_eq!(server.client("student").await.get("/health/full").await.expect(200).get("components"), None);
    let admin = server.client("admin").await.get("/health/full").await.expect(200);
    assert_eq!(admin["components"]["database"], "running");
}

#[tokio::test]
async fn a_job_that_was_given_up_degrades_and_does_not_stop_the_server() {
    let server = TestServer::start().await;
    add_job(&server, "dead", 0).await;
    let ready = server.anonymous().get("/v1/ready").await.expect(200);
    assert_eq!((&ready["status"], &ready["jobs"]), (&Value::from("degraded"), &Value::from("failing")));
    let full = server.anonymous().get("/health/full").await.expect(200);
    assert_eq!(
        (&full["status"], &full["components"]["background_tasks"]["dead"]),
        (&Value::from("degraded"), &Value::from(1))
    );
    assert_eq!(server.anonymous().get("/health").await.expect(200)["status"], "ok");
}

#[tokio::test]
async fn a_store_of_images_that_is_gone_degrades() {
    let server = TestServer::builder().manual_clock(1_763_640_000_000).start().await;
    assert_eq!(server.anonymous().get("/ready").await.expect(200)["images"], "ok");
    std::fs::remove_dir_all(server.data().path().join("blobs")).unwrap();
    std::fs::write(server.data().path().join("blobs"), "no folder").unwrap();
    assert_eq!(server.anonymous().get("/ready").await.expect(200)["images"], "ok", "asked a moment ago");
    server.clock().advance(std::time::Duration::from_secs(6));
    let ready = server.anonymous().get("/ready").await.expect(200);
    assert_eq!((&ready["status"], &ready["images"]), (&Value::from("degraded"), &Value::from("down")));
}

#[tokio::test]
async fn faces_that_cannot_be_read_are_told_and_missed_where_they_are_compared() {
    let server = TestServer::start().await;
    let anybody = server.anonymous();
    let ready = anybody.get("/ready").await.expect(200);
    assert_eq!((&ready["face_engine"], &ready["status"]), (&json!("unavailable"), &json!("ok")), "nobody needs them");
    let admin = server.client("admin").await;
    admin.put("/api/v1/admin/settings", &json!({"face_matching": true})).await.expect(200);
    let ready = anybody.get("/v1/ready").await.expect(200);
    assert_eq!((&ready["face_engine"], &ready["status"]), (&json!("unavailable"), &json!("degraded")));
    let full = anybody.get("/health/full").await.expect(200);
    assert_eq!((&full["components"]["face_engine"], &full["status"]), (&json!("unavailable"), &json!("degraded")));
    let with_models = TestServer::builder().option("--models-dir", models_dir().to_str().unwrap()).start().await;
    let admin = with_models.client("admin").await;
    admin.put("/api/v1/admin/settings", &json!({"face_matching": true})).await.expect(200);
    let ready = with_models.anonymous().get("/ready").await.expect(200);
    assert_eq!((&ready["face_engine"], &ready["status"]), (&json!("ok"), &json!("ok")));
    let full = with_models.anonymous().get("/health/full").await.expect(200);
    assert_eq!((&full["components"]["face_engine"], &full["status"]), (&json!("running"), &json!("healthy")));
}

#[tokio::test]
async fn a_disk_without_room_is_not_ready_until_there_is_room_again() {
    let server = TestServer::builder().manual_clock(1_763_640_000_000).start().await;
    // Only SQLite can be told that its disk is full.
    if !server.data().is_sqlite() {
        return;
    }
    let admin = server.client("admin").await;
    let anybody = server.anonymous();
    assert_eq!(anybody.get("/ready").await.expect(200)["storage"], "ok");
    let used = pragma(&server, "PRAGMA page_count").await;
    pragma(&server, &format!("PRAGMA max_page_count = {used}")).await;
    let mut number = 0;
    loop {
        number += 1;
        let course = json!({"code": format!("CS{number}"), "title": "x".repeat(200)});
        let reply = admin.post("/api/v1/courses", &course).await;
        if reply.status.as_u16() != 201 {
            reply.expect_error(503, "STORAGE_FULL");
            break;
        }
        assert!(number < 1_000, "a full database refuses");
    }
    // All was well a moment ago; what the writer met since then counts more.
    for _ in 0..2 {
        let ready = anybody.get("/ready").await.expect(503);
        assert_eq!(
            (&ready["status"], &ready["storage"], &ready["database"]),
            (&json!("down"), &json!("full"), &json!("ok"))
        );
        server.clock().advance(std::time::Duration::from_secs(6));
    }
    let full = anybody.get("/health/full").await.expect(200);
    assert_eq!((&full["status"], &full["components"]["storage"]), (&json!("unhealthy"), &json!("full")));
    assert_eq!(anybody.get("/health").await.expect(200)["status"], "ok", "it lives");
    // There is room again, and nobody but us tries.
    pragma(&server, "PRAGMA max_page_count = 1000000").await;
    server.clock().advance(std::time::Duration::from_secs(6));
    let ready = anybody.get("/ready").await.expect(200);
    assert_eq!((&ready["status"], &ready["storage"]), (&json!("ok"), &json!("ok")));
}

#[tokio::test]
async fn jobs_that_nobody_does_and_a_clock_that_went_back_are_told() {
    let server = TestServer::builder().manual_clock(1_763_640_000_000).start().await;
    let anybody = server.anonymous();
    add_job(&server, "pending", server.clock_ms()).await;
    assert_eq!(anybody.get("/ready").await.expect(200)["jobs"], "ok", "it has just become due");
    server.clock().advance(std::time::Duration::from_secs(16 * 60));
    let ready = anybody.get("/ready").await.expect(200);
    assert_eq!((&ready["jobs"], &ready["status"]), (&json!("stuck"), &json!("degraded")));
    let lecture = muster_tests::lecture::Lecture::begin().await;
    let server = &lecture.server;
    assert_eq!(server.anonymous().get("/ready").await.expect(200)["clock"], "ok");
    let sql = "SELECT max(received_at) FROM change_log";
    let newest: Result<Option<i64>, DbError> =
        server.app().db.read(move |tx| tx.query_one(sql, &[], |row| row.get::<i64>(0))).await;
    server.clock().set(newest.unwrap().unwrap() - 60_000);
    let ready = server.anonymous().get("/ready").await.expect(200);
    assert_eq!((&ready["clock"], &ready["status"]), (&json!("behind"), &json!("degraded")));
}

#[tokio::test]
async fn whoever_waits_for_health_signs_in_as_the_first_admin() {
    use muster_tests::process::ServerProcess;
    let dir = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(env!("CARGO_BIN_EXE_load"), dir.path(), &[]);
    assert!(reqwest::get(server.url("/health")).await.unwrap().status().is_success());
    let file = dir.path().join("data/first-admin.txt");
    let text = std::fs::read_to_string(&file).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let (email, password) = text.trim_end().split_once('\n').unwrap();
    let http = reqwest::Client::new();
    let login = json!({ "email": email, "password": password });
    let tokens = http.post(server.url("/auth/login")).json(&login).send().await.unwrap();
    let tokens: Value = tokens.error_for_status().unwrap().json().await.unwrap();
    let change = json!({ "current_password": password, "new_password": "a rather new password" });
    let changed = http.post(server.url("/auth/change-password")).json(&change);
    let changed = changed.bearer_auth(tokens["access_token"].as_str().unwrap()).send().await.unwrap();
    changed.error_for_status().unwrap();
    assert!(!file.exists(), "it opens nothing any more");
    drop(server);
    let log = std::fs::read_to_string(dir.path().join("console.log")).unwrap();
    assert!(!log.contains(password), "a log is read by more people than a file with 0600");
}

#[tokio::test]
async fn a_disk_with_room_for_little_is_not_ready_and_does_not_say_so_by_turns() {
    let server = TestServer::builder().manual_clock(1_763_640_000_000).start().await;
    // Only SQLite can be told that its disk is full.
    if !server.data().is_sqlite() {
        return;
    }
    let (admin, anybody) = (server.client("admin").await, server.anonymous());
    assert_eq!(anybody.get("/ready").await.expect(200)["storage"], "ok");
    let used = pragma(&server, "PRAGMA page_count").await;
    // Room for what is small, and for what `/ready` tries while all is well; not for a megabyte.
    pragma(&server, &format!("PRAGMA max_page_count = {}", used + 60)).await;
    let large = "x".repeat(1024 * 1024);
    let refused: Result<(), DbError> =
        server.app().db.write(move |tx| muster_server::jobs::try_to_store(tx, &large)).await;
    assert!(matches!(refused, Err(DbError::Full(_))), "{refused:?}");
    for number in 0..4 {
        let ready = anybody.get("/ready").await.expect(503);
        assert_eq!((&ready["status"], &ready["storage"]), (&json!("down"), &json!("full")), "{number}");
        let course = json!({"code": format!("CS{number}"), "title": "a small write"});
        admin.post("/api/v1/courses", &course).await.expect(201);
        server.clock().advance(std::time::Duration::from_secs(6));
    }
    pragma(&server, "PRAGMA max_page_count = 1000000").await;
    server.clock().advance(std::time::Duration::from_secs(6));
    assert_eq!(anybody.get("/ready").await.expect(200)["storage"], "ok");
}

/// A Redis that knows one password and answers pings, or nothing but that it is loading; gives its port.
async fn redis(answers: bool) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut bytes, mut signed_in) = (vec![0; 1024], false);
                while let Ok(read @ 1..) = socket.read(&mut bytes).await {
                    let said = String::from_utf8_lossy(&bytes[..read]).into_owned();
                    signed_in |= said == "*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$6\r\np@ss:w\r\n";
                    let answer: &[u8] = match (answers, signed_in, said.contains("PING")) {
                        (false, ..) => b"-LOADING Redis is loading the dataset in memory\r\n",
                        (true, false, _) => b"-NOAUTH Authentication required.\r\n",
                        (true, true, true) => b"+PONG\r\n",
                        (true, true, false) => b"+OK\r\n",
                    };
                    let _ = socket.write_all(answer).await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_redis_that_is_required_and_does_not_answer_is_not_ready() {
    let (works, loads) = (redis(true).await, redis(false).await);
    let refuses = {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        taken.local_addr().unwrap().port()
    };
    for (url, required, word, status) in [
        (format!("redis://app:p%40ss%3Aw@127.0.0.1:{works}/0"), true, "ok", 200),
        (format!("redis://127.0.0.1:{works}"), true, "down", 503),
        (format!("redis://127.0.0.1:{loads}"), true, "down", 503),
        (format!("redis://127.0.0.1:{refuses}"), true, "down", 503),
        (format!("redis://127.0.0.1:{refuses}"), false, "unused", 200),
    ] {
        let builder = TestServer::builder().option("--redis-url", &url);
        let server = builder.option("--redis-required", &required.to_string()).start().await;
        let ready = server.anonymous().get("/ready").await.expect(status);
        assert_eq!(ready["redis"], word, "{url}");
        assert_eq!(ready["status"], if status == 200 { "ok" } else { "down" }, "{url}");
        let full = server.anonymous().get("/health/full").await.expect(200);
        assert_eq!(full["status"], if status == 200 { "healthy" } else { "unhealthy" }, "{url}");
        // The process lives, and what needs no Redis works all the same.
        assert_eq!(server.anonymous().get("/health").await.expect(200)["status"], "ok");
        server.client("student").await.get("/api/v1/auth/me").await.expect(200);
    }
}

#[test]
fn a_redis_that_nobody_could_ask_is_refused_at_the_check_of_the_settings() {
    for url in [None, Some("rediss://localhost"), Some("localhost:6379")] {
        let mut pairs = vec![("REDIS_REQUIRED", "true")];
        pairs.extend(url.map(|url| ("REDIS_URL", url)));
        let problems = super::config::report(&pairs).problems;
        assert!(problems.iter().any(|told| told.starts_with("REDIS_URL: with REDIS_REQUIRED=true")), "{problems:?}");
    }
    let problems = super::config::report(&[("REDIS_REQUIRED", "true"), ("REDIS_URL", "redis://localhost")]).problems;
    assert!(problems.is_empty(), "{problems:?}");
}

async fn pragma(server: &TestServer, sql: &str) -> i64 {
    let sql = sql.to_owned();
    let written = server.app().db.write(move |tx| tx.query_one(&sql, &[], |row| row.get::<i64>(0)));
    written.await.map_err(|error: DbError| error).unwrap().unwrap_or(0)
}

#[tokio::test]
async fn without_a_database_the_server_is_down_and_alive() {
    let server = TestServer::start().await;
    let db = server.app().db.clone();
    tokio::task::spawn_blocking(move || db.close()).await.unwrap();
    let ready = server.anonymous().get("/api/v1/ready").await.expect(503);
    assert_eq!((&ready["status"], &ready["database"]), (&Value::from("down"), &Value::from("down")));
    assert_eq!(server.anonymous().get("/health/full").await.expect(200)["status"], "unhealthy");
    assert_eq!(server.anonymous().get("/v1/health").await.expect(200)["status"], "ok");
}

#[tokio::test]
async fn production_does_not_start_while_everybody_knows_a_password() {
    let demo = TestServer::builder().production_keys().option("--seed-demo-accounts", "true").start().await;
    for (field, name, password, role) in [
        ("email", "admin@example.com", "Admin123!", "admin"),
        ("email", "student@example.com", "Student123!", "student"),
        ("username", "admin", "admin123", "admin"),
        ("username", "staff1", "staff123", "staff"),
        ("username", "student1", "student123", "student"),
    ] {
        let login = serde_json::json!({field: name, "password": password});
        let reply = demo.anonymous().post("/auth/login", &login).await.expect(200);
        let me = demo.with_token(reply["access_token"].as_str().unwrap()).get("/auth/me").await.expect(200);
        assert_eq!(me["role"], role);
    }
    let data = demo.stop().await;
    let again = TestServer::builder().production_keys().option("--seed-demo-accounts", "true").data(data).start().await;
    let data = again.stop().await;
    let Err(refused) = TestServer::builder().production().data(copy(&data)).try_start().await else {
        panic!("a server with demo accounts started in production");
    };
    let listed =
        ["admin@example.com", "student@example.com", "admin@campus.example", "staff1@campus.example"].join(", ");
    assert!(refused.to_string().ends_with(&format!(": {listed}, student1@campus.example")), "{refused}");
    // Under another address the user name and the password open it all the same; disabled it is closed.
    let renewed = TestServer::builder().production_keys().data(data).start().await;
    for sql in [
        "UPDATE users SET password_hash = '' WHERE username IS NULL",
        "UPDATE users SET status = 'disabled' WHERE username = 'student1'",
        "UPDATE users SET email = 'boss@uni.example' WHERE username = 'admin'",
    ] {
        execute(&renewed, sql).await;
    }
    let data = renewed.stop().await;
    let Err(refused) = TestServer::builder().production().data(copy(&data)).try_start().await else {
        panic!("a server with demo accounts started in production");
    };
    assert!(refused.to_string().ends_with(": boss@uni.example, staff1@campus.example"), "{refused}");
    let renewed = TestServer::builder().production_keys().data(data).start().await;
    execute(&renewed, "UPDATE users SET status = 'disabled'").await;
    TestServer::builder().production().data(renewed.stop().await).try_start().await.unwrap();
}

async fn execute(server: &TestServer, sql: &'static str) {
    let changed: Result<u64, DbError> = server.app().db.write(move |tx| tx.execute(sql, &[])).await;
    assert!(changed.unwrap() > 0, "{sql}");
}

fn copy(data: &Data) -> Data {
    data.copy().unwrap()
}

/// A row as it stands in the queue, of a kind that no worker takes.
async fn add_job(server: &TestServer, state: &'static str, due_at_ms: i64) {
    let sql = "INSERT INTO jobs (kind, tenant_id, subject, state, due_at, claim, attempts, first_due_at)
        VALUES ('test.none', 'default', ?1, ?2, ?3, 0, 0, ?3)";
    let added: Result<u64, DbError> = server
        .app()
        .db
        .write(move |tx| tx.execute(sql, muster_server::params![state.as_bytes(), state, due_at_ms]))
        .await;
    assert_eq!(added, Ok(1));
}
