//! The evidence manifest: what a capture saw, bound to the signed change by a salted commitment.
//!
//! Documents cannot forget, people must be able to be forgotten: everything personal is in here, is kept encrypted
//! outside the documents, and can be erased while the signed history still verifies.

use crate::{
    Refusal, limits, reading,
    time::CaptureClocks,
    wire::{self, TooMany},
};
use minicbor::{Decode, Decoder, Encode, data::Type, decode::Error};
use sha2::{Digest, Sha256};

/// Version of the manifest that this code writes.
pub const MANIFEST_VERSION: u16 = 1;

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ImagePurpose {
    /// The student's face.
    #[n(0)]
    Selfie,
    /// The room.
    #[n(1)]
    Presence,
    /// A reference photo for enrolment.
    #[n(2)]
    Reference,
}

impl ImagePurpose {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Selfie => "selfie",
            Self::Presence => "presence",
            Self::Reference => "reference",
        }
    }
}

/// The type of an image, by its magic bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ImageType {
    /// `image/jpeg`.
    #[n(0)]
    Jpeg,
    /// `image/png`.
    #[n(1)]
    Png,
}

/// An image that the capture took; its bytes are uploaded apart.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ImageRef {
    /// What it is for.
    #[n(0)]
    pub purpose: ImagePurpose,
    /// SHA-256 of the file.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sha256: [u8; 32],
    /// Size of the file in bytes.
    #[n(2)]
    pub size_bytes: u64,
    /// Its type.
    #[n(3)]
    pub image_type: ImageType,
}

/// A position as the phone's platform gave it. It is read from whatever a client writes where it does not know: see
/// [`reading`].
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct Position {
    /// Degrees of latitude times 10^7.
    #[n(0)]
    pub latitude_e7: i64,
    /// Degrees of longitude times 10^7.
    #[n(1)]
    pub longitude_e7: i64,
    /// Radius of 68 % confidence in metres; 0 if it is not known, see [`Position::known_accuracy_m`].
    #[n(2)]
    pub accuracy_m: u32,
    /// Whether the platform says that the position is a mock.
    #[n(3)]
    pub mocked: bool,
}

/// Facts about the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceFacts {
    /// Platform, such as `android 16`.
    #[cbor(n(0), default)]
    pub platform: String,
    /// Model.
    #[cbor(n(1), default)]
    pub model: String,
    /// Version of the app.
    #[cbor(n(2), default)]
    pub app_version: String,
    /// A legacy identifier such as an IMEI, if an online client sent one; kept only here, encrypted.
    #[n(3)]
    pub legacy_id: Option<String>,
}

/// What a capture saw. The phone encodes it once; those bytes are what is committed to, sent and stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    #[n(0)]
    pub version: u16,
    /// Random: without it, the commitment would let anyone test a guess of the content.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    /// The images.
    #[cbor(n(2), decode_with = "read_images")]
    pub images: Vec<ImageRef>,
    /// The position, if the phone had one.
    #[n(3)]
    pub position: Option<Position>,
    /// The clocks.
    #[n(4)]
    pub clocks: CaptureClocks,
    /// The device.
    #[n(5)]
    pub device: DeviceFacts,
}

fn read_images<C>(decoder: &mut Decoder<'_>, context: &mut C) -> Result<Vec<ImageRef>, Error> {
    wire::list(decoder, context, limits::MANIFEST_IMAGES_MAX, "images")
}

impl Manifest {
    /// The bytes to commit to, send and store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("encoding into memory does not fail")
    }

    /// Reads a manifest of this or a newer version; fields that it does not know are skipped.
    ///
    /// # Errors
    /// [`Refusal::Manifest`] if it is too large, is not a manifest, or breaks a limit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let refused = |what| Err(Refusal::Manifest { what });
        if bytes.len() > limits::MANIFEST_SIZE_BYTES_MAX {
            return refused("larger than 4096 bytes");
        }
        let mut manifest = match wire::whole::<Self>(bytes) {
            Ok(manifest) => manifest,
            Err(error) if TooMany::of(&error).is_some() => return refused("more than 4 images"),
            Err(_) => return refused("not a manifest in CBOR"),
        };
        manifest.position = manifest.position.filter(Position::says_where);
        if manifest.version < MANIFEST_VERSION {
            return refused("unknown version");
        }
        if manifest.images.iter().any(|image| image.size_bytes > limits::IMAGE_SIZE_BYTES_MAX) {
            return refused("an image larger than 20 MB");
        }
        if manifest.position.as_ref().is_some_and(|position| !position.is_on_earth()) {
            return refused("a position that is not on earth");
        }
        if !manifest.clocks.are_sane() {
            return refused("a clock outside the years 1970 to 9999");
        }
        Ok(manifest)
    }

    /// The image of a purpose.
    #[must_use]
    pub fn image(&self, purpose: ImagePurpose) -> Option<&ImageRef> {
        self.images.iter().find(|image| image.purpose == purpose)
    }
}

