//! How a phone calls Muster: UniFFI objects over `muster_sync_core`, nothing else.
//!
//! The app owns HTTP, the camera, the keystore and the clocks; they come in as foreign traits. Every rule is in
//! `muster_sync_core`, so that a phone and the server judge alike.

mod attendance;
mod callbacks;
mod client;
mod entropy;
mod error;
mod lecture;
mod relay;
mod sign_in;
mod sync;

pub use attendance::{BindingRequest, CaptureRequest, DeviceInfo, GeoPosition, Image, ImageUse, Pending, Record};
pub use callbacks::{
    CallbackError, Clock, HttpHeader, HttpRequest, HttpResponse, HttpTransport, Signer, SoftwareSigner, new_seed,
};
pub use client::{MusterClient, PhoneAccount};
pub use error::ApiError;
pub use lecture::{ClassRecord, Geofence, LecturePlan, ShownCode};
pub use relay::{
    RelayAnswer, RelayCarrier, RelayCollected, RelayCounts, RelayGiver, RelayOffer, RelayTrust, RelayedSession,
};
pub use sync::{SyncState, SyncStep};

uniffi::setup_scaffolding!();
