//! Real servers for tests and benchmarks: Apache Kafka, PostgreSQL, HDFS, an S3-compatible server, Alluxio, Elasticsearch and
//! HBase, fetched from Maven Central and run on loopback.
//!
//! Nothing here needs root, a container or a package manager: only Java 17, Maven and the network at first use. What is
//! fetched lies in `target/servers` and is shared by every process. A server lives no longer than the value that started
//! it, nor than the process that holds that value, however that process ends (see `process`).
//!
//! What must not be here: anything of Tidegate itself. These are the peers it is tested against.

mod acls;
mod alluxio;
mod certificates;
mod daemons;
mod elasticsearch;
mod error;
mod fetch;
mod hbase;
mod hdfs;
mod http;
mod java;
mod kafka;
pub mod lines;
#[cfg(feature = "load")]
pub mod load;
pub mod needs;
mod nobody;
mod ports;
mod postgres;
mod process;
mod s3;
mod server;
mod shared;
pub mod wire;

pub use acls::Acl;
pub use alluxio::Alluxio;
pub use certificates::{Authority, Identity, PASSWORD as CERTIFICATE_PASSWORD};
pub use elasticsearch::Elasticsearch;
pub use error::ServerError;
pub use fetch::{cache_dir, fetch};
pub use hbase::Hbase;
pub use hdfs::Hdfs;
pub use java::{
    duckdb, hadoop_records, hadoop_sequence_files, hbase_rows, java_read_committed, make_hbase_table,
    set_hdfs_quota,
};
pub use kafka::{Kafka, KafkaOptions};
pub use postgres::{Postgres, PostgresOptions};
pub use s3::S3;
pub use server::Server;
pub use shared::{
    ALLUXIO_ENV, ELASTICSEARCH_ENV, HBASE_ENV, HDFS_ENV, KAFKA_ENV, KAFKA_SASL_ENV, POSTGRES_ENV, S3_ENV,
    SASL_PASSWORD, SASL_USER, Shared,
};
