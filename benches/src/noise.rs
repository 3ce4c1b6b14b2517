//! How much of the machine somebody else used while something was measured.
//!
//! Linux only, by `/proc`; elsewhere nothing is known and nothing is marked. Loopback traffic handled in interrupts belongs to
//! nobody and so counts as foreign: a few hundredths of a core are always there.

use std::collections::HashMap;
use std::time::Instant;
use std::{fs, process};

/// From this many foreign cores on, a run is marked: on two cores it takes a tenth of what there is.
pub(crate) const LOUD_CORES: f64 = 0.2;
/// The unit of `/proc` is a hundredth of a second on every Linux that Rust's standard library runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A measurement that has begun.
pub(crate) struct Noise {
    start: Instant,
    foreign_s: Option<f64>,
}

impl Noise {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), foreign_s: foreign_s() }
    }

    /// The cores that neither this process nor what it started has used since the start.
    pub(crate) fn foreign_cores(&self) -> Option<f64> {
        let foreign = foreign_s()? - self.foreign_s?;
        Some((foreign / self.start.elapsed().as_secs_f64()).max(0.0))
    }
}

fn foreign_s() -> Option<f64> {
    let busy = busy_ticks(&fs::read_to_string("/proc/stat").ok()?)?;
    Some((busy - own_ticks()) as f64 / TICKS_PER_SECOND)
}

/// All but idle and waiting; what the host took from a virtual machine counts too.
fn busy_ticks(stat: &str) -> Option<i64> {
    let fields: Vec<i64> =
        stat.lines().next()?.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, irq, soft_irq, steal, ..] = fields[..] else { return None };
    Some(user + nice + system + irq + soft_irq + steal)
}

/// Of this process and all below it, those that have ended included.
fn own_ticks() -> i64 {
    let processes: HashMap<u32, Usage> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((pid, Usage::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect();
    let is_own = |mut pid: u32| loop {
        if pid == process::id() {
            return true;
        }
        match processes.get(&pid) {
            Some(usage) => pid = usage.parent,
            None => return false,
        }
    };
    processes.iter().filter(|&(&pid, _)| is_own(pid)).map(|(_, usage)| usage.ticks).sum()
}

struct Usage {
    parent: u32,
    /// Its own and those of its children that have ended.
    ticks: i64,
}

impl Usage {
    /// `stat` as in proc(5). The program's name, in parentheses, may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<i64>().ok()).sum();
        Some(Self { parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_found_behind_any_program_name() {
        let stat = "77 (a) S (b) S 42 77 77 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0 5 6";
        let usage = Usage::parse(stat).unwrap();
        assert_eq!((usage.parent, usage.ticks), (42, 4330));
    }

    #[test]
    fn idle_and_waiting_are_not_busy() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 2000 8 16 32 5 5\ncpu0 1 1"), Some(63));
    }
}
