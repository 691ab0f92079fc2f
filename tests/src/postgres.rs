//! PostgreSQL for tests: a cluster of one's own, and a fresh database for every test.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use muster_server::config::UNSAFE_POSTGRES_WORDS;
use muster_server::db::{Allowances, Db, SERVER_MIGRATIONS};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Names the server on which the tests make their databases: `postgresql://user@host/postgres`.
pub const TEST_DATABASE_URL: &str = "TEST_DATABASE_URL";
/// Where Debian keeps the programs.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The account under which PostgreSQL runs when the tests run as root, whom it refuses.
const ACCOUNT: &str = "postgres";
/// Serialises the making of the template among processes.
const TEMPLATE_LOCK: i64 = 0x4D55_5354_0003;

/// A PostgreSQL server in a temporary folder; stopped and gone when dropped.
pub struct Cluster {
    dir: TempDir,
    programs: PathBuf,
}

impl Cluster {
    /// The folder of the programs, if PostgreSQL is installed.
    pub fn programs() -> Option<PathBuf> {
        let on_path = std::env::var_os("PATH").and_then(|path| {
            let mut folders = std::env::split_paths(&path);
            folders.find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
        });
        // A wrapper on PATH finds its programs itself; the newest of Debian's folders holds the real ones.
        let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
        versions.filter(|folder| folder.join("initdb").exists()).max().or(on_path)
    }

    /// Starts one that listens on a socket in its folder, with these lines in its settings.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn start(settings: &[&str]) -> Self {
        let programs = Self::programs().expect("PostgreSQL is installed");
        let dir = tempfile::tempdir().expect("a temporary folder");
        if is_root() {
            run(Command::new("chown").arg(ACCOUNT).arg(dir.path()));
        }
        let cluster = Self { dir, programs };
        let data = cluster.data();
        let initdb = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"];
        run(cluster.command("initdb").args(initdb).arg(&data));
        let socket = cluster.dir.path().display().to_string();
        let mut lines = vec![
            "listen_addresses = ''".to_owned(),
            format!("unix_socket_directories = '{socket}'"),
            "max_connections = 300".to_owned(),
        ];
        lines.extend(settings.iter().map(|line| (*line).to_owned()));
        let file = data.join("postgresql.conf");
        let text = fs::read_to_string(&file).expect("initdb wrote it") + &lines.join("\n") + "\n";
        fs::write(file, text).expect("the settings can be written");
        run(cluster.control("start"));
        cluster
    }

    /// The address of one of its databases; `postgres` is there from the beginning.
    pub fn url(&self, database: &str) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgresql://postgres@{socket}/{database}")
    }

    /// Its folder, in which its account may write.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Gives a file to its account, and to nobody else.
    pub fn own(&self, file: &Path) {
        run(Command::new("chmod").arg("600").arg(file));
        if is_root() {
            run(Command::new("chown").arg(ACCOUNT).arg(file));
        }
    }

    /// A program of PostgreSQL's, run under its account.
    pub fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = if is_root() { Command::new("setpriv") } else { Command::new(&path) };
        if is_root() {
            command.args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups", "--"]).arg(path);
        }
        command.current_dir(self.dir.path());
        command
    }

    /// Stops it as a crash would, and starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn crash_and_restart(&self) {
        run(&mut self.control("stop"));
        run(&mut self.control("start"));
    }

    fn control(&self, what: &str) -> Command {
        let mut command = self.command("pg_ctl");
        let log = self.dir.path().join("log");
        command.arg(what).args(["-w", "-m", "immediate", "-D"]).arg(self.data());
        if what == "start" {
            command = self.command("pg_ctl");
            command.args(["start", "-w", "-t", "60", "-D"]).arg(self.data()).arg("-l").arg(log);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.control("stop").stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("this is Linux")) == 0
}

fn run(mut command: impl std::borrow::BorrowMut<Command>) {
    let command = command.borrow_mut();
    // Programs that stay behind would keep a pipe open.
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(output.is_ok_and(|status| status.success()), "{command:?} fails");
}

static SERVER: OnceLock<String> = OnceLock::new();

/// Says in place of the environment on which server databases are made.
pub fn use_server(url: &str) {
    let _ = SERVER.set(url.to_owned());
}

/// A database of one test's own, with every table; gone when dropped.
pub struct TestDatabase {
    server: String,
    name: String,
}

impl TestDatabase {
    /// On the server that [`use_server`] or the environment names, if one does.
    pub fn fresh() -> Option<Self> {
        let server = SERVER.get().cloned().or_else(|| std::env::var(TEST_DATABASE_URL).ok());
        server.filter(|url| !url.is_empty()).map(|server| Self::on(&server))
    }

