//! Devices: which keys belong to whom, who asked for it, and who decided.
//!
//! A phone asks with a request that its own key signs; an admin, never the user, answers. A student has one bound key,
//! and another one takes its place only by a reset. A key has one owner for ever. `devices` and the requests of keys
//! are projections of the device-binding documents; what a bound key may write is for `sync` to judge.

mod bind;
mod challenge;
mod decide;
mod end;
mod legacy;
mod list;
mod owner;
mod project;
mod queries;
mod reset;
mod rules;
mod strangers;
mod token;
mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

pub use legacy::{LegacyIds, LegacyMatch, legacy_hash, legacy_match};
pub use owner::{
    BindingFacts, DeviceStatus, Owner, binding_at, code_key, flag_fork, has_room_for_request, owner_of, revoked_at,
    seal_code_key,
};
pub use project::project;
pub use strangers::end_strangers_batch;

/// The job that has another look at what waits in quarantine for a key; its subject is the key.
pub const RELEASE_JOB: &str = "release-quarantine";

/// The job that has a key's records judged again once two changes of it claimed one place; its subject is the key.
pub const FORK_JOB: &str = "device-forked";

/// `/students/device/...`, `/admin/device-requests/...`, `/admin/devices/...`.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(auth_routes())
        .routes(routes!(list::own_devices))
        .routes(routes!(bind::bind))
        .routes(routes!(end::end_device))
        .routes(routes!(list::list_requests))
        .routes(routes!(decide::approve))
        .routes(routes!(decide::deny))
        .routes(routes!(reset::approve_reset))
        .routes(routes!(list::list_devices))
        .routes(routes!(decide::revoke))
}

/// `/auth/device/...`: a bound device proves itself by its key.
pub fn auth_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(challenge::challenge)).routes(routes!(token::token))
}
