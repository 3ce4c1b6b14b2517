//! What `inspect` shows, from what was found.

use super::place::Found;
use super::utc::utc;
use crate::figures::grouped;
use std::fmt;
use tidegate::core::{Checkpoint, StateCheckpoint, StateFile};

/// All checkpoints, a line each; the damaged ones; and all of the newest.
pub(super) struct Report<'a>(pub(super) &'a Found);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { place, readable, damaged } = self.0;
        writeln!(f, "Checkpoints in {place}:")?;
        if !readable.is_empty() {
            writeln!(f, "{:>12}  {:<27} {:>8} {:>16}", "batch", "time", "files", "bytes")?;
        }
        for checkpoint in readable {
            let sums = Sums::of(checkpoint.states.iter().flat_map(|state| &state.files));
            let (batch, time) = (checkpoint.batch().0, utc(checkpoint.plan.time.0));
            writeln!(f, "{batch:>12}  {time:<27} {:>8} {:>16}", sums.files, sums.bytes)?;
        }
        damaged.iter().try_for_each(|what| writeln!(f, "damaged: {what}"))?;
        readable.last().map_or(Ok(()), |newest| write_whole(f, newest))
    }
}

fn write_whole(f: &mut fmt::Formatter<'_>, checkpoint: &Checkpoint) -> fmt::Result {
    writeln!(f, "\nThe newest, batch {}:", checkpoint.batch())?;
    writeln!(f, "  application  {}", checkpoint.app)?;
    writeln!(f, "  job          {}", checkpoint.job)?;
    writeln!(f, "  batches of   {} ms", checkpoint.interval_ms)?;
    for (key, value) in &checkpoint.settings {
        writeln!(f, "  setting      {key} = {value}")?;
    }
    for source in &checkpoint.plan.sources {
        writeln!(f, "  input        {}", source.stream)?;
        for range in &source.ranges {
            writeln!(f, "               {} up to {}", range.partition, range.until)?;
        }
    }
    for (place, operator) in checkpoint.graph.iter().enumerate() {
        writeln!(f, "  {:<11}  {operator}", if place == 0 { "graph" } else { "" })?;
    }
    checkpoint.states.iter().try_for_each(|state| write_state(f, state))
}

fn write_state(f: &mut fmt::Formatter<'_>, state: &StateCheckpoint) -> fmt::Result {
    let (shape, sums) = (&state.shape, Sums::of(&state.files));
    writeln!(f, "  state        {}", shape.uid)?;
    writeln!(f, "    operator   {}", shape.operator)?;
    writeln!(f, "    partitions {} ({})", shape.partitions, shape.placement)?;
    writeln!(f, "    columns    {}", shape.columns.join(", "))?;
    writeln!(f, "    rows       {}, a changed key again in each file that has it", sums.rows)?;
    writeln!(f, "    files      {}", sums.files)?;
    writeln!(f, "    bytes      {}", sums.bytes)
}

/// Sums over files.
struct Sums {
    files: String,
    rows: String,
    bytes: String,
}

impl Sums {
    fn of<'a>(files: impl IntoIterator<Item = &'a StateFile>) -> Sums {
        let (mut count, mut rows, mut bytes) = (0u64, 0u64, 0u64);
        for file in files {
            count += 1;
            rows = rows.saturating_add(file.rows);
            bytes = bytes.saturating_add(file.bytes);
        }
        Sums { files: grouped(count), rows: grouped(rows), bytes: grouped(bytes) }
    }
}
