//! A large roster on the real server and the real command line: seconds, memory, what the writes of others wait meanwhile
//! (beside an import over HTTP, and beside one by the command line), and how fast people are found afterwards.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_server::clock::Stopwatch;
use muster_tests::{Data, PASSWORD, postgres, roster};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::Result;
use crate::figures::{percentile_ms, say};
use crate::process::{Server, binary, peak_kib};

const ADMIN: &str = "root@muster.example";
/// How often the memory of a command is looked at.
const MEMORY_POLL: Duration = Duration::from_millis(5);
/// Others who write all the time.
const WRITERS: usize = 8;
/// Pause between two writes of one of them.
const WRITE_PAUSE: Duration = Duration::from_millis(20);
/// Somebody who is put off this often in a row has starved.
const TRIES_MAX: usize = 60;
/// Searches of each kind.
const SEARCHES: usize = 200;

/// Imports it by the command line and over HTTP, each into an empty database.
pub(crate) fn run(students: usize) -> Result<()> {
    let files = roster::large(students);
    let plain: usize = files.iter().map(|(_, text)| text.len()).sum();
    let rows: usize = files.iter().map(|(_, text)| text.lines().count() - 1).sum();
    let archive = roster::archive(&files);
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    say(&format!(
        "roster: {students} students, {rows} rows, {:.1} MB, packed {:.1} MB",
        megabytes(plain),
        megabytes(archive.len())
    ));
    let files = tempfile::tempdir()?;
    let path = files.path().join("roster.zip");
    std::fs::write(&path, &archive)?;
    by_command(&path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(over_http(archive))?;
    runtime.block_on(beside_a_server(path))
}

fn by_command(path: &Path) -> Result<()> {
    let data = Data::fresh();
    create_admin(&data)?;
    let path = path.to_str().ok_or("a path in UTF-8")?;
    for (name, options) in [("dry run", &["--dry-run"][..]), ("import", &[]), ("again", &[])] {
        let arguments = [&["roster", "import", path, "--json"], options].concat();
        let (seconds, peak_kib, report) = measured(&data, &arguments)?;
        tell(&format!("muster roster import, {name}"), seconds, &report);
        say(&format!("  peak memory of the process {:.0} MB", peak_kib as f64 / 1024.0));
    }
    Ok(())
}

fn tell(name: &str, seconds: f64, report: &Value) {
    let written: u64 = [("users", "created"), ("courses", "created"), ("lecturers", "added"), ("enrolments", "added")]
        .iter()
        .filter_map(|(part, count)| report[part][count].as_u64())
        .sum();
    let ms = &report["elapsed_ms"];
    say(&format!(
        "{name}: {seconds:.2} s in all; read {} ms, compared {} ms, wrote {} ms; {written} new rows, {:.0} rows/s; {} bad",
        ms["read"],
        ms["compare"],
        ms["write"],
        written as f64 / seconds,
        report["bad_rows"]
    ));
}

fn command(data: &Data, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments).arg("--data-dir").arg(data.path()).args(["--log-level", "error"]);
    command.args(data.database().map(|database| postgres::options(&database.url())).into_iter().flatten());
    Ok(command)
}

fn create_admin(data: &Data) -> Result<()> {
    let mut command = command(data, &["admin", "create", "--email", ADMIN, "--password-stdin"])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child.stdin.take().ok_or("no standard input")?.write_all(PASSWORD.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err("the admin was not created".into()) }
}

/// Seconds, the most memory, and the report of one run.
fn measured(data: &Data, arguments: &[&str]) -> Result<(f64, u64, Value)> {
    let watch = Stopwatch::start();
    let out = tempfile::NamedTempFile::new()?;
    let mut child = command(data, arguments)?.stdout(out.reopen()?).stderr(Stdio::null()).spawn()?;
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        peak = peak.max(peak_kib(child.id()).unwrap_or(0));
        std::thread::sleep(MEMORY_POLL);
    }
    let seconds = watch.elapsed().as_secs_f64();
    Ok((seconds, peak, serde_json::from_slice(&std::fs::read(out.path())?)?))
}

/// A client of a running server.
#[derive(Clone)]
struct Office {
    http: Client,
    base: String,
    token: String,
}

impl Office {
    async fn open(server: &Server) -> Result<Self> {
        let http = Client::builder().no_proxy().build()?;
        let base = format!("http://{}/api/v1", server.address);
        let login = json!({ "email": ADMIN, "password": PASSWORD });
        let reply: Value = http.post(format!("{base}/auth/login")).json(&login).send().await?.json().await?;
        let token = reply["access_token"].as_str().ok_or("no token")?.to_owned();
        Ok(Self { http, base, token })
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        Ok(request.send().await?.error_for_status()?.json().await?)
    }
}

async fn over_http(archive: Vec<u8>) -> Result<()> {
    let data = Data::fresh();
    create_admin(&data)?;
    let server = Server::start(&data)?;
    let office = Office::open(&server).await?;
    let before = server.memory()?;
    let (imported, waits) = beside_writers(&office, import(&office, archive)).await?;
    let (seconds, report) = imported?;
    tell("POST /admin/roster/import", seconds, &report);
    let after = server.memory()?;
    say(&format!(
        "  memory of the server {:.0} MB before, peak {:.0} MB, {:.0} MB after",
        before.now_kib as f64 / 1024.0,
        after.peak_kib as f64 / 1024.0,
        after.now_kib as f64 / 1024.0
    ));
    tell_waits(waits);
    search(&office).await?;
    server.stop()
}

