//! The code of a class session: derived from the lecturer's code key, so that both ends work with no network.

use crate::{DocumentId, Locator, document::CodeMode, id::LOCATOR_CHARS, limits, typed};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Digits of a code.
pub const CODE_DIGITS: u8 = 6;

/// A lecturer device's secret, from which every session's secret is derived. The server holds a copy since binding.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CodeKey(pub [u8; 32]);

impl std::fmt::Debug for CodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CodeKey(..)")
    }
}

impl CodeKey {
    /// SHA-256 over a context and the key: what a binding request commits to.
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        use sha2::Digest;
        Sha256::new().chain_update(b"muster/code-key/v1").chain_update(self.0).finalize().into()
    }
}

/// The secret of one class session in one epoch, and how its code behaves.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionSecret {
    secret: [u8; 32],
    #[zeroize(skip)]
    mode: CodeMode,
    step_s: u64,
    epoch: u64,
}

impl std::fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionSecret(.., {}, {} s, epoch {})", self.mode.as_str(), self.step_s, self.epoch)
    }
}

impl SessionSecret {
    /// HKDF-SHA-256 (RFC 5869) of the code key; salt is the class session's document id, info names the epoch.
    #[must_use]
    pub fn derive(key: &CodeKey, class_session: DocumentId, mode: CodeMode, step_s: u64, epoch: u64) -> Self {
        let mut info = *b"muster/session-code/v1\0\0\0\0\0\0\0\0";
        info[22..].copy_from_slice(&epoch.to_be_bytes());
        let mut secret = [0; 32];
        let derived = hkdf::Hkdf::<Sha256>::new(Some(&class_session.0), &key.0).expand(&info, &mut secret);
        derived.expect("32 bytes are within what HKDF-SHA-256 gives");
        Self { secret, mode, step_s: step_s.max(1), epoch }
    }

    /// The step at a time: RFC 6238's T for a rotating code, the epoch for a static one.
    #[must_use]
    pub fn step_at(&self, time_ms: i64) -> u64 {
        match self.mode {
            CodeMode::Rotating => u64::try_from(time_ms / 1000).unwrap_or(0) / self.step_s,
            CodeMode::Static => self.epoch,
        }
    }

    /// The span of a step in Unix milliseconds; `None` for a static code, which is no witness of time.
    #[must_use]
    pub fn step_span_ms(&self, step: u64) -> Option<(i64, i64)> {
        if self.mode == CodeMode::Static {
            return None;
        }
        let length_ms = i64::try_from(self.step_s).ok()?.checked_mul(1000)?;
        let start_ms = i64::try_from(step).ok()?.checked_mul(length_ms)?;
        Some((start_ms, start_ms.checked_add(length_ms - 1)?))
    }

    /// The 6 digits of a step (RFC 6238 with HMAC-SHA-256).
    #[must_use]
    pub fn code(&self, step: u64) -> String {
        let totp = totp_rs::Builder::new()
            .with_algorithm(totp_rs::Algorithm::SHA256)
            .with_digits(CODE_DIGITS)
            .with_step_duration(1)
            .with_secret(self.secret.to_vec())
            .build_noncompliant();
        totp.generate(step).to_string()
    }

    /// Finds the step whose code was given: the claimed one and its neighbours first, then, for a typed code whose
    /// phone had a wrong clock, every step of `search_ms` (at most [`limits::CODE_SEARCH_STEPS_MAX`]).
    #[must_use]
    pub fn find_step(&self, code: &str, claimed: Option<u64>, search_ms: (i64, i64)) -> Option<u64> {
        use subtle::ConstantTimeEq;
        // A client that speaks the protocol itself may have written what was typed.
        let code = typed::digits(code)?;
        let matches = |step: &u64| bool::from(self.code(*step).as_bytes().ct_eq(code.as_bytes()));
        let near = claimed.into_iter().flat_map(|step| [step, step.saturating_sub(1), step.saturating_add(1)]);
        if let Some(step) = near.into_iter().find(matches) {
            return Some(step);
        }
        let first = self.step_at(search_ms.0);
        let last = self.step_at(search_ms.1).min(first.saturating_add(limits::CODE_SEARCH_STEPS_MAX as u64));
        (first..=last).find(matches)
    }
}

/// What a session's QR code says, and what can be typed: locator, step and code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeClaim {
    /// The class session.
    pub locator: Locator,
    /// The step, if it was scanned.
    pub step: Option<u64>,
    /// The digits.
    pub code: String,
}

/// What every QR payload begins with.
const QR_PREFIX: &str = "MUSTER:1:";

