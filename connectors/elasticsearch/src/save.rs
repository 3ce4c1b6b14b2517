//! `save_to_elasticsearch` on a stream of documents.

use crate::{Document, ElasticsearchOutput};
use tidegate::DStream;
use tidegate_core::{OutputId, Result};

/// The output operation that writes a stream of documents into an index, each batch once.
///
/// The output takes the index's name for its own, by which it is found again after a restart: two outputs to one index need
/// [`DStream::output`] and a name each, and must not write the same ids.
pub trait SaveToElasticsearch {
    /// Output: writes each batch into the index of `output`. A batch with two documents of one id is refused, since which of
    /// them would stay is chance: reduce by key first.
    ///
    /// ```no_run
    /// use serde_json::json;
    /// use tidegate::DStream;
    /// use tidegate_elasticsearch::{Document, ElasticsearchOutput, SaveToElasticsearch};
    ///
    /// # fn job(users: DStream<(String, Option<String>)>) -> tidegate::Result<()> {
    /// users
    ///     .map(|(user, city)| match city {
    ///         Some(city) => Document::new(user, json!({ "city": city })),
    ///         None => Document::delete(user),
    ///     })
    ///     .save_to_elasticsearch(ElasticsearchOutput::new("http://localhost:9200", "users")?)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Reconfigure` when the name is taken or the context was started. What is wrong with server or index is told at start.
    fn save_to_elasticsearch(&self, output: ElasticsearchOutput) -> Result<OutputId>;
}

impl SaveToElasticsearch for DStream<Document> {
    fn save_to_elasticsearch(&self, output: ElasticsearchOutput) -> Result<OutputId> {
        let name = output.index().to_owned();
        self.output(&name, output)
    }
}
