//! The rows of the output: a document to be written, or one to be taken away.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_core::{Error, Result};

/// Bytes that an id may have.
const ID_BYTES_MAX: usize = 512;

/// A document of an index, under the id by which a later batch replaces it or takes it away.
///
/// The id must follow from the data, and never from chance or the clock: a batch that is run again must give the same.
///
/// ```
/// use serde_json::json;
/// use tidegate_elasticsearch::Document;
///
/// let written = Document::new("ebb", json!({ "word": "ebb", "count": 2 }));
/// assert_eq!(written.source(), Some(r#"{"count":2,"word":"ebb"}"#));
/// assert_eq!(Document::delete("ebb").source(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Document {
    id: String,
    /// The document as JSON, made once on the worker that has the record.
    source: Option<String>,
}

impl Document {
    /// A document that takes the place of the one with its id.
    pub fn new(id: impl Into<String>, source: Value) -> Document {
        Document { id: id.into(), source: Some(source.to_string()) }
    }

    /// As [`new`](Document::new), of anything that can be serialised.
    ///
    /// ```
    /// use tidegate_elasticsearch::Document;
    ///
    /// #[derive(serde::Serialize)]
    /// struct Count<'a> {
    ///     word: &'a str,
    /// }
    /// assert_eq!(Document::of("ebb", &Count { word: "ebb" })?.source(), Some(r#"{"word":"ebb"}"#));
    /// # Ok::<(), tidegate_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `UserCode` when JSON can't hold it, as a map whose keys are no text.
    pub fn of<T: Serialize + ?Sized>(id: impl Into<String>, source: &T) -> Result<Document> {
        let id = id.into();
        match serde_json::to_string(source) {
            Ok(source) => Ok(Document { id, source: Some(source) }),
            Err(error) => {
                Err(Error::user_code(format!("document {id:?} can't be written as JSON")).because(error))
            }
        }
    }

    /// Takes away the document with that id, if there is one.
    pub fn delete(id: impl Into<String>) -> Document {
        Document { id: id.into(), source: None }
    }

    /// By what it is found again.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The document as JSON; none for one that is taken away.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Why no index can have it, from what can be told without asking.
    pub(crate) fn flaw(&self) -> Option<String> {
        match self.id.len() {
            0 => Some("a document has an empty id".to_owned()),
            1..=ID_BYTES_MAX => None,
            bytes => {
                let start: String = self.id.chars().take(40).collect();
                Some(format!("the id {start:?}… has {bytes} bytes, and may have {ID_BYTES_MAX}"))
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.id.len() + self.source.as_ref().map_or(0, String::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_no_index_takes_are_found_here() {
        assert_eq!(Document::delete("").flaw().as_deref(), Some("a document has an empty id"));
        assert_eq!(Document::delete("x".repeat(512)).flaw(), None);
        let flaw = Document::delete("x".repeat(513)).flaw().unwrap();
        assert!(flaw.ends_with("has 513 bytes, and may have 512"), "{flaw}");
    }

    #[test]
    fn what_json_can_not_hold_is_the_users_to_mend() {
        let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = Document::of("a", &odd).unwrap_err();
        assert_eq!(error.kind(), tidegate_core::ErrorKind::UserCode);
    }
}
