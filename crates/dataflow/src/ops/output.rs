//! The end of a stream: rows handed to the writer of an output.

use super::pack::{Pack, PackedTo};
use crate::graph::{Node, OutputDoor, PartitionCount, Shared, Used};
use crate::lower::{CHUNK_ROWS_MAX, Edge, Owner, Receive, Segment};
use crate::output::{SeatFor, WriterInbox, open_seat};
use crate::push::{Data, ExchangeData, Next, Push};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate_core::{Batch, Error, Output, OutputId, Packed, PartitionId, Placement, Result, Writers};

/// Writes `parent` to `output`, wherever its placement and its writers want the rows.
///
/// # Errors
/// `Reconfigure` when the name is taken or the graph is running.
pub fn output<T: ExchangeData>(parent: &Node<T>, id: OutputId, output: Arc<dyn Output<T>>) -> Result<()> {
    let used = register(parent, &id, &output)?;
    let seat = seat_for(parent, id, output);
    parent.feed(&used, move |segment: &mut Segment<'_>| {
        let (placement, writers) = (seat.output.placement(), seat.output.writers());
        let in_place = writers == Writers::EachWorker && matches!(placement, Placement::AsIs);
        // A careful epoch writes nothing.
        let packing = seat.output.packing().filter(|_| !segment.cx().beginning.careful);
        match (packing, in_place) {
            (None, true) => hand_in_place(segment, &seat),
            (None, false) => {
                let (to, place) = exchanged(segment, &seat, placement, writers, |inbox, batch, at, rows| {
                    inbox.rows(batch, at, rows);
                });
                Hand::stage(To::Exchange(to), place)
            }
            (Some(packing), true) => {
                let inbox = open_seat(segment.cx(), seat.clone(), None);
                Pack::stage(segment, &seat, packing, PackedTo::Writer(inbox), Box::new(|_| None))
            }
            (Some(packing), false) => {
                let (to, place) = exchanged(segment, &seat, placement, writers, |inbox, batch, at, rows| {
                    rows.into_iter().for_each(|rows: Packed| inbox.packed(batch, at, rows));
                });
                Pack::stage(segment, &seat, packing, PackedTo::Exchange(to), place)
            }
        }
    });
    Ok(())
}

/// Writes `parent` to `output` on the worker where each partition is: the rows need not be serialisable.
///
/// # Errors
/// As [`output`]; and `Bug` when the output wants its rows elsewhere.
pub fn output_in_place<T: Data>(parent: &Node<T>, id: OutputId, output: Arc<dyn Output<T>>) -> Result<()> {
    if output.writers() != Writers::EachWorker || !matches!(output.placement(), Placement::AsIs) {
        return Err(Error::bug(format!("output \"{id}\" wants its rows moved, and they can't be")));
    }
    let used = register(parent, &id, &output)?;
    let seat = seat_for(parent, id, output);
    parent.feed(&used, move |segment: &mut Segment<'_>| hand_in_place(segment, &seat));
    Ok(())
}

fn seat_for<T: 'static>(parent: &Node<T>, id: OutputId, output: Arc<dyn Output<T>>) -> SeatFor<T> {
    let count: PartitionCount = match output.placement() {
        Placement::AsIs => parent.partitions().clone(),
        Placement::Hash { partitions, .. } => Arc::new(move |_| partitions),
    };
    SeatFor { id, output, cadence: parent.cadence().clone(), count }
}

fn register<T: 'static>(parent: &Node<T>, id: &OutputId, output: &Arc<dyn Output<T>>) -> Result<Arc<Used>> {
    let shared: &Arc<Shared> = parent.graph();
    let opened = output.clone();
    shared.add_output(OutputDoor {
        id: id.clone(),
        describe: output.describe(),
        delivery: output.delivery(),
        open: Arc::new(move |context| opened.open(context)),
        used: parent.used().clone(),
    })?;
    parent.used().mark();
    let used = Arc::new(Used::default());
    used.mark();
    Ok(used)
}

fn hand_in_place<T: Data>(segment: &mut Segment<'_>, seat: &SeatFor<T>) -> Next<T> {
    let inbox = open_seat(segment.cx(), seat.clone(), None);
    Hand::stage(To::Writer(inbox), Box::new(|_| None))
}

