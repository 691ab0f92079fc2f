//! Names of things: documents, changes, device keys and the locator of a class session.

use crate::{
    Refusal, limits,
    typed::{self, CROCKFORD},
};
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use std::fmt;

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(with = "minicbor::bytes")] pub [u8; $len]);

        impl $name {
            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// From exactly as many bytes as it has, else `None`.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// From lower-case hexadecimal, else `None`.
            #[must_use]
            pub fn from_hex(hex: &str) -> Option<Self> {
                let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?;
                Self::from_slice(&bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

byte_id!(
    /// Identity of a document: a hash of tenant, kind and natural key, so that nobody has to ask for it.
    DocumentId,
    16
);
byte_id!(
    /// SHA-256 of a change chunk, as Automerge defines it.
    ChangeHash,
    32
);
byte_id!(
    /// A device's Ed25519 public key; it is the Automerge actor id of everything that the device writes.
    DeviceKey,
    32
);

/// Characters of a locator.
pub const LOCATOR_CHARS: usize = 6;

/// The 6 characters (30 bits, Crockford base 32) that name a class session within a tenant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator([u8; LOCATOR_CHARS]);

impl Locator {
    /// From 4 random bytes; the upper 30 bits are used.
    #[must_use]
    pub fn from_random(random: [u8; 4]) -> Self {
        let value = u32::from_be_bytes(random) >> 2;
        Self(std::array::from_fn(|index| CROCKFORD[(value >> (25 - 5 * index) & 31) as usize]))
    }

    /// Reads what a person typed, as [`typed`] reads it; `None` if it is not 6 characters of the alphabet.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        typed::code(text)?.as_bytes().try_into().ok().map(Self)
    }

    /// The six characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locator({self})")
    }
}

/// What a document is about: its kind and natural key within a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentName {
    /// The plan of one class session and what was changed in it.
    ClassSession {
        /// The session's locator.
        locator: Locator,
    },
    /// One student's attendance of one class session: the whole life of one record.
    Attendance {
        /// The session's locator.
        locator: Locator,
        /// The student's user id.
        student: String,
    },
    /// Which device keys belong to a user.
    DeviceBinding {
        /// The user's id.
        user: String,
    },
}

impl DocumentName {
    /// The kind's number in ids and on the wire. 4 is kept for event logs.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::ClassSession { .. } => 1,
            Self::Attendance { .. } => 2,
            Self::DeviceBinding { .. } => 3,
        }
    }

    /// The natural key, in order.
    #[must_use]
    pub fn key(&self) -> [&str; 2] {
        match self {
            Self::ClassSession { locator } => [locator.as_str(), ""],
            Self::Attendance { locator, student } => [locator.as_str(), student],
            Self::DeviceBinding { user } => [user, ""],
        }
    }

    /// From kind and key, as they come over the wire.
    ///
    /// # Errors
    /// [`Refusal::DocumentName`] for an unknown kind, a key of the wrong shape, or one over a limit.
    pub fn from_parts(kind: u8, key: [&str; 2]) -> Result<Self, Refusal> {
        let locator = || Locator::parse(key[0]).filter(|locator| locator.as_str() == key[0]);
        let refused = |what| Refusal::DocumentName { what };
        match kind {
            1 if key[1].is_empty() => {
                Ok(Self::ClassSession { locator: locator().ok_or(refused("locator is not 6 characters of base 32"))? })
            }
            2 => Ok(Self::Attendance {
                locator: locator().ok_or(refused("locator is not 6 characters of base 32"))?,
                student: check_id(key[1])?.to_owned(),
            }),
            3 if key[1].is_empty() => Ok(Self::DeviceBinding { user: check_id(key[0])?.to_owned() }),
            1 | 3 => Err(refused("natural key has too many parts")),
            _ => Err(refused("unknown kind")),
        }
    }

    /// The document's id in `tenant`.
    #[must_use]
    pub fn id(&self, tenant: &str) -> DocumentId {
        let mut hash = Sha256::new();
        hash.update(b"muster/document/v1");
        hash_part(&mut hash, tenant);
        hash.update([self.kind()]);
        for part in self.key() {
            hash_part(&mut hash, part);
        }
        let digest = hash.finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        DocumentId(id)
    }
}

/// A length in front of each part keeps `("ab", "c")` and `("a", "bc")` apart.
fn hash_part(hash: &mut Sha256, part: &str) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part.as_bytes());
}

/// A user or course id: 1 to [`limits::ID_SIZE_BYTES_MAX`] ASCII letters, digits, `-`, `_`, `.` or `@`.
///
/// # Errors
/// [`Refusal::DocumentName`] for anything else.
pub fn check_id(id: &str) -> Result<&str, Refusal> {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
    if id.is_empty() || id.len() > limits::ID_SIZE_BYTES_MAX || !plain {
        return Err(Refusal::DocumentName {
            what: "id is empty, too long or has other characters than A-Z a-z 0-9 - _ . @",
        });
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locator_is_read_as_people_type_it() {
        for typed in ["k7m2qo", "K7M-2QO", " K7M\u{2013}2Q0", "к7м2qо"] {
            assert_eq!(Locator::parse(typed).map(|l| l.to_string()), Some("K7M2Q0".into()), "{typed}");
        }
        assert_eq!(Locator::parse("K7M2Q"), None);
        assert_eq!(Locator::parse("K7M2Q!"), None);
        assert_eq!(Locator::parse("K7M2QU"), None);
        assert_eq!(Locator::from_random([255; 4]).as_str(), "ZZZZZZ");
        assert_eq!(Locator::from_random([0; 4]).as_str(), "000000");
    }

    #[test]
    fn ids_keep_tenants_kinds_and_keys_apart() {
        let locator = Locator::from_random([1, 2, 3, 4]);
        let names = [
            DocumentName::ClassSession { locator },
            DocumentName::Attendance { locator, student: "a".into() },
            DocumentName::Attendance { locator, student: "b".into() },
            DocumentName::DeviceBinding { user: "a".into() },
        ];
        let mut ids: Vec<_> = names.iter().flat_map(|name| [name.id("one"), name.id("two")]).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 8);
        for name in &names {
            assert_eq!(&DocumentName::from_parts(name.kind(), name.key()).unwrap(), name);
        }
    }

    #[test]
    fn a_malformed_name_is_refused() {
        let refused = |kind, key| DocumentName::from_parts(kind, key).unwrap_err().code();
        assert_eq!(refused(9, ["K7M2Q0", ""]), "document_name");
        assert_eq!(refused(1, ["K7M2Q0", "x"]), "document_name");
        assert_eq!(refused(1, ["k7m2q0", ""]), "document_name");
        assert_eq!(refused(2, ["K7M2Q0", ""]), "document_name");
        assert_eq!(refused(3, ["spa ce", ""]), "document_name");
        assert_eq!(refused(3, ["a".repeat(65).as_str(), ""]), "document_name");
        assert!(DocumentName::from_parts(3, ["a".repeat(64).as_str(), ""]).is_ok());
    }
}
