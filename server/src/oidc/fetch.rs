//! HTTP to a provider: one request on one connection, bounded in time and in bytes. A redirect is an answer like any
//! other and is never followed, and no proxy of the environment is asked.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use openidconnect::http::{HeaderValue, Request, Response, Uri, header, uri::Scheme};
use openidconnect::url::{Host, Url};
use openidconnect::{HttpRequest, HttpResponse};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::limits;
use crate::app::{App, StartError};
use crate::http::{ClientIp, Holder, Shares};
use crate::limits::budgets;
use crate::shares::Lines;

/// Talks to one provider.
pub(super) struct Fetcher {
    tls: Option<TlsConnector>,
    places: Lines<Holder>,
}

/// For whom a provider is asked, and how many answers of it they may wait for at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    holder: Holder,
    own_max: usize,
}

const SHARES: Shares = Shares {
    all: budgets::PROVIDER_QUESTIONS.count(),
    person: budgets::PROVIDER_QUESTIONS_PER_ADDRESS.count(),
    address: budgets::PROVIDER_QUESTIONS_PER_ADDRESS.count(),
};

impl Asking {
    /// What everybody needs to know of a provider.
    pub(super) const FOR_ALL: Self = Self { holder: Holder::Server, own_max: SHARES.all };

    /// Somebody whose browser came back.
    pub(super) fn of(app: &App, client: ClientIp) -> Self {
        let holder = Holder::Address(client.key());
        Self { holder, own_max: SHARES.of(app, holder) }
    }
}

/// Why there is no answer. Holds nothing of what was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the address is not one of an encrypted server")]
    Address,
    #[error("no answer in time")]
    TimedOut,
    #[error("the answer is larger than {} bytes", limits::FETCH_BYTES_MAX)]
    TooLarge,
    #[error("{0}")]
    Connection(String),
}

impl FetchError {
    fn connection(error: impl std::fmt::Display) -> Self {
        Self::Connection(error.to_string())
    }
}

/// Whether a provider may be asked there: over TLS, or in clear on this very machine where the settings allow that.
pub(super) fn is_allowed(url: &Url, clear_loopback: bool) -> bool {
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    plain
        && match (url.scheme(), url.host()) {
            ("https", Some(_)) => true,
            ("http", host) => clear_loopback && is_loopback(host),
            _ => false,
        }
}

/// Whether a host is this machine, without asking any name server.
fn is_loopback(host: Option<Host<&str>>) -> bool {
    match host {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Believes the authorities of this machine.
///
/// # Errors
/// When none is known.
pub(super) fn tls() -> Result<TlsConnector, StartError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let text = "sign-in through providers needs certificate authorities, and this machine knows none";
        return Err(StartError::Other(text.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| StartError::Other(error.to_string()))?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

impl Fetcher {
    /// Without `tls` it talks to this machine only.
    pub(super) fn new(tls: Option<TlsConnector>) -> Self {
        Self { tls, places: Lines::new(SHARES.all, SHARES.all) }
    }

    /// Asks for a document.
    pub(super) async fn get(&self, url: &Url) -> Result<HttpResponse, FetchError> {
        let request = Request::get(url.as_str()).header(header::ACCEPT, "application/json").body(Vec::new());
        self.fetch(request.map_err(FetchError::connection)?, Asking::FOR_ALL).await
    }

    /// Sends one request and reads its answer. Who has asked for many waits behind themselves.
    pub(super) async fn fetch(&self, request: HttpRequest, asking: Asking) -> Result<HttpResponse, FetchError> {
        let answered = tokio::time::timeout(limits::FETCH_TIMEOUT, async {
            let place = self.places.enter_within(asking.holder, asking.own_max).await;
            let _place = place.map_err(FetchError::connection)?;
            self.connect_and_send(request).await
        });
        answered.await.map_err(|_elapsed| FetchError::TimedOut)?
    }

    async fn connect_and_send(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|_| FetchError::Address)?;
        if !is_allowed(&url, true) {
            return Err(FetchError::Address);
        }
        let host = url.host_str().ok_or(FetchError::Address)?.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().ok_or(FetchError::Address)?;
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(FetchError::connection)?;
        if request.uri().scheme() == Some(&Scheme::HTTP) {
            return send(stream, request).await;
        }
        let tls = self.tls.as_ref().ok_or(FetchError::Address)?;
        let name = ServerName::try_from(host).map_err(|_| FetchError::Address)?;
        send(tls.connect(name, stream).await.map_err(FetchError::connection)?, request).await
    }
}

async fn send<S>(stream: S, request: HttpRequest) -> Result<HttpResponse, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(FetchError::connection)?;
    // The connection ends with this request, also when nobody waits for it any more.
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let answer = sender.send_request(in_origin_form(request)?).await.map_err(FetchError::connection)?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, limits::FETCH_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            FetchError::TooLarge
        } else {
            FetchError::connection(error)
        }
    })?;
    Ok(Response::from_parts(parts, body.to_bytes().to_vec()))
}

/// Servers expect the path alone, and the host in a header.
fn in_origin_form(request: HttpRequest) -> Result<Request<Full<Bytes>>, FetchError> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or(FetchError::Address)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| FetchError::Address)?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>().map_err(|_| FetchError::Address)?;
    parts.headers.insert(header::HOST, host);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(Request::from_parts(parts, Full::new(Bytes::from(body))))
}
