//! Whose share something is: that of a person, or, of somebody who is not signed in, that of an address.

use std::net::IpAddr;

use crate::ids::UserId;

/// Who holds connections, bytes and places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Somebody who is signed in.
    Person(UserId),
    /// Somebody at this address, or in this IPv6 network of 64 bits, who is not.
    Address(IpAddr),
}
