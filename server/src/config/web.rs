//! Settings of what stands between a browser and a handler.

use clap::{ArgAction, Args};

/// Origins, proxies, documentation.
#[derive(Debug, Clone, Args)]
pub struct WebConfig {
    /// Origins whose pages may call us: comma-separated, or a JSON list.
    #[arg(long, env = "CORS_ORIGINS", default_value = "")]
    pub cors_origins: String,

    /// Whether those pages may send credentials.
    #[arg(long, env = "CORS_ALLOW_CREDENTIALS", default_value_t = false, action = ArgAction::Set)]
    pub cors_allow_credentials: bool,

    /// Networks of proxies whose X-Forwarded-For is believed, comma-separated, such as 10.0.0.0/8.
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "")]
    pub trusted_proxies: String,

    /// Networks of the campus, comma-separated, whose anonymous traffic has a higher ceiling.
    #[arg(long, env = "CAMPUS_NETWORKS", default_value = "")]
    pub campus_networks: String,

    /// A further prefix under which every route answers, such as /v1.
    #[arg(long, env = "API_PREFIX")]
    pub api_prefix: Option<String>,

    /// Whether admins see the documentation with ENV=prod; everybody does otherwise.
    #[arg(long, env = "DOCS_ENABLED", default_value_t = false, action = ArgAction::Set)]
    pub docs_enabled: bool,
}
