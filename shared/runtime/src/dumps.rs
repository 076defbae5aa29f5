//! What a process holds in memory stays there: no dump when it dies, no other process of its user looking in.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Forbids core dumps, and (unless `for_debuggers`) that another process of the same user reads this one's
/// memory or environment. To be called first; what the system refuses is left as it is, since a service that
/// does not run protects nobody.
pub fn forbid(for_debuggers: bool) {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    if !for_debuggers {
        conceal();
    }
}

/// A limit does not bind a program that the system hands dumps to; this does.
#[cfg(target_os = "linux")]
fn conceal() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

#[cfg(not(target_os = "linux"))]
fn conceal() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};

    #[test]
    fn a_process_forbids_dumps_of_itself() {
        forbid(true);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        forbid(false);
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
