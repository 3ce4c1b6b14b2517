//! The writer of one seat: keeps a batch's documents, tries those out that might be refused, and writes all when the batch is committed.
//!
//! Killed before `commit`: the index holds nothing of the batch but, perhaps, fields in its mapping. Killed within: it holds some
//! of the documents, and the batch, run again, writes the others. Killed after: it is run again, and every document is there.

use crate::address::escaped;
use crate::bulk::{self, Item, Outcome};
use crate::client::Client;
use crate::document::Document;
use crate::failure::{Failure, Place, Refusal};
use crate::index::{self, Looked};
use crate::letters;
use crate::mapping::Mapping;
use crate::options::{Bounds, Refresh, Refused};
use crate::staging::Staging;
use std::collections::HashSet;
use std::sync::Arc;
use tidegate_core::{Batch, Error, OutputId, PartitionId, Result, Writer};

/// Documents that an error names.
const NAMED_MAX: usize = 3;

/// What the writers of an output have in common.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) client: Client,
    pub(crate) index: String,
    pub(crate) refused: Refused,
    pub(crate) refresh: Refresh,
    pub(crate) bounds: Bounds,
}

impl Target {
    /// `index words at es.example:9200`, for errors.
    pub(crate) fn place(&self, index: &str) -> String {
        format!("Elasticsearch index {index} at {}", self.client.address.shown)
    }
}

pub(crate) struct DocumentWriter {
    target: Target,
    staging: Arc<Staging>,
    output: OutputId,
    seat: usize,
    documents: Vec<Document>,
    ids: HashSet<Box<str>>,
    /// Of `documents`.
    bytes: usize,
    letters: Vec<Document>,
}

impl DocumentWriter {
    pub(crate) fn new(target: Target, staging: Arc<Staging>, output: OutputId, seat: usize) -> Self {
        DocumentWriter {
            target,
            staging,
            output,
            seat,
            documents: Vec::new(),
            ids: HashSet::new(),
            bytes: 0,
            letters: Vec::new(),
        }
    }

    fn place(&self, batch: &Batch, index: &str) -> String {
        format!("output {}, batch {}, {}", self.output, batch.id(), self.target.place(index))
    }

    fn take(&mut self, batch: &Batch, document: Document) -> Result<()> {
        if let Some(flaw) = document.flaw() {
            return Err(Error::user_code(format!("{}: {flaw}", self.place(batch, &self.target.index))));
        }
        if self.ids.contains(document.id()) {
            return Err(Error::reconfigure(format!(
                "{}: two documents of the batch have the id {:?}: which of them stays would be chance. Reduce by key first \
                 (reduce_by_key)",
                self.place(batch, &self.target.index),
                document.id()
            )));
        }
        self.bytes += document.bytes();
        if self.bytes > self.target.bounds.batch_bytes {
            return Err(Error::reconfigure(format!(
                "{}: the documents of the batch that come to one worker have more than {} bytes: set \
                 batch_bytes_max() higher, or bound the batch (tidegate.backpressure, rates)",
                self.place(batch, &self.target.index),
                self.target.bounds.batch_bytes
            )));
        }
        self.ids.insert(document.id().into());
        self.documents.push(document);
        Ok(())
    }

    fn stage(&mut self, batch: &Batch) -> Result<()> {
        let (client, index) = (&self.target.client, self.target.index.as_str());
        let place = self.place(batch, index);
        let real = index::look_at(client, &place, index)?;
        real.check_writable(&place)?;
        let vouched = self.take_vouched(&real);
        if !self.documents.is_empty() {
            self.try_out(batch, &place, &real)?;
        }
        self.documents.extend(vouched);
        Ok(())
    }

    /// Takes out the documents that the index takes in any case.
    fn take_vouched(&mut self, real: &Looked) -> Vec<Document> {
        let Some(mapping) = Mapping::of(real) else { return Vec::new() };
        let is_vouched =
            |document: &Document| document.source().is_none_or(|source| mapping.vouches_for(source));
        let (vouched, doubtful) = std::mem::take(&mut self.documents).into_iter().partition(is_vouched);
        self.documents = doubtful;
        vouched
    }

    /// Has the server say which of the documents it would refuse.
    fn try_out(&mut self, batch: &Batch, place: &str, real: &Looked) -> Result<()> {
        let client = &self.target.client;
        self.staging.follow(client, real).at(place, "its staging index can't be made")?;
        let told = self.staging.try_out(client, self.seat, &self.documents, &self.target.bounds);
        let told = told.at(place, "its staging index can't be written")?;
        let refused = self.set_aside(place, told)?;
        self.settle(batch, place, refused)?;
        self.widen(place, real)
    }

    /// Takes the documents that were refused out of the batch.
    fn set_aside(&mut self, place: &str, told: Vec<Outcome>) -> Result<Vec<(Document, Refusal)>> {
        let mut refused = Vec::new();
        let mut taken = Vec::with_capacity(self.documents.len());
        for (document, outcome) in std::mem::take(&mut self.documents).into_iter().zip(told) {
            match outcome {
                Outcome::Refused(refusal) if refusal.is_of_the_document() => {
                    refused.push((document, refusal));
                }
                // Another opening has just made the staging index anew.
                Outcome::Refused(refusal) if refusal.status == 404 => {
                    let what = format!("{place}: its staging index was taken away; the batch is run again");
                    return Err(Error::retry(what).because(Failure::Refused(refusal)));
                }
                Outcome::Refused(refusal) => {
                    return Err(Failure::Refused(refusal))
                        .at(place, "its staging index can't be written")
                        .map(|()| Vec::new());
                }
                _ => taken.push(document),
            }
        }
        self.documents = taken;
        Ok(refused)
    }