impl CodeClaim {
    /// The QR payload: `MUSTER:1:K7M2QX:118239401:123456`, all in QR's alphanumeric set; the step is empty if unknown.
    #[must_use]
    pub fn to_qr(&self) -> String {
        let step = self.step.map(|step| step.to_string()).unwrap_or_default();
        format!("{QR_PREFIX}{}:{step}:{}", self.locator, self.code)
    }

    /// Reads a QR payload, or what a person typed: `K7M2QX-123456`, as [`typed`] reads it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some((prefix, payload)) = text.split_at_checked(QR_PREFIX.len())
            && prefix.eq_ignore_ascii_case(QR_PREFIX)
        {
            let mut parts = payload.split(':');
            let (locator, step, code) = (parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some() || !step.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let step = if step.is_empty() { None } else { Some(step.parse().ok()?) };
            return Self::new(locator, step, code);
        }
        let code = typed::code(text)?;
        let (locator, code) = code.split_at_checked(LOCATOR_CHARS)?;
        Self::new(locator, None, code)
    }

    fn new(locator: &str, step: Option<u64>, code: &str) -> Option<Self> {
        let code = typed::digits(code).filter(|digits| digits.len() == usize::from(CODE_DIGITS))?;
        Some(Self { locator: Locator::parse(locator)?, step, code })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(mode: CodeMode, epoch: u64) -> SessionSecret {
        SessionSecret::derive(&CodeKey([3; 32]), DocumentId([5; 16]), mode, 15, epoch)
    }

    #[test]
    fn the_code_is_rfc_6238_with_sha_256() {
        // RFC 6238, appendix B: the SHA-256 secret, T = 1 (59 s at 30 s), last 6 of the 8 digits 46119246.
        let mut secret = secret(CodeMode::Rotating, 0);
        secret.secret.copy_from_slice(b"12345678901234567890123456789012");
        assert_eq!(secret.code(1), "119246");
        assert_eq!(secret.code(0x0000_0000_0235_23EC), "084774");
        assert_eq!(secret.code(0x0000_0000_27BC_86AA), "737706");
    }

    #[test]
    fn a_step_is_found_where_it_was_claimed_or_within_the_session() {
        let secret = secret(CodeMode::Rotating, 0);
        let noon_ms = 1_700_000_000_000;
        let step = secret.step_at(noon_ms);
        let code = secret.code(step);
        assert_eq!(secret.find_step(&code, Some(step + 1), (0, 0)), Some(step));
        assert_eq!(secret.find_step(&code, Some(5), (noon_ms - 600_000, noon_ms + 600_000)), Some(step));
        assert_eq!(secret.find_step("12345", Some(step), (noon_ms, noon_ms)), None);
        let (start, end) = secret.step_span_ms(step).unwrap();
        assert!((start..=end).contains(&noon_ms) && end - start == 14_999);
    }

    #[test]
    fn a_new_epoch_makes_another_code_also_a_static_one() {
        let (first, second) = (secret(CodeMode::Static, 0), secret(CodeMode::Static, 1));
        assert_ne!(first.code(first.step_at(0)), second.code(second.step_at(0)));
        assert_eq!(first.code(first.step_at(0)), first.code(first.step_at(99_999_999)));
        assert_eq!(first.step_span_ms(0), None);
    }

    #[test]
    fn a_claim_is_read_from_a_qr_code_or_from_typing() {
        let claim = CodeClaim::parse("MUSTER:1:K7M2QX:118239401:123456").unwrap();
        assert_eq!((claim.step, claim.code.as_str()), (Some(118_239_401), "123456"));
        assert_eq!(CodeClaim::parse(&claim.to_qr()), Some(claim.clone()));
        for typed in [
            "K7M2QX-123456",
            "k7m2qx 123456",
            " K7M2QX123456 ",
            "K7M2QX\u{2013}123456",
            "K7M2QX\u{2011}123 456",
            "K7M 2QX \u{2014} I23\u{A0}456",
            "Ｋ７Ｍ２ＱＸ－１２３４５６",
            "к7м2Qх ۱۲۳۴۵۶",
        ] {
            let read = CodeClaim::parse(typed).unwrap();
            assert_eq!((read.locator, read.code.as_str()), (claim.locator, "123456"), "{typed}");
        }
        assert_eq!(CodeClaim::parse("muster:1:k7m2qx::123456").unwrap().locator, claim.locator);
        for wrong in ["", "K7M2QX", "K7M2QX-12345", "MUSTER:2:K7M2QX:1:123456", "MUSTER:1:K7M2QX:1:123456:9", "🦀🦀🦀"]
        {
            assert_eq!(CodeClaim::parse(wrong), None, "{wrong}");
        }
    }
}
