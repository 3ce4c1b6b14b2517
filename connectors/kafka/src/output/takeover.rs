//! Opening an exactly-once output: taking it over from whoever had it, and reading what it holds.
//!
//! In this order, because a transaction is visible for certain only once its id was taken over: find whose the output is; take over
//! all of its transactional ids, which ends what they left open and bars their earlier owners; then read the markers. The number
//! of ids is written down by the first id before any other is used, so no later run overlooks one.

use super::marker::{Marker, Registered};
use super::markers::Markers;
use super::record::ProducerRecord;
use super::session::{Origin, Session};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tidegate_core::{BatchId, Error, Held, OutputContext, Result};

/// For a transaction of an earlier run to be ended.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(30);

/// An output that is ours.
pub(super) struct Taken {
    pub(super) registered: Registered,
    /// One for each transactional id, each taken over.
    pub(super) sessions: Vec<Session>,
}

/// The transactional ids of an output, one for each partition.
pub(super) fn transactional_id(markers_topic: &str, partition: u32) -> String {
    format!("{markers_topic}-{partition}")
}

/// Takes the output over, unless it belongs to another job: then nothing is touched, and the engine compares.
pub(super) fn take_over(
    origin: &Arc<Origin>,
    markers: &Markers,
    markers_topic: &str,
    output_topic: &str,
    partitions: u32,
    context: &OutputContext,
) -> Result<(Option<Taken>, Held)> {
    let at = |error: Error| error.context(markers.at());
    let connect = |partition: u32| -> Result<Session> {
        let session = Session::open(origin, Some(transactional_id(markers_topic, partition)))?;
        session.take_over([markers_topic, output_topic], TAKE_OVER_PATIENCE)?;
        Ok(session)
    };
    let mut found = markers.read()?;
    let mut sessions = Vec::new();
    if found.registered.is_none() {
        sessions.push(connect(0)?);
        // Another run may have been first until now.
        found = markers.read()?;
    }
    let registered = match (found.registered, &context.job) {
        (Some(found), Some(ours)) if found.job != *ours => {
            return Ok((None, Held { job: Some(found.job), ..Held::default() }));
        }
        (Some(found), _) => found,
        (None, ours) => {
            let job = ours.clone().unwrap_or_else(|| context.new_job.clone());
            let registered = Registered { job, partitions };
            register(&mut sessions[0], markers_topic, &Marker::of_output(&context.output, &registered))?;
            registered
        }
    };
    let missing = sessions.len() as u32..registered.partitions;
    let others = thread::scope(|scope| {
        let connecting: Vec<_> = missing.map(|partition| scope.spawn(move || connect(partition))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(Error::bug("a thread that connects to Kafka panicked")))
        };
        connecting.into_iter().map(join).collect::<Result<Vec<Session>>>()
    })?;
    sessions.extend(others);
    let held = markers.read()?.held().map_err(at)?;
    Ok((Some(Taken { registered, sessions }), held))
}

/// Writes down whose the output is.
fn register(session: &mut Session, markers_topic: &str, marker: &Marker) -> Result<()> {
    let none = BatchId(0);
    session.begin(none)?;
    let record = ProducerRecord::new().key(super::marker::OUTPUT_KEY).value(marker.to_json()?);
    session.send(none, markers_topic, &record)?;
    session.settle(none)?;
    session.commit(none)
}
