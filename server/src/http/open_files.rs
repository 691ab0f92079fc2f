//! How many connections the system lets this process have open.

use crate::limits::{self, ConnectionLimits};

/// `limits` with no more connections than there are file descriptors for, after asking the system for all of them.
///
/// A shell often allows 1,024 and more when asked; without asking, a thousand idle sockets would lock everybody out,
/// the database's own files included.
#[must_use]
pub fn connections_within(limits: ConnectionLimits) -> ConnectionLimits {
    let Some(files_max) = raise() else { return limits };
    let connections_max = connections_beside(files_max).min(limits.connections_max);
    if connections_max < limits.connections_max {
        tracing::warn!(files_max, connections_max, "Fewer connections than intended: raise the limit of open files");
    }
    // However few there are, one address leaves some for the others.
    let connections_per_address_max = limits.connections_per_address_max.min(connections_max.div_ceil(2));
    ConnectionLimits { connections_max, connections_per_address_max, ..limits }
}

/// At least one, so that somebody is served.
fn connections_beside(files_max: usize) -> usize {
    files_max.saturating_sub(limits::FILES_BESIDE_CONNECTIONS).max(1)
}

/// Raises the soft limit of open files to the hard one; `None` if there is none.
#[cfg(unix)]
fn raise() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => now.maximum,
        Err(_) => now.current,
    };
    allowed.map(|files_max| usize::try_from(files_max).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn raise() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        assert_eq!(connections_beside(limits::FILES_BESIDE_CONNECTIONS + 7), 7);
        assert_eq!(connections_beside(10), 1);
        let within = connections_within(limits::CONNECTION);
        assert!((1..=limits::CONNECTION.connections_max).contains(&within.connections_max));
        assert!((1..=within.connections_max).contains(&within.connections_per_address_max));
    }
}
