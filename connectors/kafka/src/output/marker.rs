//! What an output remembers, as bytes: the records of its markers topic. Pure.
//!
//! Each transaction writes a marker for each of its partitions (key: the partition's number): which batch it now holds. The plan
//! of a batch stands in one marker of each transaction that wrote it, the first; so the newest batch of all has its plan in at
//! least one of its markers, whichever transactions came through. The first record of all (key: `output`) says whose the output is
//! and how many partitions it has, before any batch is written.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidegate_core::{BatchId, BatchPlan, Error, Held, JobId, OutputId, PartitionId, Result};

/// The key of the record that is no batch's.
pub(crate) const OUTPUT_KEY: &str = "output";
const FORMAT: u32 = 1;

/// Whose an output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) job: JobId,
    pub(crate) partitions: u32,
}

/// One record of the markers topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marker {
    format: u32,
    output: String,
    job: String,
    /// The output's partitions, the same in all of its markers.
    partitions: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<BatchPlan>,
}

impl Marker {
    pub(crate) fn of_output(output: &OutputId, of: &Registered) -> Marker {
        Marker {
            format: FORMAT,
            output: output.0.clone(),
            job: of.job.0.clone(),
            partitions: of.partitions,
            batch: None,
            plan: None,
        }
    }

    pub(crate) fn of_batch(output: &OutputId, of: &Registered, plan: &BatchPlan, with_plan: bool) -> Marker {
        let plan_here = with_plan.then(|| plan.clone());
        Marker { batch: Some(plan.id.0), plan: plan_here, ..Marker::of_output(output, of) }
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::bug(format!("a marker can't be written: {error}")))
    }
}

/// The newest marker of each key, as they are read one after the other.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) registered: Option<Registered>,
    newest: BTreeMap<u32, Marker>,
}

impl Memory {
    /// Takes one record of the topic, which may be older or newer than those before.
    ///
    /// # Errors
    /// `DataLost`: it is no marker of this output.
    pub(crate) fn take(&mut self, output: &OutputId, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
        let flaw = |text: String| Err(Error::data_lost(text));
        let value = value.unwrap_or_default();
        let marker: Marker = match serde_json::from_slice(value) {
            Ok(marker) => marker,
            Err(error) => return flaw(format!("a record is no marker of an output ({error})")),
        };
        if marker.format != FORMAT {
            return flaw(format!(
                "a marker is of format {}, this program reads format {FORMAT}",
                marker.format
            ));
        }
        if marker.output != output.0 {
            return flaw(format!("a marker is of output {}, not of {output}", marker.output));
        }
        if marker.partitions == 0 {
            return flaw("a marker says that the output has 0 partitions".to_owned());
        }
        let registered = Registered { job: JobId(marker.job.clone()), partitions: marker.partitions };
        if self.registered.get_or_insert_with(|| registered.clone()) != &registered {
            return flaw(format!(
                "markers are of two jobs, or of {} partitions and others",
                marker.partitions
            ));
        }
        let Some(batch) = marker.batch else { return Ok(()) };
        let partition = key.and_then(|key| std::str::from_utf8(key).ok()?.parse().ok());
        let Some(partition) = partition.filter(|partition| *partition < marker.partitions) else {
            return flaw(format!("the marker of batch {batch} is of no partition of the output"));
        };
        if marker.plan.as_ref().is_some_and(|plan| plan.id.0 != batch) {
            return flaw(format!("the plan beside batch {batch} is that of another batch"));
        }
        match self.newest.get(&partition) {
            Some(there) if there.batch >= marker.batch => {}
            _ => drop(self.newest.insert(partition, marker)),
        }
        Ok(())
    }

    /// Whether there is nothing left to be found in older records.
    pub(crate) fn is_complete(&self) -> bool {
        self.registered.as_ref().is_some_and(|of| self.newest.len() == of.partitions as usize)
    }

