//! Both sides of every limit, pictures that attack, and thousands that are broken at random.

use std::time::{Duration, Instant};

use image::{GrayImage, Rgb, Rgba, RgbaImage};

use super::*;

const LIMITS: PictureLimits =
    PictureLimits { file_bytes_max: FILE_BYTES_MAX, side_px_max: SIDE_PX_MAX, decoded_bytes_max: DECODED_BYTES_MAX };

/// 24 x 16 pixels in ten scans, made with libjpeg: our own encoder writes no progressive files.
const PROGRESSIVE: &[u8] = include_bytes!("progressive.jpg");

/// Pixels that compress like a photo's: neither flat nor noise.
fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7 + y) as u8, (x ^ y) as u8, (y * 3) as u8]))
}

fn jpeg_of(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(image).unwrap();
    bytes
}

fn png_of(image: &DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    jpeg_of(&photo(width, height))
}

fn png(width: u32, height: u32) -> Vec<u8> {
    png_of(&photo(width, height).into())
}

/// Puts a segment right after the start of a JPEG.
fn with_segment(jpeg: &[u8], marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, marker], &length, body, &jpeg[2..]].concat()
}

/// An EXIF block with an orientation and, after it, a text that must not leave the server.
fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    tiff.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0, 0]);
    tiff.extend_from_slice(b"GPS 46.5197 6.6323");
    tiff
}

fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    with_segment(jpeg, 0xE1, &[b"Exif\0\0", exif(orientation).as_slice()].concat())
}

/// Fills a JPEG with comment segments until it has this length.
fn padded(jpeg: &[u8], size_bytes: usize) -> Vec<u8> {
    let mut bytes = jpeg.to_vec();
    while bytes.len() < size_bytes {
        let missing = size_bytes - bytes.len();
        // A segment takes at least four bytes, so never leave fewer than that for the last one.
        let body = if missing <= 60_000 { missing - 4 } else { 50_000 };
        bytes = with_segment(&bytes, 0xFE, &vec![b'c'; body]);
    }
    bytes
}

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let crc = kind.iter().chain(body).fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 })
    });
    [&(body.len() as u32).to_be_bytes(), kind.as_slice(), body, &(!crc).to_be_bytes()].concat()
}

/// Replaces the header chunk of a PNG.
fn with_header(png: &[u8], width: u32, height: u32, depth: u8, color: u8) -> Vec<u8> {
    let mut body = [width.to_be_bytes(), height.to_be_bytes()].concat();
    body.extend_from_slice(&[depth, color, 0, 0, 0]);
    [&png[..8], &chunk(b"IHDR", &body), &png[33..]].concat()
}

fn code<T>(result: Result<T, PictureError>) -> &'static str {
    result.err().map_or("ok", |error| error.code())
}

fn checked(bytes: &[u8]) -> &'static str {
    code(check(bytes, &LIMITS))
}

#[test]
fn a_picture_is_known_by_its_content() {
    assert_eq!(sniff(&jpeg(8, 8)), Some(PictureType::Jpeg));
    assert_eq!(sniff(&png(8, 8)), Some(PictureType::Png));
    for other in [&b"GIF89a\x01\0\x01\0"[..], b"RIFF\0\0\0\0WEBP", b"<svg/>", b"%PDF-1.7", b"BM", b"\xFF\xD8", b""] {
        assert_eq!(sniff(other), None);
    }
}

#[test]
fn nothing_and_a_gif_called_jpg_have_their_own_codes() {
    assert_eq!(checked(b""), "empty");
    let gif = b"GIF89a\x01\0\x01\0\x80\0\0\xFF\xFF\xFF\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    assert_eq!(checked(gif), "unsupported_type");
    assert_eq!(code(decode(gif)), "unsupported_type");
    assert_eq!(code(strip_metadata(gif)), "unsupported_type");
}

#[test]
fn the_longest_side_is_6000_pixels() {
    for (width, height) in [(6000, 1), (1, 6000)] {
        for bytes in [png(width, height), jpeg(width, height)] {
            let info = check(&bytes, &LIMITS).unwrap();
            assert_eq!((info.width, info.height), (width, height));
            assert_eq!(decode(&bytes).unwrap().dimensions(), (width, height));
        }
    }
    for (width, height) in [(6001, 1), (1, 6001)] {
        for bytes in [png(width, height), jpeg(width, height)] {
            assert_eq!(check(&bytes, &LIMITS), Err(PictureError::TooManyPixels { width, height }));
            assert_eq!(code(decode(&bytes)), "too_many_pixels");
        }
    }
}

#[test]
fn the_longest_file_is_20_mb() {
    let longest = padded(&jpeg(64, 64), FILE_BYTES_MAX);
    assert_eq!(longest.len(), 20 * 1024 * 1024);
    assert_eq!(checked(&longest), "ok");
    assert_eq!(decode(&longest).unwrap().dimensions(), (64, 64));
    let longer = padded(&jpeg(64, 64), FILE_BYTES_MAX + 1);
    let error = PictureError::TooLarge { size_bytes: 20_971_521, bytes_max: 20_971_520 };
    assert_eq!(check(&longer, &LIMITS), Err(error));
    assert_eq!(code(decode(&longer)), "too_large");
}

