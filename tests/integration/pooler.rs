//! A pooler between the server and PostgreSQL: refused where it shares sessions, fine where it does not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use muster_server::db::{Db, DbError};
use muster_tests::postgres::{self, Cluster};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Mutex;

use super::db_alike::some_server;

/// Which clients get a session of PostgreSQL's.
#[derive(Clone, Copy, PartialEq)]
enum Pooling {
    /// Each its own, for as long as it stays: `pool_mode=session`.
    Session,
    /// Whoever begins a transaction, one of so many: `pool_mode=transaction`.
    Transaction(usize),
}

/// A session with PostgreSQL, and what it was greeted with.
struct Backend {
    stream: UnixStream,
    greeting: Vec<u8>,
}

impl Backend {
    async fn open(socket: &Path, startup: &[u8]) -> Self {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(startup).await.unwrap();
        let mut greeting = Vec::new();
        while greeting.is_empty() || !is_ready(&greeting) {
            greeting.extend(message(&mut stream).await.unwrap());
        }
        Self { stream, greeting }
    }

    /// Passes a message on, and its answers back; whether a transaction is open then.
    async fn relay(&mut self, message_of_client: &[u8], client: &mut TcpStream) -> std::io::Result<bool> {
        self.stream.write_all(message_of_client).await?;
        if !matches!(message_of_client[0], b'Q' | b'S') {
            return Ok(true);
        }
        loop {
            let answer = message(&mut self.stream).await?;
            client.write_all(&answer).await?;
            if answer[0] == b'Z' {
                return Ok(answer[5] != b'I');
            }
        }
    }
}

/// Whether the last message of these is "ready for query", which has 6 bytes.
fn is_ready(messages: &[u8]) -> bool {
    messages.len() >= 6 && messages[messages.len() - 6..].starts_with(b"Z\0\0\0\x05")
}

/// One message: a letter, its length, its content.
async fn message(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; 5];
    stream.read_exact(&mut message).await?;
    let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]) as usize;
    message.resize(1 + length, 0);
    stream.read_exact(&mut message[5..]).await?;
    Ok(message)
}

async fn startup(stream: &mut TcpStream) -> Vec<u8> {
    let mut message = vec![0; 4];
    stream.read_exact(&mut message).await.unwrap();
    let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]) as usize;
    message.resize(length, 0);
    stream.read_exact(&mut message[4..]).await.unwrap();
    message
}

/// Listens, and pools the sessions of the server behind a socket; says where.
async fn pool(socket: PathBuf, pooling: Pooling) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let free: Arc<Mutex<Vec<Arc<Mutex<Backend>>>>> = Arc::default();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(client, socket.clone(), pooling, Arc::clone(&free)));
        }
    });
    format!("postgresql://postgres@{address}/postgres?sslmode=disable")
}

async fn serve(mut client: TcpStream, socket: PathBuf, pooling: Pooling, shared: Arc<Mutex<Vec<Arc<Mutex<Backend>>>>>) {
    let startup = startup(&mut client).await;
    let own = match pooling {
        Pooling::Session => vec![Arc::new(Mutex::new(Backend::open(&socket, &startup).await))],
        Pooling::Transaction(most) => {
            let mut shared = shared.lock().await;
            while shared.len() < most {
                shared.push(Arc::new(Mutex::new(Backend::open(&socket, &startup).await)));
            }
            shared.clone()
        }
    };
    let greeting = own[0].lock().await.greeting.clone();
    client.write_all(&greeting).await.unwrap();
    while let Ok(mut next) = message(&mut client).await {
        if next[0] == b'X' {
            return;
        }
        // The one that was used last and is free, as PgBouncer does; or the one that is free first.
        let mut backend = match own.iter().find_map(|backend| backend.try_lock().ok()) {
            Some(backend) => backend,
            None => own[0].lock().await,
        };
        while backend.relay(&next, &mut client).await.unwrap_or(false) {
            match message(&mut client).await {
                Ok(more) => next = more,
                Err(_) => return,
            }
        }
    }
}

async fn refusal(url: String) -> Option<String> {
    let opened = move || match Db::open_postgres(&url, postgres::allowances(), 0) {
        Ok(db) => {
            db.close();
            None
        }
        Err(DbError::Refused(text)) => Some(text),
        Err(other) => panic!("{other}"),
    };
    tokio::task::spawn_blocking(opened).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_shares_sessions_is_refused_in_a_sentence_and_one_that_does_not_is_not() {
    if some_server().is_none() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let socket = cluster.folder().join(".s.PGSQL.5432");
    for sessions in [1, 2, 5] {
        let text = refusal(pool(socket.clone(), Pooling::Transaction(sessions)).await).await.expect("it is refused");
        for said in ["DATABASE_URL", "pool_mode=transaction", "direct address", "pool_mode=session"] {
            assert!(text.contains(said), "{sessions}: {text}");
        }
    }
    assert_eq!(refusal(pool(socket, Pooling::Session).await).await, None);
    assert_eq!(refusal(cluster.url("postgres")).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_so_and_ends_instead_of_serving() {
    if some_server().is_none() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let url = pool(cluster.folder().join(".s.PGSQL.5432"), Pooling::Transaction(2)).await;
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.args(["serve", "--port", "0", "--data-dir"]).arg(dir.path()).args(postgres::options(&url));
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && said.contains("pooler") && said.contains("direct address"), "{said}");
}

#[test]
fn a_command_opens_the_database_with_no_runtime_around_it() {
    if some_server().is_none() {
        return;
    }
    let cluster = Cluster::start(&[]);
    Db::open_postgres(&cluster.url("postgres"), postgres::allowances(), 0).unwrap().close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_can_only_be_read_is_refused_in_a_sentence() {
    if some_server().is_none() {
        return;
    }
    let cluster = Cluster::start(&["default_transaction_read_only = on"]);
    let text = refusal(cluster.url("postgres")).await.expect("it is refused");
    assert!(text.contains("default_transaction_read_only"), "{text}");
}
