//! The multipart form of an online client: read within bounds, parsed once, named by a hash of its content.

use axum::extract::Multipart;
use axum::extract::multipart::Field;
use axum::http::HeaderMap;
use muster_sync_core::{evidence::Position, reading, time::session_code::CodeClaim};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::limits;
use crate::clock;
use crate::error::{AppError, AppResult};
use crate::http;

/// The form as OpenAPI describes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the description of a form that is read field by field")]
pub(super) struct SubmissionForm {
    /// What the lecturer shows: `K7M2QX-123456`, or what the QR code says.
    session_code: String,
    /// A legacy identifier of the device; kept encrypted.
    imei: Option<String>,
    /// Degrees. What is no number, such as `NaN` or `null`, is unknown: the capture is kept, and flagged where it matters.
    latitude: Option<f64>,
    /// Degrees, likewise.
    longitude: Option<f64>,
    /// Radius of the position's uncertainty in metres. Missing, 0, less, or no number: unknown.
    accuracy: Option<f64>,
    /// Whether the platform says that the position is a mock.
    mocked: Option<bool>,
    /// When it was captured, ISO 8601; now, if it is missing.
    captured_at: Option<String>,
    /// JPEG or PNG, at most UPLOAD_MAX_IMAGE_MB.
    #[schema(value_type = Option<String>, format = Binary)]
    selfie: Option<Vec<u8>>,
    /// JPEG or PNG, at most UPLOAD_MAX_IMAGE_MB.
    #[schema(value_type = Option<String>, format = Binary)]
    presence_image: Option<Vec<u8>>,
}

/// What a student sent.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) claim: CodeClaim,
    pub(super) imei: Option<String>,
    pub(super) position: Option<Position>,
    pub(super) captured_at_ms: Option<i64>,
    pub(super) selfie: Option<Vec<u8>>,
    pub(super) presence_image: Option<Vec<u8>>,
}

/// The fields as they came.
#[derive(Default)]
struct Raw {
    session_code: Option<String>,
    imei: Option<String>,
    latitude: Option<String>,
    longitude: Option<String>,
    accuracy: Option<String>,
    mocked: Option<String>,
    captured_at: Option<String>,
    selfie: Option<Vec<u8>>,
    presence_image: Option<Vec<u8>>,
}

/// Reads the whole form. Fields that are not known are skipped, so that newer clients are not turned away.
pub(super) async fn read(parts: Multipart, image_bytes_max: usize) -> AppResult<Form> {
    let (mut raw, mut parts) = (Raw::default(), http::Form::new(parts, limits::FORM_FIELDS_MAX));
    while let Some(field) = parts.next().await? {
        raw.take(field, image_bytes_max).await?;
    }
    raw.parse()
}

impl Raw {
    async fn take(&mut self, field: Field<'_>, image_bytes_max: usize) -> AppResult<()> {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "selfie" => self.selfie = image(field, image_bytes_max).await?,
            "presence_image" => self.presence_image = image(field, image_bytes_max).await?,
            _ => {
                let text = text(field, &name).await?;
                let place = match name.as_str() {
                    "session_code" => &mut self.session_code,
                    "imei" => &mut self.imei,
                    "latitude" => &mut self.latitude,
                    "longitude" => &mut self.longitude,
                    "accuracy" => &mut self.accuracy,
                    "mocked" => &mut self.mocked,
                    "captured_at" => &mut self.captured_at,
                    _ => return Ok(()),
                };
                *place = Some(text).filter(|text| !text.is_empty());
            }
        }
        Ok(())
    }

    fn parse(self) -> AppResult<Form> {
        let claim = self.session_code.as_deref().and_then(CodeClaim::parse);
        let claim = claim.ok_or_else(|| {
            AppError::field("session_code", "expected the 6 characters and 6 digits shown, such as K7M2QX-123456")
        })?;
        let time = |text: &str| {
            let wrong =
                || AppError::field("captured_at", "expected a time with its offset, such as 2026-11-20T15:00:00Z");
            clock::parse_iso(text).filter(|time_ms| *time_ms >= 0).ok_or_else(wrong)
        };
        let position = self.position()?;
        Ok(Form {
            claim,
            captured_at_ms: self.captured_at.as_deref().and_then(reading::text).map(time).transpose()?,
            position,
            imei: self.imei.as_deref().and_then(reading::text).map(str::to_owned),
            selfie: self.selfie,
            presence_image: self.presence_image,
        })
    }

    fn position(&self) -> AppResult<Option<Position>> {
        let number = |text: &Option<String>| text.as_deref().and_then(reading::number);
        let mocked = match self.mocked.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0" | "no" | "off" | "null" | "undefined") => false,
            Some("true" | "1" | "yes" | "on") => true,
            Some(_) => return Err(AppError::field("mocked", "expected true or false")),
        };
        // A client that does not know where it is says so in many ways, and none of them loses the capture.
        let (Some(latitude), Some(longitude)) = (number(&self.latitude), number(&self.longitude)) else {
            return Ok(None);
        };
        let position = Position::measured(latitude, longitude, number(&self.accuracy), mocked);
        let wrong = || AppError::field(if latitude.abs() > 90.0 { "latitude" } else { "longitude" }, "is not on earth");
        position.map(Some).ok_or_else(wrong)
    }
}

