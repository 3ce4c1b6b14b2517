//! The first records of each batch on standard output.

use crate::{Batch, Data, Error, PartitionId, Result};
use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use tidegate_core::{Delivery, Held, Output, OutputContext, Seat, Writer, Writers};

/// Prints so many records of each batch.
pub(crate) struct Print {
    pub(crate) records: usize,
}

impl<T: Data + Debug> Output<T> for Print {
    fn describe(&self) -> String {
        "standard output".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn writers(&self) -> Writers {
        Writers::One
    }

    fn open(&self, _: &OutputContext) -> Result<Held> {
        Ok(Held::default())
    }

    fn writer(&self, _: &Seat) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(PrintWriter { records: self.records, first: BTreeMap::new() }))
    }
}

/// One record more than is printed is kept of each partition: it tells whether there are more.
struct PrintWriter<T> {
    records: usize,
    first: BTreeMap<PartitionId, Vec<T>>,
}

impl<T: Debug> Writer<T> for PrintWriter<T> {
    fn write(&mut self, _: &Batch, partition: PartitionId, rows: Vec<T>) -> Result<()> {
        let kept = self.first.entry(partition).or_default();
        let room = self.records.saturating_add(1).saturating_sub(kept.len());
        kept.extend(rows.into_iter().take(room));
        Ok(())
    }

    fn prepare(&mut self, _: &Batch, _: &[PartitionId]) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let rows = std::mem::take(&mut self.first).into_values().flatten();
        let text = page(batch, self.records, rows);
        let mut out = std::io::stdout().lock();
        let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        printed.map_err(|e| Error::reconfigure("print(): standard output is closed").because(e))
    }
}

/// What is printed of a batch.
fn page<T: Debug>(batch: &Batch, records: usize, rows: impl Iterator<Item = T>) -> String {
    let rule = "-".repeat(43);
    let mut text = format!("{rule}\nTime: {}\n{rule}\n", batch.time());
    for (place, row) in rows.take(records.saturating_add(1)).enumerate() {
        // Writing to a string can't fail.
        let _ = if place < records { writeln!(text, "{row:?}") } else { writeln!(text, "...") };
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::batch_at;

    #[test]
    fn so_many_records_are_printed_and_more_are_hinted_at() {
        let text = page(&batch_at(3000), 10, 0..11);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "-------------------------------------------");
        assert_eq!(lines[1], "Time: 3000 ms");
        assert_eq!((lines[3], lines[12], lines[13]), ("0", "9", "..."));
        assert!(!page(&batch_at(3000), 10, 0..10).contains("..."));
        assert!(page(&batch_at(3000), 0, 0..1).ends_with("---\n...\n\n"));
        assert!(page(&batch_at(3000), usize::MAX, 0..3).ends_with("---\n0\n1\n2\n\n"));
    }

    #[test]
    fn no_more_is_kept_of_a_partition_than_is_printed() {
        let mut writer = PrintWriter { records: 2, first: BTreeMap::new() };
        for partition in [PartitionId(1), PartitionId(0), PartitionId(1)] {
            writer.write(&batch_at(1000), partition, (0..1000).collect()).unwrap();
        }
        assert_eq!(writer.first.values().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    }
}
