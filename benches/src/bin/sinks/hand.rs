//! The loop by hand: no engine, no plan, no journal, no recovery. A crash may leave a batch half written, or have it written twice.

use crate::Load;
use crate::row::share;
use crate::sink::Sink;
use serde_json::{Value, json};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;
use tidegate_benches::Failure;

/// Rows a second from the second batch on, with `threads` clients that do not wait for each other.
pub(crate) fn run(load: Load, sink: &dyn Sink, threads: u64) -> Result<Value, Failure> {
    let ready = Barrier::new(usize::try_from(threads)? + 1);
    let seconds = thread::scope(|scope| {
        let ready = &ready;
        let writing: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || write(load, sink, thread, threads, ready)))
            .collect();
        ready.wait();
        let start = Instant::now();
        for thread in writing {
            thread.join().map_err(|_| "a client panicked")??;
        }
        Ok::<f64, Failure>(start.elapsed().as_secs_f64())
    })?;
    Ok(json!({ "rows_per_second": (load.rows * load.batches) as f64 / seconds }))
}

fn write(load: Load, sink: &dyn Sink, thread: u64, threads: u64, ready: &Barrier) -> Result<(), Failure> {
    let rows = |batch: u64| share(batch * load.rows..(batch + 1) * load.rows, thread, threads);
    let opened = sink.client(thread).and_then(|mut client| {
        client.write(0, rows(0))?;
        Ok(client)
    });
    // Whoever has failed must still let the others go.
    ready.wait();
    let mut client = opened?;
    (1..=load.batches).try_for_each(|batch| client.write(batch, rows(batch)))
}
