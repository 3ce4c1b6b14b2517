//! The worker's side: reads exactly the planned ranges, with one client that keeps fetching from batch to batch.

use crate::cluster::Cluster;
use crate::context::{Ear, passes};
use crate::cursor::Begin;
use crate::native::{PartitionQueue, Space};
use crate::params::Settings;
use crate::partition_reader::{PartitionReader, Trouble};
use crate::record::KafkaRecord;
use crate::registry::OpenQueues;
use crate::rights::{self, Operation, Resource};
use crate::security::refused;
use crate::strategy::Options;
use crate::topic_ids::Question;
use crate::topic_partition::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_core::{Emit, Error, PartitionId, Progress, Reader, Result, SourceRange};

/// How long a reader waits for a record when there is none at hand. Short: its thread has other work too.
const WAIT: Duration = Duration::from_millis(2);

/// After so long without a record of a planned range the log is looked at: it may have been cut below the range.
const SUSPICIOUS_AFTER: Duration = Duration::from_secs(10);

/// Time given to a question about offsets when something went wrong.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct KafkaReader {
    client: Arc<BaseConsumer<Ear>>,
    settings: Arc<Settings>,
    options: Options,
    open: Arc<OpenQueues>,
    space: Space,
    partitions: Vec<PartitionReader>,
    places: HashMap<String, usize>,
    /// The partitions of the running batch: places in `partitions`, those not done yet first.
    batch: Vec<usize>,
    /// Where in `batch` the next read begins, so that no partition waits for the others.
    turn: usize,
    idle_since: Option<Instant>,
    /// Asks whether topics are still those that the ranges were planned for.
    question: Option<Question>,
}

impl KafkaReader {
    pub(crate) fn open(settings: &Arc<Settings>, options: &Options, open: &Arc<OpenQueues>) -> Result<Self> {
        let client: BaseConsumer<Ear> = settings
            .client()
            .create_with_context(Ear::default())
            .map_err(|error| settings.refusal(&error))?;
        Ok(KafkaReader {
            client: Arc::new(client),
            settings: Arc::clone(settings),
            options: options.clone(),
            open: Arc::clone(open),
            space: Space::new(),
            partitions: Vec::new(),
            places: HashMap::new(),
            batch: Vec::new(),
            turn: 0,
            idle_since: None,
            question: None,
        })
    }

    /// The place of the partition of `range`, opened when it is new.
    fn place(&mut self, range: &SourceRange) -> Result<usize> {
        let name = &range.partition;
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        let partition: TopicPartition = name.parse()?;
        let queue = PartitionQueue::open(Arc::clone(&self.client), partition)?;
        self.open.add(&queue);
        self.partitions.push(PartitionReader::start(queue, range, self.options.measure_ages)?);
        self.places.insert(name.to_owned(), self.partitions.len() - 1);
        Ok(self.partitions.len() - 1)
    }

    /// Reads one partition and sees to what went wrong with it. Returns how many records were handed on.
    fn read_one(
        &mut self,
        place: usize,
        limit: usize,
        wait: Duration,
        out: &mut dyn Emit<KafkaRecord>,
    ) -> Result<usize> {
        match self.partitions[place].read(&mut self.space, limit, wait, out) {
            Ok(records) => Ok(records),
            Err(trouble) => self.mend(place, trouble).map(|()| 0),
        }
    }

    fn mend(&mut self, place: usize, trouble: Trouble) -> Result<()> {
        let name = self.partitions[place].name().clone();
        match trouble {
            Trouble::Stop(error) => Err(error),
            Trouble::OutOfRange | Trouble::NotThere => self
                .look_at_the_log(place)
                .map_err(|error| error.context(format!("Kafka at {}", self.settings.bootstrap))),
            Trouble::Refused => Err(rights::missing(
                &self.settings,
                &format!("Kafka at {}: {name} can't be read", self.settings.bootstrap),
                &[Operation::Read],
                Resource::Topic(&name.topic),
            )),
        }
    }

    /// Asks Kafka what the log of a partition holds, and goes on where that is possible or allowed.
    fn look_at_the_log(&mut self, place: usize) -> Result<()> {
        let partition = &mut self.partitions[place];
        let name = partition.name().clone();
        let cluster = Cluster::open(&self.settings)?;
        let names = [name.clone()];
        let found = cluster.patiently(ASK_TIMEOUT, |it, wait| {
            it.find(&crate::strategy::Selection::Partitions(names.to_vec()), wait)
        })?;
        if !found.missing.is_empty() {
            return partition.gone(self.options.fail_on_data_loss);
        }
        let begins = cluster.patiently(ASK_TIMEOUT, |it, wait| it.begins(&names, wait))?;
        let ends = cluster.patiently(ASK_TIMEOUT, |it, wait| it.log_ends(&names, wait))?;
        partition.go_on_within(begins[&name], ends[&name], self.options.fail_on_data_loss)
    }

