//! Documents in bulk: requests bounded by their number and bytes, and an outcome for each document.

use crate::client::{Client, LINES};
use crate::failure::{Failure, Refusal};
use crate::options::Bounds;
use serde_json::{Value, json};

/// What the answer is cut down to.
const WANTED: &str = "filter_path=errors,items.*.status,items.*.error";

/// One document of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) id: &'a str,
    /// None takes the document away.
    pub(crate) source: Option<&'a str>,
    /// The index takes it only if this is higher than the version that is there.
    pub(crate) version: Option<u64>,
}

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It is there in this version already: the batch is run again.
    There,
    /// It is there in a higher version, which stays.
    Newer(u64),
    Refused(Refusal),
}

/// Sends `items` to `index`, in as many requests as the bounds ask for. A request, or those of its documents, that fail in a
/// way that passes are sent again for as long as the client's patience lasts.
///
/// # Errors
/// A request failed, or documents of it did in a way that passes. Of the documents before it is not known what became.
pub(crate) fn send(
    client: &Client,
    index: &str,
    query: &str,
    items: &[Item<'_>],
    bounds: &Bounds,
) -> Result<Vec<Outcome>, Failure> {
    let path = format!("{index}/_bulk?{WANTED}{query}");
    let mut outcomes = Vec::with_capacity(items.len());
    let mut rest = items;
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(chunk_length(rest, bounds));
        outcomes.extend(send_chunk(client, &path, chunk)?);
        rest = later;
    }
    Ok(outcomes)
}

/// How many of `items` go into the next request: at least one.
fn chunk_length(items: &[Item<'_>], bounds: &Bounds) -> usize {
    let mut bytes = 0;
    let fits = |item: &&Item<'_>| {
        bytes += item.source.map_or(0, str::len) + item.id.len() + 80;
        bytes <= bounds.bulk_bytes
    };
    items.iter().take(bounds.bulk_documents).take_while(fits).count().max(1)
}

fn send_chunk(client: &Client, path: &str, items: &[Item<'_>]) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; items.len()];
    let mut tries = client.tries();
    loop {
        let open: Vec<usize> = (0..items.len()).filter(|&place| outcomes[place].is_none()).collect();
        let body = body(open.iter().map(|&place| &items[place]));
        let answer = match client.once("POST", path, LINES, body.as_bytes()) {
            Err(failure) if failure.is_passing() && tries.wait() => continue,
            answer => answer?,
        };
        let told = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        if told.len() != open.len() {
            return Err(Failure::Away(format!(
                "{} documents were sent, and told of are {}",
                open.len(),
                told.len()
            )));
        }
        let mut passing = None;
        for (place, told) in open.into_iter().zip(told) {
            match outcome(&items[place], told)? {
                Outcome::Refused(refusal) if refusal.is_passing() => passing = Some(refusal),
                outcome => outcomes[place] = Some(outcome),
            }
        }
        match passing {
            None => return Ok(outcomes.into_iter().flatten().collect()),
            Some(_) if tries.wait() => {}
            Some(refusal) => return Err(Failure::Refused(refusal)),
        }
    }
}

fn body<'a>(items: impl Iterator<Item = &'a Item<'a>>) -> String {
    let mut body = String::new();
    for item in items {
        let mut meta = json!({ "_id": item.id });
        if let Some(version) = item.version {
            meta["version"] = json!(version);
            meta["version_type"] = json!("external");
        }
        let action = if item.source.is_some() { "index" } else { "delete" };
        body.push_str(&json!({ action: meta }).to_string());
        body.push('\n');
        if let Some(source) = item.source {
            body.push_str(source);
            body.push('\n');
        }
    }
    body
}

/// What an item of the answer says, `{"index": {"status": 201}}`.
fn outcome(item: &Item<'_>, told: &Value) -> Result<Outcome, Failure> {
    let unclear = || Failure::Away(format!("an answer that makes no sense: {told}"));
    let told = told.as_object().and_then(|told| told.values().next()).ok_or_else(unclear)?;
    let status = told["status"].as_u64().and_then(|status| u16::try_from(status).ok()).ok_or_else(unclear)?;
    if told["error"].is_null() {
        // A document that is to go and is not there has status 404 and no error.
        return Ok(Outcome::Done);
    }
    let refusal = Refusal::read(status, &told["error"]);
    if status != 409 {
        return Ok(Outcome::Refused(refusal));
    }
    // Not the version that is sent decides, as after a change of the text, but the one that is there.
    let current = refusal.reason.split("current version [").nth(1).and_then(|rest| rest.split(']').next());
    match (item.version, current.and_then(|current| current.parse().ok())) {
        (Some(version), Some(current)) if current > version => Ok(Outcome::Newer(current)),
        (Some(_), _) => Ok(Outcome::There),
        (None, _) => Ok(Outcome::Refused(refusal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item<'a>(id: &'a str, source: Option<&'a str>) -> Item<'a> {
        Item { id, source, version: Some(7) }
    }

    #[test]
    fn a_request_is_lines_of_what_to_do_and_with_what() {
        let items = [item("a\"b", Some(r#"{"n":1}"#)), item("c", None)];
        assert_eq!(
            body(items.iter()),
            "{\"index\":{\"_id\":\"a\\\"b\",\"version\":7,\"version_type\":\"external\"}}\n{\"n\":1}\n\
             {\"delete\":{\"_id\":\"c\",\"version\":7,\"version_type\":\"external\"}}\n"
        );
    }

    #[test]
    fn requests_are_bounded_by_number_and_by_bytes() {
        let long = "x".repeat(1000);
        let items = vec![item("a", Some(long.as_str())); 5];
        let bounds = |bulk_documents, bulk_bytes| Bounds { bulk_documents, bulk_bytes, ..Bounds::default() };
        for (bounds, expected) in [(bounds(3, 1 << 20), 3), (bounds(9, 2500), 2), (bounds(9, 10), 1)] {
            assert_eq!(chunk_length(&items, &bounds), expected);
        }
    }

    #[test]
    fn an_answer_tells_of_each_document() {
        let conflict = |current: u64| {
            let reason = format!(
                "[a]: version conflict, current version [{current}] is higher or equal to the one provided [7]"
            );
            json!({ "index": { "status": 409, "error": { "type": "version_conflict_engine_exception", "reason": reason } } })
        };
        for (told, expected) in [
            (json!({ "index": { "status": 201 } }), Outcome::Done),
            (json!({ "delete": { "status": 404 } }), Outcome::Done),
            (conflict(7), Outcome::There),
            (conflict(8), Outcome::Newer(8)),
        ] {
            assert_eq!(outcome(&item("a", None), &told), Ok(expected));
        }
        assert!(outcome(&item("a", None), &json!("what?")).is_err());
    }
}
