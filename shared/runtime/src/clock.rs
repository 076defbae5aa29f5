//! The only readers of clocks in the workspace. Everything else is handed the time.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 by the wall clock, which people may set. 0 when it stands before 1970.
#[allow(clippy::disallowed_methods, reason = "this is where the wall clock is read")]
pub fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the machine started, by a clock that nobody can set and that goes on while the
/// machine sleeps (`CLOCK_BOOTTIME`). Where there is none, by one that does not (`CLOCK_MONOTONIC`).
/// Comparable between processes of one machine and one [`machine_boot`].
pub fn boot_ms() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

    let now = rustix::time::clock_gettime(CLOCK);
    let (seconds, nanoseconds) = (now.tv_sec, now.tv_nsec);
    u64::try_from(seconds).unwrap_or_default() * 1000
        + u64::try_from(nanoseconds).unwrap_or_default() / 1_000_000
}

/// Which run of the machine this is: within one, [`boot_ms`] never goes back. Never empty. Where the
/// system does not tell, it is this process alone, so that nothing is compared that must not be.
pub fn machine_boot() -> String {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        boot_or_process(&std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default())
    })
    .clone()
}

fn boot_or_process(told: &str) -> String {
    match told.trim() {
        "" => format!("process-{}-{}", std::process::id(), wall_ms()),
        boot => boot.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward() {
        let (wall, boot) = (wall_ms(), boot_ms());
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(wall > 1_700_000_000_000, "{wall} is before 2023");
        assert!(boot_ms() >= boot + 5);
    }

    #[test]
    fn the_boot_clock_counts_from_the_machines_start() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!((boot_ms() as f64 / 1000.0 - seconds).abs() < 2.0, "{uptime}");
    }

    #[test]
    fn a_boot_is_always_named() {
        assert_eq!(machine_boot(), machine_boot());
        assert_eq!(boot_or_process("0a1b\n"), "0a1b");
        assert!(boot_or_process("\n").starts_with("process-"));
    }
}