async fn text(field: Field<'_>, name: &str) -> AppResult<String> {
    let bytes_max = limits::FORM_TEXT_BYTES_MAX;
    let too_long = || AppError::validation(format!("{name} is longer than {bytes_max} bytes"));
    let bytes = http::field_bytes(field, bytes_max, too_long).await?;
    let text = String::from_utf8(bytes).map_err(|_| AppError::validation(format!("{name} is not text in UTF-8")))?;
    Ok(text.trim().to_owned())
}

/// An empty file field is what browsers send when nobody chose a file.
async fn image(field: Field<'_>, bytes_max: usize) -> AppResult<Option<Vec<u8>>> {
    let too_large = || AppError::too_large(format!("an image has at most {bytes_max} bytes"));
    let bytes = http::field_bytes(field, bytes_max, too_large).await?;
    Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
}

impl Form {
    /// SHA-256 over everything that the student sent, each part with its length in front. The same capture sent again
    /// has the same hash; another code, picture, place or claimed time makes another submission.
    pub(super) fn content_hash(&self) -> [u8; 32] {
        let position = self.position.as_ref();
        let number = |value: Option<i64>| value.map(|value| value.to_be_bytes().to_vec());
        let image = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| Sha256::digest(bytes).to_vec());
        let parts = [
            Some(self.claim.locator.as_str().as_bytes().to_vec()),
            Some(self.claim.code.as_bytes().to_vec()),
            self.claim.step.map(|step| step.to_be_bytes().to_vec()),
            self.imei.as_ref().map(|imei| imei.as_bytes().to_vec()),
            number(position.map(|position| position.latitude_e7)),
            number(position.map(|position| position.longitude_e7)),
            number(position.map(|position| i64::from(position.accuracy_m))),
            number(position.map(|position| i64::from(position.mocked))),
            number(self.captured_at_ms),
            image(&self.selfie),
            image(&self.presence_image),
        ];
        let mut hash = Sha256::new().chain_update(b"muster/gateway-form/v1");
        for part in &parts {
            let part = part.as_deref();
            hash.update([u8::from(part.is_some())]);
            hash.update((part.map_or(0, <[u8]>::len) as u64).to_be_bytes());
            hash.update(part.unwrap_or_default());
        }
        hash.finalize().into()
    }
}

/// Under which key the request is remembered: its `Idempotency-Key`, or else its content.
pub(super) fn request_key(headers: &HeaderMap, content_hash: [u8; 32]) -> AppResult<[u8; 32]> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(content_hash) };
    if key.is_empty() || key.len() > limits::IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(AppError::field("Idempotency-Key", "1 to 128 bytes"));
    }
    Ok(Sha256::new().chain_update(b"muster/idempotency-key/v1").chain_update(key.as_bytes()).finalize().into())
}
