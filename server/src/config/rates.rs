//! Settings of rates and locks.

use clap::{ArgAction, Args};

use super::{ConfigError, require};

/// How often somebody may try, and how long who fails must wait.
#[derive(Debug, Clone, Args)]
pub struct RateConfig {
    /// Sign-ins of one address within 10 minutes.
    #[arg(long, env = "RL_LOGIN_IP_LIMIT", default_value_t = 20)]
    pub rl_login_ip_limit: u32,

    /// Sign-ins of one account within 10 minutes.
    #[arg(long, env = "RL_LOGIN_EMAIL_LIMIT", default_value_t = 10)]
    pub rl_login_email_limit: u32,

    /// Sign-ups of one address within an hour.
    #[arg(long, env = "RL_SIGNUP_IP_LIMIT", default_value_t = 5)]
    pub rl_signup_ip_limit: u32,

    /// Requests for a new password of one address within an hour.
    #[arg(long, env = "RL_RESET_IP_LIMIT", default_value_t = 5)]
    pub rl_reset_ip_limit: u32,

    /// Requests for a new password of one account within an hour.
    #[arg(long, env = "RL_RESET_EMAIL_LIMIT", default_value_t = 3)]
    pub rl_reset_email_limit: u32,

    /// Refreshed tokens of one user within an hour.
    #[arg(long, env = "RL_REFRESH_USER_LIMIT", default_value_t = 60)]
    pub rl_refresh_user_limit: u32,

    /// How many times the limits of an address hold for an address of the campus, which many people share.
    #[arg(long, env = "RL_CAMPUS_FACTOR", default_value_t = 50)]
    pub rl_campus_factor: u32,

    /// Requests of one signed-in user within a minute.
    #[arg(long, env = "RL_USER_LIMIT", default_value_t = 600)]
    pub rl_user_limit: u32,

    /// Requests that carry no valid token, of one address within a minute.
    #[arg(long, env = "RL_ANONYMOUS_IP_LIMIT", default_value_t = 60)]
    pub rl_anonymous_ip_limit: u32,

    /// Failures after which an account must wait.
    #[arg(long, env = "LOGIN_FAIL_EMAIL_THRESHOLD", default_value_t = 8)]
    pub login_fail_email_threshold: u32,

    /// Failures after which an address must wait.
    #[arg(long, env = "LOGIN_FAIL_IP_THRESHOLD", default_value_t = 30)]
    pub login_fail_ip_threshold: u32,

    /// Seconds that an account waits.
    #[arg(long, env = "EMAIL_LOCK_TTL", default_value_t = 900)]
    pub email_lock_ttl: u32,

    /// Seconds that an address waits the first time.
    #[arg(long, env = "IP_LOCK_TTL", default_value_t = 900)]
    pub ip_lock_ttl: u32,

    /// Whether each further wait of an address is twice the one before.
    #[arg(long, env = "IP_LOCK_ESCALATION", default_value_t = true, action = ArgAction::Set)]
    pub ip_lock_escalation: bool,

    /// Most seconds that an address waits.
    #[arg(long, env = "IP_LOCK_MAX_TTL", default_value_t = 86_400)]
    pub ip_lock_max_ttl: u32,
}

/// Longest wait that a setting may ask for.
const LOCK_S_MAX: u32 = 30 * 86_400;

impl RateConfig {
    /// Refuses limits that would let nobody in, and locks that would never end.
    ///
    /// # Errors
    /// Names the first such setting.
    pub fn check(&self) -> Result<(), ConfigError> {
        let limits = [
            ("RL_LOGIN_IP_LIMIT", self.rl_login_ip_limit),
            ("RL_LOGIN_EMAIL_LIMIT", self.rl_login_email_limit),
            ("RL_SIGNUP_IP_LIMIT", self.rl_signup_ip_limit),
            ("RL_RESET_IP_LIMIT", self.rl_reset_ip_limit),
            ("RL_RESET_EMAIL_LIMIT", self.rl_reset_email_limit),
            ("RL_REFRESH_USER_LIMIT", self.rl_refresh_user_limit),
            ("RL_CAMPUS_FACTOR", self.rl_campus_factor),
            ("RL_USER_LIMIT", self.rl_user_limit),
            ("RL_ANONYMOUS_IP_LIMIT", self.rl_anonymous_ip_limit),
            ("LOGIN_FAIL_EMAIL_THRESHOLD", self.login_fail_email_threshold),
            ("LOGIN_FAIL_IP_THRESHOLD", self.login_fail_ip_threshold),
        ];
        let locks = [
            ("EMAIL_LOCK_TTL", self.email_lock_ttl),
            ("IP_LOCK_TTL", self.ip_lock_ttl),
            ("IP_LOCK_MAX_TTL", self.ip_lock_max_ttl),
        ];
        let limits = limits.into_iter().map(|(name, limit)| require(limit > 0, name, "expected at least 1"));
        let locks = locks
            .into_iter()
            .map(|(name, seconds)| require((1..=LOCK_S_MAX).contains(&seconds), name, "expected 1 to 2592000 seconds"));
        let grows =
            require(self.ip_lock_max_ttl >= self.ip_lock_ttl, "IP_LOCK_MAX_TTL", "expected at least IP_LOCK_TTL");
        ConfigError::all(limits.chain(locks).chain([grows]))
    }
}
