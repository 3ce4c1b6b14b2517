//! From a job's settings to where its state is.

use crate::{Conf, Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tidegate_core::{StateId, StateShape, Storage};
use tidegate_dataflow::{StateSettings, StoreChoice, Upgrade};
use tidegate_engine::PidSettings;
use tidegate_receivers::{LogPlace, ReceiverSettings};

/// Memory that the store on disk takes if it is not said.
const STORE_MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// Where the state of a job is; `None` for a job without.
///
/// # Errors
/// `Reconfigure` when there is state and no place for checkpoints, when a setting makes no sense, or when a checkpoint has
/// state that a program without any would leave behind untold.
pub(crate) fn state_settings(
    conf: &Conf,
    storage: Option<&Arc<dyn Storage>>,
    states: &[StateShape],
) -> Result<Option<StateSettings>> {
    let dropped = dropped_states(conf);
    let Some(storage) = storage else {
        if states.is_empty() {
            return Ok(None);
        }
        let names: Vec<_> = states.iter().map(|state| state.uid.to_string()).collect();
        return Err(Error::reconfigure(format!(
            "the job has operators with state ({}), and no checkpoint directory has been set; set one with checkpoint(\"DIR\")",
            names.join(", ")
        )));
    };
    if states.is_empty() {
        if let Some(newest) = tidegate_engine::newest_checkpoint(&**storage)? {
            let place = format!("{}, batch {}", storage.describe(), newest.batch());
            Upgrade::between(&newest, &[], &dropped).check(&place)?;
        }
        return Ok(None);
    }
    Ok(Some(StateSettings { storage: storage.clone(), stores: store_choice(conf, &**storage)?, dropped }))
}

/// What lets batches decide how much inputs take; `None` where it is not switched on.
///
/// # Errors
/// `Reconfigure` when a setting makes no sense.
pub(crate) fn backpressure(conf: &Conf) -> Result<Option<PidSettings>> {
    const ESTIMATOR: &str = "tidegate.backpressure.rate_estimator";
    if conf.get(ESTIMATOR).is_some_and(|name| name != "pid") {
        return Err(conf.refuse(ESTIMATOR, "pid, the only one there is"));
    }
    if !conf.flag("tidegate.backpressure.enable", false)? {
        return Ok(None);
    }
    let default = PidSettings::default();
    let number = |key: &str, default: f64| Ok::<_, Error>(conf.decimal(key)?.unwrap_or(default));
    let settings = PidSettings {
        proportional: number("tidegate.backpressure.pid.proportional", default.proportional)?,
        integral: number("tidegate.backpressure.pid.integral", default.integral)?,
        derived: number("tidegate.backpressure.pid.derived", default.derived)?,
        min_rate: number("tidegate.backpressure.pid.min_rate", default.min_rate)?,
        initial_rate: conf.decimal("tidegate.backpressure.initial_rate")?,
    };
    for (key, zero) in [
        ("tidegate.backpressure.pid.min_rate", settings.min_rate == 0.0),
        ("tidegate.backpressure.initial_rate", settings.initial_rate == Some(0.0)),
    ] {
        if zero {
            return Err(conf.refuse(key, "a number above 0"));
        }
    }
    Ok(Some(settings))
}

/// After how many tries a job ends; `None`: it tries until it is stopped.
///
/// # Errors
/// `Reconfigure` when the setting makes no sense.
pub(crate) fn retry_attempts_max(conf: &Conf) -> Result<Option<u32>> {
    const KEY: &str = "tidegate.retry.attempts_max";
    if conf.get(KEY).is_none() {
        return Ok(None);
    }
    match u32::try_from(conf.number(KEY, 0)?) {
        Ok(most @ 1..) => Ok(Some(most)),
        _ => Err(conf.refuse(KEY, "a number above 0; leave it out to try until the job is stopped")),
    }
}

/// How receivers are run; `log` is a storage for their logs that the program has given.
///
/// # Errors
/// `Reconfigure` when a setting makes no sense.
pub(crate) fn receiver_settings(conf: &Conf, log: Option<Arc<dyn Storage>>) -> Result<ReceiverSettings> {
    const ENABLE: &str = "tidegate.receiver.write_ahead_log.enable";
    let enabled = conf.flag(ENABLE, log.is_some())?;
    let place = match log {
        _ if !enabled => LogPlace::Nowhere,
        Some(storage) => LogPlace::On(storage),
        None => LogPlace::WithCheckpoint,
    };
    let default = ReceiverSettings::default();
    let bytes = |key: &str, default: usize, most: usize| match conf.number(key, default as u64)? {
        0 => Err(conf.refuse(key, "a number above 0")),
        bytes if bytes > most as u64 => Err(conf.refuse(key, &format!("at most {most}"))),
        bytes => Ok(bytes as usize),
    };
    let max_rate = conf.decimal("tidegate.receiver.max_rate")?;
    if max_rate == Some(0.0) {
        return Err(conf.refuse("tidegate.receiver.max_rate", "a number above 0; leave it out for no limit"));
    }
    Ok(ReceiverSettings {
        log: place,
        block_interval: conf.duration_ms("tidegate.receiver.block_interval_ms", default.block_interval)?,
        block_bytes_max: bytes(
            "tidegate.receiver.block_bytes_max",
            default.block_bytes_max,
            ReceiverSettings::BLOCK_BYTES_LIMIT,
        )?,
        held_bytes_max: bytes("tidegate.receiver.held_bytes_max", default.held_bytes_max, usize::MAX)?,
        partitions_max: conf.default_parallelism()? as usize,
        max_rate,
        restart_delay: conf.duration_ms("tidegate.receiver.restart_delay_ms", default.restart_delay)?,
        segment_bytes: default.segment_bytes,
    })
}

/// States that may be left behind.
pub(crate) fn dropped_states(conf: &Conf) -> Vec<StateId> {
    let names = conf.get("tidegate.state.drop").unwrap_or_default().split(',');
    names.map(str::trim).filter(|name| !name.is_empty()).map(StateId::from).collect()
}

fn store_choice(conf: &Conf, storage: &dyn Storage) -> Result<StoreChoice> {
    match conf.get("tidegate.state.store") {
        None | Some("memory") => Ok(StoreChoice::Memory),
        Some("disk") => Ok(StoreChoice::Disk {
            directory: conf
                .get("tidegate.state.directory")
                .map_or_else(|| own_directory(storage), PathBuf::from),
            memory_bytes: conf.number("tidegate.state.memory_bytes", STORE_MEMORY_BYTES)?,
        }),
        Some(_) => Err(conf.refuse("tidegate.state.store", "memory or disk")),
    }
}

/// Beside the checkpoints where they are on this machine, since that directory belongs to one process; else in the
/// system's temporary directory.
fn own_directory(storage: &dyn Storage) -> PathBuf {
    static OPENED: AtomicU32 = AtomicU32::new(0);
    match storage.local_directory() {
        Some(directory) => directory.join("store"),
        None => {
            let number = OPENED.fetch_add(1, Ordering::Relaxed);
            std::env::temp_dir().join(format!("tidegate-store-{}-{number}", std::process::id()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_storage::MemoryStorage;

    fn refusal(conf: &Conf) -> String {
        store_choice(conf, &MemoryStorage::new()).unwrap_err().to_string()
    }

    #[test]
    fn a_store_is_chosen_by_name() {
        let disk = Conf::new().set("tidegate.state.store", "disk").set("tidegate.state.directory", "here");
        let chosen =
            store_choice(&disk.set("tidegate.state.memory_bytes", "1000"), &MemoryStorage::new()).unwrap();
        assert_eq!(chosen, StoreChoice::Disk { directory: "here".into(), memory_bytes: 1000 });
        assert_eq!(
            refusal(&Conf::new().set("tidegate.state.store", "disc")),
            "tidegate.state.store = disc: must be memory or disk"
        );
    }

    #[test]
    fn states_to_leave_behind_are_listed() {
        let conf = Conf::new().set("tidegate.state.drop", "totals, , old");
        assert_eq!(dropped_states(&conf), [StateId::from("totals"), StateId::from("old")]);
    }
}
