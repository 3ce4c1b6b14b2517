//! A server that is asked by plain HTTP, a wire that can be cut, and an engine of a few lines.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use tidegate_core::{
    Batch, BatchId, BatchPlan, BatchTime, Output, OutputContext, PartitionId, Placement, Result, Seat,
    SourcePlan, SourceRange, Writer,
};
use tidegate_elasticsearch::{Document, ElasticsearchOutput};
use tidegate_servers::ELASTICSEARCH_ENV;
use uuid::Uuid;

/// An Elasticsearch, asked without the code under test.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    made: Arc<Made>,
}

/// The indices that a test has made. They are removed at its end: a server takes a thousand shards.
struct Made {
    url: String,
    names: Mutex<Vec<String>>,
}

impl Drop for Made {
    fn drop(&mut self) {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        for name in std::mem::take(&mut *self.names.lock().unwrap()) {
            let staging =
                format!("{}/tidegate-staging-{name}-*?expand_wildcards=all&filter_path=*.aliases", self.url);
            let found = agent.get(staging).call().and_then(|mut answer| answer.body_mut().read_to_string());
            let found: Value =
                found.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            let staging = found.as_object().into_iter().flat_map(|found| found.keys());
            for index in staging.chain([&name]) {
                // What stays, as when the server is gone, is in nobody's way.
                let _ = agent.delete(format!("{}/{index}", self.url)).call();
            }
        }
    }
}

impl Server {
    pub(crate) fn at(url: String) -> Server {
        let made = Arc::new(Made { url: url.clone(), names: Mutex::default() });
        Server { url, made }
    }

    /// A name for an index.
    pub(crate) fn name(&self) -> String {
        let name = format!("test-{}", Uuid::new_v4());
        self.made.names.lock().unwrap().push(name.clone());
        name
    }

    /// The one that `cargo xtask test` hands out.
    pub(crate) fn shared() -> Server {
        Server::at(std::env::var(ELASTICSEARCH_ENV).unwrap_or_else(|_| {
            panic!(
                "{ELASTICSEARCH_ENV} names no server: run these tests by `cargo xtask test`, which starts one, or start one by \
                 `cargo xtask servers up elasticsearch`"
            )
        }))
    }

    /// The status and the answer.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = ureq::http::Request::builder().method(method).uri(format!("{}/{path}", self.url));
        let request = request.header("Content-Type", "application/json");
        let mut answer =
            agent.run(request.body(body.map(Value::to_string).unwrap_or_default()).unwrap()).unwrap();
        let text = answer.body_mut().with_config().limit(1 << 30).read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }

    pub(crate) fn must(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.call(method, path, body);
        assert!(status < 300, "{method} {path}: {answer}");
        answer
    }

    /// A new index of words and counts that takes no other fields.
    pub(crate) fn words(&self) -> String {
        self.index(&strict())
    }

    pub(crate) fn index(&self, body: &Value) -> String {
        let name = self.name();
        self.must("PUT", &name, Some(body));
        name
    }

    /// Each document of an index with its version, by id.
    pub(crate) fn documents(&self, index: &str) -> BTreeMap<String, (Value, u64)> {
        self.must("POST", &format!("{index}/_refresh"), None);
        let query = json!({ "size": 10_000, "version": true, "query": { "match_all": {} } });
        let found = self.must("POST", &format!("{index}/_search"), Some(&query));
        let hits = found["hits"]["hits"].as_array().unwrap();
        let read = |hit: &Value| {
            let id = hit["_id"].as_str().unwrap().to_owned();
            (id, (hit["_source"].clone(), hit["_version"].as_u64().unwrap()))
        };
        hits.iter().map(read).collect()
    }

    /// The counts by word.
    pub(crate) fn counts(&self, index: &str) -> BTreeMap<String, i64> {
        let documents = self.documents(index).into_iter();
        documents.map(|(id, (source, _))| (id, source["count"].as_i64().unwrap())).collect()
    }

    pub(crate) fn output(&self, index: &str) -> ElasticsearchOutput {
        ElasticsearchOutput::new(&self.url, index).unwrap().patience(std::time::Duration::from_millis(300))
    }
}

pub(crate) fn strict() -> Value {
    let properties = json!({ "word": { "type": "keyword" }, "count": { "type": "long" } });
    json!({ "mappings": { "dynamic": "strict", "properties": properties }, "settings": { "number_of_shards": 2, "number_of_replicas": 0 } })
}

pub(crate) fn count(word: &str, count: i64) -> Document {
    Document::new(word, json!({ "word": word, "count": count }))
}

/// `n` words, each with that count.
pub(crate) fn many(n: usize, number: i64) -> Vec<Document> {
    (0..n).map(|place| count(&format!("w{place:05}"), number)).collect()
}

pub(crate) fn counts<'a>(counts: impl IntoIterator<Item = (&'a str, i64)>) -> BTreeMap<String, i64> {
    counts.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
}

pub(crate) fn batch(id: u64) -> Batch {
    let ranges = vec![SourceRange::new("lines-0", id * 10, id * 10 + 10)];
    let sources = vec![SourcePlan { stream: "lines".into(), ranges }];
    let time = BatchTime(1_700_000_000_000 + id * 1000);
    Batch::new(Arc::new(BatchPlan { id: BatchId(id), time, zero: BatchTime(0), sources }))
}

/// The writers of `workers` workers: partition p belongs to worker p % workers.
pub(crate) struct Workers {
    partitions: u32,
    hash: Arc<dyn Fn(&Document) -> u64 + Send + Sync>,
    writers: Vec<Box<dyn Writer<Document>>>,
}

