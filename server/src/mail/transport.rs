//! How mail leaves: through a mail server, into a folder, or onto the terminal.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lettre::message::Message as Letter;
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::limits;
use crate::app::StartError;
use crate::config::{Config, ConfigError, MailTransport, SmtpTls};
use crate::keys;

/// How mail leaves.
pub(super) enum Transport {
    Smtp(Box<Smtp>),
    File(PathBuf),
    Console,
}

/// A mail server and how to speak with it.
pub(super) struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
    hello: ClientId,
}

/// Why a message was not sent. The words hold codes and causes, never an address or what a server said: both may be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SendError {
    /// It may work later: the mail server, or the folder, does not do its work.
    Later(String),
    /// It may work later: the mail server put this message off, and works.
    PutOff(String),
    /// It will never work.
    Never(String),
}

/// A way out for one batch; a mail server's connections end with it.
pub(super) enum Way<'a> {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    File(&'a Path),
    Console,
}

impl Transport {
    /// Reads the settings and the authorities. Blocks.
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        match config.mail.transport() {
            MailTransport::Smtp => Ok(Self::Smtp(Box::new(Smtp::open(config)?))),
            MailTransport::File => {
                let default = || config.data.data_dir.join("mail");
                Ok(Self::File(config.mail.mail_dir.clone().unwrap_or_else(default)))
            }
            MailTransport::Console => Ok(Self::Console),
        }
    }

    /// Must be called, and what it gives dropped, within the runtime.
    pub(super) fn way(&self) -> Way<'_> {
        match self {
            Self::Smtp(smtp) => Way::Smtp(smtp.connect()),
            Self::File(dir) => Way::File(dir),
            Self::Console => Way::Console,
        }
    }
}

impl Smtp {
    fn open(config: &Config) -> Result<Self, StartError> {
        let mail = &config.mail;
        let host = mail.host().unwrap_or_default().to_owned();
        let (tls, default_port) = match mail.smtp_tls {
            SmtpTls::None => (Tls::None, 25),
            // Required: a server that does not offer it gets nothing.
            SmtpTls::Starttls => (Tls::Required(tls_parameters(config, &host)?), 587),
            SmtpTls::Tls => (Tls::Wrapper(tls_parameters(config, &host)?), 465),
        };
        let credentials = mail.smtp_username.as_ref().zip(mail.smtp_password.as_ref());
        let credentials =
            credentials.map(|(name, password)| Credentials::new(name.clone(), password.reveal().to_owned()));
        let public_url = config.public_url();
        let name = public_url.parse::<axum::http::Uri>().ok().and_then(|url| url.host().map(str::to_owned));
        let hello = name.filter(|name| name.contains('.') && name.parse::<std::net::IpAddr>().is_err());
        let hello = hello.map_or_else(ClientId::default, ClientId::Domain);
        Ok(Self { host, port: mail.smtp_port.unwrap_or(default_port), tls, credentials, hello })
    }

    fn connect(&self) -> AsyncSmtpTransport<Tokio1Executor> {
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .tls(self.tls.clone())
            .hello_name(self.hello.clone())
            .timeout(Some(limits::COMMAND_TIMEOUT))
            .pool_config(PoolConfig::new().max_size(limits::CONNECTIONS_MAX as u32));
        if let Some(credentials) = &self.credentials {
            builder = builder.credentials(credentials.clone());
        }
        builder.build()
    }
}

fn tls_parameters(config: &Config, host: &str) -> Result<TlsParameters, StartError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = &config.mail.smtp_ca_file {
        let refused = |why: String| ConfigError::Invalid("SMTP_CA_FILE", format!("{}: {why}", path.display()));
        let pem = fs::read(path).map_err(|error| refused(error.to_string()))?;
        let authorities = Certificate::from_pem(&pem).map_err(|error| refused(error.to_string()))?;
        builder = builder.add_root_certificate(authorities);
    }
    builder.build().map_err(|error| StartError::Other(format!("encrypted mail: {error}")))
}

impl Way<'_> {
    /// Sends one message. `name` is that of its file.
    pub(super) async fn send(&self, name: &str, letter: Letter) -> Result<(), SendError> {
        match self {
            Self::Smtp(smtp) => {
                let sent = tokio::time::timeout(limits::MESSAGE_TIMEOUT, smtp.send(letter)).await;
                let late = |_| SendError::Later("the mail server took too long".to_owned());
                sent.map_err(late)?.map(drop).map_err(|error| in_words(&error))
            }
            Self::File(dir) => {
                let (dir, name) = (dir.to_path_buf(), name.to_owned());
                let written = tokio::task::spawn_blocking(move || write_file(&dir, &name, &letter.formatted())).await;
                let failed = |error: String| SendError::Later(format!("MAIL_DIR: {error}"));
                written.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
            }
            Self::Console => {
                let mut text = letter.formatted();
                text.extend_from_slice(b"\r\n");
                io::stderr().write_all(&text).map_err(|error| SendError::Later(error.to_string()))
            }
        }
    }
}

/// Writes beside the place and moves it there, so that nobody reads half a message. Sent again, it is the same file.
fn write_file(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    keys::create_private_dir(dir)?;
    let draft = dir.join(format!("{name}.new"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, dir.join(format!("{name}.eml")))
}

/// Codes with which a mail server refuses us and not the message: an admin can mend that, and then it goes out.
const REFUSES_US: [u16; 4] = [530, 534, 535, 538];
/// The code with which it takes nothing from anybody.
const SHUTS_DOWN: u16 = 421;

fn in_words(error: &lettre::transport::smtp::Error) -> SendError {
    if let Some(code) = error.status() {
        let code = u16::from(code);
        let words = format!("the mail server answered {code}");
        return match (REFUSES_US.contains(&code) || code == SHUTS_DOWN, error.is_permanent()) {
            (true, _) => SendError::Later(words),
            (false, true) => SendError::Never(words),
            (false, false) => SendError::PutOff(words),
        };
    }
    // What a server said may hold an address; what the library and the system say does not.
    let cause = std::error::Error::source(error).filter(|_| !error.is_response()).map(ToString::to_string);
    let kind = if error.is_timeout() {
        "the mail server took too long"
    } else if error.is_tls() {
        "the encrypted connection to the mail server failed"
    } else {
        "the mail server could not be reached or understood"
    };
    SendError::Later(cause.map_or_else(|| kind.to_owned(), |cause| format!("{kind}: {cause}")))
}
