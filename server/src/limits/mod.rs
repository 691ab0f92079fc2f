//! Every bound of the server's ground, by name. What somebody has a share of is in [`budgets`]; what only bounds the form of
//! one request, slices keep beside their code.

pub mod budgets;

use std::time::Duration;

/// Requests that one group commit may hold.
pub const GROUP_REQUESTS_MAX: usize = 512;
/// A group stops taking requests after this long, so that the first one is not kept waiting.
pub const GROUP_BUDGET: Duration = Duration::from_millis(40);
/// How long a request waits for a place in a full queue before it is told to come back, unless DB_POOL_TIMEOUT says.
pub const QUEUE_WAIT: Duration = Duration::from_secs(2);
/// Background jobs stand back while more writes than this wait.
pub const WRITER_BUSY_WAITING: usize = 64;
/// How long SQLite itself waits for another process that holds the file.
pub const DATABASE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection.
pub const STATEMENTS_CACHED_MAX: usize = 256;
/// Page cache of the writer's connection, in KiB.
pub const WRITER_CACHE_KIB: i64 = 32 * 1024;
/// Page cache of each reader's connection, in KiB.
pub const READER_CACHE_KIB: i64 = 8 * 1024;
/// Pages of 4 KiB in the write-ahead log before they are copied into the file. A page that changes often is then copied
/// once instead of after every commit.
pub const WAL_PAGES_MAX: u32 = 8_192;
/// A write-ahead log that is this long, in pages, is copied beside the writer.
pub const WAL_PAGES_LONG: u32 = 2 * WAL_PAGES_MAX;
/// Fewest reader connections.
pub const READERS_MIN: usize = 2;
/// Most reader connections that a server has which nobody told how many.
pub const READERS_MAX: usize = 16;
/// Most reader connections that somebody may ask for with DB_POOL_SIZE and DB_MAX_OVERFLOW.
pub const READERS_SET_MAX: usize = 64;

/// The file of log heads is at most this long behind the log.
pub const HEAD_FILE_EVERY: Duration = Duration::from_millis(500);
/// How often a command that needs every server stopped asks whether they are.
pub const OTHERS_ASKED_TIMES: u32 = 10;
/// The time between two of these questions.
pub const OTHERS_ASKED_EVERY: Duration = Duration::from_millis(100);
/// A file of heads that is further behind its log than this, in milliseconds, was not written by the server that wrote the
/// log: it is an old one.
pub const HEAD_FILE_LATE_MS_MAX: i64 = 60 * 1000;
/// `/health` tells of a loss for this long, in milliseconds: 30 days, as long as phones keep what makes it good.
pub const LOSS_SHOWN_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Reader connections of this machine.
pub fn readers() -> usize {
    std::thread::available_parallelism().map_or(READERS_MIN, usize::from).clamp(READERS_MIN, READERS_MAX)
}

/// How long a connection to PostgreSQL may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a lost connection to PostgreSQL is opened again before the requests that need it are told.
pub const CONNECT_ATTEMPTS_MAX: u32 = 4;
/// First wait between two such attempts; doubles with each.
pub const CONNECT_BACKOFF: Duration = Duration::from_millis(100);
/// How often PostgreSQL may refuse one group of requests because of what others wrote at the same time.
pub const CONFLICT_ATTEMPTS_MAX: u32 = 12;
/// First wait after such a refusal; doubles with each, and half of it is chance.
pub const CONFLICT_BACKOFF: Duration = Duration::from_millis(4);
/// Longest such wait.
pub const CONFLICT_BACKOFF_MAX: Duration = Duration::from_millis(400);
/// How long the writer waits for its turn among the servers of one PostgreSQL database.
pub const WRITER_TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// PostgreSQL ends a statement after this long.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// PostgreSQL ends a transaction whose server says nothing for this long, so that the others get their turn.
pub const SILENT_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a read runs whose connection is lost.
pub const READ_ATTEMPTS_MAX: u32 = 3;
/// Channels that one message to the other servers names; a message of PostgreSQL holds less than 8,000 bytes.
pub const CHANNELS_PER_NOTICE_MAX: usize = 350;
/// Channels that wait to be told to the other servers; more, and they are told that anything may have moved.
pub const NOTICES_WAITING_MAX: usize = 4_096;
/// Pause between two messages to the other servers, in which what moves is collected.
pub const NOTICE_PAUSE: Duration = Duration::from_millis(20);
/// Longest wait before the connection for these messages is opened again.
pub const NOTICE_RECONNECT_MAX: Duration = Duration::from_secs(5);
/// Statements that are sent to PostgreSQL before their answers are read.
pub const STATEMENTS_IN_FLIGHT_MAX: usize = 64;

