//! Outputs of the word count that are no database, each read by a client that knows nothing of Tidegate.

use crate::broker::{empty_topic, new_name, take_at_most};
use crate::truth::Totals;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tidegate_servers::{
    ELASTICSEARCH_ENV, HBASE_ENV, HDFS_ENV, duckdb, hadoop_records, hbase_rows, java_read_committed,
    make_hbase_table, set_hdfs_quota,
};

/// Partitions of a topic that a job writes to.
const PARTITIONS: i32 = 3;
/// More words than any test has.
const WORDS_MAX: u32 = 1_000_000;

/// Bytes that no batch of records has, and the marker that ends a transaction still fits into: without it the brokers can end none.
const SMALL: u32 = 300;
/// Where an output of files has those of a batch until it is committed (`docs/formats.md`).
const STAGED: &str = "_tidegate/staged";

/// One output of a job, new and empty.
#[derive(Clone, Debug)]
pub enum Sink {
    /// A topic: a record for each word of each batch.
    Kafka {
        /// Where it is.
        brokers: String,
        /// Its name.
        topic: String,
    },
    /// Parquet files below a folder of any storage: a row for each word of each batch.
    Parquet {
        /// The folder.
        url: String,
    },
    /// A folder of text files for each batch.
    Text(PathBuf),
    /// A folder of sequence files for each batch.
    Sequence(PathBuf),
    /// An index: a document for each word, with its total.
    Elasticsearch {
        /// Where it is.
        url: String,
        /// Its name.
        index: String,
    },
    /// A table: a row for each word, with its total.
    Hbase {
        /// Where its gateway is.
        gateway: String,
        /// Its name.
        table: String,
    },
}

/// The server that an environment variable names.
fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} names no server: run these tests by `cargo xtask test`, which starts them")
    })
}

impl Sink {
    /// A new topic.
    pub fn kafka(brokers: &str) -> Sink {
        let topic = empty_topic(brokers, "counts", PARTITIONS, &[]);
        Sink::Kafka { brokers: brokers.to_owned(), topic }
    }

    /// A folder of Parquet files in `directory`.
    pub fn parquet(directory: &Path) -> Sink {
        Sink::Parquet { url: directory.join("parquet").display().to_string() }
    }

    /// A folder of Parquet files in HDFS.
    ///
    /// # Panics
    /// When the server is not there.
    pub fn parquet_on_hdfs() -> Sink {
        Sink::Parquet { url: format!("{}/{}", server(HDFS_ENV), new_name("counts")) }
    }

    /// Folders of text files in `directory`.
    pub fn text(directory: &Path) -> Sink {
        Sink::Text(directory.join("text/counts"))
    }

    /// Folders of sequence files in `directory`.
    pub fn sequence(directory: &Path) -> Sink {
        Sink::Sequence(directory.join("sequence/counts"))
    }

    /// A new index, whose mapping takes words and whole numbers and nothing else.
    ///
    /// # Panics
    /// When the server is not there.
    pub fn elasticsearch() -> Sink {
        let (url, index) = (server(ELASTICSEARCH_ENV), new_name("counts"));
        let sink = Sink::Elasticsearch { url, index };
        sink.make_index();
        sink
    }

    fn make_index(&self) {
        let Sink::Elasticsearch { url, index } = self else { panic!("{self:?} is no index") };
        let properties = json!({ "word": { "type": "keyword" }, "count": { "type": "long" } });
        let settings = json!({ "max_result_window": WORDS_MAX, "number_of_replicas": 0 });
        let body =
            json!({ "mappings": { "dynamic": "strict", "properties": properties }, "settings": settings });
        call("PUT", &format!("{url}/{index}"), Some(&body));
    }

    /// Lets a topic, a folder of Parquet files in HDFS or an index take nothing of a batch, or all of it again.
    ///
    /// # Panics
    /// When the server is not there, or this is none of them.
    pub fn refuse(&self, refuse: bool) {
        match self {
            Sink::Kafka { brokers, topic } => {
                take_at_most(brokers, topic, if refuse { SMALL } else { 1_000_000 });
            }
            Sink::Parquet { url } => {
                let storage = tidegate_object_store::storage(url).expect("the storage is there");
                let (server, folder) = url.rsplit_once('/').expect("a folder is in the root of HDFS");
                let quota = |names| set_hdfs_quota(server, &format!("/{folder}/{STAGED}"), names);
                let object = format!("{STAGED}/here");
                // With an object in it the folder stays, and has as many names as it may have.
                if refuse {
                    storage.put(&object, b"here".to_vec()).expect("an object can be put");
                    quota(Some(2)).expect("a quota can be set");
                } else {
                    quota(None).expect("a quota can be taken away");
                    storage.delete(&object).expect("an object can be removed");
                }
            }
            Sink::Elasticsearch { url, index } => {
                let blocks = json!({ "index.blocks.write": refuse });
                call("PUT", &format!("{url}/{index}/_settings"), Some(&blocks));
            }
            other => panic!("{other:?} can't be made to refuse anything"),
        }
    }

    /// A new table.
    ///
    /// # Panics
    /// When the server is not there.
    pub fn hbase() -> Sink {
        let (gateway, table) = (server(HBASE_ENV), new_name("counts"));
        make_hbase_table(&gateway, &table, "counts").expect("a table can be made");
        Sink::Hbase { gateway, table }
    }

