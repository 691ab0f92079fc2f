//! A client that costs next to nothing: requests encoded beforehand, HTTP/1.1 by hand over sockets that stay open.

use std::net::SocketAddr;
use std::time::Duration;

use muster_server::clock::Stopwatch;
use muster_sync_core::sync::message::CONTENT_TYPE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::campus::Result;

/// First size of the buffer for a reply.
const REPLY_BYTES: usize = 8 * 1024;

/// A request to the sync endpoint as it goes over the wire.
pub fn post_sync(token: &str, body: &[u8], extra_headers: &str) -> Vec<u8> {
    let mut request = format!(
        "POST /api/v1/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {CONTENT_TYPE}\r\nContent-Length: {}\r\n{extra_headers}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// An upload of an image as it goes over the wire.
pub fn put_blob(token: &str, sha256: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "PUT /api/v1/blobs/{sha256} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A request with a JSON body as it goes over the wire.
pub fn post_json(path: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let head = "HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json";
    format!("POST {path} {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A request of somebody who is signed in, as it goes over the wire.
pub fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

/// A reply with its head.
pub struct Reply {
    bytes: Vec<u8>,
    head_bytes: usize,
    /// The status.
    pub status: u16,
    /// From the first byte sent, or from before the connection was made, to the last byte received.
    pub latency: Duration,
}

impl Reply {
    /// Head and body.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.head_bytes..]
    }

    /// Seconds that the server asks for before the next try.
    pub fn retry_after_s(&self) -> Option<u64> {
        let head = std::str::from_utf8(&self.bytes[..self.head_bytes]).ok()?;
        header(head, "retry-after")?.parse().ok()
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends a request and reads its reply, which must be 200 or 201.
    ///
    /// # Errors
    /// When the reply is another one, or does not arrive.
    pub async fn exchange(&mut self, request: &[u8], since: Stopwatch) -> Result<Reply> {
        let reply = self.send(request, since).await?;
        if !matches!(reply.status, 200 | 201) {
            return Err(format!("the server says {}", String::from_utf8_lossy(&reply.bytes)).into());
        }
        Ok(reply)
    }

    /// Sends a request and reads its reply, whatever its status.
    ///
    /// # Errors
    /// When it does not arrive.
    pub async fn send(&mut self, request: &[u8], since: Stopwatch) -> Result<Reply> {
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