/// An exchange of `M` to the writers that placement and `writers` want, and where each row goes.
fn exchanged<T: Data, M: ExchangeData>(
    segment: &mut Segment<'_>,
    seat: &SeatFor<T>,
    placement: Placement<T>,
    writers: Writers,
    deliver: fn(&mut WriterInbox<T>, &Batch, PartitionId, Vec<M>),
) -> (Edge<M>, Place<T>) {
    let owner = match writers {
        Writers::EachWorker => Owner::Spread,
        Writers::One => Owner::First,
    };
    let (partitions, place): (Option<u32>, Place<T>) = match placement {
        Placement::AsIs => (None, Box::new(|_| None)),
        Placement::Hash { partitions, hash } => (
            Some(partitions),
            Box::new(move |row| Some(PartitionId((hash(row) % u64::from(partitions)) as u32))),
        ),
    };
    let seat = seat.clone();
    let out = segment.edge(move |lowering, chunks| {
        let cx = lowering.cx().clone();
        // Where all rows go to one writer, the other workers have none.
        let seated = writers == Writers::EachWorker || cx.worker == 0;
        let owned = partitions.map(|partitions| owner.owned(partitions, cx.worker, cx.workers));
        let name = format!("output {}", seat.id);
        let inbox = seated.then(|| open_seat(&cx, seat, owned));
        lowering.exchange(&name, chunks, owner, |_| Box::new(Deliver { inbox, deliver }));
    });
    (out, place)
}

/// The output's partition of a row; `None`: the one of the dataset.
pub(super) type Place<T> = Box<dyn Fn(&T) -> Option<PartitionId>>;

enum To<T> {
    Writer(WriterInbox<T>),
    Exchange(Edge<T>),
}

/// The last stage of a pipeline: rows in chunks to the writer, or over an exchange to the worker that has it.
struct Hand<T> {
    to: To<T>,
    place: Place<T>,
    rows: BTreeMap<PartitionId, Vec<T>>,
    at: PartitionId,
    batch: Option<Batch>,
}

impl<T: Data> Hand<T> {
    fn stage(to: To<T>, place: Place<T>) -> Next<T> {
        Box::new(Hand { to, place, rows: BTreeMap::new(), at: PartitionId(0), batch: None })
    }

    fn send(&mut self, partition: PartitionId, rows: Vec<T>) {
        let batch = self.batch.as_ref().expect("a partition is opened before its records");
        match &mut self.to {
            To::Writer(inbox) => inbox.rows(batch, partition, rows),
            To::Exchange(edge) => edge.send(partition, rows),
        }
    }
}

impl<T: Data> Push<T> for Hand<T> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        self.batch = Some(batch.clone());
        self.at = partition;
        self.rows.entry(partition).or_default();
    }

    fn push(&mut self, record: T) {
        let partition = (self.place)(&record).unwrap_or(self.at);
        let rows = self.rows.entry(partition).or_default();
        rows.push(record);
        if rows.len() >= CHUNK_ROWS_MAX {
            // Where so many came, as many come again: a chunk that grows is moved ten times.
            let rows = std::mem::replace(rows, Vec::with_capacity(CHUNK_ROWS_MAX));
            self.send(partition, rows);
        }
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    /// Sends empty chunks too: a partition of the dataset exists though it has no rows.
    fn flush(&mut self, _: &Batch) {
        for (partition, rows) in std::mem::take(&mut self.rows) {
            self.send(partition, rows);
        }
    }
}

/// The far side of an exchange to a writer.
struct Deliver<T, M> {
    inbox: Option<WriterInbox<T>>,
    deliver: fn(&mut WriterInbox<T>, &Batch, PartitionId, Vec<M>),
}

impl<T: Data, M: Data> Receive<M> for Deliver<T, M> {
    fn chunk(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<M>) {
        if let Some(inbox) = &mut self.inbox {
            (self.deliver)(inbox, batch, partition, rows);
        }
    }

    fn flush(&mut self, _: &Batch) {}
}
