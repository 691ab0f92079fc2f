//! Every bound of the server's ground, by name. Slices keep theirs beside their code.

use std::time::Duration;

/// Requests that one group commit may hold.
pub const GROUP_REQUESTS_MAX: usize = 512;
/// A group stops taking requests after this long, so that the first one is not kept waiting.
pub const GROUP_BUDGET: Duration = Duration::from_millis(40);
/// Writes that may wait for the writer thread.
pub const WRITE_QUEUE_MAX: usize = 4096;
/// Reads that may wait for a reader thread.
pub const READ_QUEUE_MAX: usize = 4096;
/// How long a request waits for a place in a full queue before it is told to come back.
pub const QUEUE_WAIT: Duration = Duration::from_secs(2);
/// Background jobs stand back while more writes than this wait.
pub const WRITER_BUSY_WAITING: usize = 64;
/// How long SQLite itself waits for another process that holds the file.
pub const DATABASE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection.
pub const STATEMENTS_CACHED_MAX: usize = 256;
/// Fewest reader connections.
pub const READERS_MIN: usize = 2;
/// Most reader connections.
pub const READERS_MAX: usize = 16;

/// A request's head must be there within this time; checked every `CONNECTION_CHECK`.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(8);
/// A request's body must be there within this time.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection without a request is closed after this time.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// A client that takes nothing of its reply for this long is dropped.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(55);
/// How often a connection's timeouts are looked at.
pub const CONNECTION_CHECK: Duration = Duration::from_secs(2);
/// Open connections.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Requests that may be worked on at once.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 2_048;
/// A graceful stop waits this long for requests that have begun.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);
/// Waiting connections that the kernel keeps before they are accepted.
pub const LISTEN_BACKLOG: u32 = 4_096;
/// Bytes of one request's head.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header fields of one request.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a body, unless a route says otherwise.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Characters of an `X-Request-ID` that is taken over.
pub const REQUEST_ID_CHARS_MAX: usize = 64;
/// Rows in one page of a list.
pub const PAGE_ROWS_MAX: u32 = 200;
/// Rows in one page of a list when the client does not say.
pub const PAGE_ROWS_DEFAULT: u32 = 50;

/// The least and the most that a `Retry-After` asks for when the server is full, in seconds.
pub const RETRY_AFTER_S: std::ops::RangeInclusive<u32> = 1..=8;
