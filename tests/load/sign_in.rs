//! A hall that signs in: by password at the bound of hashes at once, by refresh tokens, by the keys of bound phones; how long
//! that takes, and what those wait who push meanwhile.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use data_encoding::BASE64;
use muster_server::clock::Stopwatch;
use muster_sync_core::DeviceKey;
use muster_sync_core::signing::{SigningKey, SoftwareKey};
use muster_sync_core::sync::auth::{CHALLENGE_PATH, DEVICE_TOKEN_PATH, answer_challenge};
use muster_sync_core::sync::message::Response;
use muster_tests::PASSWORD;
use muster_tests::campus::{Campus, Session, Student, capture};
use muster_tests::wire::{Connection, get, post_json, post_sync};
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::Result;
use crate::figures::{percentile_ms, say};
use crate::process::Server;

/// Phones that push all the time, a record each.
const PUSHERS: usize = 20;
/// Pause between two pushes of one of them.
const PUSH_PAUSE: Duration = Duration::from_millis(100);
/// Class sessions: each phone pushes at most one record into each.
const SESSIONS: usize = 1_200;
/// How long they push with nothing beside.
const ALONE: Duration = Duration::from_secs(5);
/// A phone that is put off this often in a row has starved.
const TRIES_MAX: usize = 60;
/// A prime, to shuffle the phones the same way in every run.
const STRIDE: usize = 7_919;

/// What to run.
pub(crate) struct Options {
    pub(crate) phones: usize,
    pub(crate) seconds: usize,
}

/// What every phone does, and how often.
#[derive(Clone, Copy)]
enum Step {
    Password,
    Renew,
    DeviceKey,
    Me,
    Health,
}

/// A phone that signs in.
struct Phone {
    address: SocketAddr,
    connection: Option<Connection>,
    email: String,
    key: SoftwareKey,
    access_token: String,
    refresh_token: String,
    put_off: usize,
}

/// A phone that pushes.
struct Pusher {
    student: Student,
    sessions: std::vec::IntoIter<Session>,
    server_key: DeviceKey,
    now_ms: i64,
}

/// Who does what beside whom.
struct Hall {
    address: SocketAddr,
    phones: Vec<Phone>,
    pushers: Vec<Pusher>,
}

/// Runs it and prints the figures.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let campus = runtime.block_on(Campus::build(options.phones + PUSHERS, SESSIONS))?;
    // The hall shares one address, which is the campus's, and to build it everybody has signed in once.
    let server =
        Server::start_with(&campus.data, &["--campus-networks", "127.0.0.0/8", "--rl-login-ip-limit", "1000"])?;
    let mut hall = Hall { address: server.address, phones: Vec::new(), pushers: Vec::new() };
    for student in campus.students {
        if hall.pushers.len() < PUSHERS {
            let sessions = campus.sessions.clone().into_iter();
            let (server_key, now_ms) = (campus.server_key, campus.now_ms);
            hall.pushers.push(Pusher { student, sessions, server_key, now_ms });
        } else {
            hall.phones.push(Phone::new(server.address, student));
        }
    }
    let span = Duration::from_secs(options.seconds as u64);
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    client.block_on(LocalSet::new().run_until(async {
        hall.alone().await?;
        let spread = format!("password, within {} s", options.seconds);
        for (name, step, times, span) in [
            (spread.as_str(), Step::Password, 1, span),
            ("password, at once", Step::Password, 1, Duration::ZERO),
            ("refresh token", Step::Renew, 10, Duration::ZERO),
            ("device key", Step::DeviceKey, 5, Duration::ZERO),
            ("GET /auth/me", Step::Me, 20, Duration::ZERO),
            ("GET /health", Step::Health, 20, Duration::ZERO),
        ] {
            hall.measure(&server, name, (step, times), span).await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    }))?;
    server.stop()
}

impl Hall {
    async fn alone(&mut self) -> Result<()> {
        let done = Rc::new(Cell::new(false));
        let pushing = self.push(&done);
        tokio::time::sleep(ALONE).await;
        done.set(true);
        let acks = self.pushed(pushing).await?;
        say(&format!("nothing beside: {}", described(acks)));
        Ok(())
    }

    async fn measure(
        &mut self,
        server: &Server,
        name: &str,
        (step, times): (Step, usize),
        span: Duration,
    ) -> Result<()> {
        let done = Rc::new(Cell::new(false));
        let pushing = self.push(&done);
        let cpu_before = server.cpu_s()?;
        let watch = Stopwatch::start();
        let count = self.phones.len();
        let mut running = Vec::with_capacity(count);
        for (index, mut phone) in std::mem::take(&mut self.phones).into_iter().enumerate() {
            let place = (index * STRIDE % count) as f64 / count as f64;
            running.push(tokio::task::spawn_local(async move {
                tokio::time::sleep(span.mul_f64(place)).await;
                // The one of the step before may be closed for idleness.
                phone.connection = None;
                let mut latencies = Vec::with_capacity(times);
                for _ in 0..times {
                    let watch = Stopwatch::start();
                    phone.step(step).await?;
                    latencies.push(watch.elapsed());
                }
                Ok::<_, Box<dyn std::error::Error>>((phone, latencies))
            }));
        }
        let mut latencies = Vec::with_capacity(count * times);
        for phone in running {
            let (phone, took) = phone.await??;
            self.phones.push(phone);
            latencies.extend(took);
        }
        let elapsed_s = watch.elapsed().as_secs_f64();
        let cpu_s = server.cpu_s()? - cpu_before;
        done.set(true);
        let acks = self.pushed(pushing).await?;
        let put_off: usize = self.phones.iter_mut().map(|phone| std::mem::take(&mut phone.put_off)).sum();
        let total = (count * times) as f64;
        say(&format!(
            "{name}: {count} phones x {times} in {elapsed_s:.1} s, {:.0}/s, {}; {put_off} answers 503 or 429; server CPU \
             {:.2} ms each with the pushes",
            total / elapsed_s,
            described(latencies),
            cpu_s * 1e3 / total
        ));
        say(&format!("  pushes beside: {}", described(acks)));
        Ok(())
    }

