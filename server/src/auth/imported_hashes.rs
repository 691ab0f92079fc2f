//! Password hashes that other systems made: bcrypt, and PBKDF2 as passlib and Django write it.

use data_encoding::{BASE64, BASE64_NOPAD};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::limits;

/// Bytes that bcrypt looks at; what follows makes no difference to it.
const BCRYPT_BYTES_MAX: usize = 72;
/// Bytes of a SHA-256.
const SHA256_BYTES: usize = 32;

/// A hash that can be evaluated at a bearable price.
enum Known<'a> {
    Bcrypt(&'a str),
    Pbkdf2 { rounds: u32, salt: Vec<u8>, expected: Vec<u8> },
}

/// Whether the password is right; `None` when the hash is of another kind or would cost too much.
pub(super) fn verify(password: &[u8], stored: &str) -> Option<bool> {
    match parse(stored)? {
        Known::Bcrypt(stored) => bcrypt(password, stored),
        Known::Pbkdf2 { rounds, salt, expected } => {
            let mut derived = [0; SHA256_BYTES];
            pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, rounds, &mut derived);
            Some(derived.ct_eq(expected.as_slice()).into())
        }
    }
}

/// Whether a password can be compared with the hash.
pub(super) fn is_known(stored: &str) -> bool {
    parse(stored).is_some()
}

fn parse(stored: &str) -> Option<Known<'_>> {
    if let Some(rest) = stored.strip_prefix("$pbkdf2-sha256$") {
        return passlib(rest);
    }
    if let Some(rest) = stored.strip_prefix("pbkdf2_sha256$") {
        return django(rest);
    }
    let parts: bcrypt::HashParts = stored.parse().ok()?;
    let is_bcrypt = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| stored.starts_with(prefix));
    (is_bcrypt && parts.get_cost() <= limits::IMPORTED_BCRYPT_COST_MAX).then_some(Known::Bcrypt(stored))
}

/// A longer password that begins like the right one, or one that repeats it after a NUL, would pass for it.
fn bcrypt(password: &[u8], stored: &str) -> Option<bool> {
    let told_apart = password.len() <= BCRYPT_BYTES_MAX && !password.contains(&0);
    let right = bcrypt::verify(password, stored).ok()?;
    Some(right && told_apart)
}

/// `rounds$salt$hash`, both in base64 without padding and with a dot for the plus.
fn passlib(rest: &str) -> Option<Known<'_>> {
    let decode = |text: &str| BASE64_NOPAD.decode(text.replace('.', "+").as_bytes()).ok();
    let (rounds, salt, hash) = three(rest)?;
    pbkdf2(rounds, decode(salt)?, decode(hash)?)
}

/// `rounds$salt$hash`: the salt as it is, the hash in base64.
fn django(rest: &str) -> Option<Known<'_>> {
    let (rounds, salt, hash) = three(rest)?;
    pbkdf2(rounds, salt.as_bytes().to_vec(), BASE64.decode(hash.as_bytes()).ok()?)
}

fn pbkdf2<'a>(rounds: &str, salt: Vec<u8>, expected: Vec<u8>) -> Option<Known<'a>> {
    let rounds = rounds.parse().ok().filter(|rounds| (1..=limits::IMPORTED_PBKDF2_ROUNDS_MAX).contains(rounds))?;
    (expected.len() == SHA256_BYTES).then_some(Known::Pbkdf2 { rounds, salt, expected })
}

fn three(text: &str) -> Option<(&str, &str, &str)> {
    let (first, rest) = text.split_once('$')?;
    let (second, third) = rest.split_once('$')?;
    Some((first, second, third))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_other_systems_tell_right_from_wrong() {
        for (stored, password) in KNOWN {
            assert_eq!(verify(password.as_bytes(), stored), Some(true), "{stored}");
            assert_eq!(verify(format!("{password}x").as_bytes(), stored), Some(false), "{stored}");
            assert_eq!(verify(b"", stored), Some(false), "{stored}");
            assert!(is_known(stored), "{stored}");
        }
    }

    #[test]
    fn a_longer_password_is_never_taken_for_the_part_that_bcrypt_sees() {
        let seen = "x".repeat(72);
        let stored = bcrypt::hash(&seen, 4).unwrap();
        assert_eq!(verify(seen.as_bytes(), &stored), Some(true));
        assert_eq!(verify("x".repeat(73).as_bytes(), &stored), Some(false));
        let short = bcrypt::hash("secret12", 4).unwrap();
        assert_eq!(verify(b"secret12\0secret12", &short), Some(false));
    }

    #[test]
    fn what_asks_for_too_much_work_or_is_torn_is_not_evaluated() {
        let salt_and_hash = "c2FsdA$98jZicV16ODfEsEZeYPGHU3kbrUrvUEXOPimVSQDD44";
        for torn in [
            format!("$pbkdf2-sha256$2000001${salt_and_hash}"),
            format!("$pbkdf2-sha256$0${salt_and_hash}"),
            format!("$pbkdf2-sha256$-1${salt_and_hash}"),
            "$pbkdf2-sha256$1000$c2FsdA$98jZ".to_owned(),
            "$pbkdf2-sha256$1000$c2FsdA".to_owned(),
            "pbkdf2_sha256$1000$salt$!".to_owned(),
            format!("$2b$15${}", "a".repeat(53)),
            "$2b$04$short".to_owned(),
            format!("$2x$04${}", "a".repeat(53)),
            "$5$rounds=1000$x$y".to_owned(),
        ] {
            assert_eq!(verify(b"password", &torn), None, "{torn}");
            assert!(!is_known(&torn), "{torn}");
        }
    }

    /// Made by other programs.
    const KNOWN: &[(&str, &str)] = &[
        ("$pbkdf2-sha256$6400$.6UI/S.nXIk8jcbdHx3Fhg$98jZicV16ODfEsEZeYPGHU3kbrUrvUEXOPimVSQDD44", "password"),
        ("$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQ", "correct horse"),
        ("pbkdf2_sha256$1000$SaltOfDjango$3pbplWihXD2Zb1DJk/KAqeE0NF/DYq5pwy1O1VlF8rw=", "correct horse"),
        ("$2a$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "correct horse"),
        ("$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "correct horse"),
        ("$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "correct horse"),
    ];
}
