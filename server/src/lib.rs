//! The Muster server. The modules are listed in reading order, and each imports only from those above it.

pub mod clock;
pub mod limits;
pub mod shares;
pub mod text;
pub mod config;
pub mod telemetry;
pub mod durable;
pub mod keys;
pub mod error;
pub mod db;
pub mod ids;
pub mod blobs;
pub mod face_engine;
pub mod app;
pub mod data_lock;
pub mod http;
pub mod log;
pub mod jobs;
pub mod budgets;
pub mod evidence;
pub mod forks;

pub mod audit;
pub mod mail;

pub mod auth;
pub mod oidc;
pub mod settings;
pub mod audit_search;
pub mod accounts;
pub mod courses;
pub mod roster;
pub mod devices;
pub mod class_sessions;
pub mod face;
pub mod attendance;
pub mod uploads;
pub mod sync;
pub mod recovery;
pub mod keyring;

pub mod health;
pub mod docs;
pub mod description;
pub mod router;
pub mod demo;
pub mod cli;