async fn import(office: &Office, archive: Vec<u8>) -> Result<(f64, Value)> {
    let watch = Stopwatch::start();
    let request = office.http.post(format!("{}/admin/roster/import", office.base)).bearer_auth(&office.token);
    let report: Value = request.body(archive).send().await?.error_for_status()?.json().await?;
    Ok((watch.elapsed().as_secs_f64(), report))
}

/// The command line in a process of its own, which needs the lock of the file that the server writes to.
async fn beside_a_server(path: std::path::PathBuf) -> Result<()> {
    let data = Data::fresh();
    create_admin(&data)?;
    let server = Server::start(&data)?;
    let office = Office::open(&server).await?;
    let path = path.to_str().ok_or("a path in UTF-8")?.to_owned();
    let running = async {
        let importing = tokio::task::spawn_blocking(move || {
            let done = measured(&data, &["roster", "import", &path, "--json"]);
            done.map_err(|error| error.to_string()).map(|done| (done, data))
        });
        Ok::<_, Box<dyn std::error::Error>>(importing.await??)
    };
    let (imported, waits) = beside_writers(&office, running).await?;
    let ((seconds, _, report), _data) = imported?;
    tell("muster roster import, beside a server", seconds, &report);
    tell_waits(waits);
    server.stop()
}

/// How long each write of the others took, and how often one was put off.
#[derive(Default)]
struct Waits {
    took: Vec<Duration>,
    put_off: usize,
}

fn tell_waits(mut waits: Waits) {
    let writes = waits.took.len();
    let [p50, p99, most] = [50, 99, 100].map(|percent| percentile_ms(&mut waits.took, percent));
    say(&format!(
        "  {writes} writes of {WRITERS} others meanwhile: p50 {p50:.1} ms, p99 {p99:.0} ms, the slowest {most:.0} ms; {} times put \
         off with 503, all done in the end",
        waits.put_off
    ));
}

/// Runs something while others write.
async fn beside_writers<T>(office: &Office, work: impl Future<Output = T>) -> Result<(T, Waits)> {
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::with_capacity(WRITERS);
    for _ in 0..WRITERS {
        let (office, done) = (office.clone(), Arc::clone(&done));
        writers.push(tokio::spawn(async move { office.write_until(&done).await.map_err(|error| error.to_string()) }));
    }
    let outcome = work.await;
    done.store(true, Ordering::Relaxed);
    let mut all = Waits::default();
    for writer in writers {
        let waits = writer.await??;
        all.took.extend(waits.took);
        all.put_off += waits.put_off;
    }
    Ok((outcome, all))
}

impl Office {
    /// Small writes, one after the other; comes back when it is told to.
    async fn write_until(&self, done: &AtomicBool) -> Result<Waits> {
        let mut waits = Waits::default();
        while !done.load(Ordering::Relaxed) {
            let watch = Stopwatch::start();
            let body = json!({ "face_matching": waits.took.len() % 2 == 0 });
            waits.put_off += self.persist(&body).await?;
            waits.took.push(watch.elapsed());
            tokio::time::sleep(WRITE_PAUSE).await;
        }
        Ok(waits)
    }

    async fn persist(&self, body: &Value) -> Result<usize> {
        for tries in 0..TRIES_MAX {
            let request = self.http.put(format!("{}/admin/settings", self.base)).bearer_auth(&self.token).json(body);
            let reply = request.send().await?;
            if reply.status().as_u16() != 503 {
                reply.error_for_status()?;
                return Ok(tries);
            }
            let wait = reply.headers().get("retry-after").ok_or("put off without Retry-After")?;
            tokio::time::sleep(Duration::from_secs(wait.to_str()?.parse()?)).await;
        }
        Err("a writer starved".into())
    }
}

async fn search(office: &Office) -> Result<()> {
    type Search = fn(usize) -> String;
    let searches: [(&str, Search); 6] = [
        ("by address", |number| format!("q=s{:06}@student", number * 499 % 100_000)),
        ("by registry's id", |number| format!("q=s-{:06}", number * 499 % 100_000)),
        ("by two words", |number| format!("q=ada+{}", number * 496 % 100_000)),
        ("that many match", |_| "q=garc%C3%ADa".to_owned()),
        ("that none matches", |number| format!("q=nobody{number}")),
        ("lecturers by name", |number| format!("q=teacher{number}&role=lecturer")),
    ];
    for (name, query) in searches {
        let mut times = Vec::with_capacity(SEARCHES);
        for number in 0..SEARCHES {
            let path = format!("/admin/users?{}", query(number));
            let watch = Stopwatch::start();
            office.call(Method::GET, &path, None).await?;
            times.push(watch.elapsed());
        }
        let (median, high) = (percentile_ms(&mut times, 50), percentile_ms(&mut times, 99));
        say(&format!("search {name}: p50 {median:.1} ms, p99 {high:.1} ms of {SEARCHES}"));
    }
    Ok(())
}
