//! Whether bytes from a phone are a picture that is safe to decode, its pixels, and the copy that people look at.
//! Only JPEG and PNG, told by their content and never by a name or a declared type.
//!
//! Bytes meet our own walk over the file's structure (`jpeg.rs`, `png.rs`) before any decoder: it allocates nothing,
//! finds the dimensions, and refuses what is cut short or would need too much memory. What follows the end of the
//! picture is ignored: phones append thumbnails and videos there.
//!
//! Decoding costs up to a second and some hundred MiB at the limits: call it off the async threads, a few at a time.

mod jpeg;
mod png;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder};
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder as _, ImageError, Limits, RgbImage};

/// The longest picture file that can be decoded, in bytes. What may come in, UPLOAD_MAX_IMAGE_MB says, and may say less.
pub const FILE_BYTES_MAX: usize = muster_sync_core::limits::IMAGE_SIZE_BYTES_MAX as usize;
/// The widest and highest picture, in pixels.
pub const SIDE_PX_MAX: u32 = 6000;
/// The most memory that a decoded picture takes, in bytes.
pub const DECODED_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// JPEG quality of the copy that people see: no visible loss, and the evidence itself is kept beside it untouched.
const VIEW_JPEG_QUALITY: u8 = 90;

/// What a picture may measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureLimits {
    /// The longest file, in bytes.
    pub file_bytes_max: usize,
    /// The longest side, in pixels.
    pub side_px_max: u32,
    /// The most memory that its pixels take while they are decoded, in bytes.
    pub decoded_bytes_max: u64,
}

impl Default for PictureLimits {
    fn default() -> Self {
        Self { file_bytes_max: FILE_BYTES_MAX, side_px_max: SIDE_PX_MAX, decoded_bytes_max: DECODED_BYTES_MAX }
    }
}

/// The kinds of picture that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureType {
    /// `image/jpeg`
    Jpeg,
    /// `image/png`
    Png,
}

impl PictureType {
    /// The media type to send it with.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

/// What a picture is, from its structure alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureInfo {
    /// JPEG or PNG.
    pub picture_type: PictureType,
    /// Width in pixels as stored, before its orientation is applied.
    pub width: u32,
    /// Height in pixels as stored, before its orientation is applied.
    pub height: u32,
}

/// Why a picture is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// There are no bytes.
    #[error("picture is empty")]
    Empty,
    /// The file is longer than the limit.
    #[error("picture of {size_bytes} bytes exceeds the limit of {bytes_max}")]
    TooLarge {
        /// How long it is.
        size_bytes: usize,
        /// The limit that it exceeds.
        bytes_max: usize,
    },
    /// Neither JPEG nor PNG, or a kind of JPEG that no camera makes.
    #[error("only JPEG and PNG pictures are taken")]
    UnsupportedType,
    /// Too wide, too high, or too much memory to decode.
    #[error("picture of {width} x {height} pixels exceeds the limits")]
    TooManyPixels {
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// Cut short or malformed.
    #[error("picture is damaged: {0}")]
    Damaged(&'static str),
}

impl PictureError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::UnsupportedType => "unsupported_type",
            Self::TooManyPixels { .. } => "too_many_pixels",
            Self::Damaged(_) => "damaged",
        }
    }
}

/// What a walk over the file found.
#[derive(Debug, Clone, Copy)]
struct Structure {
    width: u32,
    height: u32,
    /// Where the picture ends; what follows is not part of it.
    end: usize,
}

/// The kind of picture that these bytes begin like.
pub fn sniff(bytes: &[u8]) -> Option<PictureType> {
    if bytes.starts_with(&jpeg::MAGIC) {
        Some(PictureType::Jpeg)
    } else if bytes.starts_with(&png::MAGIC) {
        Some(PictureType::Png)
    } else {
        None
    }
}

/// Checks size, type, structure and dimensions. It decodes no pixels and allocates nothing.
///
/// # Errors
/// If the bytes are not a whole picture within the limits.
pub fn check(bytes: &[u8], limits: &PictureLimits) -> Result<PictureInfo, PictureError> {
    structure(bytes, limits).map(|(picture_type, found)| PictureInfo {
        picture_type,
        width: found.width,
        height: found.height,
    })
}

/// Decodes a picture, upright: its EXIF orientation is applied. Transparency is dropped.
///
/// # Errors
/// If the bytes are not a whole picture within the limits, or do not decode.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PictureError> {
    decode_as(bytes, &PictureLimits::default()).map(|(_, pixels)| pixels)
}

