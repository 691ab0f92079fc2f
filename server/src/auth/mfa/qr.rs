//! A text as a QR code in a PNG image.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, GrayImage, ImageEncoder as _, Luma};
use qrcodegen::{QrCode, QrCodeEcc};

use super::limits::{QR_BORDER_MODULES, QR_MODULE_PX};
use crate::error::{AppError, AppResult};

const DARK: Luma<u8> = Luma([0]);
const LIGHT: Luma<u8> = Luma([255]);

/// The image, black on white with its border.
pub(super) fn png(text: &str) -> AppResult<Vec<u8>> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).map_err(AppError::internal)?;
    let modules = u32::try_from(code.size()).map_err(AppError::internal)? + 2 * QR_BORDER_MODULES;
    let side_px = modules * QR_MODULE_PX;
    // Beyond the code itself, every module is light.
    let module = |px: u32| (px / QR_MODULE_PX) as i32 - QR_BORDER_MODULES as i32;
    let image =
        GrayImage::from_fn(side_px, side_px, |x, y| if code.get_module(module(x), module(y)) { DARK } else { LIGHT });
    let mut bytes = Vec::new();
    let written = PngEncoder::new(&mut bytes).write_image(image.as_raw(), side_px, side_px, ExtendedColorType::L8);
    written.map_err(AppError::internal)?;
    Ok(bytes)
}
