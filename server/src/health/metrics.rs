//! `GET /metrics`: what is counted, for Prometheus.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::ready;
use crate::app::App;
use crate::config::Environment;
use crate::error::{AppError, AppResult};
use crate::http::ClientIp;

/// Headers by which a proxy says that it speaks for somebody else.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(
    State(app): State<App>,
    ClientIp(address): ClientIp,
    headers: HeaderMap,
) -> AppResult<Response> {
    if !may_read(&app, address, &headers) {
        return Err(AppError::unauthorized("UNAUTHORIZED", "METRICS_TOKEN opens this"));
    }
    for kind in ready::ask(&app).await.into_iter().flat_map(|answer| answer.jobs) {
        app.metrics.jobs(&kind.kind, kind.due + kind.scheduled, kind.dead);
    }
    app.metrics.writes_waiting.set(app.db.writer_waiting() as i64);
    app.metrics.reads_waiting.set(app.db.reads_waiting() as i64);
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], app.metrics.encode()).into_response())
}

/// With ENV=dev everybody; else who has the token, or is in METRICS_NETWORKS and not behind a proxy: one on this machine
/// would make the whole world look near.
fn may_read(app: &App, address: std::net::IpAddr, headers: &HeaderMap) -> bool {
    let web = &app.config.web;
    if let Some(token) = &web.metrics_token
        && let Some(given) = headers.get(header::AUTHORIZATION)
    {
        let expected = format!("Bearer {}", token.reveal());
        return bool::from(given.as_bytes().ct_eq(expected.as_bytes()));
    }
    let is_direct = FORWARDED.iter().all(|name| !headers.contains_key(*name));
    let networks = web.metrics_networks().unwrap_or_default();
    app.config.data.env == Environment::Dev || (is_direct && networks.iter().any(|network| network.contains(&address)))
}
