//! A value that nobody prints.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a value to itself, and wipes it at the end.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, for the code that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text.to_owned()))
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Fewest different bytes of a secret that somebody did not just type.
pub(super) const DISTINCT_BYTES_MIN: usize = 10;

/// Whether somebody typed it, or copied it from an example.
pub(super) fn is_guessable(secret: &str) -> bool {
    let lower = secret.to_lowercase();
    let distinct = secret.bytes().collect::<std::collections::BTreeSet<_>>().len();
    let words = ["secret", "change", "password", "example", "default", "your-", "your_", "test", "muster"];
    distinct < DISTINCT_BYTES_MIN || words.iter().any(|word| lower.contains(word))
}
