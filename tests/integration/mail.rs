//! Mail against a real mail server: what arrives, what happens when it does not, and what nobody else gets to see.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_server::db::DbError;
use muster_server::ids::TenantId;
use muster_server::mail::{self, Message, Notice, Template};
use muster_tests::pocket::Pocket;
use muster_tests::{Reply, TestServer, TestServerBuilder};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::smtp::{Encryption, MailServer, SMTP_PASSWORD, USER};

const NOW_MS: i64 = 1_763_640_000_000;
const DAY: Duration = Duration::from_secs(86_400);

fn through(port: u16, tls: &str) -> TestServerBuilder {
    TestServer::builder()
        .manual_clock(NOW_MS)
        .option("--smtp-host", "localhost")
        .option("--smtp-port", &port.to_string())
        .option("--smtp-tls", tls)
        .option("--mail-from", "Muster <muster@uni.example>")
        .option("--public-url", "https://muster.uni.example")
}

async fn notify(server: &TestServer, to: &str, event: Notice) {
    let (tenant, to, now_ms) = (TenantId::default_tenant(), to.to_owned(), server.clock_ms());
    let queued: Result<(), DbError> =
        server.app().db.write(move |tx| mail::notify(tx, &tenant, &to, event.clone(), now_ms)).await;
    queued.unwrap();
    server.app().wake_jobs();
}

