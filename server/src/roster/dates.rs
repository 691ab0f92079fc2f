//! Dates as registries write them.

use jiff::civil::Date;

/// Bytes of a date such as `2026-09-01`.
const DATE_BYTES: usize = 10;

/// The day of `2026-09-01` or `2026-09-01T00:00:00Z`; `None` for every other text. Days and months are never guessed: what
/// is the ninth of January to one registry is the first of September to the next.
pub(super) fn day(text: &str) -> Option<Date> {
    let (date, time) = (text.get(..DATE_BYTES)?, text.get(DATE_BYTES..)?);
    let has_shape = date.bytes().enumerate().all(|(place, byte)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let is_time = |time: &str| {
        let time = time.trim_start();
        time.as_bytes().first().is_some_and(u8::is_ascii_digit)
            && time.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'+' | b'-' | b'Z' | b'z'))
    };
    let has_time = time.is_empty() || time.strip_prefix(['T', 't', ' ']).is_some_and(is_time);
    if has_shape && has_time { date.parse().ok() } else { None }
}

/// When a day begins, Unix milliseconds of UTC, as the day of today is one of UTC.
pub(super) fn begin_of(day: Date) -> Option<i64> {
    day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|begin| begin.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_and_never_guessed() {
        let first = jiff::civil::date(2026, 9, 1);
        for text in ["2026-09-01", "2026-09-01T00:00:00.000Z", "2026-09-01 00:00:00", "2026-09-01T23:59:59+02:00"] {
            assert_eq!(day(text), Some(first), "{text}");
        }
        for text in [
            "",
            "soon",
            "06/30/2099",
            "31/12/2020",
            "1.9.2026",
            "2026-9-1",
            "20260901",
            "2026-13-01",
            "2026-02-30",
            "2026-09-01x",
            "2026-09-01 or so",
            "46266",
            "２０２６-09-01",
        ] {
            assert_eq!(day(text), None, "{text}");
        }
    }
}
