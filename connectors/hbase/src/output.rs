//! The output and its settings.

use crate::gateway::{Address, Gateway};
use crate::mutation::Mutation;
use crate::writer::{MutationWriter, Target};
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{
    Delivery, Error, Held, Output, OutputContext, Placement, Result, Seat, StableHash, Writer, Writers,
};

const PORT: u16 = 9090;
/// Most partitions an output may have.
const PARTITIONS_MAX: u32 = 1024;
const MIB: usize = 1024 * 1024;

/// Mutations of rows into a table of HBase 2, each batch once: it may be written again, which changes nothing.
///
/// Each worker has a writer with a connection of its own, and rows are spread over the output's partitions by their keys, so that
/// those of one key are written by one writer in the order of the batches. A writer keeps its mutations of the batch until the commit,
/// 256 MiB at most unless set. A call has at most 1,000 rows and, if there is more than one, 2 MiB unless set, and is given up
/// after 30 s. What fails in a way that passes is tried anew for 10 s with pauses that grow, and then the batch is run again.
///
/// The gateway is Thrift 1, binary and not framed, as `hbase thrift start` has it; neither TLS nor Kerberos is spoken.
///
/// ```
/// use std::time::Duration;
/// use tidegate_hbase::HBaseOutput;
///
/// # fn main() -> tidegate::Result<()> {
/// let output = HBaseOutput::new("gateway.example:9090", "ns:words")?
///     .partitions(8)
///     .patience(Duration::from_secs(30));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct HBaseOutput {
    address: Address,
    target: Target,
    partitions: u32,
}

impl HBaseOutput {
    /// An output to `table`, `name` or `namespace:name`, through the Thrift gateway at `address`: `host:port`, with 9090 for a
    /// port that is not named.
    ///
    /// # Errors
    /// `Reconfigure` when the address can't be read, or the table's name can't be one.
    pub fn new(address: &str, table: &str) -> Result<Self> {
        let refuse = |text: String| Err(Error::reconfigure(text));
        if address.is_empty() || address.contains(['/', '@', ' ']) {
            return refuse(format!(
                "the address of HBase's Thrift gateway is host:port, and not {address:?}"
            ));
        }
        let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !port.ends_with(']') && port.parse::<u16>().is_ok()
        });
        let is_bare = !address.contains(':') || address.ends_with(']');
        let shown = match (has_port, is_bare) {
            (true, _) => address.to_owned(),
            (false, true) => format!("{address}:{PORT}"),
            (false, false) => {
                return refuse(format!(
                    "the address of HBase's Thrift gateway is host:port, and not {address:?}"
                ));
            }
        };
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c))
        };
        if table.split(':').count() > 2 || !table.split(':').all(is_part) {
            return refuse(format!("{table:?} can't be the name of a table of HBase"));
        }
        Ok(HBaseOutput {
            target: Target {
                table: table.into(),
                place: format!("HBase table {table} at {shown}"),
                call_rows: 1_000,
                call_bytes: 2 * MIB,
                batch_bytes: 256 * MIB,
                cell_bytes: 10 * MIB,
            },
            address: Address { shown, request: Duration::from_secs(30), patience: Duration::from_secs(10) },
            partitions: 4,
        })
    }

    /// How many rows a call has at most (1,000), and how many bytes if it has more than one (2 MiB).
    #[must_use]
    pub fn call_max(mut self, rows: usize, bytes: usize) -> Self {
        (self.target.call_rows, self.target.call_bytes) = (rows.max(1), bytes);
        self
    }

    /// How many bytes of a batch one worker may have, which are in memory until the commit: 256 MiB unless set. A larger batch
    /// stops the job.
    #[must_use]
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.target.batch_bytes = bytes;
        self
    }

    /// How many bytes a cell may have with its key: 10 MiB unless set, as `hbase.client.keyvalue.maxsize` and
    /// `hbase.server.keyvalue.maxsize` have it. Set what your HBase has, so that a larger cell is found before anything of its batch is
    /// seen.
    #[must_use]
    pub fn cell_bytes_max(mut self, bytes: usize) -> Self {
        self.target.cell_bytes = bytes;
        self
    }

    /// How long an answer may take: 30 s unless set.
    #[must_use]
    pub fn request_limit(mut self, limit: Duration) -> Self {
        self.address.request = limit.max(Duration::from_millis(1));
        self
    }

    /// How long what fails in a way that passes is tried anew before the batch is run again: 10 s unless set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.address.patience = patience;
        self
    }

    /// Over how many partitions rows are spread: 4 unless set, 1024 at most. As many workers write at the same time.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.target.table
    }
}

impl Output<Mutation> for HBaseOutput {
    fn describe(&self) -> String {
        self.target.place.clone()
    }

    fn delivery(&self) -> Delivery {
        Delivery::Idempotent
    }

    fn writers(&self) -> Writers {
        Writers::EachWorker
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        let place = format!("output {}, {}", context.output, self.target.place);
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Err(Error::reconfigure(format!(
                "{place}: {} partitions, needed are 1 to {PARTITIONS_MAX}",
                self.partitions
            )));
        }
        self.target.check(&mut Gateway::at(self.address.clone()), &place)?;
        Ok(Held::default())
    }

    fn placement(&self) -> Placement<Mutation> {
        let hash = Arc::new(|row: &Mutation| StableHash::of(row.key()));
        Placement::Hash { partitions: self.partitions.max(1), hash }
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<Mutation>>> {
        let gateway = Gateway::at(self.address.clone());
        Ok(Box::new(MutationWriter::new(self.target.clone(), gateway, seat.output.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let place = |address: &str| HBaseOutput::new(address, "t").map(|output| output.describe());
        for (address, expected) in [
            ("gateway.example", "HBase table t at gateway.example:9090"),
            ("127.0.0.1:19090", "HBase table t at 127.0.0.1:19090"),
            ("[::1]", "HBase table t at [::1]:9090"),
            ("[::1]:1", "HBase table t at [::1]:1"),
        ] {
            assert_eq!(place(address).unwrap(), expected);
        }
        for address in ["", "http://gateway", "gateway:", ":9090", "gateway:x"] {
            assert!(place(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_table_may_be_in_a_namespace() {
        let new = |table: &str| HBaseOutput::new("gateway", table);
        assert_eq!(new("ns:words").unwrap().table(), "ns:words");
        for table in ["", "a:b:c", "a b", ":a", "-a", "a/b"] {
            assert!(new(table).is_err(), "{table}");
        }
    }
}
