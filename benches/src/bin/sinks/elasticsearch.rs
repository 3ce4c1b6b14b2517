//! Rows into an index of Elasticsearch: `_bulk`, as many documents a request as the output has.

use crate::row::{Row, Rows};
use crate::sink::{Client, Sink};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;
use tidegate::{DStream, Result};
use tidegate_benches::Failure;
use tidegate_elasticsearch::{Document, ElasticsearchOutput, SaveToElasticsearch};
use ureq::Agent;

const BULK_DOCUMENTS: usize = 1_000;
/// A disk that others use, too, makes a server slow.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Index {
    url: String,
    name: String,
    agent: Agent,
}

impl Index {
    pub(crate) fn new(url: String, name: String) -> Self {
        let agent = Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
        Self { url, name, agent }
    }
}

impl Sink for Index {
    fn make(&self) -> std::result::Result<(), Failure> {
        let types =
            json!({ "id": { "type": "long" }, "word": { "type": "keyword" }, "level": { "type": "double" } });
        let settings = json!({ "number_of_shards": 1, "number_of_replicas": 0 });
        let body = json!({ "settings": settings, "mappings": { "properties": types } }).to_string();
        let url = format!("{}/{}", self.url, self.name);
        self.agent.put(url).header("Content-Type", "application/json").send(&body)?;
        Ok(())
    }

    fn save(&self, rows: &DStream<Row>) -> Result<()> {
        let output = ElasticsearchOutput::new(&self.url, self.name.clone())?.request_limit(PATIENCE);
        rows.map(|row| Document::of(row.id.to_string(), &row).expect("a row is JSON"))
            .save_to_elasticsearch(output)
            .map(drop)
    }

    fn client(&self, _: u64) -> std::result::Result<Box<dyn Client>, Failure> {
        let url = format!("{}/{}/_bulk?filter_path=errors", self.url, self.name);
        Ok(Box::new(Indexing { agent: self.agent.clone(), url }))
    }

    fn rows(&self) -> std::result::Result<Option<u64>, Failure> {
        let url = format!("{}/{}", self.url, self.name);
        self.agent.post(format!("{url}/_refresh")).send_empty()?;
        let answer = self.agent.get(format!("{url}/_count")).call()?.body_mut().read_to_string()?;
        Ok(serde_json::from_str::<Value>(&answer)?["count"].as_u64())
    }
}

struct Indexing {
    agent: Agent,
    url: String,
}

impl Indexing {
    fn send(&self, body: &str) -> std::result::Result<(), Failure> {
        let request = self.agent.post(&self.url).header("Content-Type", "application/x-ndjson");
        let answer = request.send(body)?.body_mut().read_to_string()?;
        if answer == r#"{"errors":false}"# { Ok(()) } else { Err(answer.into()) }
    }
}

impl Client for Indexing {
    fn write(&mut self, _: u64, rows: Rows) -> std::result::Result<(), Failure> {
        let (mut body, mut documents) = (String::new(), 0);
        for row in rows {
            writeln!(body, r#"{{"index":{{"_id":"{}"}}}}"#, row.id)?;
            body.push_str(&serde_json::to_string(&row)?);
            body.push('\n');
            documents += 1;
            if documents == BULK_DOCUMENTS {
                self.send(&body)?;
                (body, documents) = (String::new(), 0);
            }
        }
        if documents > 0 { self.send(&body) } else { Ok(()) }
    }
}
