//! Typed fields: how a schema reads and writes the scalars of an entry.

use crate::{
    ChangeHash, DeviceKey, Locator, Refusal,
    change::{Fields, Scalar},
};

/// A type that one scalar can hold.
pub(super) trait FieldValue: Sized {
    /// Reads it; the error says what would have been right.
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, &'static str>;
    /// Writes it.
    fn to_scalar(&self) -> Scalar<'_>;
}

/// A field of a schema: required, or optional as `Option<T>`.
pub(super) trait Field: Sized {
    fn read(fields: &Fields<'_>, name: &'static str) -> Result<Self, Refusal>;
    fn write<'a>(&'a self, name: &'static str, fields: &mut Fields<'a>);
}

impl<T: FieldValue> Field for Option<T> {
    fn read(fields: &Fields<'_>, name: &'static str) -> Result<Self, Refusal> {
        let Ok(index) = fields.binary_search_by_key(&name, |(name, _)| name) else { return Ok(None) };
        T::from_scalar(fields[index].1).map(Some).map_err(|what| Refusal::Field { field: name, what })
    }

    fn write<'a>(&'a self, name: &'static str, fields: &mut Fields<'a>) {
        if let Some(value) = self {
            fields.push((name, value.to_scalar()));
        }
    }
}

macro_rules! required {
    ($($value:ty),*) => {$(
        impl $crate::document::field::Field for $value {
            fn read(fields: &$crate::change::Fields<'_>, name: &'static str) -> Result<Self, $crate::Refusal> {
                let value = <Option<$value> as $crate::document::field::Field>::read(fields, name)?;
                value.ok_or($crate::Refusal::Field { field: name, what: "is missing" })
            }

            fn write<'a>(&'a self, name: &'static str, fields: &mut $crate::change::Fields<'a>) {
                fields.push((name, $crate::document::field::FieldValue::to_scalar(self)));
            }
        }
    )*};
}
pub(super) use required;

impl FieldValue for i64 {
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, &'static str> {
        if let Scalar::Int(value) = scalar { Ok(value) } else { Err("is not a signed integer") }
    }

    fn to_scalar(&self) -> Scalar<'_> {
        Scalar::Int(*self)
    }
}

impl FieldValue for u64 {
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, &'static str> {
        if let Scalar::Uint(value) = scalar { Ok(value) } else { Err("is not an unsigned integer") }
    }

    fn to_scalar(&self) -> Scalar<'_> {
        Scalar::Uint(*self)
    }
}

impl FieldValue for Vec<u8> {
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, &'static str> {
        if let Scalar::Bytes(value) = scalar { Ok(value.to_vec()) } else { Err("is not bytes") }
    }

    fn to_scalar(&self) -> Scalar<'_> {
        Scalar::Bytes(self)
    }
}

impl FieldValue for [u8; 32] {
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, &'static str> {
        let Scalar::Bytes(value) = scalar else { return Err("is not bytes") };
        value.try_into().map_err(|_| "is not 32 bytes")
    }

    fn to_scalar(&self) -> Scalar<'_> {
        Scalar::Bytes(self)
    }
}

impl FieldValue for ChangeHash {
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, &'static str> {
        FieldValue::from_scalar(scalar).map(Self)
    }

    fn to_scalar(&self) -> Scalar<'_> {
        Scalar::Bytes(&self.0)
    }
}

impl FieldValue for DeviceKey {
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, &'static str> {
        FieldValue::from_scalar(scalar).map(Self)
    }

    fn to_scalar(&self) -> Scalar<'_> {
        Scalar::Bytes(&self.0)
    }
}

impl FieldValue for Locator {
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, &'static str> {
        let Scalar::Text(value) = scalar else { return Err("is not text") };
        Self::parse(value).filter(|locator| locator.as_str() == value).ok_or("is not a locator")
    }

    fn to_scalar(&self) -> Scalar<'_> {
        Scalar::Text(self.as_str())
    }
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $max:literal, $allowed:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps; `None` if the text is empty, too long or has a character that may not stand here.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                let allowed: fn(u8) -> bool = $allowed;
                (!text.is_empty() && text.len() <= $max && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FieldValue for $name {
            fn from_scalar(scalar: Scalar<'_>) -> Result<Self, &'static str> {
                if let Scalar::Text(value) = scalar { Self::new(value).ok_or($what) } else { Err("is not text") }
            }

            fn to_scalar(&self) -> Scalar<'_> {
                Scalar::Text(&self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text!(
    /// A machine-readable code: a reason, a policy version, a typed session code. No free text enters a document.
    Code,
    64,
    |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte),
    "is not 1 to 64 characters of A-Z a-z 0-9 - _ ."
);
checked_text!(
    /// A short printable label such as a phone's model; an id of a user or course.
    Label,
    64,
    |byte| byte.is_ascii_graphic() || byte == b' ',
    "is not 1 to 64 printable ASCII characters"
);

/// Declares an enum that is written as a text code.
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// The code, as documents and the API have it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// From the code.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl $crate::document::field::FieldValue for $name {
            fn from_scalar(scalar: $crate::change::Scalar<'_>) -> Result<Self, &'static str> {
                let $crate::change::Scalar::Text(text) = scalar else { return Err("is not text") };
                Self::parse(text).ok_or("is not one of the known codes")
            }

            fn to_scalar(&self) -> $crate::change::Scalar<'_> {
                $crate::change::Scalar::Text(self.as_str())
            }
        }

        $crate::document::field::required!($name);
    };
}
pub(super) use text_enum;

/// Declares the schema of an entry: each field's name on the wire is its name here.
macro_rules! entry {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $value:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $value,)* }

        impl $name {
            pub(super) fn from_fields(fields: &$crate::change::Fields<'_>) -> Result<Self, $crate::Refusal> {
                Ok(Self { $($field: $crate::document::field::Field::read(fields, stringify!($field))?,)* })
            }

            pub(super) fn to_fields(&self) -> $crate::change::Fields<'_> {
                let mut fields = Vec::new();
                $($crate::document::field::Field::write(&self.$field, stringify!($field), &mut fields);)*
                fields.sort_unstable_by_key(|(name, _)| *name);
                fields
            }
        }
    };
}
pub(super) use entry;

required!(i64, u64, Vec<u8>, [u8; 32], ChangeHash, DeviceKey, Locator, Code, Label);

/// Refuses `field` unless `holds`.
pub(super) fn ensure(holds: bool, field: &'static str, what: &'static str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Field { field, what }) }
}