#[test]
fn a_decoded_picture_takes_at_most_128_mib() {
    let small = png(4, 4);
    // 6000 x 6000 at 3 bytes are 103 MiB and at 4 bytes 137 MiB; 4096 x 4096 at 8 bytes are 128 MiB exactly.
    for (width, height, depth, color, expected) in [
        (6000, 6000, 8, 2, "ok"),
        (6000, 6000, 1, 0, "ok"),
        (6000, 6000, 8, 6, "too_many_pixels"),
        (6000, 6000, 16, 2, "too_many_pixels"),
        (4096, 4096, 16, 6, "ok"),
        (4097, 4096, 16, 6, "too_many_pixels"),
    ] {
        let bytes = with_header(&small, width, height, depth, color);
        assert_eq!(checked(&bytes), expected, "{width} x {height}, {depth} bit, colour {color}");
    }
    let opaque = with_header(&small, 6000, 6000, 8, 2);
    let transparent = [&opaque[..33], &chunk(b"tRNS", &[0; 6]), &opaque[33..]].concat();
    assert_eq!(checked(&transparent), "too_many_pixels");
}

#[test]
fn a_progressive_jpeg_pays_for_its_coefficients() {
    // The same file with its frame marker and its dimensions changed; the walk does not look at the pixels.
    let mut bytes = jpeg(16, 16);
    let at = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    let mut sized = |marker: u8, side: u16| {
        bytes[at + 1] = marker;
        bytes[at + 5..at + 7].copy_from_slice(&side.to_be_bytes());
        bytes[at + 7..at + 9].copy_from_slice(&side.to_be_bytes());
        checked(&bytes)
    };
    assert_eq!(sized(0xC0, 6000), "ok");
    assert_eq!(sized(0xC2, 6000), "too_many_pixels");
    assert_eq!(sized(0xC2, 3800), "ok");
}

#[test]
fn a_progressive_jpeg_is_decoded() {
    let image = decode(PROGRESSIVE).unwrap();
    assert_eq!(image.dimensions(), (24, 16));
    let near = image.get_pixel(20, 8).0.iter().zip([200, 127, 200]).all(|(got, made)| got.abs_diff(made) < 20);
    assert!(near, "{:?}", image.get_pixel(20, 8));
    for length in 8..PROGRESSIVE.len() {
        assert_eq!(checked(&PROGRESSIVE[..length]), "damaged");
    }
}