    fn push(&mut self, done: &Rc<Cell<bool>>) -> Vec<Pushing> {
        let (address, pushers) = (self.address, std::mem::take(&mut self.pushers));
        pushers
            .into_iter()
            .map(|pusher| tokio::task::spawn_local(pusher.push_until(address, Rc::clone(done))))
            .collect()
    }

    async fn pushed(&mut self, pushing: Vec<Pushing>) -> Result<Vec<Duration>> {
        let mut acks = Vec::new();
        for pusher in pushing {
            let (pusher, took) = pusher.await??;
            self.pushers.push(pusher);
            acks.extend(took);
        }
        Ok(acks)
    }
}

/// A phone that pushes, and gives itself back with how long each of its exchanges took.
type Pushing = tokio::task::JoinHandle<Result<(Pusher, Vec<Duration>)>>;

fn described(mut latencies: Vec<Duration>) -> String {
    let count = latencies.len();
    let [p50, p99, most] = [50, 99, 100].map(|percent| percentile_ms(&mut latencies, percent));
    format!("{count} answers, p50 {p50:.1} ms, p99 {p99:.1} ms, most {most:.1} ms")
}

impl Pusher {
    async fn push_until(mut self, address: SocketAddr, done: Rc<Cell<bool>>) -> Result<(Self, Vec<Duration>)> {
        let mut connection = Connection::open(address).await?;
        let mut acks = Vec::new();
        while !done.get() {
            let session = self.sessions.next().ok_or("the pushers ran out of class sessions")?;
            let item = capture(&mut self.student, &session, self.server_key, self.now_ms)?;
            let body = self.student.phone.body(&[item], &Default::default(), false);
            let request = post_sync(self.student.token(), &body, "");
            let reply = connection.exchange(&request, Stopwatch::start()).await?;
            let response = Response::decode(reply.body())?;
            if response.fates.iter().any(|fate| fate.receipt.is_none()) {
                return Err("a push without a receipt".into());
            }
            acks.push(reply.latency);
            tokio::time::sleep(PUSH_PAUSE).await;
        }
        Ok((self, acks))
    }
}

impl Phone {
    fn new(address: SocketAddr, student: Student) -> Self {
        let (email, key) = (student.email, student.phone.key);
        let (access_token, refresh_token) = (String::new(), String::new());
        Self { address, connection: None, email, key, access_token, refresh_token, put_off: 0 }
    }

    async fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Password => {
                let login = json!({ "email": self.email, "password": PASSWORD, "client": "phone" });
                let tokens = self.ask(&post_json("/api/v1/auth/login", &login)).await?;
                self.keep(&tokens)
            }
            Step::Renew => {
                let body = json!({ "refresh_token": self.refresh_token });
                let tokens = self.ask(&post_json("/api/v1/auth/refresh", &body)).await?;
                self.keep(&tokens)
            }
            Step::DeviceKey => self.prove_key().await,
            Step::Me => self.ask(&get("/api/v1/auth/me", &self.access_token)).await.map(drop),
            Step::Health => self.ask(&get("/health", &self.access_token)).await.map(drop),
        }
    }

    async fn prove_key(&mut self) -> Result<()> {
        let device_key = self.key.public_key().to_string();
        let challenge = self.ask(&post_json(CHALLENGE_PATH, &json!({ "device_key": device_key }))).await?;
        let server = DeviceKey::from_hex(challenge["server_key"].as_str().ok_or("no key")?).ok_or("no key")?;
        let bytes = BASE64.decode(challenge["challenge"].as_str().ok_or("no challenge")?.as_bytes())?;
        let signature = BASE64.encode(&answer_challenge(&self.key, &server, &bytes)?);
        let answer = json!({ "device_key": device_key, "challenge": challenge["challenge"], "signature": signature });
        let tokens = self.ask(&post_json(DEVICE_TOKEN_PATH, &answer)).await?;
        self.keep(&tokens)
    }

    fn keep(&mut self, tokens: &Value) -> Result<()> {
        let text = |name: &str| tokens[name].as_str().map(str::to_owned).ok_or("an answer without tokens");
        (self.access_token, self.refresh_token) = (text("access_token")?, text("refresh_token")?);
        Ok(())
    }

    /// Comes back when it is told to.
    async fn ask(&mut self, request: &[u8]) -> Result<Value> {
        for _ in 0..TRIES_MAX {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => Connection::open(self.address).await?,
            };
            let reply = connection.send(request, Stopwatch::start()).await?;
            self.connection = Some(connection);
            match reply.status {
                200 => return Ok(serde_json::from_slice(reply.body())?),
                429 | 503 => {
                    self.put_off += 1;
                    let seconds = reply.retry_after_s().ok_or("put off without Retry-After")?;
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
                status => return Err(format!("status {status}: {}", String::from_utf8_lossy(reply.body())).into()),
            }
        }
        Err("a phone starved".into())
    }
}
