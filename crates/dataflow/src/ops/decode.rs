//! One record in; one out, or what is wrong with it: skipped and counted, or given as a record of a second stream.

use crate::blame::Blame;
use crate::context::WorkerContext;
use crate::counts::Skipped;
use crate::graph::Node;
use crate::push::{Data, Next, Push};
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use tidegate_core::{Batch, Error, PartitionId};

/// What `decode` makes of each record. Where it gives an error the record is skipped: the batch's report counts it, and a
/// warning tells the first one's error.
pub fn decode<T: Data, U: Data, E: Display + 'static, F>(parent: &Node<T>, decode: F) -> Node<U>
where
    F: Fn(&T) -> Result<U, E> + Send + Sync + 'static,
{
    let node = parent.narrow("decode");
    let (decode, below) = (Arc::new(decode), node.clone());
    parent.feed(node.used(), move |segment| {
        let (blame, cx) = (below.blame(segment.cx()), segment.cx().clone());
        let bad = Skip { operator: below.name().clone(), cx, at: PartitionId(0), skipped: None };
        Box::new(Decode { decode: decode.clone(), blame, good: Some(segment.stages(&below)), bad })
    });
    node
}

/// What `decode` makes of each record, and the errors as a stream of their own, each in the partition of its record. Who uses the
/// first and not the second would lose records unseen: such a graph can't run.
pub fn decode_or_give<T: Data, U: Data, E: Data, F>(parent: &Node<T>, decode: F) -> (Node<U>, Node<E>)
where
    F: Fn(&T) -> Result<U, E> + Send + Sync + 'static,
{
    // Two streams of one operator: each leads to it, and it runs once if any of them is used.
    let decoded: Node<()> = parent.narrow("decode");
    let (good, bad): (Node<U>, Node<E>) = (decoded.narrow("decoded"), decoded.narrow("dead_letters"));
    let flaw = || {
        Error::reconfigure(format!(
            "the dead letters of {} lead to no output, so records that can't be decoded would be lost; save them, or say \
             decode(.., BadRecords::Skip) if they may be",
            decoded.name()
        ))
    };
    decoded.graph().must_be_used(bad.used(), decoded.used(), flaw());
    let decode = Arc::new(decode);
    let (used, blamed, good_below, bad_below) =
        (decoded.used().clone(), decoded.clone(), good.clone(), bad.clone());
    parent.feed(&used, move |segment| {
        let blame = blamed.blame(segment.cx());
        let good = segment.stages_if_any(&good_below);
        let bad = segment.stages_if_any(&bad_below).map(Give);
        Box::new(Decode { decode: decode.clone(), blame, good, bad })
    });
    (good, bad)
}

/// What becomes of records that can't be decoded.
trait Bad<E> {
    fn open(&mut self, batch: &Batch, partition: PartitionId);
    fn take(&mut self, error: E);
    fn flush(&mut self, batch: &Batch);
}

/// They are counted.
struct Skip {
    operator: Arc<str>,
    cx: Rc<WorkerContext>,
    at: PartitionId,
    skipped: Option<Skipped>,
}

impl<E: Display> Bad<E> for Skip {
    fn open(&mut self, _: &Batch, partition: PartitionId) {
        self.at = partition;
    }

    fn take(&mut self, error: E) {
        match &mut self.skipped {
            Some(skipped) => {
                skipped.records += 1;
                if self.at < skipped.first.0 {
                    skipped.first = (self.at, error.to_string());
                }
            }
            None => self.skipped = Some(Skipped { records: 1, first: (self.at, error.to_string()) }),
        }
    }

    fn flush(&mut self, _: &Batch) {
        if let Some(skipped) = self.skipped.take() {
            self.cx.counts().skipped(&self.operator, skipped);
        }
    }
}

/// They are records too.
struct Give<E>(Next<E>);

impl<E> Bad<E> for Option<Give<E>> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        if let Some(Give(next)) = self {
            next.open(batch, partition);
        }
    }

    fn take(&mut self, error: E) {
        if let Some(Give(next)) = self {
            next.push(error);
        }
    }

    fn flush(&mut self, batch: &Batch) {
        if let Some(Give(next)) = self {
            next.flush(batch);
        }
    }
}

struct Decode<F, U, B> {
    decode: Arc<F>,
    blame: Blame,
    good: Option<Next<U>>,
    bad: B,
}

impl<T: Data, U, E, F, B> Push<T> for Decode<F, U, B>
where
    F: Fn(&T) -> Result<U, E>,
    B: Bad<E>,
{
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        if let Some(good) = &mut self.good {
            good.open(batch, partition);
        }
        self.bad.open(batch, partition);
    }

    fn push(&mut self, record: T) {
        self.push_ref(&record);
    }

    /// A record is only looked at, never copied.
    fn push_ref(&mut self, record: &T) {
        match self.blame.call(record, |record| (self.decode)(record)) {
            Ok(decoded) => {
                if let Some(good) = &mut self.good {
                    good.push(decoded);
                }
            }
            Err(error) => self.bad.take(error),
        }
    }

    fn flush(&mut self, batch: &Batch) {
        if let Some(good) = &mut self.good {
            good.flush(batch);
        }
        self.bad.flush(batch);
    }
}