    /// What the user chose for documents that are refused.
    fn settle(&mut self, batch: &Batch, place: &str, refused: Vec<(Document, Refusal)>) -> Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        let Refused::DeadLetter(dead) = &self.target.refused else {
            let named: Vec<String> = refused
                .iter()
                .take(NAMED_MAX)
                .map(|(document, refusal)| format!("{:?}: {refusal}", document.id()))
                .collect();
            let more = refused.len().saturating_sub(NAMED_MAX);
            let more = if more == 0 { String::new() } else { format!("; and {more} more") };
            return Err(Error::reconfigure(format!(
                "{place}: refuses {} of the batch's documents: {}{more}. Nothing of the batch is seen. Mend the job or the \
                 index, or have such documents written elsewhere by on_refused()",
                refused.len(),
                named.join("; ")
            )));
        };
        let dead_place = self.place(batch, dead);
        let looked = index::look_at(&self.target.client, &dead_place, dead)?;
        looked.check_writable(&dead_place)?;
        letters::check(&dead_place, &looked)?;
        log::warn!("{place}: {} documents are refused and become dead letters in {dead}", refused.len());
        let letter = |(document, refusal)| {
            letters::letter(&self.output, batch, &self.target.index, &document, &refusal)
        };
        self.letters = refused.into_iter().map(letter).collect();
        Ok(())
    }

    /// Gives the real index the mapping that the documents have led to, so that the commit meets the one that they were tried
    /// out with, in whatever order documents come then.
    fn widen(&self, place: &str, real: &Looked) -> Result<()> {
        let client = &self.target.client;
        let staged = self.staging.mappings(client).at(place, "its staging index can't be looked at")?;
        if staged == real.mappings {
            return Ok(());
        }
        let path = format!("{}/_mapping", escaped(&self.target.index));
        client.call("PUT", &path, Some(&staged)).at(place, "can't take the fields of the batch").map(drop)
    }

    /// Writes documents for good.
    fn publish(&self, batch: &Batch, index: &str, documents: &[Document]) -> Result<()> {
        let place = self.place(batch, index);
        if documents.is_empty() {
            return Ok(());
        }
        // Never the clock's time or a count of writes: it is the same each time the batch is run, and higher in a later one.
        let version = Some(batch.time().0);
        let items: Vec<Item<'_>> = documents
            .iter()
            .map(|document| Item { id: document.id(), source: document.source(), version })
            .collect();
        let query = if self.target.refresh == Refresh::WaitFor { "&refresh=wait_for" } else { "" };
        let client = &self.target.client;
        let told = bulk::send(client, &escaped(index), query, &items, &self.target.bounds)
            .at(&place, "can't be written")?;
        let mut newer = None;
        let mut newer_count = 0u64;
        for (document, outcome) in documents.iter().zip(told) {
            match outcome {
                Outcome::Done | Outcome::There => {}
                Outcome::Newer(version) => {
                    newer.get_or_insert((document.id(), version));
                    newer_count += 1;
                }
                Outcome::Refused(refusal) => {
                    let what = format!("document {:?} can't be written", document.id());
                    return Err(Failure::Refused(refusal)).at(&place, &what);
                }
            }
        }
        if let Some((id, version)) = newer {
            log::warn!(
                "{place}: {newer_count} documents are there in a higher version than the batch's, {}, and stay: {id:?} has \
                 {version}. Right if a later batch wrote them; if nothing of this job did, something else writes this index \
                 with versions of its own",
                batch.time().0
            );
        }
        Ok(())
    }

    fn refresh(&self, batch: &Batch) -> Result<()> {
        if self.target.refresh != Refresh::Now {
            return Ok(());
        }
        let place = self.place(batch, &self.target.index);
        let path = format!("{}/_refresh", escaped(&self.target.index));
        self.target.client.call("POST", &path, None).at(&place, "can't be refreshed").map(drop)
    }

    fn clear(&mut self) {
        self.documents.clear();
        self.letters.clear();
        self.ids.clear();
        self.bytes = 0;
    }
}

impl Writer<Document> for DocumentWriter {
    fn write(&mut self, batch: &Batch, _: PartitionId, rows: Vec<Document>) -> Result<()> {
        rows.into_iter().try_for_each(|document| self.take(batch, document))
    }

    fn prepare(&mut self, batch: &Batch, _: &[PartitionId]) -> Result<()> {
        // An idle stream costs no request.
        if self.documents.is_empty() { Ok(()) } else { self.stage(batch) }
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        if self.documents.is_empty() && self.letters.is_empty() {
            return Ok(());
        }
        self.publish(batch, &self.target.index, &self.documents)?;
        if let Refused::DeadLetter(dead) = &self.target.refused {
            self.publish(batch, dead, &self.letters)?;
        }
        self.refresh(batch)?;
        self.clear();
        Ok(())
    }

    fn abort(&mut self) {
        // What was tried out is seen by nobody, and the next documents take its place.
        self.clear();
    }
}
