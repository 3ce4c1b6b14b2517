//! The output and its settings.

use crate::address::{Address, check_index};
use crate::client::{Authorization, Client};
use crate::document::Document;
use crate::failure::Place;
use crate::index::{self, Looked};
use crate::letters;
use crate::options::{Bounds, Refresh, Refused};
use crate::rights::{self, Need};
use crate::staging::Staging;
use crate::writer::{DocumentWriter, Target};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate_core::{
    Delivery, Error, Held, Output, OutputContext, OutputId, Placement, Result, Seat, StableHash, Writer,
    Writers,
};
use ureq::tls::{Certificate, PemItem, parse_pem};

/// Most partitions an output may have.
const PARTITIONS_MAX: u32 = 1024;

/// Documents into an index of Elasticsearch 8, each batch once: it may be written again, which changes nothing.
///
/// Each worker has a writer, and documents are spread over the output's partitions by their ids, so that those of one id are
/// written by one writer in the order of the batches. A writer keeps its documents of the batch until the commit, 256 MiB at most
/// unless set. Requests have at most 1,000 documents and, if there is more than one, 5 MiB unless set, and are given up after 30 s.
/// What fails in a way that passes is tried anew for 10 s with pauses that grow, and then the batch is run again.
///
/// ```
/// use std::time::Duration;
/// use serde_json::json;
/// use tidegate_elasticsearch::{ElasticsearchOutput, Refresh, Refused};
///
/// # fn main() -> tidegate::Result<()> {
/// let output = ElasticsearchOutput::new("https://es.example:9200", "words")?
///     .api_key("aWQ6a2V5")
///     .create_with(json!({ "mappings": { "properties": { "count": { "type": "long" } } } }))
///     .on_refused(Refused::DeadLetter("words-dead".to_owned()))
///     .refresh(Refresh::WaitFor)
///     .patience(Duration::from_secs(30));
/// # Ok(()) }
/// ```
pub struct ElasticsearchOutput {
    address: Address,
    index: String,
    authorization: Option<Authorization>,
    authority: Option<Vec<Certificate<'static>>>,
    create: Option<Value>,
    refused: Refused,
    refresh: Refresh,
    bounds: Bounds,
    partitions: u32,
    /// Of the output's name, once that is known.
    staging: Mutex<Option<(OutputId, Arc<Staging>)>>,
}

impl ElasticsearchOutput {
    /// An output to `index`, or to the one index of an alias, of the server at `url`: `http://host:9200`, or `https://` with the
    /// certificates that the system trusts.
    ///
    /// # Errors
    /// `Reconfigure` when the URL can't be read (the message never repeats it) or the index's name can't be one.
    pub fn new(url: &str, index: impl Into<String>) -> Result<Self> {
        let index = index.into();
        check_index(&index)?;
        Ok(ElasticsearchOutput {
            address: Address::parse(url)?,
            index,
            authorization: None,
            authority: None,
            create: None,
            refused: Refused::default(),
            refresh: Refresh::default(),
            bounds: Bounds::default(),
            partitions: 4,
            staging: Mutex::new(None),
        })
    }

