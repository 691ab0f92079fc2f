//! A bounded walk over the chunks of a PNG file, from its header to its end chunk. It inflates nothing.

use super::{PictureError, PictureLimits, Structure, check_dimensions};

/// How every PNG file begins.
pub(super) const MAGIC: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n'];

/// Length and type before a chunk's body, and the checksum after it, in bytes.
const CHUNK_EXTRA_BYTES: usize = 12;

struct Header {
    width: u32,
    height: u32,
    color: u8,
    depth: u8,
}

/// Finds the dimensions and the end of the picture.
pub(super) fn walk(bytes: &[u8], limits: &PictureLimits) -> Result<Structure, PictureError> {
    let mut at = MAGIC.len();
    let (kind, body) = read_chunk(bytes, &mut at)?;
    if kind != *b"IHDR" {
        return Err(PictureError::Damaged("no header chunk"));
    }
    let header = Header::read(body)?;
    header.check(0, limits)?;
    let mut has_pixels = false;
    // Each turn moves on by at least twelve bytes of a file whose length was checked.
    loop {
        let (kind, _) = read_chunk(bytes, &mut at)?;
        match &kind {
            b"IDAT" => has_pixels = true,
            b"IHDR" => return Err(PictureError::Damaged("a second header chunk")),
            // Transparency gives every pixel one more sample.
            b"tRNS" => header.check(1, limits)?,
            b"IEND" if has_pixels => return Ok(Structure { width: header.width, height: header.height, end: at }),
            b"IEND" => return Err(PictureError::Damaged("no picture before its end")),
            _ => {}
        }
    }
}

impl Header {
    fn read(body: &[u8]) -> Result<Self, PictureError> {
        let [w3, w2, w1, w0, h3, h2, h1, h0, depth, color, 0, 0, 0 | 1] = *body else {
            return Err(PictureError::Damaged("a malformed header chunk"));
        };
        let exists = matches!((color, depth), (0 | 2 | 3 | 4 | 6, 8) | (0 | 2 | 4 | 6, 16) | (0 | 3, 1 | 2 | 4));
        if !exists {
            return Err(PictureError::Damaged("a colour type that does not exist"));
        }
        let (width, height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
        Ok(Self { width, height, color, depth })
    }

    /// Refuses a picture that is too large, as stored or as the three bytes a pixel that it becomes.
    fn check(&self, n_samples_more: u64, limits: &PictureLimits) -> Result<(), PictureError> {
        check_dimensions(self.width, self.height, limits)?;
        let n_samples = n_samples_more
            + match self.color {
                0 => 1,
                4 => 2,
                6 => 4,
                _ => 3,
            };
        let pixel_bytes = (n_samples * u64::from(self.depth).div_ceil(8)).max(3);
        if u64::from(self.width) * u64::from(self.height) * pixel_bytes > limits.decoded_bytes_max {
            return Err(PictureError::TooManyPixels { width: self.width, height: self.height });
        }
        Ok(())
    }
}

/// Reads a chunk's type and body. Its checksum is the decoder's to verify.
fn read_chunk<'a>(bytes: &'a [u8], at: &mut usize) -> Result<([u8; 4], &'a [u8]), PictureError> {
    let rest = bytes.get(*at..).unwrap_or_default();
    let cut_short = PictureError::Damaged("cut short in a chunk");
    let (length, after) = rest.split_first_chunk::<4>().ok_or(cut_short)?;
    let (kind, after) = after.split_first_chunk::<4>().ok_or(cut_short)?;
    let length = u32::from_be_bytes(*length) as usize;
    let body = after.get(..length).ok_or(cut_short)?;
    if after.len() < length + 4 || !kind.iter().all(u8::is_ascii_alphabetic) {
        return Err(cut_short);
    }
    *at += CHUNK_EXTRA_BYTES + length;
    Ok((*kind, body))
}
