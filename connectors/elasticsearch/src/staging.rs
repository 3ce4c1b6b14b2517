//! The staging index: where documents are tried out before anything of their batch is seen.
//!
//! Nothing but indexing a document tells whether an index takes it: mappings change with what comes, and limits are checked at
//! several places. So there is an index with the mapping, the analyzers, the limits and the pipelines of the real one, in one
//! shard without copies, not synced and not refreshed. All writers of the output use it, so that what the documents of one add to the
//! mapping is seen by the others. Documents lie in it under the number of their place, so that it never holds more than one request
//! of each writer. Nothing is read from it, and it may be removed while the job is stopped: an opening makes it anew unless it is
//! there as it would be made.

use crate::address::escaped;
use crate::bulk::{self, Item, Outcome};
use crate::client::Client;
use crate::document::Document;
use crate::failure::Failure;
use crate::index::{self, Looked};
use crate::options::Bounds;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tidegate_core::OutputId;
use tidegate_core::StableHash;

/// Settings that decide what an index takes: names, or beginnings of names that end with a dot.
const DECIDING: [&str; 8] = [
    "index.analysis.",
    "index.mapping.",
    "index.similarity.",
    "index.sort.",
    "index.default_pipeline",
    "index.final_pipeline",
    "index.max_ngram_diff",
    "index.max_shingle_diff",
];

/// The version of the server that made an index.
const VERSION: &str = "index.version.created";

/// The staging index of an output.
#[derive(Debug)]
pub(crate) struct Staging {
    index: String,
    /// Documents are written through it, with a request that an alias be required: without, Elasticsearch would make a missing index
    /// of its own, which takes anything.
    alias: String,
    /// The mapping of the real index that this one has.
    followed: Mutex<Option<Value>>,
    /// Documents could not be tried out: what it is made of may be broken, so the next opening makes it anew.
    is_suspect: AtomicBool,
}

impl Staging {
    /// That of `output`, which writes to `index`.
    pub(crate) fn of(output: &OutputId, index: &str) -> Staging {
        let mut start = String::new();
        for c in index.chars() {
            if start.len() + c.len_utf8() > 100 {
                break;
            }
            start.push(c);
        }
        let mark = StableHash::of(format!("{}\n{index}", output.0).as_bytes());
        let index = format!("tidegate-staging-{start}-{mark:016x}");
        let alias = format!("{index}-alias");
        Staging { alias, index, followed: Mutex::new(None), is_suspect: AtomicBool::new(false) }
    }

