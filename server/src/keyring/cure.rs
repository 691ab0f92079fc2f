//! What depends on each key, and what to do when it is gone: the words of refusals and of `muster keys check`.

use super::queries::Mark;
use crate::clock::iso_utc;
use crate::keys::KeyFile;

/// What was done under a key, as part of a sentence.
pub fn depends(key: KeyFile) -> &'static str {
    match key {
        KeyFile::Server => "the log, its receipts and its heads are signed, which phones check",
        KeyFile::SessionCode => "the codes of sessions are made that were planned without a phone",
        KeyFile::Master => "the evidence of every person is sealed",
        KeyFile::Mfa => "the second factors of accounts are sealed",
        KeyFile::Token => "access tokens are signed",
        KeyFile::TokenPepper => "refresh tokens, links in letters and backup codes are hashed",
        KeyFile::Oauth => "the sign-ins by a provider that are under way are sealed",
        KeyFile::Mail => "letters that have not left are sealed",
        KeyFile::LegacyId => "the identifiers of older clients are hashed",
    }
}

/// What stands no longer when another key takes the place of this one.
pub fn what_ends(key: KeyFile) -> &'static str {
    match key {
        KeyFile::Server => "nothing that the server signed would verify any more",
        KeyFile::SessionCode => {
            "the codes of sessions that were planned without a phone are wrong until they are renewed"
        }
        KeyFile::Master => "no evidence that was kept until now could be opened",
        KeyFile::Mfa => "no second factor that was set up until now could be checked",
        KeyFile::Token => "access tokens end at once, and clients refresh them",
        KeyFile::TokenPepper => "everybody signs in again, and links in letters and backup codes end",
        KeyFile::Oauth => "who is signing in by a provider just now begins again",
        KeyFile::Mail => "letters that have not left are given up",
        KeyFile::LegacyId => "identifiers that were approved are known no more, and are asked for again",
    }
}

/// Why nothing can take the place of a key that is lost; `None` if another one can.
pub fn why_not_replaceable(key: KeyFile) -> Option<&'static str> {
    match key {
        KeyFile::Server => Some(
            "nothing takes the place of the server's key: phones and receipts know this server by it; put it back from a \
             backup, or begin with an empty DATA_DIR: see docs/recovery.md",
        ),
        KeyFile::Master => Some(
            "nothing takes the place of the master key: it alone opens the evidence that is kept; put it back from a \
             backup: see docs/recovery.md",
        ),
        KeyFile::Mfa => Some(
            "the second factors of accounts are sealed under this key: `muster admin reset-mfa` lets each of them enrol \
             again, and once none is left the next start makes another key",
        ),
        _ => None,
    }
}

/// A refusal.
pub(super) fn sentence(key: KeyFile, what: &str, mark: &Mark) -> String {
    let since = mark.since_ms.map_or(String::new(), |since_ms| format!(", since {}", iso_utc(since_ms)));
    let expected =
        format!("this database expects the one with the id {}{since}, under which {}", mark.id, depends(key));
    let otherwise = match key {
        KeyFile::Mfa => ", or name it in MFA_PREVIOUS_ENCRYPTION_KEYS; if it is lost, `muster admin reset-mfa` lets the accounts enrol again".to_owned(),
        KeyFile::Server | KeyFile::Master => "; nothing takes its place: see docs/recovery.md".to_owned(),
        KeyFile::Token => format!(
            ", or name it in JWT_PREVIOUS_SECRETS if JWT_SECRET was changed on purpose; if it is lost for good, `muster \
             keys replace token` lets another one take its place: {}",
            what_ends(key)
        ),
        _ => format!(
            "; if it is lost for good, `muster keys replace {}` lets another one take its place: {}",
            key.name(),
            what_ends(key)
        ),
    };
    format!("{what}, and {expected}; put that key back from a backup{otherwise}")
}
