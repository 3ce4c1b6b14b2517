//! Ports on loopback that stay a server's own while it is stopped and started again.
//!
//! They lie below the range from which the system takes ports for outgoing connections. Inside it, a client that keeps
//! calling a stopped server may be given that very port, connect to itself, and keep the server from coming back.

use crate::error::Tried;
use crate::{ServerError, fetch};
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u16 = 20_000;
/// Where outgoing ports begin on Linux unless configured otherwise.
const OUTGOING_FIRST: u16 = 32_768;

/// A port that no other server of this crate gets while this value lives, in whatever process.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// The system releases the lock when the process ends, so that a crash leaves no port taken.
    _lock: File,
}

impl Port {
    /// A port that nothing listens on now.
    pub(crate) fn free() -> Result<Self, ServerError> {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        let dir = fetch::cache_dir().join("ports");
        fs::create_dir_all(&dir).tried(|| format!("cannot create {}", dir.display()))?;
        let end = outgoing_first();
        let span = u32::from(end - FIRST);
        for _ in 0..span {
            // Processes begin at different places, so that they do not all try the same ports one after another.
            let step = TAKEN.fetch_add(1, Ordering::Relaxed);
            let offset = (process::id().wrapping_mul(97)).wrapping_add(step) % span;
            let number = FIRST + u16::try_from(offset).expect("the span of ports fits into u16");
            let path = dir.join(format!("{number}.lock"));
            let lock = File::create(&path).tried(|| format!("cannot create {}", path.display()))?;
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        Err(ServerError::Io {
            what: format!("no free port on loopback from {FIRST} to {end}"),
            source: std::io::ErrorKind::AddrInUse.into(),
        })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

fn outgoing_first() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|&first| first > FIRST + 1_000)
        .unwrap_or(OUTGOING_FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_while_it_is_held() {
        let held: Vec<Port> = (0..50).map(|_| Port::free().unwrap()).collect();
        let mut numbers: Vec<u16> = held.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
        assert!(numbers.iter().all(|&number| number < outgoing_first()));
    }
}