    /// Logs in with user and password.
    #[must_use]
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        self.authorization = Some(Authorization::basic(user, password));
        self
    }

    /// Logs in with an API key: its encoded form, or `id:key`.
    #[must_use]
    pub fn api_key(mut self, key: &str) -> Self {
        self.authorization = Some(Authorization::api_key(key));
        self
    }

    /// Trusts the authorities of this PEM file, and no others, with `https://`.
    ///
    /// # Errors
    /// `Reconfigure` when the file can't be read or holds no certificate.
    pub fn ca_certificate(mut self, file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref();
        let pem = fs::read(file).map_err(|error| {
            Error::reconfigure(format!("{}: the certificate can't be read", file.display())).because(error)
        })?;
        let certificates: Vec<_> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err(Error::reconfigure(format!("{}: there is no certificate in it", file.display())));
        }
        self.authority = Some(certificates);
        Ok(self)
    }

    /// Makes the index if it is missing, with `body`: its `mappings` and `settings`. Without, a missing index is refused, as
    /// Elasticsearch would guess the mapping from the first documents.
    #[must_use]
    pub fn create_with(mut self, body: Value) -> Self {
        self.create = Some(body);
        self
    }

    /// What becomes of documents that the index refuses: the job stops unless set.
    #[must_use]
    pub fn on_refused(mut self, refused: Refused) -> Self {
        self.refused = refused;
        self
    }

    /// When a search finds what a commit wrote: at the index's next refresh unless set.
    #[must_use]
    pub fn refresh(mut self, refresh: Refresh) -> Self {
        self.refresh = refresh;
        self
    }

    /// How many documents a request has at most (1,000), and how many bytes if it has more than one (5 MiB).
    #[must_use]
    pub fn bulk_max(mut self, documents: usize, bytes: usize) -> Self {
        (self.bounds.bulk_documents, self.bounds.bulk_bytes) = (documents.max(1), bytes);
        self
    }

    /// How many bytes of a batch one worker may have, which are in memory until the commit: 256 MiB unless set. A larger batch
    /// stops the job.
    #[must_use]
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.bounds.batch_bytes = bytes;
        self
    }

    /// How long a request may take (30 s unless set). A commit has to be over before a search is, so a slow server needs more.
    #[must_use]
    pub fn request_limit(mut self, limit: Duration) -> Self {
        self.bounds.request = limit;
        self
    }

    /// How long what fails in a way that passes is tried anew before the batch is run again: 10 s unless set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.bounds.patience = patience;
        self
    }

    /// Over how many partitions documents are spread: 4 unless set, 1024 at most. As many workers write at the same time.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// The index's name.
    pub fn index(&self) -> &str {
        &self.index
    }

    fn target(&self) -> Target {
        Target {
            client: Client::new(
                self.address.clone(),
                self.authorization.clone(),
                self.authority.clone(),
                &self.bounds,
            ),
            index: self.index.clone(),
            refused: self.refused.clone(),
            refresh: self.refresh,
            bounds: self.bounds,
        }
    }

    /// The staging index of the output of that name. One for all its writers: it knows which mapping was followed last.
    fn staging(&self, output: &OutputId) -> Arc<Staging> {
        let mut known = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((name, staging)) if name == output => Arc::clone(staging),
            _ => {
                let staging = Arc::new(Staging::of(output, &self.index));
                *known = Some((output.clone(), Arc::clone(&staging)));
                staging
            }
        }
    }

    fn check_settings(&self, place: &str) -> Result<()> {
        let refuse = |text: String| Err(Error::reconfigure(format!("{place}: {text}")));
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return refuse(format!("{} partitions, needed are 1 to {PARTITIONS_MAX}", self.partitions));
        }
        if self.authorization.as_ref().is_some_and(|secret| !secret.is_sound()) {
            return refuse("the API key has characters that none has".to_owned());
        }
        if self.authorization.is_some() && !self.address.is_tls {
            log::warn!("{place}: the password or API key goes over the network as it is: use https://");
        }
        if let Refused::DeadLetter(dead) = &self.refused {
            check_index(dead)?;
            if *dead == self.index {
                return refuse("dead letters need an index of their own".to_owned());
            }
        }
        Ok(())
    }

    /// Refuses a user who could not do all that a batch does, before the first one finds out.
    fn check_rights(&self, target: &Target, staging: &Staging, place: &str) -> Result<()> {
        let mut needs = vec![Need::of_index(&self.index).and("maintenance", self.refresh == Refresh::Now)];
        if let Refused::DeadLetter(dead) = &self.refused {
            needs.push(Need::of_index(dead));
        }
        needs.extend(staging.names().map(Need::of_staging));
        rights::check(&target.client, place, &needs)
    }

    /// The index, made if it is missing and that is wanted.
    fn look_or_make(&self, target: &Target, place: &str) -> Result<Looked> {
        if let (None, Some(body)) = (index::look(&target.client, place, &self.index)?, &self.create) {
            rights::check(&target.client, place, &[Need::of_index(&self.index).and("create_index", true)])?;
            index::make(&target.client, &self.index, body).at(place, "can't be made")?;
        }
        index::look_at(&target.client, place, &self.index)
    }
}

impl fmt::Debug for ElasticsearchOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElasticsearchOutput")
            .field("server", &self.address.shown)
            .field("index", &self.index)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl Output<Document> for ElasticsearchOutput {
    fn describe(&self) -> String {
        format!("Elasticsearch index {} at {}", self.index, self.address.shown)
    }

    fn delivery(&self) -> Delivery {
        Delivery::Idempotent
    }

    fn writers(&self) -> Writers {
        Writers::EachWorker
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        let target = self.target();
        let place = format!("output {}, {}", context.output, target.place(&self.index));
        self.check_settings(&place)?;
        let staging = self.staging(&context.output);
        self.check_rights(&target, &staging, &place)?;
        let looked = self.look_or_make(&target, &place)?;
        looked.check_writable(&place)?;
        let widens = looked.takes_new_fields();
        rights::check(&target.client, &place, &[Need::of_index(&self.index).and("manage", widens)])?;
        if let Refused::DeadLetter(dead) = &self.refused {
            let place = format!("output {}, {}", context.output, target.place(dead));
            let is_missing = index::look(&target.client, &place, dead)?.is_none();
            if is_missing {
                rights::check(&target.client, &place, &[Need::of_index(dead).and("create_index", true)])?;
                index::make(&target.client, dead, &letters::body()).at(&place, "can't be made")?;
            }
            let looked = index::look_at(&target.client, &place, dead)?;
            looked.check_writable(&place)?;
            letters::check(&place, &looked)?;
        }
        staging.make(&target.client, &looked).at(&place, "its staging index can't be made")?;
        Ok(Held::default())
    }

    fn placement(&self) -> Placement<Document> {
        let hash = Arc::new(|document: &Document| StableHash::of(document.id().as_bytes()));
        Placement::Hash { partitions: self.partitions.max(1), hash }
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<Document>>> {
        let staging = self.staging(&seat.output);
        Ok(Box::new(DocumentWriter::new(self.target(), staging, seat.output.clone(), seat.worker)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let output = ElasticsearchOutput::new("http://es.example", "words").unwrap();
        let output = output.basic_auth("ann", "s3cret").api_key("s3cret");
        let shown = format!("{output:?} {}", output.describe());
        assert!(!shown.contains("s3cret") && shown.contains("es.example:9200"), "{shown}");
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let output = || ElasticsearchOutput::new("https://es.example", "words").unwrap();
        assert!(output().ca_certificate(&file).is_err());
        fs::write(&file, "no certificate").unwrap();
        let error = output().ca_certificate(&file).unwrap_err().to_string();
        assert!(error.ends_with("there is no certificate in it"), "{error}");
    }
}
