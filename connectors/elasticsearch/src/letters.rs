//! Dead letters: documents that the index refused, in an index of their own, each with the reason and its batch.
//!
//! The fields are described in docs/formats.md.

use crate::document::Document;
use crate::failure::Refusal;
use crate::index::Looked;
use serde_json::{Value, json};
use tidegate_core::{Batch, Error, OutputId, Result, StableHash};

/// Bytes of an id that Elasticsearch takes.
const ID_BYTES_MAX: usize = 512;
/// The fields and their types.
const FIELDS: [(&str, &str); 8] = [
    ("output", "keyword"),
    ("batch", "long"),
    ("time", "date"),
    ("index", "keyword"),
    ("id", "keyword"),
    ("type", "keyword"),
    ("reason", "text"),
    ("document", "keyword"),
];

/// What the index is made with. The document is kept as text and not indexed, so that nothing of it can be refused again.
pub(crate) fn body() -> Value {
    let mut properties = json!({});
    for (name, kind) in FIELDS {
        properties[name] = json!({ "type": kind });
    }
    properties["document"] = json!({ "type": "keyword", "index": false, "doc_values": false });
    json!({ "mappings": { "dynamic": false, "properties": properties } })
}

/// Whether an index that is there takes dead letters.
///
/// # Errors
/// `Reconfigure` that names the field.
pub(crate) fn check(place: &str, looked: &Looked) -> Result<()> {
    let properties = &looked.mappings["properties"];
    let document = &properties["document"];
    let is_kept_only = document["index"] == json!(false) && document["doc_values"] == json!(false);
    let wrong = FIELDS.iter().find(|(name, kind)| properties[*name]["type"] != json!(*kind));
    match wrong {
        Some((name, kind)) => Err(Error::reconfigure(format!(
            "{place}: it is no index of dead letters: its field {name} is not of the type {kind}. Name another: one that is \
             missing is made"
        ))),
        None if !is_kept_only => Err(Error::reconfigure(format!(
            "{place}: it is no index of dead letters: its field document is indexed. Name another: one that is missing is \
             made"
        ))),
        None => Ok(()),
    }
}

/// The dead letter of a document. It has an id that follows from output, batch and document, so that a batch that is run again
/// writes it in its own place.
pub(crate) fn letter(
    output: &OutputId,
    batch: &Batch,
    index: &str,
    document: &Document,
    refusal: &Refusal,
) -> Document {
    let start = format!("{}:{}:", output.0, batch.time().0);
    let id = if start.len() + document.id().len() <= ID_BYTES_MAX {
        format!("{start}{}", document.id())
    } else {
        // Two hashes of 64 bits: one alone could be that of another document of the batch.
        let second = StableHash::of(format!("{}\n", document.id()).as_bytes());
        format!(
            "{:016x}:{}:{:016x}{second:016x}",
            StableHash::of(output.0.as_bytes()),
            batch.time().0,
            StableHash::of(document.id().as_bytes())
        )
    };
    Document::new(
        id,
        json!({
            "output": output.0,
            "batch": batch.id().0,
            "time": batch.time().0,
            "index": index,
            "id": document.id(),
            "type": refusal.kind,
            "reason": refusal.reason,
            "document": document.source(),
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate::testkit::batch_at;

    fn refusal() -> Refusal {
        Refusal { status: 400, kind: "document_parsing_exception".to_owned(), reason: "no number".to_owned() }
    }

    #[test]
    fn a_letter_says_what_was_refused_where_and_why() {
        let document = Document::new("ebb", json!({ "count": "many" }));
        let letter = letter(&"out".into(), &batch_at(3000), "words", &document, &refusal());
        assert_eq!(letter.id(), "out:3000:ebb");
        assert_eq!(
            letter.source().unwrap(),
            json!({
                "output": "out", "batch": 1, "time": 3000, "index": "words", "id": "ebb",
                "type": "document_parsing_exception", "reason": "no number", "document": "{\"count\":\"many\"}"
            })
            .to_string()
        );
    }

    #[test]
    fn a_letter_of_a_long_id_has_one_that_fits() {
        let long = |end: &str| {
            let document = Document::new(format!("{}{end}", "x".repeat(500)), json!({}));
            letter(&"out".into(), &batch_at(1_700_000_000_000), "words", &document, &refusal())
                .id()
                .to_owned()
        };
        assert!(long("a").len() <= ID_BYTES_MAX);
        assert_ne!(long("a"), long("b"));
    }

    #[test]
    fn an_index_with_other_fields_takes_no_letters() {
        let looked =
            |mappings: &Value| Looked { mappings: mappings.clone(), settings: serde_json::Map::new() };
        let mut mappings = body()["mappings"].clone();
        check("index dead", &looked(&mappings)).unwrap();
        mappings["properties"]["document"] = json!({ "type": "keyword" });
        let error = check("index dead", &looked(&mappings)).unwrap_err().to_string();
        assert!(error.contains("its field document is indexed"), "{error}");
        mappings["properties"]["id"] = json!({ "type": "text" });
        let error = check("index dead", &looked(&mappings)).unwrap_err().to_string();
        assert!(error.contains("its field id is not of the type keyword"), "{error}");
    }
}
