//! What a sensor says, and what it says when it does not know: by form, manifest and phone alike.
//!
//! Platforms write "unknown" in many ways: nothing, null, an empty text, NaN, -1, 0 metres of uncertainty. None of them is
//! a reason to lose a capture: unknown is kept as unknown, and the check that needed the reading says so.

use minicbor::Decoder;
use minicbor::data::Type;
use minicbor::decode::Error;

/// Metres beyond which an accuracy says nothing: half of the way around the earth.
const ACCURACY_M_MAX: f64 = 20_037_509.0;
/// What programs write where they have nothing to write.
const NOTHING: [&str; 7] = ["null", "undefined", "unknown", "none", "nil", "nan", "n/a"];

/// A finite number that somebody wrote, also with the comma of many languages; `None` if the text says nothing.
#[must_use]
pub fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let with_point = if text.contains('.') { text.to_owned() } else { text.replacen(',', ".", 1) };
    known(with_point.parse().ok()?)
}

/// A text that says something: not one of the words by which programs say that they have none, and not zeros alone.
#[must_use]
pub fn text(text: &str) -> Option<&str> {
    let text = text.trim();
    let bare = text.trim_matches(['(', ')', '<', '>']);
    let is_word = NOTHING.iter().any(|nothing| bare.eq_ignore_ascii_case(nothing));
    let is_empty = text.chars().all(|sign| sign == '0' || !sign.is_alphanumeric());
    (!is_word && !is_empty).then_some(text)
}

/// A number that says something.
#[must_use]
pub fn known(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Whole metres of uncertainty, rounded up; 0 if they are not known, which is also what 0 and less stand for: no sensor
/// is exact.
#[must_use]
pub fn accuracy_m(metres: Option<f64>) -> u32 {
    match metres.and_then(known) {
        Some(metres) if metres > 0.0 && metres <= ACCURACY_M_MAX => metres.ceil() as u32,
        _ => 0,
    }
}

/// Degrees times 10^7.
#[must_use]
pub fn e7(degrees: f64) -> i64 {
    (degrees * 1e7).round() as i64
}

/// The number in any type of CBOR that can hold one; `None` for one that says nothing. The item is read in any case.
///
/// # Errors
/// When there is no whole item.
pub(crate) fn from_cbor(decoder: &mut Decoder<'_>) -> Result<Option<f64>, Error> {
    let read = match decoder.datatype()? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            Some(i128::from(decoder.int()?) as f64)
        }
        Type::F16 => {
            let position = decoder.position();
            decoder.skip()?;
            decoder.input().get(position + 1..position + 3).map(|half| half_float([half[0], half[1]]))
        }
        Type::F32 => Some(f64::from(decoder.f32()?)),
        Type::F64 => Some(decoder.f64()?),
        Type::String => number(decoder.str()?),
        _ => {
            decoder.skip()?;
            None
        }
    };
    Ok(read.and_then(known))
}

/// IEEE 754 binary16.
fn half_float(bytes: [u8; 2]) -> f64 {
    let bits = u16::from_be_bytes(bytes);
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if bits & 1023 == 0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_unknown_and_never_zero_metres_of_error() {
        for nothing in ["", " ", "null", "NaN", "nan", "Infinity", "-inf", "undefined", "1e999", "1,2,3", "--"] {
            assert_eq!(number(nothing), None, "{nothing:?}");
        }
        assert_eq!(number(" 12,5 "), Some(12.5));
        assert_eq!(number("-74.0060"), Some(-74.006));
        for nothing in [None, Some(0.0), Some(-0.0), Some(-1.0), Some(f64::NAN), Some(f64::INFINITY), Some(3.4e38)] {
            assert_eq!(accuracy_m(nothing), 0, "{nothing:?}");
        }
        assert_eq!((accuracy_m(Some(0.2)), accuracy_m(Some(12.5)), accuracy_m(Some(5_000.0))), (1, 13, 5_000));
    }

    #[test]
    fn words_for_nothing_are_no_text() {
        for nothing in
            ["", " ", "null", "NULL", "undefined", "Unknown", "none", "(null)", "n/a", "-", "000000000000000", "00:00"]
        {
            assert_eq!(text(nothing), None, "{nothing:?}");
        }
        for something in ["356938035643809", "0x0", "nullable", "A0", "ünknown"] {
            assert_eq!(text(something), Some(something));
        }
        assert_eq!(text(" 35-693803 "), Some("35-693803"));
    }

    #[test]
    fn half_floats_are_read() {
        for (bytes, value) in [([0x4A, 0x40], 12.5), ([0xBC, 0x00], -1.0), ([0x00, 0x01], 2_f64.powi(-24))] {
            assert_eq!(half_float(bytes), value);
        }
        assert!(half_float([0x7E, 0]).is_nan() && half_float([0x7C, 0]).is_infinite());
    }
}
