//! How much memory a process has needed.

use std::fs;

/// The most resident memory that process `pid` (a number, or `self`) has had since it began its program. None once it has ended,
/// and where there is no `/proc`.
pub fn peak_rss_mib(pid: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}