    /// What the job is given as `--out`.
    pub fn out(&self) -> String {
        match self {
            Sink::Kafka { topic, .. } => format!("kafka:{topic}"),
            Sink::Parquet { url } => format!("parquet:{url}"),
            Sink::Text(prefix) => format!("text:{}", prefix.display()),
            Sink::Sequence(prefix) => format!("sequence:{}", prefix.display()),
            Sink::Elasticsearch { url, index } => format!("elasticsearch:{url}/{index}"),
            Sink::Hbase { gateway, table } => format!("hbase:{gateway}/{table}"),
        }
    }

    /// Each word with its total: for outputs of counts, the sum over all batches.
    ///
    /// # Panics
    /// When it can't be read.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        let mut add = |word: &str, count: &str| {
            let count: i64 = count.parse().unwrap_or_else(|_| panic!("{count:?} is the count of {word:?}"));
            *totals.entry(word.to_owned()).or_default() += count;
        };
        match self {
            Sink::Kafka { brokers, topic } => {
                let records = java_read_committed(brokers, topic).expect("the topic can be read");
                records.iter().for_each(|(word, count)| add(word, count));
            }
            Sink::Parquet { url } => {
                for row in parquet_rows(url) {
                    add(&row[0], &row[1]);
                }
            }
            Sink::Text(prefix) => {
                for part in parts(prefix) {
                    let text = fs::read_to_string(&part).expect("a part can be read");
                    for line in text.lines() {
                        let pair = line.strip_prefix('(').and_then(|line| line.strip_suffix(')'));
                        let (word, count) =
                            pair.and_then(|pair| pair.rsplit_once(',')).expect("(word,count)");
                        add(word, count);
                    }
                }
            }
            Sink::Sequence(prefix) => {
                let parts = parts(prefix);
                let records = hadoop_records(&parts).expect("Hadoop reads the files");
                records.iter().for_each(|(word, count)| add(word, count));
            }
            Sink::Elasticsearch { url, index } => {
                call("POST", &format!("{url}/{index}/_refresh"), None);
                let query = json!({ "size": WORDS_MAX, "query": { "match_all": {} } });
                let found = call("POST", &format!("{url}/{index}/_search"), Some(&query));
                for hit in found["hits"]["hits"].as_array().expect("a search gives hits") {
                    let document = &hit["_source"];
                    let word = document["word"].as_str().expect("a document has its word");
                    add(word, &document["count"].to_string());
                }
            }
            Sink::Hbase { gateway, table } => {
                let rows = hbase_rows(gateway, table).expect("the table can be read");
                rows.iter().for_each(|(word, count)| add(word, count));
            }
        }
        totals
    }
}

/// Words and their sums, as DuckDB finds them. It reads local files, so those of another storage are copied first.
fn parquet_rows(url: &str) -> Vec<Vec<String>> {
    let copies = tempfile::tempdir().expect("a directory can be made");
    let local = !url.contains("://");
    let folder = if local { Path::new(url) } else { copies.path() };
    if !local {
        let storage = tidegate_object_store::storage(url).expect("the storage is there");
        let objects = storage.list("").expect("the storage can be listed");
        for path in objects.iter().map(|object| &object.path).filter(|path| !path.contains('/')) {
            let bytes = storage.get(path).expect("an object can be read").expect("it is there");
            fs::write(folder.join(path), bytes).expect("a copy can be written");
        }
    }
    let is_parquet = |path: PathBuf| path.extension().is_some_and(|name| name == "parquet");
    let found = fs::read_dir(folder).is_ok_and(|found| found.flatten().any(|entry| is_parquet(entry.path())));
    if !found {
        return Vec::new();
    }
    let files = format!("{}/*.parquet", folder.display());
    let rows = duckdb(&format!("SELECT word, sum(count) FROM read_parquet('{files}') GROUP BY word"));
    rows.expect("DuckDB reads the files")
}

/// The parts of all whole folders `PREFIX-TIME`.
fn parts(prefix: &Path) -> Vec<PathBuf> {
    let (folder, name) = (prefix.parent().expect("a prefix is in a folder"), prefix.file_name());
    let name = format!("{}-", name.expect("a prefix has a name").to_string_lossy());
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let batches = entries.flatten().map(|entry| entry.path()).filter(|path| {
        let own = path.file_name().is_some_and(|found| found.to_string_lossy().starts_with(&name));
        own && path.join("_SUCCESS").exists()
    });
    let part =
        |path: &PathBuf| path.file_name().is_some_and(|found| found.to_string_lossy().starts_with("part-"));
    batches
        .flat_map(|batch| fs::read_dir(batch).expect("a folder can be read").flatten())
        .map(|entry| entry.path())
        .filter(part)
        .collect()
}

fn call(method: &str, url: &str, body: Option<&Value>) -> Value {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let request =
        ureq::http::Request::builder().method(method).uri(url).header("Content-Type", "application/json");
    let request =
        request.body(body.map(Value::to_string).unwrap_or_default()).expect("a request can be made");
    let mut answer = agent.run(request).expect("Elasticsearch answers");
    let text = answer.body_mut().with_config().limit(1 << 30).read_to_string().expect("an answer is text");
    assert!(answer.status().is_success(), "{method} {url}: {text}");
    serde_json::from_str(&text).unwrap_or_default()
}
