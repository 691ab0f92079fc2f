//! Captures a presence: manifest, signed change, outbox row and images in one transaction, with nothing but the phone.

use super::{DeviceStore, RecordId, StoreError, account, anchor, author, blobs};
use crate::{
    DocumentName, Locator,
    document::{Code, Source, Submission},
    evidence::{DeviceFacts, ImagePurpose, ImageRef, ImageType, MANIFEST_VERSION, Manifest, Position, commitment},
    limits,
    signing::SigningKey,
    time::CaptureClocks,
};
use rusqlite::params;
use sha2::{Digest, Sha256};

/// The phone's clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhoneClocks {
    /// Wall clock, Unix milliseconds; may be wrong.
    pub wall_ms: i64,
    /// Monotonic clock since boot, milliseconds.
    pub monotonic_ms: u64,
    /// The boot.
    pub boot_id: [u8; 16],
}

/// An image as the camera gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureImage {
    /// What it is for.
    pub purpose: ImagePurpose,
    /// The file.
    pub bytes: Vec<u8>,
}

/// What a capture saw.
#[derive(Debug, Clone)]
pub struct CaptureInput {
    /// The class session, scanned or typed.
    pub locator: Locator,
    /// The code, scanned or typed.
    pub code: Option<Code>,
    /// The code's step, if it was scanned.
    pub step: Option<u64>,
    /// The position, if the phone had one.
    pub position: Option<Position>,
    /// At most [`limits::MANIFEST_IMAGES_MAX`] images.
    pub images: Vec<CaptureImage>,
    /// The clocks at capture.
    pub clocks: PhoneClocks,
    /// The device.
    pub device: DeviceFacts,
    /// Fresh random bytes: they keep the commitment from being guessed.
    pub salt: [u8; 32],
}

/// Longest device fact in a manifest, in bytes; longer ones are cut.
const FACT_SIZE_BYTES_MAX: usize = 64;

impl DeviceStore {
    /// Keeps and signs a presence of the account's user. Never needs a network, a valid login, a bound key or a right clock.
    ///
    /// # Errors
    /// [`StoreError::Image`] or [`StoreError::Input`] for input that no server could take; [`StoreError::Sign`],
    /// [`StoreError::Full`], [`StoreError::Corrupt`]. Nothing was written then.
    pub fn capture(&mut self, signer: &dyn SigningKey, input: &CaptureInput) -> Result<RecordId, StoreError> {
        let images = check_images(&input.images, self.image_size_bytes_max()?)?;
        match self.keep_capture(signer, input, &images) {
            // What the server has already must never be the reason to lose a new record.
            Err(StoreError::Full) if self.let_go_of_images()? => self.keep_capture(signer, input, &images),
            kept => kept,
        }
    }

    fn keep_capture(
        &mut self,
        signer: &dyn SigningKey,
        input: &CaptureInput,
        images: &[ImageRef],
    ) -> Result<RecordId, StoreError> {
        self.write(|tx| {
            let student = account(tx)?.user;
            let manifest = manifest(input, images.to_vec(), anchor(tx)?)?;
            let captured_at_ms = author::sane_ms(input.clocks.wall_ms);
            let entry = Submission {
                captured_at_ms,
                code: input.code.clone(),
                step: input.step,
                commitment: commitment(&manifest),
                schema: 1,
                source: Source::Phone,
                by: None,
            };
            let name = DocumentName::Attendance { locator: input.locator, student: student.clone() };
            let draft = author::Draft {
                name: &name,
                entry: entry.into(),
                wall_ms: input.clocks.wall_ms,
                manifest: Some(&manifest),
                code_key: None,
            };
            let (id, _) = author::append(tx, signer, &draft)?;
            let document = name.id(&account(tx)?.tenant);
            let sql = "INSERT INTO records (outbox_id, document, locator, student, captured_at_ms)
                VALUES (?1, ?2, ?3, ?4, ?5)";
            tx.execute(sql, params![id, document.0, input.locator.as_str(), student, captured_at_ms])?;
            for image in &input.images {
                blobs::insert(tx, id, image)?;
            }
            Ok(RecordId(id))
        })
    }
}

fn check_images(images: &[CaptureImage], size_bytes_max: u64) -> Result<Vec<ImageRef>, StoreError> {
    if images.len() > limits::MANIFEST_IMAGES_MAX {
        return Err(StoreError::Image { index: limits::MANIFEST_IMAGES_MAX, what: "is more than one record holds" });
    }
    let checked = images.iter().enumerate().map(|(index, image)| {
        let size_bytes = image.bytes.len() as u64;
        if size_bytes > size_bytes_max {
            return Err(StoreError::Image { index, what: "is larger than the server takes" });
        }
        let image_type =
            image_type(&image.bytes).ok_or(StoreError::Image { index, what: "is neither JPEG nor PNG" })?;
        let sha256 = Sha256::digest(&image.bytes).into();
        Ok(ImageRef { purpose: image.purpose, sha256, size_bytes, image_type })
    });
    checked.collect()
}

/// The type of an image by its first bytes.
#[must_use]
pub fn image_type(bytes: &[u8]) -> Option<ImageType> {
    if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        Some(ImageType::Jpeg)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(ImageType::Png)
    } else {
        None
    }
}

fn manifest(
    input: &CaptureInput,
    images: Vec<ImageRef>,
    anchor: Option<crate::time::AnchorReading>,
) -> Result<Vec<u8>, StoreError> {
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        salt: input.salt,
        images,
        position: input.position.clone(),
        clocks: CaptureClocks {
            wall_ms: author::sane_ms(input.clocks.wall_ms),
            monotonic_ms: input.clocks.monotonic_ms,
            boot_id: input.clocks.boot_id,
            anchor,
        },
        device: DeviceFacts {
            platform: cut(&input.device.platform),
            model: cut(&input.device.model),
            app_version: cut(&input.device.app_version),
            legacy_id: input.device.legacy_id.as_deref().map(cut),
        },
    };
    let bytes = manifest.to_bytes();
    Manifest::from_bytes(&bytes)?;
    Ok(bytes)
}

fn cut(fact: &str) -> String {
    let mut end = fact.len().min(FACT_SIZE_BYTES_MAX);
    while !fact.is_char_boundary(end) {
        end -= 1;
    }
    fact[..end].to_owned()
}
