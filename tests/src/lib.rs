//! What the tests share: a whole server in this process, on a real socket, with its data in a temporary folder.

pub mod campus;
pub mod device;
pub mod handset;
pub mod http;
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

pub use server::{Client, Data, PASSWORD, Reply, TestServer, TestServerBuilder, copy_folder};