    /// What the output holds.
    ///
    /// # Errors
    /// `DataLost`: the newest batch has no plan.
    pub(crate) fn held(&self) -> Result<Held> {
        let batches = || self.newest.values().filter_map(|marker| marker.batch);
        let newest = batches().max();
        let plan = self
            .newest
            .values()
            .filter(|marker| marker.batch == newest)
            .find_map(|marker| marker.plan.clone());
        if let (Some(batch), None) = (newest, &plan) {
            return Err(Error::data_lost(format!("batch {batch} is there, but no plan of it")));
        }
        Ok(Held {
            job: self.registered.as_ref().map(|of| of.job.clone()),
            partitions: self
                .newest
                .keys()
                .zip(batches())
                .map(|(part, batch)| (PartitionId(*part), BatchId(batch)))
                .collect(),
            newest: plan,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::{BatchTime, SourcePlan, SourceRange};

    fn plan(id: u64) -> BatchPlan {
        let ranges = vec![SourceRange::new("lines-0", 0, id)];
        BatchPlan {
            id: BatchId(id),
            time: BatchTime(id * 1000),
            zero: BatchTime(0),
            sources: vec![SourcePlan { stream: "lines".into(), ranges }],
        }
    }

    fn of() -> Registered {
        Registered { job: "job".into(), partitions: 3 }
    }

    fn marker(batch: u64, with_plan: bool) -> Marker {
        Marker::of_batch(&"out".into(), &of(), &plan(batch), with_plan)
    }

    fn memory(records: &[(&str, Marker)]) -> Result<Memory> {
        let mut memory = Memory::default();
        for (key, marker) in records {
            memory.take(&"out".into(), Some(key.as_bytes()), Some(marker.to_json()?.as_bytes()))?;
        }
        Ok(memory)
    }

    #[test]
    fn a_marker_is_json_that_a_person_can_read() {
        assert_eq!(
            marker(7, true).to_json().unwrap(),
            r#"{"format":1,"output":"out","job":"job","partitions":3,"batch":7,"plan":{"id":7,"time":7000,"zero":0,"sources":[{"stream":"lines","ranges":[{"partition":"lines-0","from":0,"until":7}]}]}}"#
        );
        assert_eq!(
            Marker::of_output(&"out".into(), &of()).to_json().unwrap(),
            r#"{"format":1,"output":"out","job":"job","partitions":3}"#
        );
    }

    #[test]
    fn the_newest_plan_is_found_beside_whichever_partitions_came_through() {
        let records = [
            ("output", Marker::of_output(&"out".into(), &of())),
            ("0", marker(7, true)),
            ("1", marker(7, false)),
        ];
        let found = memory(&records).unwrap();
        assert_eq!((found.registered.clone(), found.is_complete()), (Some(of()), false));
        let found =
            memory(&[("2", marker(8, true)), ("0", marker(7, true)), ("2", marker(7, false))]).unwrap();
        let held = found.held().unwrap();
        assert_eq!(held.newest, Some(plan(8)), "older records may be read after newer ones");
        assert_eq!(held.partitions, [(PartitionId(0), BatchId(7)), (PartitionId(2), BatchId(8))].into());
        let all = memory(&[("0", marker(8, false)), ("1", marker(8, true)), ("2", marker(7, true))]).unwrap();
        assert!(all.is_complete());
    }

    #[test]
    fn markers_that_were_tampered_with_are_not_believed() {
        let error = |records: &[(&str, Marker)]| {
            memory(records).and_then(|memory| memory.held()).unwrap_err().to_string()
        };
        let other_job = Marker { job: "other".into(), ..marker(7, true) };
        assert!(error(&[("0", marker(7, false))]).contains("batch 7 is there, but no plan of it"));
        assert!(
            error(&[("0", Marker { batch: Some(6), ..marker(7, true) })]).contains("that of another batch")
        );
        assert!(error(&[("3", marker(7, true))]).contains("no partition of the output"));
        assert!(error(&[("0", marker(7, true)), ("1", other_job)]).contains("two jobs"));
        assert!(error(&[("0", Marker { output: "in".into(), ..marker(7, true) })]).contains("output in"));
        assert!(error(&[("0", Marker { format: 2, ..marker(7, true) })]).contains("format 2"));
        let taken = Memory::default().take(&"out".into(), None, Some(b"text"));
        assert!(taken.unwrap_err().to_string().contains("no marker of an output"));
    }
}
