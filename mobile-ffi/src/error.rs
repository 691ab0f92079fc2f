//! What can go wrong for an app: a variant exists only if the app acts differently on it.

use muster_sync_core::store::StoreError;

/// A failure that the app shows or acts on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum ApiError {
    /// Ask the person to free space, then try again.
    #[error("the phone's storage is full: free some space and try again, nothing was written")]
    StorageFull,
    /// Offer to send the file to support; do not delete it.
    #[error("the store is damaged: {text}")]
    StorageDamaged {
        /// What SQLite says.
        text: String,
    },
    /// Ask the person to update the app.
    #[error("the store was written by a newer version of this app")]
    UpdateNeeded,
    /// Show the sign-in.
    #[error("sign in first: {text}")]
    SignInNeeded {
        /// Why.
        text: String,
    },
    /// Ask the person to unlock the phone, then try again.
    #[error("the device key cannot be used: {text}")]
    KeyUnavailable {
        /// What the keystore says.
        text: String,
    },
    /// Show what is wrong, and ask again.
    #[error("{text}")]
    InvalidInput {
        /// What is wrong.
        text: String,
    },
    /// The session or record is not on this phone: sync first.
    #[error("{text}")]
    NotOnThisPhone {
        /// What is missing.
        text: String,
    },
    /// Try again when there is a network.
    #[error("no answer from the server: {text}")]
    NoNetwork {
        /// What the transport says.
        text: String,
    },
    /// Report it: the app cannot do anything about it.
    #[error("{text}")]
    Unexpected {
        /// What happened.
        text: String,
    },
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Full => Self::StorageFull,
            StoreError::Corrupt(text) => Self::StorageDamaged { text },
            StoreError::Newer(_) => Self::UpdateNeeded,
            StoreError::NoAccount => Self::SignInNeeded { text },
            StoreError::Sign(_) => Self::KeyUnavailable { text },
            StoreError::Input(_) | StoreError::Image { .. } | StoreError::OtherTenant(_) => Self::InvalidInput { text },
            StoreError::SessionUnknown(_) | StoreError::CodeKeyUnknown(_) | StoreError::RecordUnknown { .. } => {
                Self::NotOnThisPhone { text }
            }
            StoreError::OtherServerKey | StoreError::Storage(_) => Self::Unexpected { text },
        }
    }
}

pub(crate) fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::InvalidInput { text: text.into() }
}