/// Bytes of the row with which `/ready` tries whether anything can be stored; gone in the same transaction.
pub const STORAGE_PROBE_BYTES: usize = 32 * 1024;
/// The same after something could not be stored: more than the largest request with all that is kept of it, so that what
/// found no room is not told to come back because less would.
pub const STORAGE_PROBE_AFTER_TROUBLE_BYTES: usize = 4 * 1024 * 1024;

/// What a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// A request's head must be there within this time; noticed at the next check.
    pub head_timeout: Duration,
    /// A request's body must be there within this time.
    pub body_timeout: Duration,
    /// A connection without a request is closed after this time; noticed at the next check.
    pub idle_timeout: Duration,
    /// A client that takes nothing of its reply for this long is dropped; noticed at the next check.
    pub write_stall_timeout: Duration,
    /// How often the timeouts are looked at.
    pub check_every: Duration,
    /// Open connections.
    pub connections_max: usize,
    /// Open connections of one address that neither a proxy nor a campus has.
    pub connections_per_address_max: usize,
    /// Requests that may be worked on at once; one that waits for its body is not.
    pub requests_in_flight_max: usize,
    /// How long a request waits for those of the same person or address before it.
    pub turn_wait: Duration,
    /// What bodies and replies may take.
    pub memory: MemoryLimits,
}

/// Bytes of bodies and replies in memory.
#[derive(Debug, Clone, Copy)]
pub struct MemoryLimits {
    /// Of all bodies.
    pub bodies: u64,
    /// Of those of one person.
    pub bodies_per_person: u64,
    /// Of those of one address, of who is not signed in.
    pub bodies_per_address: u64,
    /// Of those of one address of the campus.
    pub bodies_per_campus: u64,
    /// Of all replies.
    pub replies: u64,
    /// Of those to one person, or to one address.
    pub replies_per_holder: u64,
}

/// The limits of a server: head within 10 s, body within 30 s, idle for 60 s at most, checks included.
pub const CONNECTION: ConnectionLimits = ConnectionLimits {
    head_timeout: Duration::from_secs(8),
    body_timeout: Duration::from_secs(30),
    idle_timeout: Duration::from_secs(57),
    write_stall_timeout: Duration::from_secs(57),
    check_every: Duration::from_secs(2),
    connections_max: budgets::CONNECTIONS.count(),
    connections_per_address_max: budgets::CONNECTIONS_PER_ADDRESS.count(),
    requests_in_flight_max: budgets::REQUESTS_IN_FLIGHT.count(),
    turn_wait: Duration::from_secs(10),
    memory: MemoryLimits {
        bodies: budgets::BODY_BYTES.max,
        bodies_per_person: budgets::BODY_BYTES_PER_PERSON.max,
        bodies_per_address: budgets::BODY_BYTES_PER_ADDRESS.max,
        bodies_per_campus: budgets::BODY_BYTES_PER_CAMPUS.max,
        replies: budgets::REPLY_BYTES.max,
        replies_per_holder: budgets::REPLY_BYTES_PER_HOLDER.max,
    },
};
/// A full server closes this part of its connections at once, one in so many, so that it does not look for one each time.
pub const CONNECTIONS_CLOSED_PART: usize = 256;
/// Connections beyond the most that there may be for a moment, while those that were asked to go do.
pub const CONNECTIONS_LEAVING_MAX: usize = 64;
/// Refused sockets that are kept until their clients had a chance to read why.
pub const REFUSED_KEPT_MAX: usize = 64;
/// A graceful stop waits this long for requests that have begun.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);
/// A graceful stop waits this long for everything, requests and jobs: less than the 30 s after which orchestrators kill.
pub const STOP_GRACE: Duration = Duration::from_secs(25);
/// Waiting connections that the kernel keeps before they are accepted.
pub const LISTEN_BACKLOG: u32 = 4_096;
/// Files that stay open beside the connections: database, logs, images under way.
pub const FILES_BESIDE_CONNECTIONS: usize = 256 + CONNECTIONS_LEAVING_MAX + REFUSED_KEPT_MAX;
/// Bytes of one request's head.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of one request.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request's path.
pub const PATH_BYTES_MAX: usize = 2 * 1024;
/// Bytes of what follows the question mark.
pub const QUERY_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a body, unless a route says otherwise.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Lists and objects of a JSON body that stand in each other.
pub const JSON_DEPTH_MAX: usize = 32;
/// Bytes of the name of a form's part, and of the file in it.
pub const FORM_NAME_BYTES_MAX: usize = 256;
/// Characters of an `X-Request-ID` that is taken over.
pub const REQUEST_ID_CHARS_MAX: usize = 64;
/// Bytes of a path without a route that are logged.
pub const LOGGED_PATH_BYTES_MAX: usize = 120;
/// Rows in one page of a list.
pub const PAGE_ROWS_MAX: u32 = 200;
/// Rows in one page of a list when the client does not say.
pub const PAGE_ROWS_DEFAULT: u32 = 50;

