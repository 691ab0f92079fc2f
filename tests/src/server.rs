//! A real `muster serve` in this process.
//!
//! Its database is a SQLite file, or where TEST_DATABASE_URL names a PostgreSQL server, a database there.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::{fs, io};

use muster_server::app::{App, AppBuilder, ManualClock, StartError};
use muster_server::auth::{self, DisplayName, Email, NewUser, Person, Voucher};
use muster_server::cli::serve::{self, Running};
use muster_server::clock::{Clock, SystemEntropy};
use muster_server::config::Config;
use muster_server::db::{Db, DbError};
use muster_server::ids::{TenantId, UserId};
use muster_server::limits::ConnectionLimits;
use serde_json::json;
use tempfile::TempDir;

use crate::client::Client;
use crate::postgres::{self, TestDatabase};

/// The password of every user that the tests create.
pub const PASSWORD: &str = "correct horse battery";

/// One hash for all of them: hashing costs more than most tests.
fn password_hash() -> String {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| auth::hash_password_blocking(PASSWORD, &SystemEntropy).expect("a password")).clone()
}

/// The folder of a server, and its database where that is no file in there; gone when dropped.
pub struct Data {
    dir: TempDir,
    database: Option<TestDatabase>,
}

impl Data {
    /// An empty folder, and a fresh database if the environment asks for PostgreSQL.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn fresh() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder"), database: TestDatabase::fresh() }
    }

    /// An empty folder for a SQLite file, whatever the environment asks for: for the few tests about such files.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn sqlite() -> Self {
        Self::new(tempfile::tempdir().expect("a temporary folder"), None)
    }

    /// A folder, and a database beside it.
    pub fn new(dir: TempDir, database: Option<TestDatabase>) -> Self {
        Self { dir, database }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The database, if it is no file in the folder.
    pub fn database(&self) -> Option<&TestDatabase> {
        self.database.as_ref()
    }

    /// A copy, for one more server that begins from the same state.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub fn copy(&self) -> io::Result<Self> {
        let copy = tempfile::tempdir()?;
        copy_folder(self.path(), copy.path())?;
        Ok(Self::new(copy, self.database.as_ref().map(TestDatabase::copy)))
    }

    /// Opens the database beside, or after, its server. Blocks.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn open(&self) -> Db {
        let opened = match &self.database {
            Some(database) => Db::open_postgres(&database.url(), postgres::allowances(), 0),
            None => Db::open_sqlite(&self.path().join("muster.db"), 0),
        };
        opened.expect("the database opens")
    }

    /// The folder alone, which then stays until somebody removes it.
    pub fn keep(self) -> std::path::PathBuf {
        self.dir.keep()
    }

    /// Whether the database is a SQLite file. For the few tests that are about such files.
    pub fn is_sqlite(&self) -> bool {
        self.database.is_none()
    }
}

/// Copies the files of a folder and of its folders.
///
/// # Errors
/// When one of them cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// A server that stops, and whose data goes, when the test ends.
pub struct TestServer {
    running: Option<Running>,
    data: Option<Data>,
    clock: Option<Arc<ManualClock>>,
    http: reqwest::Client,
    users: AtomicU32,
}

/// How a `TestServer` differs from the default.
#[derive(Default)]
pub struct TestServerBuilder {
    clock: Option<Arc<ManualClock>>,
    arguments: Vec<String>,
    data: Option<Data>,
    connection_limits: Option<ConnectionLimits>,
    limits_as_shipped: bool,
    production: bool,
}

/// What ENV=prod needs, whatever a test is about.
const PRODUCTION: [(&str, &str); 3] =
    [("--env", "prod"), ("--public-url", "https://muster.uni.example"), ("--mail-transport", "file")];
/// The keys that such a server is given instead of making them.
const PRODUCTION_KEYS: [(&str, &str); 3] = [
    ("--jwt-secret", "8f0aa1c6d2b94e57931c60d7be2f4a85"),
    ("--token-pepper", "c1d93b7f60e24a18b5d7720fa64e98c3"),
    ("--mfa-encryption-key", "pq3Yw0m1kHqT9bJx5uVfZs2LrGd8NcAeQyXoKtWiB7E="),
];

