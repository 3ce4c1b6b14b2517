//! A server that is asked by plain HTTP.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tidegate_elasticsearch::{Document, ElasticsearchOutput};
use tidegate_servers::ELASTICSEARCH_ENV;
use tidegate_servers::wire::Wire;
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

    /// A way to it that can be cut, and its URL by that.
    pub(crate) fn wire(&self) -> (Wire, String) {
        let wire = Wire::to(self.url.strip_prefix("http://").unwrap());
        let url = format!("http://{}", wire.address());
        (wire, url)
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
