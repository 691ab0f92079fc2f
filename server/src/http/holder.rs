//! Whose share something is: that of a person, or, of somebody who is not signed in, that of an address.

use std::net::IpAddr;

use super::client_ip::ClientIp;
use crate::app::App;
use crate::ids::UserId;

/// Who holds connections, bytes and places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Somebody who is signed in.
    Person(UserId),
    /// Somebody at this address, or in this IPv6 network of 64 bits, who is not.
    Address(IpAddr),
    /// The server itself, for nobody in particular.
    Server,
}

/// What one holder may have of something: another amount for each kind of them.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// Of everything, which is what the server itself may have, and the addresses of `CAMPUS_NETWORKS`, whom many share.
    pub all: usize,
    /// Of somebody who is signed in.
    pub person: usize,
    /// Of those of one other address who are not.
    pub address: usize,
}

impl Shares {
    /// As much as this holder may have.
    pub fn of(&self, app: &App, holder: Holder) -> usize {
        match holder {
            Holder::Person(_) => self.person,
            Holder::Address(address) if ClientIp(address).is_campus(app) => self.all,
            Holder::Address(_) => self.address,
            Holder::Server => self.all,
        }
    }
}