/// All clients of a test come from one address, and most tests are not about how many they are.
const ROOMY_LIMITS: &[&str] = &[
    "--rl-login-ip-limit",
    "--rl-login-email-limit",
    "--rl-signup-ip-limit",
    "--rl-reset-ip-limit",
    "--rl-anonymous-ip-limit",
    "--rl-user-limit",
    "--login-fail-ip-threshold",
];

impl TestServerBuilder {
    /// The limits of an address and of a user as a server has them that nobody configured.
    pub fn limits_as_shipped(mut self) -> Self {
        self.limits_as_shipped = true;
        self
    }

    /// A clock that stands at `now_ms` until the test moves it.
    pub fn manual_clock(mut self, now_ms: i64) -> Self {
        self.clock = Some(Arc::new(ManualClock::new(now_ms)));
        self
    }

    /// A command line option of `muster serve` with its value.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Like a server that is meant: ENV=prod, and every secret that this needs.
    pub fn production(mut self) -> Self {
        self.arguments.extend(PRODUCTION.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]));
        self.production = true;
        self.production_keys()
    }

    /// The keys of a server in production alone, for data that becomes one's.
    pub fn production_keys(mut self) -> Self {
        let keys = PRODUCTION_KEYS.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]);
        self.arguments.extend(keys);
        self
    }

    /// Other limits for connections.
    pub fn connection_limits(mut self, limits: ConnectionLimits) -> Self {
        self.connection_limits = Some(limits);
        self
    }

    /// The data of a server that was stopped with `stop`.
    pub fn data(mut self, data: Data) -> Self {
        self.data = Some(data);
        self
    }

    /// One more server over the database of another one, which runs on PostgreSQL, with the same keys.
    ///
    /// # Panics
    /// When the other one has a database file.
    pub fn beside(mut self, other: &TestServer) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (other.data().path().join("keys"), dir.path().join("keys"));
        std::fs::create_dir(&to).expect("a folder");
        for key in std::fs::read_dir(from).expect("the keys").flatten() {
            std::fs::copy(key.path(), to.join(key.file_name())).expect("a copy of a key");
        }
        let database = other.data().database().expect("the other server runs on PostgreSQL");
        self.arguments.extend(postgres::options(&database.url()));
        self.data = Some(Data::new(dir, None));
        self
    }

    /// Starts it on a free port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(self) -> TestServer {
        self.try_start().await.expect("the server starts")
    }

    /// The same, for servers that may not start.
    ///
    /// # Errors
    /// When it does not.
    pub async fn try_start(self) -> Result<TestServer, StartError> {
        let data = self.data.unwrap_or_else(Data::fresh);
        let mut arguments = self.arguments;
        if self.production && data.is_sqlite() {
            let file = data.path().join("muster.db");
            arguments.extend(["--database-url".to_owned(), format!("sqlite://{}", file.display())]);
        }
        if let Some(database) = &data.database {
            arguments.extend(postgres::options(&database.url()));
        }
        for name in ROOMY_LIMITS.iter().filter(|_| !self.limits_as_shipped) {
            if !arguments.iter().any(|given| given == name) {
                arguments.extend([(*name).to_owned(), "1000000".to_owned()]);
            }
        }
        let config = config(data.path(), &arguments);
        let mut builder = AppBuilder::new(config);
        if let Some(clock) = &self.clock {
            builder = builder.clock(Arc::clone(clock) as Arc<dyn Clock>);
        }
        if let Some(limits) = self.connection_limits {
            builder = builder.connection_limits(limits);
        }
        let running = serve::start(builder).await?;
        let http = crate::http::client().build().expect("a client");
        Ok(TestServer { running: Some(running), data: Some(data), clock: self.clock, http, users: AtomicU32::new(1) })
    }
}