    /// Whether the topics of the batch are those it was planned for. Asks when a partition is begun, at the start and after
    /// the topic was made again; while there is no answer nothing is read.
    fn topics_are_verified(&mut self) -> Result<bool> {
        let ask: BTreeSet<&str> =
            self.batch.iter().filter_map(|place| self.partitions[*place].unverified()).collect();
        if ask.is_empty() {
            return Ok(true);
        }
        let question = match self.question.take() {
            Some(question) => question,
            None => Question::ask(&self.client, &ask, ASK_TIMEOUT)?,
        };
        let ids = match question.answer(WAIT) {
            None => {
                self.question = Some(question);
                return Ok(false);
            }
            Some(Ok(ids)) => ids,
            Some(Err(code)) if passes(code) => return Ok(false),
            Some(Err(code)) => {
                return Err(Error::retry(format!("Kafka at {}: topics: {code}", self.settings.bootstrap)));
            }
        };
        for place in &self.batch {
            let partition = &mut self.partitions[*place];
            if partition.unverified().is_some() {
                let id = ids.get(&partition.name().topic);
                partition
                    .verify(id, self.options.fail_on_data_loss)
                    .map_err(|error| error.context(format!("Kafka at {}", self.settings.bootstrap)))?;
            }
        }
        Ok(true)
    }

    /// Nothing came: look for the reasons that no record will ever tell.
    fn nothing_came(&mut self) -> Result<()> {
        self.serve_events();
        if let Some(text) = self.client.client().context().refused() {
            return Err(refused(&self.settings, &text));
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SUSPICIOUS_AFTER {
            self.idle_since = None;
            for place in self.unfinished() {
                if self.partitions[place].log_ends_below_range() {
                    self.look_at_the_log(place)?;
                }
            }
        }
        Ok(())
    }

    /// Serves librdkafka's own events (errors, log lines), which would pile up; records come by the partitions' queues.
    fn serve_events(&self) {
        while self.client.poll(Duration::ZERO).is_some() {}
    }

    fn unfinished(&self) -> Vec<usize> {
        self.batch.iter().copied().filter(|place| !self.partitions[*place].is_done()).collect()
    }
}

impl Reader<KafkaRecord> for KafkaReader {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.serve_events();
        self.batch.clear();
        for (id, range) in ranges {
            let place = self.place(range)?;
            if let Begin::StartAt(_) = self.partitions[place].begin(*id, range)? {
                self.open.add(self.partitions[place].queue());
            }
            self.batch.push(place);
        }
        self.idle_since = None;
        self.question = None;
        Ok(())
    }

    fn read(&mut self, limit: usize, out: &mut dyn Emit<KafkaRecord>) -> Result<Progress> {
        if !self.topics_are_verified()? {
            self.nothing_came()?;
            return Ok(Progress::Waiting);
        }
        let mut records = 0;
        for step in 0..self.batch.len() {
            let place = self.batch[(self.turn + step) % self.batch.len()];
            if !self.partitions[place].is_done() {
                records += self.read_one(place, limit - records, Duration::ZERO, out)?;
                if records >= limit {
                    self.turn = (self.turn + step + 1) % self.batch.len();
                    break;
                }
            }
        }
        let unfinished = self.batch.iter().copied().find(|place| !self.partitions[*place].is_done());
        let Some(waiting) = unfinished else {
            return Ok(Progress::Done);
        };
        if records == 0 {
            self.turn = self.turn.wrapping_add(1) % self.batch.len();
            records = self.read_one(waiting, 1, WAIT, out)?;
        }
        if records == 0 {
            self.nothing_came()?;
            let done = self.batch.iter().all(|place| self.partitions[*place].is_done());
            return Ok(if done { Progress::Done } else { Progress::Waiting });
        }
        if self.idle_since.take().is_some() {
            self.client.client().context().back();
        }
        Ok(if self.partitions[waiting].is_done() && self.unfinished().is_empty() {
            Progress::Done
        } else {
            Progress::More
        })
    }
}

impl Drop for KafkaReader {
    /// Ends fetching at once: a record somewhere in the job may keep the client alive for long.
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.stop();
        }
    }
}
