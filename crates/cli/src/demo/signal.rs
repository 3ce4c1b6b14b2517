//! Ctrl-C: the first asks the demo to clean up and end, a second ends it at once.

use crate::exit::{Failure, signalled};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Which signal came, if any.
pub(super) struct Signal(Arc<AtomicUsize>);

impl Signal {
    /// Listens for SIGINT and SIGTERM from now on.
    pub(super) fn listen() -> Result<Signal, Failure> {
        let came = Arc::new(AtomicUsize::new(0));
        let again = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the condition false, and makes it true.
            flag::register_conditional_shutdown(signal, i32::from(signalled(signal)), again.clone())
                .and_then(|_| flag::register(signal, again.clone()))
                .and_then(|_| flag::register_usize(signal, came.clone(), signal as usize))
                .map_err(|error| Failure::of("can't listen for signals", error))?;
        }
        Ok(Signal(came))
    }

    /// An error once a signal came.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Failure::Signalled(signal as i32)),
        }
    }
}
