//! Where a PostgreSQL server is, how it is reached, and what every connection to it sets.

use std::path::PathBuf;
use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, NoTls};

use super::super::DbError;
use super::tls::Tls;
use super::values::{Cure, Trouble};
use crate::limits;

/// What a connection says, and what drives it: without polling it, nothing moves.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<AsyncMessage, Error>> + Send>>;

/// A server and a database.
pub(super) struct Target {
    config: Config,
    /// Missing for a server on this machine.
    tls: Option<Tls>,
    setup: String,
}

impl Target {
    /// Reads `postgresql://user:password@host:port/database?options`.
    ///
    /// A server elsewhere is reached by TLS and must prove its name, unless `sslmode=disable` says otherwise.
    pub(super) fn parse(url: &str) -> Result<Self, DbError> {
        let (url, options) = Options::cut_out(url);
        // The text of such an error never holds the password.
        let mut config: Config = url.parse().map_err(|error| DbError::Refused(format!("DATABASE_URL: {error}")))?;
        config.application_name("muster").connect_timeout(limits::CONNECT_TIMEOUT);
        let is_near = config.get_hosts().iter().all(is_near);
        let encrypted = match options.mode.as_deref() {
            None => !is_near,
            Some("disable") => false,
            Some("require" | "verify-full") => true,
            Some(other) => {
                let text = "is neither disable nor require nor verify-full";
                return Err(DbError::Refused(format!("DATABASE_URL: sslmode={other} {text}")));
            }
        };
        config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        let tls = encrypted.then(|| Tls::new(options.authorities.as_deref())).transpose()?;
        Ok(Self { config, tls, setup: setup() })
    }

    pub(super) fn setup(&self) -> &str {
        &self.setup
    }

    pub(super) async fn connect(&self) -> Result<(Client, Messages), Trouble> {
        let connecting = tokio::time::timeout(limits::CONNECT_TIMEOUT, async {
            match &self.tls {
                Some(tls) => {
                    let (client, connection) = self.config.connect(tls.clone()).await?;
                    Ok((client, messages(connection)))
                }
                None => {
                    let (client, connection) = self.config.connect(NoTls).await?;
                    Ok((client, messages(connection)))
                }
            }
        });
        let late = |_| Trouble { error: DbError::Lost("PostgreSQL does not answer".to_owned()), cure: Cure::Reconnect };
        connecting.await.map_err(late)?.map_err(|error: Error| Trouble::from(error))
    }
}

fn messages<S, T>(mut connection: Connection<S, T>) -> Messages
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Box::pin(poll_fn(move |context| connection.poll_message(context)))
}

fn is_near(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

/// The options of an address that are about TLS, which the driver does not know in full.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    mode: Option<String>,
    authorities: Option<PathBuf>,
}

impl Options {
    fn cut_out(url: &str) -> (String, Self) {
        let mut own = Self::default();
        let Some((address, options)) = url.split_once('?') else { return (url.to_owned(), own) };
        let mut others = Vec::new();
        for option in options.split('&') {
            match option.split_once('=') {
                Some(("sslmode", mode)) => own.mode = Some(mode.to_owned()),
                Some(("sslrootcert", path)) => own.authorities = Some(PathBuf::from(path.replace("%2F", "/"))),
                _ => others.push(option),
            }
        }
        (format!("{address}?{}", others.join("&")), own)
    }
}

/// Settings of a session. An acknowledgement leaves after the commit is on the disk, here and on a synchronous standby.
/// Plans are made once, and with indexes: a plan made while a table is empty must still be good when it is large.
fn setup() -> String {
    let ms = |duration: std::time::Duration| duration.as_millis();
    format!(
        "SET client_min_messages = error;
         SELECT set_config('synchronous_commit', 'on', false)
         WHERE current_setting('synchronous_commit') <> 'remote_apply';
         SET plan_cache_mode = force_generic_plan;
         SET enable_seqscan = off;
         SET jit = off;
         SET lock_timeout = {};
         SET statement_timeout = {};
         SET idle_in_transaction_session_timeout = {};
         SET tcp_keepalives_idle = 5;
         SET tcp_keepalives_interval = 2;
         SET tcp_keepalives_count = 3",
        ms(limits::WRITER_TURN_TIMEOUT),
        ms(limits::STATEMENT_TIMEOUT),
        ms(limits::SILENT_TRANSACTION_TIMEOUT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypts(url: &str) -> bool {
        Target::parse(url).unwrap().tls.is_some()
    }

    #[test]
    fn a_server_elsewhere_is_reached_by_tls_unless_that_is_switched_off_in_words() {
        assert!(!encrypts("postgresql://u@localhost/m"));
        assert!(!encrypts("postgresql://u@%2Frun%2Fpostgresql/m"));
        assert!(!encrypts("postgresql://u@db.example/m?sslmode=disable"));
        let (url, options) =
            Options::cut_out("postgresql://u@h/m?sslmode=require&connect_timeout=3&sslrootcert=/a.pem");
        assert_eq!(url, "postgresql://u@h/m?connect_timeout=3");
        let expected = Options { mode: Some("require".to_owned()), authorities: Some(PathBuf::from("/a.pem")) };
        assert_eq!(options, expected);
        assert!(matches!(Target::parse("postgresql://u@h/m?sslmode=prefer"), Err(DbError::Refused(_))));
        let unreadable = "postgresql://u@db.example/m?sslrootcert=/nowhere.pem";
        assert!(
            matches!(Target::parse(unreadable), Err(DbError::Refused(_))),
            "TLS is the default, so the file matters"
        );
    }

    #[test]
    fn a_wrong_address_does_not_show_its_password() {
        let Err(error) = Target::parse("postgresql://u:hidden@h:port/m") else { panic!("not an address") };
        assert!(!error.to_string().contains("hidden"), "{error}");
    }
}