    /// The names that a user needs privileges on.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        [self.index.as_str(), self.alias.as_str()].into_iter()
    }

    /// Makes it anew, after the real index, unless it is there as it would be made: to make an index takes a server half a second and
    /// more, and each start would wait for it.
    pub(crate) fn make(&self, client: &Client, real: &Looked) -> Result<(), Failure> {
        let body = self.body(real);
        if self.is_suspect.load(Ordering::Relaxed) || !self.is_there(client, &body, real)? {
            self.make_anew(client, &body)?;
            self.is_suspect.store(false, Ordering::Relaxed);
        }
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = Some(real.mappings.clone());
        Ok(())
    }

    fn make_anew(&self, client: &Client, body: &Value) -> Result<(), Failure> {
        match client.call("DELETE", &escaped(&self.index), None) {
            Err(failure) if failure.is("index_not_found_exception") => {}
            done => drop(done?),
        }
        index::make(client, &self.index, body)
    }

    /// Whether it is there as `body` would make it.
    fn is_there(&self, client: &Client, body: &Value, real: &Looked) -> Result<bool, Failure> {
        let path = format!("{}?features=aliases,mappings,settings&flat_settings=true", escaped(&self.index));
        match client.call("GET", &path, None) {
            Err(failure) if failure.is("index_not_found_exception") => Ok(false),
            found => {
                let found = &found?[self.index.as_str()];
                // One of an older server may take other things.
                let version = |version: &Value| version.as_str().and_then(|text| text.parse::<u64>().ok());
                let is_of_a_time =
                    version(&found["settings"][VERSION]) >= real.settings.get(VERSION).and_then(version);
                Ok(is_of_a_time && is_made_by(body, found))
            }
        }
    }

    fn body(&self, real: &Looked) -> Value {
        let deciding = real.settings.iter().filter(|(name, _)| decides(name));
        let mut settings: Map<String, Value> =
            deciding.map(|(name, value)| (name.clone(), value.clone())).collect();
        for (name, value) in [
            ("index.number_of_shards", json!(1)),
            ("index.number_of_replicas", json!(0)),
            ("index.refresh_interval", json!("-1")),
            ("index.translog.durability", json!("async")),
            ("index.hidden", json!(true)),
        ] {
            settings.insert(name.to_owned(), value);
        }
        let alias = self.alias.as_str();
        json!({ "aliases": { alias: { "is_hidden": true } }, "mappings": real.mappings, "settings": settings })
    }

    /// Takes over what has changed in the real index's mapping.
    pub(crate) fn follow(&self, client: &Client, real: &Looked) -> Result<(), Failure> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.as_ref() == Some(&real.mappings) {
            return Ok(());
        }
        let path = format!("{}/_mapping", escaped(&self.index));
        match client.call("PUT", &path, Some(&real.mappings)) {
            Ok(_) => {
                *followed = Some(real.mappings.clone());
                Ok(())
            }
            // It can't be what the real one has become, or is gone.
            Err(Failure::Refused(refusal)) if matches!(refusal.status, 400 | 404) => {
                drop(followed);
                self.make(client, real)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Indexes the documents, those of one seat, and tells which of them the real index would refuse.
    pub(crate) fn try_out(
        &self,
        client: &Client,
        seat: usize,
        documents: &[Document],
        bounds: &Bounds,
    ) -> Result<Vec<Outcome>, Failure> {
        let places: Vec<String> = (0..bounds.bulk_documents).map(|place| format!("{seat}-{place}")).collect();
        let mut outcomes = Vec::with_capacity(documents.len());
        // What is taken away can't be refused.
        let written: Vec<&Document> =
            documents.iter().filter(|document| document.source().is_some()).collect();
        for chunk in written.chunks(bounds.bulk_documents) {
            let items: Vec<Item<'_>> = chunk
                .iter()
                .zip(&places)
                .map(|(document, place)| Item { id: place, source: document.source(), version: None })
                .collect();
            let told = bulk::send(client, &escaped(&self.alias), "&require_alias=true", &items, bounds)
                .inspect_err(|_| self.is_suspect.store(true, Ordering::Relaxed))?;
            for ((outcome, place), document) in told.into_iter().zip(&places).zip(chunk) {
                outcomes.push(named(outcome, place, document.id()));
            }
        }
        let mut outcomes = outcomes.into_iter();
        let all = documents.iter().map(|document| match document.source() {
            Some(_) => outcomes.next().unwrap_or(Outcome::Done),
            None => Outcome::Done,
        });
        Ok(all.collect())
    }

    /// The mapping that the documents have led to.
    pub(crate) fn mappings(&self, client: &Client) -> Result<Value, Failure> {
        let answer = client.call("GET", &format!("{}/_mapping", escaped(&self.index)), None)?;
        Ok(answer[self.index.as_str()]["mappings"].clone())
    }
}

/// Whether a setting decides what an index takes.
pub(crate) fn decides(name: &str) -> bool {
    DECIDING.iter().any(|known| name == *known || known.ends_with('.') && name.starts_with(known))
}

/// Whether `found`, an index with flat settings as a server tells of it, is what `body` makes.
fn is_made_by(body: &Value, found: &Value) -> bool {
    let (Some(wanted), Some(has)) = (body["settings"].as_object(), found["settings"].as_object()) else {
        return false;
    };
    // The server tells every number and flag as a text.
    let same = |wanted: &Value, has: &Value| match wanted {
        Value::Number(_) | Value::Bool(_) => *has == json!(wanted.to_string()),
        wanted => has == wanted,
    };
    let has_all = wanted.iter().all(|(name, value)| has.get(name).is_some_and(|has| same(value, has)));
    let has_more = has.keys().any(|name| decides(name) && !wanted.contains_key(name));
    // An open one can be blocked by hand.
    let is_blocked =
        has.keys().any(|name| name.starts_with("index.blocks.") || name == "index.verified_before_close");
    has_all
        && !has_more
        && !is_blocked
        && found["mappings"] == body["mappings"]
        && found["aliases"] == body["aliases"]
}

/// The outcome with the document's own id in the place of the one that it had here.
fn named(outcome: Outcome, place: &str, id: &str) -> Outcome {
    match outcome {
        Outcome::Refused(mut refusal) => {
            refusal.reason =
                refusal.reason.replace(&format!("with id '{place}'"), &format!("with id '{id}'"));
            Outcome::Refused(refusal)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_decides_and_nothing_else_of_the_real_one() {
        let settings = json!({
            "index.analysis.analyzer.a.type": "custom", "index.mapping.total_fields.limit": "7",
            "index.default_pipeline": "p", "index.number_of_shards": "5", "index.uuid": "u",
            "index.number_of_replicas": "2", "index.lifecycle.name": "l"
        });
        let mappings = json!({ "dynamic": "strict" });
        let real = Looked { mappings: mappings.clone(), settings: settings.as_object().unwrap().clone() };
        let body = Staging::of(&"out".into(), "words").body(&real);
        assert_eq!(body["mappings"], mappings);
        assert_eq!(
            body["settings"],
            json!({
                "index.analysis.analyzer.a.type": "custom", "index.mapping.total_fields.limit": "7",
                "index.default_pipeline": "p", "index.number_of_shards": 1, "index.number_of_replicas": 0,
                "index.refresh_interval": "-1", "index.translog.durability": "async", "index.hidden": true
            })
        );
    }

    #[test]
    fn one_that_is_there_stays_only_if_it_is_the_same() {
        let real = json!({ "index.mapping.total_fields.limit": "7", "index.uuid": "u" });
        let real = Looked {
            mappings: json!({ "properties": { "n": { "type": "long" } } }),
            settings: real.as_object().unwrap().clone(),
        };
        let staging = Staging::of(&"out".into(), "words");
        let (body, alias) = (staging.body(&real), staging.alias.as_str());
        // As Elasticsearch 8.19 tells of it.
        let found = json!({
            "aliases": { alias: { "is_hidden": true } },
            "mappings": { "properties": { "n": { "type": "long" } } },
            "settings": {
                "index.creation_date": "1", "index.hidden": "true", "index.mapping.total_fields.limit": "7",
                "index.number_of_replicas": "0", "index.number_of_shards": "1", "index.provided_name": "x",
                "index.refresh_interval": "-1", "index.translog.durability": "async", "index.uuid": "v"
            }
        });
        assert!(is_made_by(&body, &found));
        for (pointer, value) in [
            ("/mappings/properties/more", json!({ "type": "text" })),
            ("/settings/index.mapping.total_fields.limit", json!("8")),
            ("/settings/index.mapping.depth.limit", json!("3")),
            ("/settings/index.number_of_shards", json!("2")),
            ("/settings/index.blocks.write", json!("true")),
            ("/aliases/other", json!({})),
        ] {
            let mut other = found.clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            other.pointer_mut(parent).unwrap()[name] = value;
            assert!(!is_made_by(&body, &other), "{pointer}");
        }
        assert!(!is_made_by(&body, &Value::Null));
    }

    #[test]
    fn outputs_and_indices_have_staging_indices_of_their_own() {
        let name = |output: &str, index: &str| Staging::of(&output.into(), index).index;
        assert_ne!(name("a", "words"), name("b", "words"));
        assert_ne!(name("a", "words"), name("a", "word"));
        assert!(name("a", &"w\u{f6}".repeat(120)).len() < 255 - "-alias".len());
    }
}