/// Makes the copy that people look at: the same type, upright, and encoded anew from the decoded pixels.
///
/// Encoding anew, instead of cutting metadata out, costs a little quality in a JPEG and some milliseconds. For that
/// nothing of the phone's bytes reaches a reviewer's browser: no position, no hidden thumbnail, no colour profile or
/// second frame, nothing that attacks a decoder. The person sees exactly the pixels that the face engine was given.
///
/// # Errors
/// As [`decode`].
pub fn strip_metadata(bytes: &[u8]) -> Result<Vec<u8>, PictureError> {
    let (picture_type, pixels) = decode_as(bytes, &PictureLimits::default())?;
    let mut copy = Vec::new();
    let (width, height) = pixels.dimensions();
    let written = match picture_type {
        PictureType::Jpeg => JpegEncoder::new_with_quality(&mut copy, VIEW_JPEG_QUALITY).write_image(
            &pixels,
            width,
            height,
            ExtendedColorType::Rgb8,
        ),
        PictureType::Png => PngEncoder::new_with_quality(&mut copy, CompressionType::Fast, FilterType::Adaptive)
            .write_image(&pixels, width, height, ExtendedColorType::Rgb8),
    };
    written.map_err(|_| PictureError::Damaged("pixels do not encode"))?;
    Ok(copy)
}

fn structure(bytes: &[u8], limits: &PictureLimits) -> Result<(PictureType, Structure), PictureError> {
    if bytes.is_empty() {
        return Err(PictureError::Empty);
    }
    if bytes.len() > limits.file_bytes_max {
        return Err(PictureError::TooLarge { size_bytes: bytes.len(), bytes_max: limits.file_bytes_max });
    }
    let picture_type = sniff(bytes).ok_or(PictureError::UnsupportedType)?;
    let found = match picture_type {
        PictureType::Jpeg => jpeg::walk(bytes, limits)?,
        PictureType::Png => png::walk(bytes, limits)?,
    };
    Ok((picture_type, found))
}

/// Refuses dimensions above the limits. The walks call it as soon as they know them.
fn check_dimensions(width: u32, height: u32, limits: &PictureLimits) -> Result<(), PictureError> {
    if width == 0 || height == 0 {
        return Err(PictureError::Damaged("no pixels"));
    }
    if width > limits.side_px_max || height > limits.side_px_max {
        return Err(PictureError::TooManyPixels { width, height });
    }
    Ok(())
}

fn decode_as(bytes: &[u8], limits: &PictureLimits) -> Result<(PictureType, RgbImage), PictureError> {
    let (picture_type, found) = structure(bytes, limits)?;
    // The decoders are not ours and parse a stranger's bytes: a panic in one is a damaged picture, not a lost worker.
    let decoded = catch_unwind(AssertUnwindSafe(|| pixels(&bytes[..found.end], picture_type, limits)));
    let image = decoded.unwrap_or(Err(PictureError::Damaged("the decoder failed")))?;
    Ok((picture_type, image))
}

/// Decodes a file whose structure was found good.
fn pixels(bytes: &[u8], picture_type: PictureType, limits: &PictureLimits) -> Result<RgbImage, PictureError> {
    let mut image_limits = Limits::no_limits();
    image_limits.max_image_width = Some(limits.side_px_max);
    image_limits.max_image_height = Some(limits.side_px_max);
    image_limits.max_alloc = Some(limits.decoded_bytes_max);
    let file = Cursor::new(bytes);
    match picture_type {
        PictureType::Jpeg => {
            let mut decoder = JpegDecoder::new(file).map_err(damaged)?;
            decoder.set_limits(image_limits).map_err(damaged)?;
            upright(decoder, limits)
        }
        PictureType::Png => upright(PngDecoder::with_limits(file, image_limits).map_err(damaged)?, limits),
    }
}

fn upright(mut decoder: impl ImageDecoder, limits: &PictureLimits) -> Result<RgbImage, PictureError> {
    let (width, height) = decoder.dimensions();
    if decoder.total_bytes() > limits.decoded_bytes_max {
        return Err(PictureError::TooManyPixels { width, height });
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let mut image = DynamicImage::ImageRgb8(decoded.into_rgb8());
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

fn damaged(error: ImageError) -> PictureError {
    tracing::debug!(%error, "Picture did not decode");
    match error {
        ImageError::Unsupported(_) => PictureError::UnsupportedType,
        ImageError::Limits(_) => PictureError::Damaged("it needs more memory than its header says"),
        _ => PictureError::Damaged("pixels do not decode"),
    }
}

#[cfg(test)]
mod tests;