/// What stands for degrees that are not known.
const NO_DEGREES: i64 = i64::MAX;

impl Position {
    /// What a platform gave, in degrees and metres; `None` if that is no place on earth.
    #[must_use]
    pub fn measured(latitude: f64, longitude: f64, accuracy_m: Option<f64>, mocked: bool) -> Option<Self> {
        let (latitude, longitude) = (reading::known(latitude)?, reading::known(longitude)?);
        let position = Self {
            latitude_e7: reading::e7(latitude),
            longitude_e7: reading::e7(longitude),
            accuracy_m: reading::accuracy_m(accuracy_m),
            mocked,
        };
        position.is_on_earth().then_some(position)
    }

    /// The radius of 68 % confidence in metres; `None` if nobody knows it, which is not the same as no error.
    #[must_use]
    pub fn known_accuracy_m(&self) -> Option<u32> {
        Some(self.accuracy_m).filter(|metres| *metres > 0)
    }

    fn says_where(&self) -> bool {
        self.latitude_e7 != NO_DEGREES && self.longitude_e7 != NO_DEGREES
    }

    fn is_on_earth(&self) -> bool {
        self.latitude_e7.unsigned_abs() <= 900_000_000 && self.longitude_e7.unsigned_abs() <= 1_800_000_000
    }
}

impl<'b, Ctx> Decode<'b, Ctx> for Position {
    fn decode(decoder: &mut Decoder<'b>, _: &mut Ctx) -> Result<Self, Error> {
        let mut position = Self { latitude_e7: NO_DEGREES, longitude_e7: NO_DEGREES, accuracy_m: 0, mocked: false };
        let mut left = decoder.map()?;
        loop {
            match &mut left {
                Some(0) => return Ok(position),
                Some(left) => *left -= 1,
                None if decoder.datatype()? == Type::Break => {
                    decoder.skip()?;
                    return Ok(position);
                }
                None => {}
            }
            let e7 = |degrees: Option<f64>| degrees.map_or(NO_DEGREES, |degrees| degrees.round() as i64);
            match decoder.i64()? {
                0 => position.latitude_e7 = e7(reading::from_cbor(decoder)?),
                1 => position.longitude_e7 = e7(reading::from_cbor(decoder)?),
                2 => position.accuracy_m = reading::accuracy_m(reading::from_cbor(decoder)?),
                3 if decoder.datatype()? == Type::Bool => position.mocked = decoder.bool()?,
                _ => decoder.skip()?,
            }
        }
    }
}

/// The commitment to a manifest: SHA-256 over a context and its bytes, which hold the salt.
#[must_use]
pub fn commitment(manifest: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(b"muster/manifest/v1").chain_update(manifest).finalize().into()
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum CheckOutcome {
    /// Nothing to see.
    #[n(0)]
    Pass,
    /// A person has to look.
    #[n(1)]
    Flag,
    /// It could not be computed: a model or a fact is missing on the server.
    #[n(2)]
    Unavailable,
    /// It does not apply to this record.
    #[n(3)]
    Skipped,
}

impl CheckOutcome {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Flag => "flag",
            Self::Unavailable => "unavailable",
            Self::Skipped => "skipped",
        }
    }
}

/// One check of a verdict.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Check {
    /// Which check.
    #[n(0)]
    pub name: String,
    /// How it came out.
    #[n(1)]
    pub outcome: CheckOutcome,
    /// What was measured, in the unit of the threshold.
    #[n(2)]
    pub score: Option<f64>,
    /// What it was compared with.
    #[n(3)]
    pub threshold: Option<f64>,
    /// Why, when it is not a pass.
    #[n(4)]
    pub reason: Option<String>,
}

/// All checks of a verdict, as the verdict's `checks` field holds them.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
#[cbor(transparent)]
pub struct Checks(#[cbor(n(0), decode_with = "read_checks")] pub Vec<Check>);

fn read_checks<C>(decoder: &mut Decoder<'_>, context: &mut C) -> Result<Vec<Check>, Error> {
    wire::list(decoder, context, limits::CHECKS_MAX, "checks")
}

impl Checks {
    /// As CBOR.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("encoding into memory does not fail")
    }

    /// From CBOR; `None` if it is not a list of checks.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        wire::whole(bytes).ok()
    }
}
