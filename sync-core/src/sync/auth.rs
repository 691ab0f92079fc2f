//! How a device proves itself to a server without a password: it signs a challenge that the server made for its key.
//!
//! The server's key stands in the message, so that a challenge which another server passes on is of no use to it.

use crate::DeviceKey;
use crate::limits::AUTH_CHALLENGE_SIZE_BYTES_MAX;
use crate::signing::{Context, SignError, SigningKey};

/// Where a device asks for a challenge: POST, JSON.
pub const CHALLENGE_PATH: &str = "/api/v1/auth/device/challenge";
/// Where it answers and gets its tokens: POST, JSON.
pub const DEVICE_TOKEN_PATH: &str = "/api/v1/auth/device/token";

/// What is signed: context, the server's key, and the challenge as it came.
#[must_use]
pub fn auth_message(server: &DeviceKey, challenge: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(24 + 32 + challenge.len());
    message.extend_from_slice(Context::DeviceAuth.bytes());
    message.extend_from_slice(&server.0);
    message.extend_from_slice(challenge);
    message
}

/// Signs a challenge of the server whose key the device has pinned.
///
/// # Errors
/// When the challenge is longer than any server makes one, or the keystore does not sign.
pub fn answer_challenge(key: &dyn SigningKey, server: &DeviceKey, challenge: &[u8]) -> Result<[u8; 64], SignError> {
    if challenge.len() > AUTH_CHALLENGE_SIZE_BYTES_MAX {
        return Err(SignError(format!("a challenge of {} bytes", challenge.len())));
    }
    key.sign(&auth_message(server, challenge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::{SoftwareKey, verify_strict};

    #[test]
    fn an_answer_holds_for_one_challenge_of_one_server() {
        let (device, server) = (SoftwareKey::from_seed(&[1; 32].into()), SoftwareKey::from_seed(&[2; 32].into()));
        let (server, other) = (server.public_key(), device.public_key());
        let signature = answer_challenge(&device, &server, b"challenge").unwrap();
        let verify = |message: &[u8]| verify_strict(&device.public_key(), message, &signature).is_ok();
        assert!(verify(&auth_message(&server, b"challenge")));
        assert!(!verify(&auth_message(&server, b"another")));
        assert!(!verify(&auth_message(&other, b"challenge")));
        assert!(!verify(b"challenge"));
    }

    #[test]
    fn the_message_is_what_the_protocol_says() {
        let message = auth_message(&DeviceKey([7; 32]), &[1, 2, 3]);
        assert_eq!(&message[..24], b"muster/device-auth/v1\0\0\0");
        assert_eq!((&message[24..56], &message[56..]), (&[7; 32][..], &[1, 2, 3][..]));
        let long = vec![0; AUTH_CHALLENGE_SIZE_BYTES_MAX + 1];
        let key = SoftwareKey::from_seed(&[1; 32].into());
        assert!(answer_challenge(&key, &DeviceKey([7; 32]), &long).is_err());
        assert!(answer_challenge(&key, &DeviceKey([7; 32]), &long[1..]).is_ok());
    }
}
