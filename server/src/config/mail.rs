//! Settings of mail, and of the address under which people reach this server.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ConfigError, Environment, Secret, require};

/// How mail leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MailTransport {
    /// Through SMTP_HOST.
    Smtp,
    /// Into files of MAIL_DIR, one per message; nobody gets them.
    File,
    /// Onto standard error; only with ENV=dev, because links in it are secrets.
    Console,
}

/// How the connection to SMTP_HOST is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SmtpTls {
    /// Not at all; for a server on the same machine.
    None,
    /// It begins in clear and must be upgraded.
    Starttls,
    /// From the first byte.
    Tls,
}

/// Mail.
#[derive(Debug, Clone, Args)]
pub struct MailConfig {
    /// The address under which people reach this server, such as https://muster.uni.example. Links in mail begin with it.
    #[arg(long, env = "PUBLIC_URL")]
    pub public_url: Option<String>,

    /// How mail leaves. Default: smtp if SMTP_HOST is set, else file.
    #[arg(long, env = "MAIL_TRANSPORT", value_enum)]
    pub mail_transport: Option<MailTransport>,

    /// Folder of messages, with MAIL_TRANSPORT=file. Default: DATA_DIR/mail.
    #[arg(long, env = "MAIL_DIR")]
    pub mail_dir: Option<PathBuf>,

    /// The sender of our mail.
    #[arg(long, env = "MAIL_FROM", default_value = "Muster <muster@localhost>")]
    pub mail_from: String,

    /// Mail server.
    #[arg(long, env = "SMTP_HOST")]
    pub smtp_host: Option<String>,

    /// Port of the mail server. Default: 587 with starttls, 465 with tls, 25 with none.
    #[arg(long, env = "SMTP_PORT")]
    pub smtp_port: Option<u16>,

    /// Name to sign in at the mail server.
    #[arg(long, env = "SMTP_USERNAME")]
    pub smtp_username: Option<String>,

    /// Password to sign in at the mail server.
    #[arg(long, env = "SMTP_PASSWORD", hide_env_values = true)]
    pub smtp_password: Option<Secret>,

    /// How the connection to the mail server is encrypted.
    #[arg(long, env = "SMTP_TLS", value_enum, default_value = "starttls")]
    pub smtp_tls: SmtpTls,
}

impl MailConfig {
    /// Refuses what cannot be right.
    pub(super) fn check(&self, env: Environment) -> Result<(), ConfigError> {
        let on_console = self.mail_transport == Some(MailTransport::Console);
        require(
            !on_console || env == Environment::Dev,
            "MAIL_TRANSPORT",
            "links in mail are secrets, and console shows them to whoever reads the log: with ENV=dev only",
        )
    }
}
