//! The index as it is on the server: whether it is there, what it takes, and whether it can be written now.

use crate::address::escaped;
use crate::client::Client;
use crate::failure::{Failure, Place};
use serde_json::{Map, Value, json};
use tidegate_core::{Error, Result};

/// An index that is there.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    pub(crate) mappings: Value,
    /// With dots in the names: `index.blocks.write`.
    pub(crate) settings: Map<String, Value>,
}

/// Looks at `index`; none if there is no such index. An alias of one index is that index.
///
/// # Errors
/// As a call; and `Reconfigure` for what stands for several indices or takes no documents under an id.
pub(crate) fn look(client: &Client, place: &str, index: &str) -> Result<Option<Looked>> {
    let path = format!("{}?features=aliases,mappings,settings&flat_settings=true", escaped(index));
    let answer = match client.call("GET", &path, None) {
        Err(failure) if failure.is("index_not_found_exception") => return Ok(None),
        answer => answer.at(place, "can't be looked at")?,
    };
    let found = answer.as_object().cloned().unwrap_or_default();
    let refuse = |text: &str| Err(Error::reconfigure(format!("{place}: {text}")));
    let mut found = found.into_iter();
    let (Some((_, one)), None) = (found.next(), found.next()) else {
        return refuse("the name stands for several indices: name one, in which all documents are");
    };
    if !one["data_stream"].is_null() {
        return refuse("it is a data stream, which takes no documents under an id: name an index");
    }
    if one["aliases"][index]["is_write_index"] == json!(false) {
        return refuse("it is an alias that is not for writing: name the index");
    }
    let settings = one["settings"].as_object().cloned().unwrap_or_default();
    Ok(Some(Looked { mappings: one["mappings"].clone(), settings }))
}

/// As [`look`], for an index that must be there.
///
/// # Errors
/// As [`look`], and `Reconfigure` if it is missing.
pub(crate) fn look_at(client: &Client, place: &str, index: &str) -> Result<Looked> {
    look(client, place, index)?.ok_or_else(|| {
        Error::reconfigure(format!(
            "{place}: there is no such index: make it, or have it made by create_with()"
        ))
    })
}

/// Makes `index` with `body`, its mappings and settings. One that is there already stays as it is.
pub(crate) fn make(client: &Client, index: &str, body: &Value) -> Result<(), Failure> {
    match client.call("PUT", &escaped(index), Some(body)) {
        Err(failure) if failure.is("resource_already_exists_exception") => Ok(()),
        done => done.map(drop),
    }
}

impl Looked {
    /// Whether documents may bring fields that the mapping does not have yet, somewhere in it.
    pub(crate) fn takes_new_fields(&self) -> bool {
        fn some(mapping: &Value, inherited: bool) -> bool {
            let takes = match mapping.get("dynamic") {
                None => inherited,
                Some(set) => ![json!(false), json!("false"), json!("strict")].contains(set),
            };
            let fields = mapping.get("properties").and_then(Value::as_object);
            let is_object =
                |field: &&Value| field.get("properties").is_some() || field.get("dynamic").is_some();
            takes
                || fields
                    .is_some_and(|fields| fields.values().filter(is_object).any(|field| some(field, takes)))
        }
        some(&self.mappings, true)
    }

    /// Whether documents can be written.
    ///
    /// # Errors
    /// `Retry` while the server's disk is too full, `Reconfigure` when someone closed or blocked the index.
    pub(crate) fn check_writable(&self, place: &str) -> Result<()> {
        let is_set = |name: &str| {
            self.settings.get(name).is_some_and(|value| *value == json!("true") || *value == json!(true))
        };
        if is_set("index.verified_before_close") {
            return Err(Error::reconfigure(format!("{place}: it is closed: open it")));
        }
        if is_set("index.blocks.read_only_allow_delete") {
            return Err(Error::retry(format!(
                "{place}: it takes no documents while the server's disk is too full: free some space; nothing is lost, \
                 and the batch is run again"
            )));
        }
        for block in ["index.blocks.write", "index.blocks.read_only", "index.blocks.metadata"] {
            if is_set(block) {
                return Err(Error::reconfigure(format!(
                    "{place}: it is blocked: set {block} to false, and start again"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::ErrorKind;

    #[test]
    fn new_fields_come_where_the_mapping_lets_them() {
        let takes = |mappings: Value| Looked { mappings, settings: Map::new() }.takes_new_fields();
        assert!(takes(json!({})));
        assert!(takes(json!({ "dynamic": "runtime" })));
        assert!(!takes(json!({ "dynamic": "strict", "properties": { "n": { "type": "long" } } })));
        assert!(!takes(json!({ "dynamic": "false", "properties": { "o": { "properties": {} } } })));
        assert!(takes(
            json!({ "dynamic": false, "properties": { "o": { "dynamic": true, "properties": {} } } })
        ));
    }

    #[test]
    fn what_can_not_be_written_is_told_by_its_settings() {
        for (name, kind) in [
            ("index.verified_before_close", ErrorKind::Reconfigure),
            ("index.blocks.write", ErrorKind::Reconfigure),
            ("index.blocks.read_only_allow_delete", ErrorKind::Retry),
        ] {
            let with = |value: &str| {
                let settings = Map::from_iter([(name.to_owned(), json!(value))]);
                Looked { mappings: json!({}), settings }.check_writable("index a")
            };
            assert_eq!(with("true").unwrap_err().kind(), kind);
            with("false").unwrap();
        }
    }
}
