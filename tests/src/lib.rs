//! What the tests share: a whole server in this process, on a real socket, with its data in a temporary folder.

pub mod handset;
pub mod lecture;
pub mod models;
pub mod phone;
mod server;

pub use server::{Client, PASSWORD, Reply, TestServer, TestServerBuilder};
