//! Captures, their states, and the request to be bound.

use crate::{ApiError, MusterClient, entropy::random, error::invalid};
use muster_sync_core::{
    document::{Code, KeyLevel, Label, RequestPurpose},
    evidence::{DeviceFacts, ImagePurpose, Position},
    store::{BindingFacts, CaptureImage, CaptureInput, RecordId, RecordView},
    time::session_code::{CodeClaim, CodeKey},
};

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum ImageUse {
    /// The student's face.
    Selfie,
    /// The room.
    Presence,
}

/// An image as the camera gave it: JPEG or PNG, at most as large as the server takes: 5 MB, unless it said otherwise at sign-in.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Image {
    /// What it is for.
    pub purpose: ImageUse,
    /// The file.
    pub bytes: Vec<u8>,
}

/// A position as the platform gave it.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct GeoPosition {
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Radius of 68 % confidence in metres; missing, or whatever the platform gives for it, if that is not known.
    pub accuracy_m: Option<f64>,
    /// Whether the platform says that it is simulated.
    pub mocked: bool,
}

/// Facts about the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, uniffi::Record)]
pub struct DeviceInfo {
    /// Platform, such as `android 16`.
    pub platform: String,
    /// Model.
    pub model: String,
    /// Version of the app.
    pub app_version: String,
}

/// What a capture saw.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct CaptureRequest {
    /// What was scanned from the QR code, or typed: locator and code.
    pub code: String,
    /// The position, if the phone had one.
    pub position: Option<GeoPosition>,
    /// At most 4 images.
    pub images: Vec<Image>,
    /// The device.
    pub device: DeviceInfo,
}

/// A request to be bound.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct BindingRequest {
    /// The platform, such as `android`: letters, digits, `-`, `_` and `.`.
    pub platform: String,
    /// The phone's model, if it is known.
    pub model: Option<String>,
    /// Whether the key is in the platform's keystore.
    pub hardware_key: bool,
    /// Whether it replaces the user's present device.
    pub replaces_device: bool,
    /// Whether the user opens class sessions with it: then it gets a code key, which is shared with the server.
    pub opens_sessions: bool,
}

/// A capture as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Record {
    /// The capture's id on this phone.
    pub id: i64,
    /// The class session.
    pub locator: String,
    /// The student.
    pub student: String,
    /// The phone's clock at capture, Unix milliseconds.
    pub captured_at_ms: i64,
    /// `on_this_phone`, `sent`, `handed_over`, `received`, `accepted`, `in_review`, `decided`, `waiting` or `refused`.
    pub state: String,
    /// What the server's checks and people say, once the server has it.
    pub judgement: Option<String>,
    /// The reason code, while it is not accepted.
    pub reason: Option<String>,
    /// The reason as a sentence that says what to do.
    pub reason_in_words: Option<String>,
    /// The place in the server's log, from a receipt that verified.
    pub receipt_index: Option<u64>,
    /// When the server had it, from a receipt that verified; Unix milliseconds.
    pub received_at_ms: Option<i64>,
    /// Images that are not uploaded yet.
    pub images_waiting: u64,
    /// Why an image will never be taken, if one was refused.
    pub image_reason: Option<String>,
}

/// How much is not settled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct Pending {
    /// Changes that the server has not answered for.
    pub changes: u64,
    /// Changes that wait for a person.
    pub quarantined: u64,
    /// Changes that were refused.
    pub refused: u64,
    /// Images that are not uploaded.
    pub images: u64,
}

#[uniffi::export]
impl MusterClient {
    /// Asks for this phone to be bound to the user; sent with the next sync. The request's hash in hexadecimal.
    ///
    /// # Errors
    /// [`ApiError::SignInNeeded`] before the first sign-in, [`ApiError::InvalidInput`], and what any write can meet.
    pub fn request_binding(&self, request: BindingRequest) -> Result<String, ApiError> {
        let facts = BindingFacts {
            platform: Code::new(&request.platform).ok_or_else(|| invalid("the platform is not a short code"))?,
            model: request.model.as_deref().and_then(Label::new),
            level: if request.hardware_key { KeyLevel::Hardware } else { KeyLevel::Software },
            legacy_id_hash: None,
        };
        let purpose = if request.replaces_device { RequestPurpose::Reset } else { RequestPurpose::Bind };
        let code_key = if request.opens_sessions { Some(CodeKey(random()?)) } else { None };
        let wall_ms = self.clocks()?.wall_ms;
        let hash = self.state().store.bind_request(&self.key, &facts, purpose, code_key.as_ref(), wall_ms)?;
        Ok(hash.to_string())
    }

    /// Keeps and signs a presence. Needs no network, no valid token and no right clock. The capture's id.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] if the code cannot be read or an image is none, [`ApiError::StorageFull`],
    /// [`ApiError::KeyUnavailable`]; nothing was written then.
    pub fn capture(&self, request: CaptureRequest) -> Result<i64, ApiError> {
        let claim = CodeClaim::parse(&request.code)
            .ok_or_else(|| invalid("this is not a session code: scan again, or type the 6 characters and 6 digits"))?;
        let images = request.images.into_iter().map(|image| CaptureImage {
            purpose: match image.purpose {
                ImageUse::Selfie => ImagePurpose::Selfie,
                ImageUse::Presence => ImagePurpose::Presence,
            },
            bytes: image.bytes,
        });
        let input = CaptureInput {
            locator: claim.locator,
            code: Code::new(&claim.code),
            step: claim.step,
            position: request.position.as_ref().and_then(position),
            images: images.collect(),
            clocks: self.clocks()?,
            device: DeviceFacts {
                platform: request.device.platform,
                model: request.device.model,
                app_version: request.device.app_version,
                legacy_id: None,
            },
            salt: random()?,
        };
        let RecordId(id) = self.state().store.capture(&self.key, &input)?;
        Ok(id)
    }

    /// Every capture of this phone, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn records(&self) -> Result<Vec<Record>, ApiError> {
        Ok(self.state().store.records()?.into_iter().map(record).collect())
    }

    /// How much is not settled yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending(&self) -> Result<Pending, ApiError> {
        let pending = self.state().store.pending()?;
        let (changes, quarantined) = (pending.changes, pending.quarantined);
        Ok(Pending { changes, quarantined, refused: pending.refused, images: pending.images })
    }
}

/// Degrees as a platform gives them. What is no place on earth is none: the capture is kept without it, and flagged.
fn position(position: &GeoPosition) -> Option<Position> {
    Position::measured(position.latitude, position.longitude, position.accuracy_m, position.mocked)
}

fn record(view: RecordView) -> Record {
    Record {
        id: view.id.0,
        locator: view.locator.to_string(),
        student: view.student,
        captured_at_ms: view.captured_at_ms,
        state: view.status.as_str().to_owned(),
        judgement: view.judgement.map(|state| state.as_str().to_owned()),
        reason: view.reason,
        reason_in_words: view.reason_in_words,
        receipt_index: view.receipt.as_ref().map(|receipt| receipt.log_index),
        received_at_ms: view.receipt.as_ref().map(|receipt| receipt.received_at_ms),
        images_waiting: view.images_waiting,
        image_reason: view.image_reason,
    }
}