/// Waits until an admin sees what the test waits for.
async fn until(server: &TestServer, what: impl Fn(&Value) -> bool) -> Value {
    let email = format!("admin-{:x}@muster.example", server.app().draw());
    server.create_user(&email, "admin").await;
    let admin = server.sign_in(&email).await;
    for _ in 0..6_000 {
        let outbox = admin.get("/api/v1/admin/mail").await.expect(200);
        if what(&outbox) {
            return outbox;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{}", admin.get("/api/v1/admin/mail").await.expect(200));
}

async fn until_tried(server: &TestServer, attempts: u64) -> Value {
    until(server, |outbox| outbox["items"][0]["attempts"].as_u64() >= Some(attempts)).await["items"][0].clone()
}

async fn until_empty(server: &TestServer) {
    until(server, |outbox| outbox["queued"] == 0).await;
}

/// A port on which nobody listens, and nobody else can while the socket is there.
fn closed_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[tokio::test]
async fn a_notice_arrives_encrypted_from_a_known_sender_with_every_field() {
    for tls in [Encryption::Starttls, Encryption::Always] {
        let post = MailServer::start(tls, 0, tls == Encryption::Starttls);
        let mut server = through(post.port, if tls == Encryption::Always { "tls" } else { "starttls" })
            .option("--smtp-ca-file", post.certificate().to_str().unwrap());
        if tls == Encryption::Starttls {
            server = server.option("--smtp-username", USER).option("--smtp-password", SMTP_PASSWORD);
        }
        let server = server.start().await;
        notify(&server, "ada@uni.example", Notice::MfaDisabled).await;
        let mail = post.nth(1).await;
        assert_eq!(mail.recipients(), ["ada@uni.example"]);
        assert_eq!(mail.0["from"], "muster@uni.example");
        assert_eq!(mail.0["hello"], "muster.uni.example");
        if tls == Encryption::Starttls {
            assert_eq!((&mail.0["encrypted"], &mail.0["user"]), (&json!(true), &json!(USER)));
            assert_eq!(
                post.commands(),
                ["EHLO clear", "EHLO encrypted", "AUTH encrypted", "MAIL encrypted", "RCPT encrypted"]
            );
        }
        let header = |name: &str| mail.header(name).unwrap_or_default();
        assert_eq!(header("From"), "Muster <muster@uni.example>");
        assert_eq!(header("To"), "ada@uni.example");
        assert_eq!(header("Subject"), "Two-step sign-in is off");
        assert_eq!(header("Date"), "Thu, 20 Nov 2025 12:00:00 +0000");
        assert_eq!(header("Auto-Submitted"), "auto-generated");
        assert!(header("Message-ID").ends_with("@uni.example>"), "{}", header("Message-ID"));
        let body = mail.body();
        assert!(body.contains("Content-Type: text/plain") && body.contains("Content-Type: text/html"), "{body}");
        assert!(body.contains("When: 2025-11-20T12:00:00.000Z."), "{body}");
        assert!(body.contains("https://muster.uni.example/reset-password"), "{body}");
        until_empty(&server).await;
    }
}

#[tokio::test]
async fn mail_waits_for_a_mail_server_that_is_down_and_for_a_restart() {
    let (held, port) = closed_port();
    let server = through(port, "none").start().await;
    notify(&server, "ada@uni.example", Notice::PasswordChanged).await;
    let item = until_tried(&server, 1).await;
    assert_eq!((&item["state"], &item["recipient"]), (&json!("queued"), &json!("ada@uni.example")));
    assert!(item["last_error"].as_str().unwrap().starts_with("the mail server could not be reached"), "{item}");
    let ready = server.anonymous().get("/ready").await.expect(200);
    assert_eq!((&ready["status"], &ready["mail"]), (&json!("degraded"), &json!("failing")));
    let data = server.stop().await;
    drop(held);
    let post = MailServer::start(Encryption::None, port, false);
    let server = through(port, "none").data(data).start().await;
    assert!(post.inbox().is_empty(), "its time has not come");
    server.clock().advance(Duration::from_secs(5));
    server.app().wake_jobs();
    post.nth(1).await;
    until_empty(&server).await;
    assert_eq!(server.anonymous().get("/ready").await.expect(200)["mail"], "ok");
}

#[tokio::test]
async fn what_the_mail_server_puts_off_is_tried_again_and_what_it_refuses_is_shown_to_admins() {
    let post = MailServer::plain();
    let server = through(post.port, "none").start().await;
    post.mood("451");
    notify(&server, "ada@uni.example", Notice::TokenReused).await;
    let item = until_tried(&server, 1).await;
    assert_eq!((&item["state"], &item["last_error"]), (&json!("queued"), &json!("the mail server answered 451")));
    let ready = server.anonymous().get("/ready").await.expect(200);
    assert_eq!((&ready["status"], &ready["mail"]), (&json!("ok"), &json!("ok")), "it works, and wants this one later");
    post.mood("ok");
    server.clock().advance(Duration::from_secs(5));
    server.app().wake_jobs();
    post.nth(1).await;
    until_empty(&server).await;

    post.mood("550");
    notify(&server, "gone@uni.example", Notice::TokenReused).await;
    let item = until_tried(&server, 1).await;
    assert_eq!((&item["state"], &item["last_error"]), (&json!("failed"), &json!("the mail server answered 550")));
    post.mood("ok");
    server.clock().advance(DAY);
    server.app().wake_jobs();
    notify(&server, "ben@uni.example", Notice::TokenReused).await;
    assert_eq!(post.nth(2).await.recipients(), ["ben@uni.example"]);
    let student = server.client("student").await;
    student.get("/api/v1/admin/mail").await.expect_error(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_message_that_nobody_needs_any_more_is_given_up() {
    let (_held, port) = closed_port();
    let server = through(port, "none").start().await;
    notify(&server, "ada@uni.example", Notice::AccountLocked).await;
    until_tried(&server, 1).await;
    server.clock().advance(2 * DAY);
    server.app().wake_jobs();
    let item = until_tried(&server, 2).await;
    assert_eq!(item["state"], "failed");
    // A month later nobody needs to know either.
    server.clock().advance(31 * DAY);
    notify(&server, "ben@uni.example", Notice::AccountLocked).await;
    let outbox = until(&server, |outbox| outbox["items"][0]["recipient"] == "ben@uni.example").await;
    assert_eq!(outbox["failed"], 0, "{outbox}");
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_sent_again_under_the_same_id() {
    let post = MailServer::plain();
    let server = through(post.port, "none").start().await;
    post.mood("vanish");
    notify(&server, "ada@uni.example", Notice::MfaEnabled).await;
    let first = post.nth(1).await;
    until_tried(&server, 1).await;
    post.mood("ok");
    server.clock().advance(Duration::from_secs(5));
    server.app().wake_jobs();
    let second = post.nth(2).await;
    assert_eq!(first.header("Message-ID"), second.header("Message-ID"));
    until_empty(&server).await;
}

#[tokio::test]
async fn nothing_is_sent_in_clear_where_encryption_is_asked_for() {
    let post = MailServer::start(Encryption::None, 0, false);
    let server = through(post.port, "starttls").start().await;
    notify(&server, "ada@uni.example", Notice::PasswordChanged).await;
    let item = until_tried(&server, 1).await;
    assert_eq!(item["state"], "queued", "{item}");
    assert_eq!(post.commands(), ["EHLO clear"]);
    assert!(post.inbox().is_empty());
}

#[tokio::test]
async fn a_mail_server_that_cannot_prove_its_name_gets_nothing() {
    for (tls, word) in [(Encryption::Starttls, "starttls"), (Encryption::Always, "tls")] {
        let post = MailServer::start(tls, 0, true);
        let (server, other) = (through(post.port, word), MailServer::start(tls, 0, true));
        let server = server
            .option("--smtp-ca-file", other.certificate().to_str().unwrap())
            .option("--smtp-username", USER)
            .option("--smtp-password", SMTP_PASSWORD)
            .start()
            .await;
        notify(&server, "ada@uni.example", Notice::PasswordChanged).await;
        let item = until_tried(&server, 1).await;
        assert_eq!(item["state"], "queued", "{item}");
        assert!(post.commands().iter().all(|command| command == "EHLO clear"), "{:?}", post.commands());
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_credentials_nor_addresses_nor_links_reach_the_log_or_the_database() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    // The test and the server share this one thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    let post = MailServer::start(Encryption::Starttls, 0, true);
    let wrong = "canary-of-a-wrong-password";
    let server = through(post.port, "starttls")
        .option("--smtp-ca-file", post.certificate().to_str().unwrap())
        .option("--smtp-username", USER)
        .option("--smtp-password", wrong)
        .start()
        .await;
    let link = "https://muster.uni.example/reset-password#token=canary-of-a-link".to_owned();
    let template = Template::PasswordReset { link, expires_at_ms: NOW_MS + 60_000 };
    let message = Message::new(server.app(), "canary-of-an-address@uni.example", template).unwrap();
    let queued: Result<(), DbError> =
        server.app().db.write(move |tx| mail::enqueue(tx, &TenantId::default_tenant(), &message, NOW_MS)).await;
    queued.unwrap();
    server.app().wake_jobs();
    let item = until_tried(&server, 1).await;
    assert_eq!((&item["state"], &item["last_error"]), (&json!("queued"), &json!("the mail server answered 535")));
    post.mood("550");
    let data = server.stop().await;
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(text.contains("Mail will be tried again") && text.contains("535"), "{text}");
    for canary in [wrong, "canary-of-a-link", "canary-of-an-address"] {
        assert!(!text.contains(canary), "{canary} is in the log");
    }
    if data.is_sqlite() {
        for file in ["muster.db", "muster.db-wal"] {
            let bytes = std::fs::read(data.path().join(file)).unwrap_or_default();
            let holds = |canary: &str| bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!holds("canary-of-a-link") && !holds(wrong), "{file}");
        }
    }
}

#[tokio::test]
async fn no_line_break_in_an_address_or_a_name_becomes_a_field_or_a_command() {
    let post = MailServer::plain();
    let server = through(post.port, "none").start().await;
    for to in [
        "ada@uni.example\r\nBcc: eve@evil.example",
        "ada@uni.example>\r\nRCPT TO:<eve@evil.example",
        "ada@uni.example, eve@evil.example",
        "<ada@uni.example> eve@evil.example",
    ] {
        notify(&server, to, Notice::PasswordChanged).await;
    }
    until(&server, |outbox| outbox["failed"] == 4 && outbox["queued"] == 0).await;
    assert_eq!(post.commands(), [""; 0]);
    // The name of a provider is the one text that does not come from us; here with all that means something on the way.
    let provider = "A\r\nBcc: eve@evil.example\r\n.\r\nQUIT\r\n..b <b>x</b>".to_owned();
    notify(&server, "ada@uni.example", Notice::ProviderLinked { provider }).await;
    let mail = post.nth(1).await;
    assert_eq!(mail.recipients(), ["ada@uni.example"]);
    assert_eq!(mail.header("Bcc"), None);
    assert!(
        mail.body().contains("A\r\nBcc: eve@evil.example\r\n.\r\nQUIT\r\n..b <b>x</b> from now on."),
        "{}",
        mail.body()
    );
    assert!(mail.body().contains("..b &lt;b&gt;x&lt;/b&gt;"), "{}", mail.body());
}

#[tokio::test]
async fn without_a_mail_server_messages_are_files() {
    let server = TestServer::start().await;
    notify(&server, "ada@uni.example", Notice::DeviceBound).await;
    until_empty(&server).await;
    let files: Vec<_> = std::fs::read_dir(server.data().path().join("mail")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1);
    let path = files[0].path();
    assert_eq!(path.extension().unwrap(), "eml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\r\nTo: ada@uni.example\r\n"), "{text}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn who_gets_a_phone_bound_is_told_once_and_who_gets_none_is_not() {
    let post = MailServer::plain();
    let server = through(post.port, "none").start().await;
    let admin = server.client("admin").await;
    let (mut phone, mut denied) = (Pocket::new(&server, "student", 1).await, Pocket::new(&server, "student", 2).await);
    denied.ask_to_be_bound(&server).await;
    let waiting = admin.get("/api/v1/admin/device-requests?status=pending").await.expect(200);
    let deny = format!("/api/v1/admin/device-requests/{}/deny", waiting["items"][0]["hash"].as_str().unwrap());
    admin.post(&deny, &json!({ "reason": "unknown-phone" })).await.expect(200);
    phone.bind(&server, &admin).await;
    let mail = post.nth(1).await;
    assert_eq!(mail.recipients(), [phone.email.as_str()]);
    assert_eq!(mail.header("Subject").as_deref(), Some("A device was bound to your account"));
    let approved = admin.get("/api/v1/admin/device-requests?status=approved").await.expect(200);
    let again = format!("/api/v1/admin/device-requests/{}/approve", approved["items"][0]["hash"].as_str().unwrap());
    server.clock().advance(Duration::from_secs(1));
    admin.post(&again, &json!({})).await.expect(200);
    until_empty(&server).await;
    assert_eq!(post.inbox().len(), 1);
}

#[tokio::test]
async fn an_address_that_is_given_up_is_told_by_whomever_it_was_changed() {
    let post = MailServer::plain();
    let server = through(post.port, "none").start().await;
    let admin = server.client("admin").await;
    let id = server.create_user("first@uni.example", "student").await;
    let path = format!("/api/v1/admin/users/{id}");
    admin.patch(&path, &json!({ "name": "Ada", "student_id": "17" })).await.expect(200);
    admin.patch(&path, &json!({ "email": "second@uni.example" })).await.expect(200);
    let mail = post.nth(1).await;
    assert_eq!(mail.recipients(), ["first@uni.example"]);
    assert_eq!(mail.header("Subject").as_deref(), Some("Your e-mail address was changed"));
    assert!(!mail.body().contains("reset-password"), "the link would go to the new address: {}", mail.body());
    let roster = "id,email,name\n17,third@uni.example,Ada\n";
    let import = admin.request(Method::POST, "/api/v1/admin/roster/import").body(roster);
    Reply::of(import).await.expect(200);
    server.app().wake_jobs();
    assert_eq!(post.nth(2).await.recipients(), ["second@uni.example"]);
}
