//! Identifiers of the server's own rows: UUIDs that cannot be mistaken for one another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE;
use thiserror::Error;

use crate::clock::{Clock, Entropy};
use crate::db::{Cell, FromCell};

/// Longest name of a tenant.
pub const TENANT_CHARS_MAX: usize = muster_sync_core::limits::TENANT_SIZE_BYTES_MAX;

/// Text that is not the identifier it should be.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
#[error("this is not a valid identifier")]
pub struct InvalidId;

/// A version 7 UUID: ordered by time, with 74 unpredictable bits.
pub fn uuid_v7(clock: &dyn Clock, entropy: &dyn Entropy) -> [u8; 16] {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes[6..]);
    bytes[..6].copy_from_slice(&clock.now_ms().to_be_bytes()[2..]);
    bytes[6] = (bytes[6] & 0x0F) | 0x70;
    bytes[8] = (bytes[8] & 0x3F) | 0x80;
    bytes
}

/// The usual 36 characters.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    UuidText::new(bytes).as_str().to_owned()
}

/// The usual 36 characters without an allocation, for who writes hundreds of thousands of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UuidText([u8; 36]);

impl UuidText {
    fn new(bytes: &[u8; 16]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for byte in bytes {
            if matches!(at, 8 | 13 | 18 | 23) {
                at += 1;
            }
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 15)];
            at += 2;
        }
        Self(text)
    }

    /// As a text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits and hyphens are ASCII")
    }
}

/// Reads the usual 36 characters; letters of either case.
pub fn parse_uuid(text: &str) -> Result<[u8; 16], InvalidId> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|&at| bytes[at] != b'-') {
        return Err(InvalidId);
    }
    let hex: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'-').collect();
    let decoded = HEXLOWER_PERMISSIVE.decode(&hex).map_err(|_| InvalidId)?;
    decoded.try_into().map_err(|_| InvalidId)
}

macro_rules! id_types {
    ($($(#[$doc:meta])+ $name:ident),+ $(,)?) => { $(
        $(#[$doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A fresh one.
            pub fn generate(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
                Self(uuid_v7(clock, entropy))
            }

            /// From its bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// As a text, without an allocation.
            pub fn text(&self) -> UuidText {
                UuidText::new(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_uuid(text).map(Self)
            }
        }

        impl FromCell for $name {
            fn from_cell(cell: Cell<'_>) -> Option<Self> {
                match cell { Cell::Text(text) => text.parse().ok(), _ => None }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .format(Some(SchemaFormat::Custom("uuid".to_owned())))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    )+ };
}

id_types! {
    /// A person.
    UserId,
    /// A course.
    CourseId,
    /// A session of somebody who signed in.
    AuthSessionId,
}

/// An institution. Every row belongs to one, and nothing is read across them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The tenant of a server that serves only one.
    pub fn default_tenant() -> Self {
        Self(Arc::from("default"))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = !text.is_empty() && text.len() <= TENANT_CHARS_MAX && text.chars().all(allowed);
        if valid { Ok(Self(Arc::from(text))) } else { Err(InvalidId) }
    }
}

impl FromCell for TenantId {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, SeededEntropy};

    #[test]
    fn an_id_survives_its_text_form() {
        let id = UserId::generate(&ManualClock::new(1_763_640_000_000), &SeededEntropy::new(7));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        assert_eq!(&id.to_string()[14..15], "7");
    }

    #[test]
    fn text_that_is_not_an_id_is_refused() {
        for text in ["", "x", "0190e1f4-0000-7000-8000-00000000000", "0190e1f4+0000-7000-8000-000000000000", "é"] {
            assert_eq!(text.parse::<UserId>(), Err(InvalidId), "{text}");
        }
        assert_eq!("Default".parse::<TenantId>(), Err(InvalidId));
        assert_eq!("a/b".parse::<TenantId>(), Err(InvalidId));
        assert!("a".repeat(TENANT_CHARS_MAX).parse::<TenantId>().is_ok());
        assert_eq!("a".repeat(TENANT_CHARS_MAX + 1).parse::<TenantId>(), Err(InvalidId));
    }
}
