//! A bounded walk over the segments of a JPEG file, from its start to its end marker. It reads no pixels.

use super::{PictureError, PictureLimits, Structure, check_dimensions};

/// How every JPEG file begins: the start marker, and the first byte of the next one.
pub(super) const MAGIC: [u8; 3] = [0xFF, SOI, 0xFF];

/// The most scans of one picture. Encoders write about ten; thousands of tiny ones would each cost a whole pass.
const SCANS_MAX: u32 = 64;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
/// Baseline, extended sequential and progressive frames with Huffman coding: what cameras and browsers write.
const FRAMES: std::ops::RangeInclusive<u8> = 0xC0..=0xC2;
const PROGRESSIVE: u8 = 0xC2;

struct Frame {
    width: u32,
    height: u32,
    progressive: bool,
    /// Samples per pixel, times 16 to stay whole: a chroma plane at half size counts a quarter.
    samples_x16: u64,
    n_components: u64,
}

/// Finds the dimensions and the end of the picture.
pub(super) fn walk(bytes: &[u8], limits: &PictureLimits) -> Result<Structure, PictureError> {
    let mut at = 2;
    let mut frame: Option<Frame> = None;
    let mut n_scans = 0;
    loop {
        let marker = read_marker(bytes, &mut at)?;
        if marker == EOI {
            let frame = frame.filter(|_| n_scans > 0).ok_or(PictureError::Damaged("no picture before its end"))?;
            return frame.structure(at, n_scans, limits);
        }
        let body = read_segment(bytes, &mut at)?;
        match marker {
            marker if FRAMES.contains(&marker) => {
                if frame.is_some() {
                    return Err(PictureError::Damaged("a second frame"));
                }
                frame = Some(Frame::read(body, marker == PROGRESSIVE, limits)?);
            }
            SOS => {
                n_scans += 1;
                if frame.is_none() || n_scans > SCANS_MAX {
                    return Err(PictureError::Damaged("too many scans, or one before the frame"));
                }
                skip_scan(bytes, &mut at);
            }
            // Lossless, hierarchical and arithmetic frames. 0xC4, 0xC8 and 0xCC are tables, not frames.
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return Err(PictureError::UnsupportedType),
            0x00..=0x01 | 0xD0..=SOI => return Err(PictureError::Damaged("a marker out of place")),
            _ => {}
        }
    }
}

impl Frame {
    fn read(body: &[u8], progressive: bool, limits: &PictureLimits) -> Result<Self, PictureError> {
        let [precision, h1, h0, w1, w0, count, components @ ..] = body else {
            return Err(PictureError::Damaged("a short frame header"));
        };
        let (width, height) = (u32::from(u16::from_be_bytes([*w1, *w0])), u32::from(u16::from_be_bytes([*h1, *h0])));
        check_dimensions(width, height, limits)?;
        if *precision != 8 {
            return Err(PictureError::UnsupportedType);
        }
        let whole = components.len() == usize::from(*count) * 3;
        if !whole || !(1..=4).contains(count) {
            return Err(PictureError::Damaged("a frame header of the wrong length"));
        }
        let mut largest = (1, 1);
        let mut samples = 0;
        for component in components.chunks_exact(3) {
            let (across, down) = (u64::from(component[1] >> 4), u64::from(component[1] & 0x0F));
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
                return Err(PictureError::Damaged("a sampling factor out of range"));
            }
            largest = (largest.0.max(across), largest.1.max(down));
            samples += across * down;
        }
        let samples_x16 = (samples * 16).div_ceil(largest.0 * largest.1);
        Ok(Self { width, height, progressive, samples_x16, n_components: u64::from(*count) })
    }

    /// A picture in several scans is decoded from coefficients, two bytes each, that are all kept until the last scan.
    fn structure(&self, end: usize, n_scans: u32, limits: &PictureLimits) -> Result<Structure, PictureError> {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let coefficients = if self.progressive || n_scans > 1 { pixels * 2 * self.samples_x16 / 16 } else { 0 };
        let decoded_bytes = pixels * self.n_components.max(3) + coefficients;
        if decoded_bytes > limits.decoded_bytes_max {
            return Err(PictureError::TooManyPixels { width: self.width, height: self.height });
        }
        Ok(Structure { width: self.width, height: self.height, end })
    }
}

/// Reads `FF .. FF marker`; any number of `FF` may fill the space before it.
fn read_marker(bytes: &[u8], at: &mut usize) -> Result<u8, PictureError> {
    if bytes.get(*at) != Some(&0xFF) {
        return Err(PictureError::Damaged("cut short, or no marker where one belongs"));
    }
    while bytes.get(*at) == Some(&0xFF) {
        *at += 1;
    }
    let marker = bytes.get(*at).ok_or(PictureError::Damaged("cut short at a marker"))?;
    *at += 1;
    Ok(*marker)
}

/// Reads a segment's body; its length counts its own two bytes.
fn read_segment<'a>(bytes: &'a [u8], at: &mut usize) -> Result<&'a [u8], PictureError> {
    let rest = bytes.get(*at..).unwrap_or_default();
    let cut_short = PictureError::Damaged("cut short in a segment");
    let (length, _) = rest.split_first_chunk::<2>().ok_or(cut_short)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let body = rest.get(2..length).ok_or(cut_short)?;
    *at += length;
    Ok(body)
}

/// Moves past a scan's data, to the marker after it. In the data `FF 00` is a byte and `FF D0..D7` a restart.
fn skip_scan(bytes: &[u8], at: &mut usize) {
    while let Some(byte) = bytes.get(*at) {
        let next = bytes.get(*at + 1);
        if *byte == 0xFF && !matches!(next, Some(0x00 | 0xD0..=0xD7 | 0xFF) | None) {
            return;
        }
        *at += 1;
    }
}