/// The least and the most that a `Retry-After` asks for when the server is full, in seconds.
pub const RETRY_AFTER_S: std::ops::RangeInclusive<u32> = 1..=8;

/// A number of things, and their bytes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub rows: i64,
    /// Their bytes.
    pub bytes: i64,
}

const MIB: i64 = 1024 * 1024;

/// Rows of the log that a student's devices and forms may add on one day. Six records and twelve pictures of a day are six
/// rows; two weeks without a network are 84.
pub const STUDENT_LOG_PER_DAY: Share = Share { rows: 2_000, bytes: 4 * MIB };
/// The same for those who teach, review or administer: a decision about each of 400 students in six lectures is 2,400.
pub const STAFF_LOG_PER_DAY: Share = Share { rows: 20_000, bytes: 40 * MIB };
/// Changes that may come to wait on a student's account on one day.
pub const STUDENT_WAITING_PER_DAY: Share = Share { rows: 4_000, bytes: 12 * MIB };
/// The same for those who teach, review or administer, whose phones carry what their students' phones signed.
pub const STAFF_WAITING_PER_DAY: Share = Share { rows: 20_000, bytes: 96 * MIB };
/// Changes that a person may have waiting about themselves: a phone that nobody approved yet.
pub const OWN_WAITING: Share = Share { rows: 2_000, bytes: 4 * MIB };
/// Changes about others that a student may have waiting.
pub const STUDENT_RELAYED_WAITING: Share = Share { rows: 200, bytes: MIB };
/// The same for those who teach, review or administer: as much as a relay carries.
pub const STAFF_RELAYED_WAITING: Share = Share { rows: 16_000, bytes: 64 * MIB };
/// Changes about one other person that a student may have waiting.
pub const STUDENT_WAITING_ABOUT_ONE_MAX: i64 = 20;
/// The same for those who teach, review or administer.
pub const STAFF_WAITING_ABOUT_ONE_MAX: i64 = 400;
/// Changes about one person that all others may have waiting, those who teach, review or administer not counted: no room
/// of theirs, nor of the person's own phone, is taken by strangers.
pub const STRANGERS_WAITING_ABOUT_ONE_MAX: i64 = 200;
/// Copies of refused changes that are kept of one sender.
pub const REFUSALS_KEPT: Share = Share { rows: 1_000, bytes: MIB };
/// Requests for a device that one person may add on one day: each stays in the log.
pub const BINDING_REQUESTS_PER_DAY_MAX: i64 = 12;
/// Requests for a device that one person may add at all.
pub const BINDING_REQUESTS_MAX: i64 = 200;
/// Bytes of a request for a device, unknown fields included: its key is accepted before anybody knows it.
pub const BINDING_REQUEST_BYTES_MAX: usize = 2 * 1024;
/// Pictures that are stored for one person on one day: two weeks of six sessions a day with two pictures are 168.
pub const IMAGES_PER_DAY: Share = Share { rows: 600, bytes: 512 * MIB };
/// Pictures of a person that are taken for changes in quarantine; the rest is taken when the changes are admitted.
pub const IMAGES_WAITING: Share = Share { rows: 200, bytes: 40 * MIB };
