//! A client that costs next to nothing: requests encoded beforehand, HTTP/1.1 by hand over sockets that stay open.

use std::net::SocketAddr;
use std::time::Duration;

use muster_server::clock::Stopwatch;
use muster_sync_core::sync::message::CONTENT_TYPE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;

/// First size of the buffer for a reply.
const REPLY_BYTES: usize = 8 * 1024;

/// A request to the sync endpoint as it goes over the wire.
pub(crate) fn post_sync(token: &str, body: &[u8], extra_headers: &str) -> Vec<u8> {
    let mut request = format!(
        "POST /api/v1/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {CONTENT_TYPE}\r\nContent-Length: {}\r\n{extra_headers}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A reply with its head.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    head_bytes: usize,
    /// The status.
    pub(crate) status: u16,
    /// From the first byte sent, or from before the connection was made, to the last byte received.
    pub(crate) latency: Duration,
}

impl Reply {
    /// Head and body.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The body.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[self.head_bytes..]
    }

    /// Seconds that the server asks for before the next try.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        let head = std::str::from_utf8(&self.bytes[..self.head_bytes]).ok()?;
        header(head, "retry-after")?.parse().ok()
    }
}

/// An open connection.
pub(crate) struct Connection(TcpStream);

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends a request and reads its reply, which must be 200.
    pub(crate) async fn exchange(&mut self, request: &[u8], since: Stopwatch) -> Result<Reply> {
        let reply = self.send(request, since).await?;
        if reply.status != 200 {
            return Err(format!("the server says {}", String::from_utf8_lossy(&reply.bytes)).into());
        }
        Ok(reply)
    }

    /// Sends a request and reads its reply, whatever its status.
    pub(crate) async fn send(&mut self, request: &[u8], since: Stopwatch) -> Result<Reply> {
        self.0.write_all(request).await?;
        let mut bytes = Vec::with_capacity(REPLY_BYTES);
        let mut whole = None;
        while whole.is_none_or(|(_, length)| bytes.len() < length) {
            if self.0.read_buf(&mut bytes).await? == 0 {
                return Err("the server closed the connection".into());
            }
            if whole.is_none() {
                whole = lengths(&bytes)?;
            }
        }
        let head_bytes = whole.map_or(0, |(head, _)| head);
        let status = std::str::from_utf8(bytes.get(9..12).unwrap_or_default())?.parse()?;
        Ok(Reply { bytes, head_bytes, status, latency: since.elapsed() })
    }
}

/// Bytes of the head, and of the whole reply; `None` while the head is not complete.
fn lengths(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?;
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        // A compressed reply; only its size is of interest, so its chunks are not put together.
        return Ok(bytes.ends_with(b"\r\n0\r\n\r\n").then_some((end + 4, bytes.len())));
    }
    let length: usize = header(head, "content-length").ok_or("a reply without Content-Length")?.parse()?;
    Ok(Some((end + 4, end + 4 + length)))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
