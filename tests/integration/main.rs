//! The server through its public door, a file per slice.

mod db_contract;
mod http;