impl Workers {
    pub(crate) fn start(output: &ElasticsearchOutput, workers: usize) -> Result<Workers> {
        let context = OutputContext { output: "out".into(), job: None, new_job: "job-1".into() };
        output.open(&context)?;
        let Placement::Hash { partitions, hash } = output.placement() else { panic!("not placed by hash") };
        let seat = |worker| output.writer(&Seat { output: "out".into(), worker, workers });
        Ok(Workers { partitions, hash, writers: (0..workers).map(seat).collect::<Result<_>>()? })
    }

    pub(crate) fn prepare(&mut self, batch: &Batch, rows: Vec<Document>) -> Result<()> {
        let workers = self.writers.len();
        for row in rows {
            let partition = ((self.hash)(&row) % u64::from(self.partitions)) as u32;
            self.writers[partition as usize % workers].write(batch, PartitionId(partition), vec![row])?;
        }
        for (worker, writer) in self.writers.iter_mut().enumerate() {
            let own: Vec<PartitionId> =
                (0..self.partitions).filter(|p| *p as usize % workers == worker).map(PartitionId).collect();
            writer.prepare(batch, &own)?;
        }
        Ok(())
    }

    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.writers.iter_mut().try_for_each(|writer| writer.commit(batch))
    }

    /// The commit of one worker alone.
    pub(crate) fn commit_one(&mut self, worker: usize, batch: &Batch) -> Result<()> {
        self.writers[worker].commit(batch)
    }

    pub(crate) fn run(&mut self, batch: &Batch, rows: Vec<Document>) -> Result<()> {
        self.prepare(batch, rows)?;
        self.commit(batch)
    }
}

/// A wire to a server that lets so many bytes through towards it and then cuts every connection, until it is mended.
pub(crate) struct Wire {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    /// Bytes that are let through.
    left: AtomicU64,
    /// Connections that were cut.
    cut: AtomicU64,
    /// The first cut mends it.
    once: AtomicBool,
}

impl Wire {
    pub(crate) fn to(server: &Server) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let target = server.url.strip_prefix("http://").unwrap().to_owned();
        let state = Arc::new(State {
            left: AtomicU64::new(u64::MAX),
            cut: AtomicU64::new(0),
            once: AtomicBool::new(false),
        });
        let wire = Wire { url, state: state.clone() };
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let (answers, back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let state = state.clone();
                thread::spawn(move || carry(client, server, Some(&state)));
                thread::spawn(move || carry(answers, back, None));
            }
        });
        wire
    }

    /// Cuts after `bytes` more, and every connection after that.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.state.cut.store(0, Ordering::SeqCst);
        self.state.once.store(false, Ordering::SeqCst);
        self.state.left.store(bytes, Ordering::SeqCst);
    }

    /// Cuts one connection after `bytes` more.
    pub(crate) fn cut_once_after(&self, bytes: u64) {
        self.cut_after(bytes);
        self.state.once.store(true, Ordering::SeqCst);
    }

    /// Lets all through again, and says how many connections were cut.
    pub(crate) fn mend(&self) -> u64 {
        self.state.left.store(u64::MAX, Ordering::SeqCst);
        self.state.cut.load(Ordering::SeqCst)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, state: Option<&State>) {
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0) as u64;
        let allowed = state.map_or(read, |state| match state.left.load(Ordering::SeqCst) {
            u64::MAX => read,
            bytes => {
                state.left.store(bytes - bytes.min(read), Ordering::SeqCst);
                bytes.min(read)
            }
        });
        let sent = to.write_all(&buffer[..allowed as usize]).is_ok();
        if let Some(state) = state.filter(|_| allowed < read) {
            state.cut.fetch_add(1, Ordering::SeqCst);
            if state.once.load(Ordering::SeqCst) {
                state.left.store(u64::MAX, Ordering::SeqCst);
            }
        }
        if read == 0 || allowed < read || !sent {
            // Both ends see it.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// Where in a batch's way a fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    BeforePrepare,
    Prepared,
    InCommit,
}

/// What happens there.
pub(crate) type Fault = Arc<dyn Fn(Point, &Batch) + Send + Sync>;

/// An output with something that happens on the way of each batch of each writer.
pub(crate) struct Faulty {
    pub(crate) inner: ElasticsearchOutput,
    pub(crate) fault: Fault,
}

impl Output<Document> for Faulty {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn delivery(&self) -> tidegate_core::Delivery {
        self.inner.delivery()
    }

    fn open(&self, context: &OutputContext) -> Result<tidegate_core::Held> {
        self.inner.open(context)
    }

    fn placement(&self) -> Placement<Document> {
        self.inner.placement()
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<Document>>> {
        Ok(Box::new(FaultyWriter { inner: self.inner.writer(seat)?, fault: self.fault.clone() }))
    }
}

struct FaultyWriter {
    inner: Box<dyn Writer<Document>>,
    fault: Fault,
}

impl Writer<Document> for FaultyWriter {
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<Document>) -> Result<()> {
        self.inner.write(batch, partition, rows)
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        (self.fault)(Point::BeforePrepare, batch);
        self.inner.prepare(batch, partitions)?;
        (self.fault)(Point::Prepared, batch);
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        (self.fault)(Point::InCommit, batch);
        self.inner.commit(batch)
    }

    fn abort(&mut self) {
        self.inner.abort();
    }
}
