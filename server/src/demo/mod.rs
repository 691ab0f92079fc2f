//! `muster demo`: a lecture with 40 phones, played by the real sync client over HTTP against the server of this process.
//!
//! Students capture without a network, come back on a bad one, and some of them cheat. The end of the story compares what
//! became of everybody with what had to. Nothing in here is reachable from `muster serve`.

mod cast;
mod forgery;
mod lecture;
mod narrator;
mod network;
mod office;
mod phones;
mod pictures;
mod story;
mod table;
mod time;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use muster_sync_core::store::StoreError;

pub use narrator::Narrator;
pub use time::StoryClock;

/// How far in the past the story begins, in milliseconds; at its end the server's clock is right.
pub const BEGINS_BEFORE_MS: i64 = story::BEGINS_BEFORE_MS;

/// Why the story could not be told.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The server said no where the story needs a yes.
    #[error("{method} {path} was answered with status {status}: {words}")]
    Answer {
        /// What was asked.
        method: String,
        /// Where.
        path: String,
        /// The answer's status.
        status: u16,
        /// The answer.
        words: String,
    },
    /// The server could not be reached.
    #[error("the server does not answer: {0}")]
    Http(#[from] reqwest::Error),
    /// A phone's store failed.
    #[error("a phone's store failed: {0}")]
    Store(#[from] StoreError),
    /// A photograph.
    #[error("a picture cannot be made: {0}")]
    Picture(#[from] image::ImageError),
    /// The terminal or a file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Story(String),
}

/// Somebody who can sign in.
#[derive(Debug, Clone)]
pub struct Login {
    /// The address.
    pub email: String,
    /// The password.
    pub password: String,
}

/// Where the story is played.
pub struct Stage<'a> {
    /// The server.
    pub address: SocketAddr,
    /// The clock that server and phones share.
    pub clock: Arc<StoryClock>,
    /// The first admin.
    pub admin: Login,
    /// Where the phones keep their files.
    pub phones_dir: &'a Path,
    /// The models with their sample photographs; without them no face is compared.
    pub models_dir: Option<&'a Path>,
    /// What the network and the cameras draw from.
    pub seed: u64,
}

/// What became of everybody.
pub struct Ending {
    /// The class session.
    pub locator: String,
    /// The admin.
    pub admin: Login,
    /// The lecturer.
    pub lecturer: Login,
    /// One of the students.
    pub student: Login,
    /// The roster as the server exports it.
    pub csv: Vec<u8>,
    rows: Vec<table::Row>,
}

impl Ending {
    /// Who, what happened, what arrived, which fate, which verdict, which reasons, and whether it had to come so.
    pub fn table(&self, coloured: bool) -> String {
        table::table(&self.rows, coloured)
    }

    /// Everything that came otherwise than it had to, in words.
    pub fn differences(&self) -> Vec<String> {
        self.rows.iter().flat_map(table::Row::differences).collect()
    }

    /// How many people took part.
    pub fn n_people(&self) -> usize {
        self.rows.len()
    }
}

/// Plays the story against a server that runs with [`Stage::clock`].
///
/// # Errors
/// Where the story cannot go on. What comes otherwise than it had to is no error: see [`Ending::differences`].
pub async fn play(stage: &Stage<'_>, narrator: &Narrator<'_>) -> Result<Ending, DemoError> {
    let ending = story::play(stage, narrator).await?;
    let login = |user: phones::User| Login { email: user.email, password: user.password };
    Ok(Ending {
        locator: ending.locator.to_string(),
        admin: stage.admin.clone(),
        lecturer: login(ending.lecturer),
        student: login(ending.student),
        csv: ending.csv,
        rows: ending.rows,
    })
}
