//! Settings of mail, and of the address under which people reach this server.

use std::path::PathBuf;

use axum::http::Uri;
use clap::{Args, ValueEnum};
use lettre::message::Mailbox;

use super::address::without_slash;
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
    /// The address under which people reach this server, such as `https://muster.uni.example`. Links in mail begin with it.
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

    /// File of certificate authorities in PEM that the mail server may prove itself with, beside those of this machine.
    #[arg(long, env = "SMTP_CA_FILE")]
    pub smtp_ca_file: Option<PathBuf>,
}

impl MailConfig {
    /// How mail leaves.
    pub fn transport(&self) -> MailTransport {
        let default = if self.host().is_some() { MailTransport::Smtp } else { MailTransport::File };
        self.mail_transport.unwrap_or(default)
    }

    /// The mail server; an empty text is none.
    pub fn host(&self) -> Option<&str> {
        self.smtp_host.as_deref().map(without_slash).filter(|host| !host.is_empty())
    }

    /// PUBLIC_URL without a slash at its end; an empty text is none.
    pub fn public_url(&self) -> Option<&str> {
        self.public_url.as_deref().map(without_slash).filter(|url| !url.is_empty())
    }

    /// Refuses settings with which mail would not leave, or would leave in the wrong hands.
    pub(super) fn check(&self, env: Environment) -> Result<(), ConfigError> {
        let from = self.mail_from.parse::<Mailbox>().is_ok();
        ConfigError::all([
            self.check_public_url(env),
            require(from, "MAIL_FROM", "expected an address such as Muster <muster@uni.example>"),
            self.check_transport(env),
        ])
    }

    fn check_public_url(&self, env: Environment) -> Result<(), ConfigError> {
        let prod = env == Environment::Prod;
        let Some(url) = self.public_url() else {
            return require(!prod, "PUBLIC_URL", "needed with ENV=prod, because links in mail begin with it");
        };
        let scheme = if prod { "https" } else { "http or https" };
        let expected = format!("expected an {scheme} address such as https://muster.uni.example");
        require(is_base(url, prod), "PUBLIC_URL", &expected)
    }

    fn check_transport(&self, env: Environment) -> Result<(), ConfigError> {
        let prod = env == Environment::Prod;
        match self.transport() {
            MailTransport::Smtp if self.host().is_none() => {
                require(false, "SMTP_HOST", "needed with MAIL_TRANSPORT=smtp")
            }
            MailTransport::Smtp => self.check_credentials(),
            MailTransport::File => require(
                !prod || self.mail_transport.is_some(),
                "SMTP_HOST",
                "needed with ENV=prod, unless MAIL_TRANSPORT=file says that mail stays in a folder",
            ),
            MailTransport::Console => require(
                env == Environment::Dev,
                "MAIL_TRANSPORT",
                "console is for ENV=dev only, because links in mail are secrets",
            ),
        }
    }

    fn check_credentials(&self) -> Result<(), ConfigError> {
        if self.smtp_username.is_some() != self.smtp_password.is_some() {
            let text = "set it together with SMTP_PASSWORD, or neither";
            return Err(ConfigError::Invalid("SMTP_USERNAME", text.to_owned()));
        }
        let here = matches!(self.host(), Some("localhost" | "127.0.0.1" | "::1"));
        if self.smtp_tls == SmtpTls::None && self.smtp_password.is_some() && !here {
            let text = "none would send SMTP_PASSWORD in clear over the network; use starttls or tls";
            return Err(ConfigError::Invalid("SMTP_TLS", text.to_owned()));
        }
        Ok(())
    }
}

/// Whether it is an address of a server, in clear or not.
pub(super) fn is_http_address(text: &str) -> bool {
    is_base(text, false)
}

/// Whether links can begin with it: a scheme, a host, perhaps a path, and nothing else.
fn is_base(url: &str, https_only: bool) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let scheme = matches!(uri.scheme_str(), Some("https")) || (!https_only && uri.scheme_str() == Some("http"));
    let host =
        uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    scheme && host && uri.query().is_none() && !url.contains(['#', '?', '"', '<', '>'])
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn check(arguments: &[&str]) -> Result<(), String> {
        let config = Config::from_arguments(arguments.iter().map(|argument| (*argument).to_owned()))?;
        config.mail.check(config.data.env).map_err(|error| error.to_string())
    }

    const PROD: [&str; 4] = ["--env", "prod", "--public-url", "https://muster.uni.example"];

    #[test]
    fn production_needs_an_address_of_its_own_over_https() {
        let smtp = ["--smtp-host", "mail.uni.example"];
        assert!(check(&[&PROD[..], &smtp].concat()).is_ok());
        assert!(check(&[&PROD[..2], &smtp].concat()).unwrap_err().starts_with("PUBLIC_URL"));
        for url in
            ["http://muster.uni.example", "muster.uni.example", "https://", "https://x@uni.example", "https://x/?a"]
        {
            let prod = ["--env", "prod", "--public-url", url];
            assert!(check(&[&prod[..], &smtp].concat()).unwrap_err().starts_with("PUBLIC_URL"), "{url}");
        }
        assert!(check(&["--public-url", "http://muster.uni.example/attendance/"]).is_ok());
    }

    #[test]
    fn production_says_where_its_mail_goes() {
        assert!(check(&PROD).unwrap_err().starts_with("SMTP_HOST"));
        assert!(check(&[&PROD[..], &["--mail-transport", "file"]].concat()).is_ok());
        assert!(
            check(&[&PROD[..], &["--mail-transport", "console"]].concat()).unwrap_err().starts_with("MAIL_TRANSPORT")
        );
        assert!(check(&["--mail-transport", "smtp"]).unwrap_err().starts_with("SMTP_HOST"));
        assert!(check(&["--mail-from", "nobody"]).unwrap_err().starts_with("MAIL_FROM"));
    }

    #[test]
    fn a_password_never_crosses_the_network_in_clear() {
        let login = ["--smtp-username", "muster", "--smtp-password", "p", "--smtp-tls", "none", "--smtp-host"];
        assert!(check(&[&login[..], &["mail.uni.example"]].concat()).unwrap_err().starts_with("SMTP_TLS"));
        assert!(check(&[&login[..], &["localhost"]].concat()).is_ok());
        assert!(check(&["--smtp-host", "h", "--smtp-password", "p"]).unwrap_err().starts_with("SMTP_USERNAME"));
    }

    #[test]
    fn links_begin_with_what_is_configured() {
        let url = |arguments: &[&str]| {
            Config::from_arguments(arguments.iter().map(|argument| (*argument).to_owned())).unwrap().public_url()
        };
        assert_eq!(url(&["--public-url", "https://uni.example/muster/"]), "https://uni.example/muster");
        assert_eq!(url(&[]), "http://127.0.0.1:8000");
        assert_eq!(url(&["--host", "0.0.0.0", "--port", "9"]), "http://localhost:9");
        assert_eq!(url(&["--host", "::1", "--port", "9"]), "http://[::1]:9");
    }
}
