//! What becomes known about a request while it is answered, for the log line and the metrics that its end leaves.

use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;

use crate::ids::UserId;

/// An extension of every request that came through the gate.
#[derive(Debug, Clone, Default)]
pub struct RequestFacts(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    route: OnceLock<MatchedPath>,
    user: OnceLock<UserId>,
}

impl RequestFacts {
    /// Notes who asks; the extractor that finds out calls it.
    pub fn note_user(parts: &Parts, user: UserId) {
        if let Some(Self(facts)) = parts.extensions.get() {
            // Asked for twice in one request, it is the same user.
            let _ = facts.user.set(user);
        }
    }

    /// The route's template, such as `/api/v1/courses/{id}`.
    pub(super) fn route(&self) -> Option<&str> {
        self.0.route.get().map(MatchedPath::as_str)
    }

    pub(super) fn user(&self) -> Option<UserId> {
        self.0.user.get().copied()
    }
}

/// Notes which route a request takes. A layer of every route.
pub async fn note_route(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(RequestFacts(facts)), Some(route)) = (extensions.get(), extensions.get::<MatchedPath>()) {
        let _ = facts.route.set(route.clone());
    }
    next.run(request).await
}
