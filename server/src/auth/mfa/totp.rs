//! One-time passwords by time (RFC 6238), as authenticator apps compute them.

use totp_rs::{Algorithm, Builder, Totp};
use zeroize::Zeroizing;

use super::limits;
use crate::clock::Entropy;
use crate::error::{AppError, AppResult};

/// What an app and the server both hold.
pub(super) struct Authenticator {
    pub(super) secret: Zeroizing<Vec<u8>>,
    pub(super) period_s: u32,
    pub(super) digits: u32,
}

/// A secret that nobody has yet.
pub(super) fn new_secret(entropy: &dyn Entropy) -> Zeroizing<Vec<u8>> {
    let mut secret = Zeroizing::new(vec![0; limits::SECRET_BYTES]);
    entropy.fill(&mut secret);
    secret
}

impl Authenticator {
    /// The step whose code this is: now's, or one before or after it. The comparison takes the same time for every code.
    pub(super) fn find_step(&self, code: &str, now_s: i64) -> AppResult<Option<i64>> {
        let time_s = u64::try_from(now_s).unwrap_or(0);
        let step = self.totp("", "")?.check(code, time_s);
        Ok(step.and_then(|step| i64::try_from(step).ok()))
    }

    /// The address that an app reads from the QR code.
    pub(super) fn otpauth_url(&self, issuer: &str, account: &str) -> AppResult<String> {
        self.totp(issuer, account)?.to_url().map_err(AppError::internal)
    }

    /// The secret, to be typed where nothing can be scanned.
    pub(super) fn secret_text(&self) -> String {
        data_encoding::BASE32_NOPAD.encode(&self.secret)
    }

    fn totp(&self, issuer: &str, account: &str) -> AppResult<Totp> {
        let digits = u8::try_from(self.digits).map_err(AppError::internal)?;
        Builder::new()
            // Some apps compute SHA-1 whatever the address says.
            .with_algorithm(Algorithm::SHA1)
            .with_digits(digits)
            .with_skew(limits::SKEW_STEPS)
            .with_step_duration(u64::from(self.period_s))
            .with_secret(self.secret.to_vec())
            .with_issuer(Some(issuer).filter(|issuer| !issuer.is_empty()))
            // A colon ends the issuer's name in such an address.
            .with_account_name(account.replace(':', "_"))
            .build()
            .map_err(AppError::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticator(digits: u32) -> Authenticator {
        let secret = Zeroizing::new(b"12345678901234567890".to_vec());
        Authenticator { secret, period_s: 30, digits }
    }

    #[test]
    fn the_vectors_of_rfc_6238_are_met() {
        let vectors = [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ];
        for (time_s, code) in vectors {
            assert_eq!(authenticator(8).find_step(code, time_s).unwrap(), Some(time_s / 30), "{time_s}");
            assert_eq!(authenticator(6).find_step(&code[2..], time_s).unwrap(), Some(time_s / 30), "{time_s}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_early_and_late_and_no_more() {
        let step = 1_111_111_109 / 30;
        for (off, found) in [(-2, None), (-1, Some(step)), (0, Some(step)), (1, Some(step)), (2, None)] {
            let now_s = (step + off) * 30 + 7;
            assert_eq!(authenticator(8).find_step("07081804", now_s).unwrap(), found, "{off}");
        }
    }

    #[test]
    fn only_digits_of_the_right_number_are_a_code() {
        for code in ["", "7081804", "007081804", "+7081804", "0708180a", "０７０８１８０４", "0708 1804"] {
            assert_eq!(authenticator(8).find_step(code, 1_111_111_109).unwrap(), None, "{code:?}");
        }
        assert_eq!(authenticator(8).find_step("07081804", i64::MIN).unwrap(), None);
    }

    #[test]
    fn the_address_says_what_an_app_needs() {
        let eight = Authenticator { period_s: 60, ..authenticator(8) };
        let url = eight.otpauth_url("Uni Bonn", "a:da+x@uni.example").unwrap();
        let read = Totp::from_url(&url).unwrap();
        assert_eq!((read.digits(), read.step(), read.algorithm()), (8, 60, Algorithm::SHA1));
        assert_eq!((read.issuer(), read.account_name()), (Some("Uni Bonn"), "a_da+x@uni.example"));
        assert_eq!(read.secret().as_bytes(), b"12345678901234567890");
        assert_eq!(eight.secret_text(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    }
}
