//! Whether the Redis answers without which the server is not ready, asked not more often than every few seconds.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::app::App;
use crate::config::RedisAddress;

/// How long an answer holds, in milliseconds.
const HOLDS_MS: i64 = 5_000;
/// How long a Redis may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read: it is one word, or why not.
const ANSWER_BYTES_MAX: usize = 256;

/// The last answer, and when it came. Lives in the `App`.
#[derive(Debug, Default)]
pub struct RedisHealth(Mutex<Option<(i64, bool)>>);

/// Whether the Redis answers; `None` where none is needed.
pub(super) async fn works(app: &App) -> Option<bool> {
    let address = app.config.redis.required()?;
    let Some(kept) = app.slice::<RedisHealth>() else { return Some(asked(&address).await) };
    // Whoever asks while somebody does waits for that answer.
    let mut last = kept.0.lock().await;
    let now_ms = app.now_ms();
    if let Some((at_ms, works)) = *last
        && (at_ms..at_ms + HOLDS_MS).contains(&now_ms)
    {
        return Some(works);
    }
    let works = asked(&address).await;
    *last = Some((app.now_ms(), works));
    Some(works)
}

async fn asked(address: &RedisAddress) -> bool {
    match tokio::time::timeout(TIMEOUT, ping(address)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "The Redis that is required cannot be used");
            false
        }
        Err(_) => {
            tracing::warn!("The Redis that is required does not answer");
            false
        }
    }
}

async fn ping(address: &RedisAddress) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    if let Some(password) = &address.password {
        let user = address.user.as_ref().map(|user| user.reveal());
        let words: Vec<&str> = ["AUTH"].into_iter().chain(user).chain([password.reveal()]).collect();
        say(&mut stream, &words, b"+OK\r\n").await?;
    }
    say(&mut stream, &["PING"], b"+PONG\r\n").await
}

/// Says one command, whose answer must be this one.
async fn say(stream: &mut TcpStream, words: &[&str], expected: &[u8]) -> std::io::Result<()> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(command.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n") && answer.len() < ANSWER_BYTES_MAX {
        answer.push(stream.read_u8().await?);
    }
    if answer == expected {
        return Ok(());
    }
    // `-NOAUTH Authentication required`, `-LOADING ...`: the first word says enough, and holds nothing of ours.
    let text = String::from_utf8_lossy(&answer);
    let word: String = text.chars().skip(1).take_while(char::is_ascii_uppercase).collect();
    Err(std::io::Error::other(format!("it answered {word:?} to {}", words[0])))
}
