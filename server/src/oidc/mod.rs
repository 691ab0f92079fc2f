//! Sign-in by OpenID Connect providers: Google, Microsoft, and whatever OAUTH_PROVIDERS_FILE names.
//!
//! The library `openidconnect` speaks the protocol and checks ID tokens. Around it: a browser carries what began in a sealed
//! cookie (`flow`), fetches are bounded (`fetch`), documents and keys are kept (`jwks`), and an identity finds its account
//! by issuer and subject, or at Microsoft by directory and object (`arrive`): never by e-mail address.

mod arrive;
mod callback;
mod exchange;
mod fetch;
mod flow;
mod jwks;
mod limits;
mod link;
mod list;
mod providers;
mod queries;
mod refusal;
mod start;
mod state;
mod tidy;
mod verify;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

pub use state::OidcState;

/// `/auth/oauth/...`
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::providers))
        .routes(routes!(link::links))
        .routes(routes!(link::link))
        .routes(routes!(exchange::exchange))
        .routes(routes!(start::start))
        .routes(routes!(callback::callback))
        .routes(routes!(link::begin_link, link::unlink))
}
