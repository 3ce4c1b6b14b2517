//! `save_to_hbase` on a stream of mutations.

use crate::{HBaseOutput, Mutation};
use tidegate::DStream;
use tidegate_core::{OutputId, Result};

/// The output operation that writes a stream of mutations into a table, each batch once.
///
/// The output takes the table's name for its own, by which it is found again after a restart: two outputs to one table need
/// [`DStream::output`] and a name each, and must not write the same cells.
pub trait SaveToHBase {
    /// Output: writes each batch into the table of `output`. A batch with two mutations of one row is refused, since which of
    /// them would stay is chance: reduce by key first.
    ///
    /// ```no_run
    /// use tidegate::DStream;
    /// use tidegate_hbase::{HBaseOutput, Mutation, SaveToHBase};
    ///
    /// # fn job(users: DStream<(String, Option<String>)>) -> tidegate::Result<()> {
    /// users
    ///     .map(|(user, city)| match city {
    ///         Some(city) => Mutation::put(user).cell("f", "city", city),
    ///         None => Mutation::delete(user),
    ///     })
    ///     .save_to_hbase(HBaseOutput::new("localhost:9090", "users")?)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Reconfigure` when the name is taken or the context was started. What is wrong with gateway or table is told at start.
    fn save_to_hbase(&self, output: HBaseOutput) -> Result<OutputId>;
}

impl SaveToHBase for DStream<Mutation> {
    fn save_to_hbase(&self, output: HBaseOutput) -> Result<OutputId> {
        let name = output.table().to_owned();
        self.output(&name, output)
    }
}
