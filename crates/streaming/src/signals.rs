//! SIGINT and SIGTERM: the first finishes what is planned, a second ends the process at once.

use crate::context::{Shared, request_stop};
use crate::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::sync::{Arc, Weak};
use tidegate_engine::Stop;

/// Stops the context of `shared` on a signal, for as long as the context lives.
pub(crate) fn stop_on_signals(shared: &Arc<Shared>) -> Result<()> {
    let refused = |e| Error::reconfigure("can't listen for signals").because(e);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(refused)?;
    let context: Weak<Shared> = Arc::downgrade(shared);
    let listen = move || {
        let mut asked = false;
        for signal in &mut signals {
            match context.upgrade().filter(|_| !asked) {
                Some(shared) => {
                    log::warn!("signal {signal}: finishing what is planned; send it again to end at once");
                    request_stop(&shared, Stop::Gracefully);
                    asked = true;
                }
                // As if there were no handler: the caller sees that the signal ended the process.
                None => drop(emulate_default_handler(signal)),
            }
        }
    };
    std::thread::Builder::new().name("tidegate-signals".to_owned()).spawn(listen).map_err(refused)?;
    Ok(())
}
