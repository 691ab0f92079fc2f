//! On whose word it is believed that an address, or an id of the registry, is somebody's.

use serde::Serialize;
use utoipa::ToSchema;

use super::role::Role;
use crate::audit::Actor;
use crate::db::{Cell, FromCell};

/// Who vouches. Nobody does for what somebody merely typed at a sign-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Voucher {
    /// A member of the office who may not give roles.
    Staff,
    /// The registry's roster.
    Registry,
    /// Whoever opened a link that was sent to the address: they read mail there, but somebody else may know the password.
    Link,
    /// An admin, or the command line of the server.
    Admin,
    /// A provider, when it opened the account.
    Provider,
    /// Whoever set the password by a link that was sent to the address.
    Mail,
}

impl Voucher {
    /// Every one, the weakest first: a stronger word takes the place of a weaker one.
    pub(super) const ALL: [Self; 6] =
        [Self::Staff, Self::Registry, Self::Link, Self::Admin, Self::Provider, Self::Mail];

    /// The word in the database and in replies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staff => "staff",
            Self::Registry => "registry",
            Self::Link => "link",
            Self::Admin => "admin",
            Self::Provider => "provider",
            Self::Mail => "mail",
        }
    }

    /// Somebody of the office who writes it by hand.
    pub fn of(actor: &Actor) -> Self {
        if actor.role == Role::Admin.as_str() { Self::Admin } else { Self::Staff }
    }

    /// From 1, for the weakest.
    pub(super) fn rank(self) -> i64 {
        Self::ALL.iter().position(|voucher| *voucher == self).map_or(0, |position| position as i64 + 1)
    }

    /// Whether a roster may give a role to an account on this word. Staff may give no roles, so their word must not do so by
    /// way of the next roster either.
    pub const fn gives_roles(self) -> bool {
        !matches!(self, Self::Staff)
    }
}

impl FromCell for Voucher {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Text(text) => Self::ALL.into_iter().find(|voucher| voucher.as_str() == text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_proved_more_has_the_stronger_word() {
        assert_eq!(Voucher::ALL.map(Voucher::rank), [1, 2, 3, 4, 5, 6]);
        for voucher in Voucher::ALL {
            assert_eq!(Voucher::from_cell(Cell::Text(voucher.as_str())), Some(voucher));
        }
        assert_eq!(Voucher::from_cell(Cell::Text("nobody")), None);
        assert!(!Voucher::Staff.gives_roles() && Voucher::Registry.gives_roles());
    }
}
