//! What the tests share: a whole server in this process, on a real socket, with its data in a temporary folder.

pub mod campus;
mod client;
pub mod conformance;
pub mod device;
pub mod handset;
pub mod lecture;
pub mod models;
pub mod oidc;
pub mod phone;
pub mod pocket;
pub mod postgres;
pub mod roster;
pub mod process;
mod server;
pub mod wire;

pub use client::{Client, Reply};
pub use server::{Data, PASSWORD, TestServer, TestServerBuilder, copy_folder};
