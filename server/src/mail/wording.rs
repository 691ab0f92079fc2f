//! What our letters say, a function per language. Adding one means a variant of `Language` and a function here.

use super::letter::{Letter, Part};
use super::message::{Content, Language, Notice, Template};
use crate::clock;
use crate::config::address;

/// Writes a letter.
pub(super) fn letter(content: &Content, public_url: &str) -> Letter {
    match content.language {
        Language::En => english(content, public_url),
    }
}

fn english(content: &Content, public_url: &str) -> Letter {
    let at = clock::iso_utc(content.at_ms);
    let mut letter = match &content.template {
        Template::PasswordReset { link, expires_at_ms } => english_reset(link, *expires_at_ms, &at),
        Template::ConfirmEmail { link, expires_at_ms } => english_confirmation(link, *expires_at_ms, public_url),
        Template::SecurityNotice { event } => english_notice(event, &at, public_url),
        Template::AlreadyRegistered => english_already_registered(&at, public_url),
    };
    letter.parts.push(Part::Small(format!("Sent by Muster at {public_url}. Nobody reads answers to this message.")));
    letter
}

fn english_reset(link: &str, expires_at_ms: i64, at: &str) -> Letter {
    let until = clock::iso_utc(expires_at_ms);
    Letter {
        subject: "Set a new password".to_owned(),
        parts: vec![
            Part::Text(format!("Somebody asked to set a new password for your Muster account ({at}).")),
            Part::Link { label: "Set a new password", url: link.to_owned() },
            Part::Text(format!("The link works once, until {until}. A newer one ends it.")),
            Part::Text(
                "If it was not you, do nothing: without this link nobody can change your password. Do not pass it on."
                    .to_owned(),
            ),
        ],
    }
}

fn english_confirmation(link: &str, expires_at_ms: i64, public_url: &str) -> Letter {
    let until = clock::iso_utc(expires_at_ms);
    Letter {
        subject: "Confirm your e-mail address".to_owned(),
        parts: vec![
            Part::Text("An account at Muster was made with this e-mail address.".to_owned()),
            Part::Link { label: "Confirm this address", url: link.to_owned() },
            Part::Text(format!("The link works once, until {until}.")),
            Part::Text(
                "Open it only if you made the account: whoever made it knows its password. If it was not you, do nothing, and \
                 the address stays unconfirmed; or set a password of your own, which ends whatever its maker had."
                    .to_owned(),
            ),
            Part::Link { label: "Set a password of your own", url: reset_page(public_url) },
        ],
    }
}

fn english_already_registered(at: &str, public_url: &str) -> Letter {
    Letter {
        subject: "You already have an account".to_owned(),
        parts: vec![
            Part::Text(format!("Somebody tried to sign up at Muster with this e-mail address ({at}).")),
            Part::Text(
                "You have an account already, so nothing was changed. Sign in with it, or set a new password if you \
                 have forgotten yours."
                    .to_owned(),
            ),
            Part::Link { label: "Set a new password", url: reset_page(public_url) },
            Part::Text("If it was not you, do nothing.".to_owned()),
        ],
    }
}

fn english_notice(event: &Notice, at: &str, public_url: &str) -> Letter {
    let (subject, what) = english_event(event);
    let mut parts = vec![Part::Text(what), Part::Text(format!("When: {at}."))];
    if *event == Notice::EmailChanged {
        // A link for a new password goes to the new address.
        let text = "If you do not know why, tell those who run Muster at your university.";
        parts.push(Part::Text(text.to_owned()));
        return Letter { subject, parts };
    }
    parts.extend([
        Part::Text("If it was you, there is nothing to do.".to_owned()),
        Part::Text(
            "If it was not you, set a new password at once, which also ends every sign-in, and tell those who run \
                 Muster at your university."
                .to_owned(),
        ),
        Part::Link { label: "Set a new password", url: reset_page(public_url) },
    ]);
    Letter { subject, parts }
}

/// The subject, and what happened.
fn english_event(event: &Notice) -> (String, String) {
    let (subject, what) = match event {
        Notice::PasswordChanged => (
            "Your password was changed",
            "The password of your Muster account was changed by somebody signed in to it.",
        ),
        Notice::PasswordReset => (
            "Your password was set anew",
            "The password of your Muster account was set anew by a link from a mail to this address. Every sign-in has ended.",
        ),
        Notice::MfaEnabled => (
            "Two-step sign-in is on",
            "Signing in to your Muster account asks for a code of your authenticator from now on.",
        ),
        Notice::MfaDisabled => (
            "Two-step sign-in is off",
            "Signing in to your Muster account no longer asks for a code of an authenticator.",
        ),
        Notice::BackupCodesRegenerated => {
            ("New backup codes", "New backup codes were made for your Muster account. The ones before no longer work.")
        }
        Notice::BackupCodeUsed { left } => {
            return (
                "A backup code was used".to_owned(),
                format!("Somebody signed in to your Muster account with a backup code. Codes left: {left}."),
            );
        }
        Notice::ProviderLinked { provider } => {
            return (
                "A new way to sign in".to_owned(),
                format!("Your Muster account can be entered through {provider} from now on."),
            );
        }
        Notice::ProviderUnlinked { provider } => {
            return (
                "A way to sign in was removed".to_owned(),
                format!("Your Muster account can no longer be entered through {provider}."),
            );
        }
        Notice::SignedOutEverywhere => (
            "You were signed out everywhere",
            "Every sign-in to your Muster account was ended by somebody signed in to it.",
        ),
        Notice::TokenReused => (
            "A sign-in was ended for your safety",
            "A sign-in to your Muster account was ended, because its token was used a second time: somebody may have copied it.",
        ),
        Notice::AccountLocked => (
            "Too many failed attempts to sign in",
            "Somebody failed to sign in to your Muster account too often. Signing in from there is closed for a while.",
        ),
        Notice::DeviceBound => {
            ("A device was bound to your account", "A device may record attendance in your name from now on.")
        }
        Notice::DeviceEnded => (
            "A device no longer belongs to your account",
            "A device may no longer record attendance in your name. What it had sent before stays.",
        ),
        Notice::AddressClaimed => (
            "Your address has a new account",
            "Somebody had made a Muster account with this e-mail address and never confirmed it. Your university's registry \
             names the address as yours: that account lost it, and you have a new one. Set a password for it to sign in. If the \
             account before was yours, tell those who run Muster at your university: they can give its records back to you.",
        ),
        Notice::RoleGiven => (
            "Your account has another role",
            "Your university's registry gave your Muster account another role. Its old password and every sign-in have ended: \
             set a new password to sign in.",
        ),
        Notice::EmailChanged => (
            "Your e-mail address was changed",
            "Your Muster account has another e-mail address from now on. This is the last message to this one.",
        ),
    };
    (subject.to_owned(), what.to_owned())
}

fn reset_page(public_url: &str) -> String {
    address::below(public_url, "reset-password")
}
