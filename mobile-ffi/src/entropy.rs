//! The one place of this crate that asks the operating system for randomness.

use crate::ApiError;

/// Fresh random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut bytes = [0; N];
    #[allow(clippy::disallowed_methods, reason = "the one place of this crate")]
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| ApiError::Unexpected { text: format!("no randomness: {error}") })?;
    Ok(bytes)
}