fn config(data_dir: &Path, arguments: &[String]) -> Config {
    let data_dir = data_dir.to_str().expect("a path in UTF-8");
    let fixed = ["--data-dir", data_dir, "--port", "0", "--log-level", "warn"];
    Config::from_arguments(fixed.iter().map(|text| (*text).to_owned()).chain(arguments.iter().cloned()))
        .expect("valid options")
}

impl TestServer {
    /// A server with default settings and the machine's clock.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A server that differs from the default.
    pub fn builder() -> TestServerBuilder {
        TestServerBuilder::default()
    }

    /// The server's state, for what no endpoint offers.
    pub fn app(&self) -> &App {
        &self.running().app
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running().address
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The clock of `manual_clock`.
    ///
    /// # Panics
    /// When the server was started with the machine's clock.
    pub fn clock(&self) -> &ManualClock {
        self.clock.as_deref().expect("started with a manual clock")
    }

    /// What the server's clock says, Unix milliseconds.
    pub fn clock_ms(&self) -> i64 {
        self.app().now_ms()
    }

    /// A client that is not signed in.
    pub fn anonymous(&self) -> Client {
        Client::new(self.http.clone(), self.url(""))
    }

    /// A client with this token.
    pub fn with_token(&self, token: &str) -> Client {
        self.anonymous().signed_in(token)
    }

    /// A client that is signed in as a fresh user of this role, whose address an admin vouches for.
    ///
    /// # Panics
    /// When the user cannot be created or cannot sign in.
    pub async fn client(&self, role: &str) -> Client {
        let number = self.users.fetch_add(1, Ordering::Relaxed);
        let email = format!("{role}{number}@muster.example");
        self.create_known_user(&email, role).await;
        self.sign_in(&email).await
    }

    /// Creates a user whose password is `PASSWORD` and whose address nobody confirmed, and says which id it has.
    ///
    /// # Panics
    /// When the user exists already.
    pub async fn create_user(&self, email: &str, role: &str) -> String {
        self.insert_user(email, role, None).await
    }

    /// The same with an address that an admin vouches for.
    ///
    /// # Panics
    /// When the user exists already.
    pub async fn create_known_user(&self, email: &str, role: &str) -> String {
        self.insert_user(email, role, Some(Voucher::Admin)).await
    }

    async fn insert_user(&self, email: &str, role: &str, by: Option<Voucher>) -> String {
        let app = self.app();
        let new = NewUser {
            id: UserId::generate(&*app.clock, &*app.entropy),
            tenant: TenantId::default_tenant(),
            email: Email::parse(email).expect("an address"),
            username: None,
            display_name: DisplayName::parse(email).expect("a name"),
            role: role.parse().expect("a role"),
            person: Person::default(),
            password_hash: Some(password_hash()),
            created_at_ms: app.now_ms(),
        };
        let id = new.id.to_string();
        let inserted: Result<bool, DbError> =
            app.db.write(move |tx| by.map_or_else(|| auth::insert(tx, &new), |by| auth::insert_by(tx, &new, by))).await;
        assert_eq!(inserted, Ok(true), "{email} is new");
        id
    }

    /// A client that is signed in with this address and `PASSWORD`.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn sign_in(&self, email: &str) -> Client {
        let body = json!({ "email": email, "password": PASSWORD });
        let reply = self.anonymous().post("/api/v1/auth/login", &body).await.expect(200);
        let client = self.with_token(reply["access_token"].as_str().expect("a token"));
        let me = client.get("/api/v1/auth/me").await.expect(200);
        client.as_user(me["id"].as_str().expect("an id"))
    }

    /// Stops the server in order and keeps its data for another one.
    pub async fn stop(mut self) -> Data {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        self.data.take().expect("the data is there until the server stops")
    }

    /// Where its data is.
    ///
    /// # Panics
    /// Never while the server runs.
    pub fn data(&self) -> &Data {
        self.data.as_ref().expect("the data is there until the server stops")
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs until it is stopped")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.app.stop();
        }
    }
}
