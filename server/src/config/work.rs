//! Settings of the machine's share: threads, background work, and what is kept in memory.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::{ConfigError, require};

/// Most threads that serve.
const WORKERS_MAX: usize = 256;
/// Most jobs of different kinds that are worked on at once.
const TASK_WORKERS_MAX: usize = 64;
/// Longest time that something stays in memory without a look at the database: a day, in seconds.
const CACHE_TTL_S_MAX: u32 = 86_400;

/// How much this process does at once, and what it remembers.
#[derive(Debug, Clone, Args)]
pub struct WorkConfig {
    /// Threads that serve requests. Default: one per core.
    #[arg(long, env = "WORKERS")]
    pub workers: Option<usize>,

    /// Whether this server works on jobs: verdicts, mail, releases. With false another server of the same PostgreSQL
    /// database must.
    #[arg(long, env = "ENABLE_BACKGROUND_TASKS", default_value_t = true, action = ArgAction::Set)]
    pub enable_background_tasks: bool,

    /// Jobs of different kinds that are worked on at once. Default: every kind.
    #[arg(long, env = "TASK_WORKERS")]
    pub task_workers: Option<usize>,

    /// Whether accounts, face references and people's keys that were used lately are kept in memory.
    #[arg(long, env = "ENABLE_CACHING", default_value_t = true, action = ArgAction::Set)]
    pub enable_caching: bool,

    /// Seconds after which what is kept in memory is read again.
    #[arg(long, env = "CACHE_TTL", default_value_t = 300)]
    pub cache_ttl: u32,
}

impl WorkConfig {
    /// Refuses what cannot be right. `is_shared` says whether other servers may work on the same database.
    pub(super) fn check(&self, is_shared: bool) -> Result<(), ConfigError> {
        let within = |given: Option<usize>, most: usize| given.is_none_or(|given| (1..=most).contains(&given));
        ConfigError::all([
            require(within(self.workers, WORKERS_MAX), "WORKERS", "expected 1 to 256"),
            require(within(self.task_workers, TASK_WORKERS_MAX), "TASK_WORKERS", "expected 1 to 64"),
            require((1..=CACHE_TTL_S_MAX).contains(&self.cache_ttl), "CACHE_TTL", "expected 1 to 86400 seconds"),
            require(
                self.enable_background_tasks || is_shared,
                "ENABLE_BACKGROUND_TASKS",
                "with false nobody would work on the jobs of a SQLite file, and no record would get a verdict; \
                 it needs PostgreSQL and another server",
            ),
        ])
    }

    /// Threads that serve; `None` is one per core.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        self.workers.and_then(NonZeroUsize::new)
    }

    /// How long something stays in memory before it is read again: CACHE_TTL, or the `most` that it can bear. Nothing
    /// stays with ENABLE_CACHING=false.
    pub fn kept_for(&self, most: Option<Duration>) -> Duration {
        let ttl = if self.enable_caching { Duration::from_secs(self.cache_ttl.into()) } else { Duration::ZERO };
        most.map_or(ttl, |most| most.min(ttl))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn kept_for(arguments: &[&str], most: Option<Duration>) -> Duration {
        let config = Config::from_arguments(arguments.iter().map(|argument| (*argument).to_owned())).unwrap();
        config.work.kept_for(most)
    }

    #[test]
    fn what_is_kept_in_memory_is_kept_as_long_as_the_settings_say() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        assert_eq!(kept_for(&[], Some(minute)), minute);
        assert_eq!(kept_for(&[], Some(hour)), Duration::from_secs(300));
        assert_eq!(kept_for(&["--cache-ttl", "7"], None), Duration::from_secs(7));
        assert_eq!(kept_for(&["--enable-caching", "false"], Some(minute)), Duration::ZERO);
        let cache = moka::sync::Cache::builder().time_to_live(kept_for(&["--enable-caching", "false"], None)).build();
        cache.insert(1, 1);
        assert_eq!(cache.get(&1), None, "nothing is kept, not even for a moment");
    }
}
