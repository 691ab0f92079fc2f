//! Whether images can be kept, asked not more often than every few seconds: the store may be far, and anybody may ask us.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::app::App;
use crate::evidence::Vault;

/// How long an answer holds, in milliseconds.
const HOLDS_MS: i64 = 5_000;
/// How long the store may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The last answer, and when it came.
#[derive(Debug, Default)]
pub struct ImageStoreHealth(Mutex<Option<(i64, bool)>>);

/// Whether the store answers.
pub(super) async fn works(app: &App) -> bool {
    let Some(kept) = app.slice::<ImageStoreHealth>() else { return ask(app).await };
    let now_ms = app.now_ms();
    let last = *kept.0.lock().unwrap_or_else(PoisonError::into_inner);
    match last {
        Some((at_ms, works)) if (at_ms..at_ms + HOLDS_MS).contains(&now_ms) => works,
        _ => {
            let works = ask(app).await;
            *kept.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now_ms, works));
            works
        }
    }
}

async fn ask(app: &App) -> bool {
    let Some(vault) = app.slice::<Vault>() else { return false };
    match tokio::time::timeout(TIMEOUT, vault.store().health()).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "The store of images cannot be used");
            false
        }
        Err(_) => {
            tracing::warn!("The store of images does not answer");
            false
        }
    }
}
