//! How many files and connections a process may have open: as many as the system lets it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as it goes without privileges, and tells where it stands then. What the system refuses is
/// left as it is.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_the_system_allows() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let lower = Rlimit { current: Some(256), maximum };
        setrlimit(Resource::Nofile, lower).unwrap();
        assert_eq!(raise(), maximum.unwrap_or(u64::MAX));
    }
}