    /// On this server, which is named by the address of any of its databases.
    pub fn on(server: &str) -> Self {
        let template = template(server);
        Self::copied(server, &template)
    }

    /// On this server and without tables.
    pub fn empty_on(server: &str) -> Self {
        Self::copied(server, "template0")
    }

    /// A copy of this one, which nobody may be using.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::copied(&self.server, &self.name)
    }

    /// The address for `DATABASE_URL`.
    pub fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// What it takes on the disk.
    pub fn size_bytes(&self) -> u64 {
        let (url, name) = (self.server.clone(), self.name.clone());
        on_thread(async move {
            let client = connect(&url).await.expect("PostgreSQL answers");
            client.batch_execute("CHECKPOINT").await.expect("a checkpoint");
            let row = client.query_one("SELECT pg_database_size($1)", &[&name]).await.expect("a size");
            row.get::<_, i64>(0).unsigned_abs()
        })
    }

    fn copied(server: &str, template: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("muster_test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        sql(server, vec![format!("CREATE DATABASE {name} TEMPLATE {template}")]);
        Self { server: server.to_owned(), name }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = try_sql(&self.server, vec![drop]);
    }
}

/// A database that has every table already, so that a test need not make them.
fn template(server: &str) -> String {
    let all = SERVER_MIGRATIONS.iter().fold(Sha256::new(), |hash, migration| hash.chain_update(migration.sql));
    let name = format!("muster_template_{}", &data_encoding::HEXLOWER.encode(&all.finalize())[..16]);
    let (server, template) = (server.to_owned(), name.clone());
    on_thread(async move {
        let client = connect(&server).await.expect("PostgreSQL answers");
        client.execute("SELECT pg_advisory_lock($1)", &[&TEMPLATE_LOCK]).await.expect("a lock");
        let known = client.query("SELECT 1 FROM pg_database WHERE datname = $1", &[&template]).await;
        if !known.expect("the list of databases").is_empty() {
            return;
        }
        // Under another name until it is whole, so that one which was begun only is never used.
        let begun = format!("{template}_begun");
        for statement in
            [format!("DROP DATABASE IF EXISTS {begun}"), format!("CREATE DATABASE {begun} TEMPLATE template0")]
        {
            client.batch_execute(&statement).await.expect("a database can be made");
        }
        let url = with_database(&server, &begun);
        let opened = tokio::task::spawn_blocking(move || Db::open_postgres(&url, allowances(), 0).map(|db| db.close()));
        opened.await.expect("no panic").expect("the migrations run");
        // Connections that were closed a moment ago may still be counted.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        client.execute(end, &[&begun]).await.expect("connections end");
        client.batch_execute(&format!("ALTER DATABASE {begun} RENAME TO {template}")).await.expect("a new name");
    });
    name
}

/// What tests allow: their records need not survive a crash of the machine.
pub fn allowances() -> Allowances {
    Allowances { unsafe_settings: true, async_standby: false }
}

/// The options of `muster serve` for a database of a test.
pub fn options(url: &str) -> [String; 4] {
    ["--database-url", url, "--allow-unsafe-postgres", UNSAFE_POSTGRES_WORDS].map(str::to_owned)
}

/// Runs statements, each for itself.
///
/// # Panics
/// When one fails.
pub fn sql(url: &str, statements: Vec<String>) {
    try_sql(url, statements).expect("PostgreSQL does as it is told");
}

fn try_sql(url: &str, statements: Vec<String>) -> Result<(), tokio_postgres::Error> {
    let url = url.to_owned();
    on_thread(async move {
        let client = connect(&url).await?;
        for statement in statements {
            client.batch_execute(&statement).await?;
        }
        Ok(())
    })
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// On a thread of its own, because tests call this from async code too.
fn on_thread<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work)
    });
    thread.join().expect("no panic")
}

/// The address of another database of the same server.
pub fn with_database(url: &str, database: &str) -> String {
    let (address, options) = url.split_once('?').map_or((url, String::new()), |(a, o)| (a, format!("?{o}")));
    let host = address.rsplit_once('/').map_or(address, |(host, _)| host);
    format!("{host}/{database}{options}")
}

/// Nothing has to survive a crash of the machine, and without flushes tests are much faster.
pub const WITHOUT_FLUSHES: [&str; 2] = ["fsync = off", "full_page_writes = off"];

/// Runs a command with a cluster of its own under [`TEST_DATABASE_URL`]; answers with its exit code.
pub fn run_with_cluster(
    settings: &[&str],
    command: &OsStr,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> i32 {
    let cluster = Cluster::start(settings);
    let status = Command::new(command).args(arguments).env(TEST_DATABASE_URL, cluster.url("postgres")).status();
    status.ok().and_then(|status| status.code()).unwrap_or(1)
}