#[test]
fn a_decompression_bomb_is_refused_before_it_is_inflated() {
    // 11,500 x 11,500 black pixels: 126 MiB, three times that as RGB, in a file of under 1 MB.
    let mut bomb = Vec::new();
    let black = vec![0; 11_500 * 11_500];
    PngEncoder::new_with_quality(&mut bomb, CompressionType::Fast, FilterType::NoFilter)
        .write_image(&black, 11_500, 11_500, ExtendedColorType::L8)
        .unwrap();
    drop(black);
    assert!(bomb.len() < 1_000_000, "{}", bomb.len());
    let hidden = with_header(&bomb, 100, 100, 8, 0);
    #[expect(clippy::disallowed_methods, reason = "measures the code under test")]
    let started = Instant::now();
    assert_eq!(code(decode(&bomb)), "too_many_pixels");
    // The header alone is enough to refuse it: nothing after it was looked at.
    assert_eq!(checked(&bomb[..33]), "too_many_pixels");
    // A header that lies buys nothing: the decoder stops after the pixels that were promised.
    let _ = decode(&hidden);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn a_picture_cut_short_anywhere_is_damaged() {
    for bytes in [jpeg(40, 30), png(40, 30)] {
        assert_eq!(checked(&bytes), "ok");
        for length in 8..bytes.len() {
            assert_eq!(checked(&bytes[..length]), "damaged", "{length} of {}", bytes.len());
            assert_eq!(code(decode(&bytes[..length])), "damaged");
        }
    }
}

#[test]
fn changed_pixel_data_of_a_png_is_damaged() {
    let mut bytes = png(40, 30);
    let at = bytes.windows(4).position(|kind| kind == b"IDAT").unwrap();
    bytes[at + 20] ^= 0x10;
    assert_eq!(code(decode(&bytes)), "damaged");
}

#[test]
fn what_follows_the_picture_is_ignored_and_not_shown() {
    for original in [jpeg(40, 30), png(40, 30)] {
        let bytes = [original.as_slice(), b"<script>a phone's motion video</script>", &jpeg(9, 9)].concat();
        assert_eq!(decode(&bytes).unwrap(), decode(&original).unwrap());
        let copy = strip_metadata(&bytes).unwrap();
        assert!(!copy.windows(7).any(|window| window == b"<script"));
    }
}

#[test]
fn the_copy_that_people_see_is_upright_and_has_no_metadata() {
    let sideways = RgbImage::from_fn(64, 32, |x, _| if x < 32 { Rgb([250, 10, 10]) } else { Rgb([10, 10, 250]) });
    let taken = with_exif(&jpeg_of(&sideways), 6);
    let info = check(&taken, &LIMITS).unwrap();
    assert_eq!((info.picture_type, info.width, info.height), (PictureType::Jpeg, 64, 32));

    let copy = strip_metadata(&taken).unwrap();
    for secret in [&b"Exif"[..], b"GPS", b"46.5197"] {
        assert!(taken.windows(secret.len()).any(|window| window == secret));
        assert!(!copy.windows(secret.len()).any(|window| window == secret));
    }
    assert_eq!(sniff(&copy), Some(PictureType::Jpeg));
    let shown = decode(&copy).unwrap();
    assert_eq!(shown.dimensions(), (32, 64));
    // Turned a quarter to the right, what was left is now at the top.
    assert!(shown.get_pixel(16, 8)[0] > 200 && shown.get_pixel(16, 56)[2] > 200);
}

#[test]
fn every_orientation_is_applied() {
    for orientation in 0..=9 {
        let shown = decode(&with_exif(&jpeg(48, 16), orientation)).unwrap();
        let turned = (5..=8).contains(&orientation);
        assert_eq!(shown.dimensions(), if turned { (16, 48) } else { (48, 16) }, "orientation {orientation}");
    }
    let upright = png(48, 16);
    let turned = [&upright[..33], &chunk(b"eXIf", &exif(8)), &upright[33..]].concat();
    assert_eq!(decode(&turned).unwrap().dimensions(), (16, 48));
    let copy = strip_metadata(&turned).unwrap();
    assert!(!copy.windows(3).any(|window| window == b"GPS"));
    assert_eq!(decode(&copy).unwrap(), decode(&turned).unwrap());
}

#[test]
fn grey_transparent_and_palette_pictures_become_rgb() {
    let grey = png_of(&GrayImage::from_pixel(5, 4, image::Luma([77])).into());
    assert_eq!(*decode(&grey).unwrap().get_pixel(2, 2), Rgb([77, 77, 77]));
    let clear = png_of(&RgbaImage::from_pixel(5, 4, Rgba([1, 2, 3, 0])).into());
    assert_eq!(*decode(&clear).unwrap().get_pixel(2, 2), Rgb([1, 2, 3]));
    let copy = strip_metadata(&clear).unwrap();
    assert_eq!(*decode(&copy).unwrap().get_pixel(2, 2), Rgb([1, 2, 3]));
}

#[test]
fn many_scans_cost_no_time() {
    let base = jpeg(16, 16);
    let at = base.windows(2).position(|pair| pair == [0xFF, SOS]).unwrap();
    let (head, scan) = (&base[..at], &base[at..base.len() - 2]);
    let with_scans = |count: usize| [head, &scan.repeat(count), &[0xFF, 0xD9]].concat();
    assert_eq!(checked(&with_scans(64)), "ok");
    assert_eq!(checked(&with_scans(65)), "damaged");
}

const SOS: u8 = 0xDA;

/// A small generator with a fixed seed, so that a failing round can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(6) {
            let at = self.roll(bytes.len());
            match self.roll(5) {
                0 => bytes[at] ^= 1 << self.roll(8),
                1 => bytes[at] = [0x00, 0xFF, 0xD9, 0xDA, 0xC2, 0x7F][self.roll(6)],
                2 => bytes.truncate(at.max(16)),
                3 => {
                    let end = (at + self.roll(40)).min(bytes.len());
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => {
                    let end = (at + self.roll(40)).min(bytes.len().saturating_sub(16)).max(at);
                    bytes.drain(at..end);
                }
            }
        }
    }
}

#[test]
fn four_thousand_broken_pictures_never_panic() {
    let mut dice = Dice(0x5EED_CAFE_F00D_0001);
    let originals = [
        jpeg(61, 47),
        with_exif(&jpeg(33, 70), 6),
        PROGRESSIVE.to_vec(),
        png(61, 47),
        png_of(&GrayImage::new(40, 40).into()),
    ];
    let mut n_decoded = 0;
    for round in 0..4_000 {
        let mut bytes = originals[round % originals.len()].clone();
        dice.mutate(&mut bytes);
        if let Ok((picture_type, found)) = structure(&bytes, &LIMITS) {
            // Past the guard that catches panics, so that one shows here.
            n_decoded += u32::from(pixels(&bytes[..found.end], picture_type, &LIMITS).is_ok());
        }
        // And the decoders alone, without our walk before them: they are the second line, not an untested one.
        if let Some(picture_type) = sniff(&bytes) {
            let tight = PictureLimits { side_px_max: 2_000, decoded_bytes_max: 8_000_000, ..LIMITS };
            let _ = pixels(&bytes, picture_type, &tight);
        }
    }
    assert!((400..3_600).contains(&n_decoded), "{n_decoded} decoded: the mutations are too mild or too wild");
}
