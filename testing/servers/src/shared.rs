//! The servers that `cargo xtask test` starts once and hands to every test by environment.

use crate::ServerError;
use std::env;

/// Names the shared broker's address for everybody.
pub const KAFKA_ENV: &str = "TIDEGATE_TEST_KAFKA";
/// Names the shared broker's address that asks for [`SASL_USER`] and [`SASL_PASSWORD`].
pub const KAFKA_SASL_ENV: &str = "TIDEGATE_TEST_KAFKA_SASL";
/// Names the shared PostgreSQL's URL.
pub const POSTGRES_ENV: &str = "TIDEGATE_TEST_POSTGRES";
/// Names the shared HDFS: `hdfs://127.0.0.1:PORT`.
pub const HDFS_ENV: &str = "TIDEGATE_TEST_HDFS";
/// Names the endpoint of the shared S3 server, which has the bucket and the key of [`S3`](crate::S3).
pub const S3_ENV: &str = "TIDEGATE_TEST_S3";
/// Names the address of the shared Alluxio's proxy: `127.0.0.1:PORT`.
pub const ALLUXIO_ENV: &str = "TIDEGATE_TEST_ALLUXIO";
/// Names the shared Elasticsearch: `http://127.0.0.1:PORT`.
pub const ELASTICSEARCH_ENV: &str = "TIDEGATE_TEST_ELASTICSEARCH";
/// Names the address of the shared HBase's Thrift gateway: `127.0.0.1:PORT`.
pub const HBASE_ENV: &str = "TIDEGATE_TEST_HBASE";
/// The one user that the shared broker's SASL port lets in.
pub const SASL_USER: &str = "tester";
/// That user's password.
pub const SASL_PASSWORD: &str = "tester-password";

/// The addresses of the shared servers. Tests run at the same time, so each uses topics, groups and tables of its own, and
/// none stops these servers; a test that has to starts its own.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Kafka, for everybody.
    pub kafka: String,
    /// The same Kafka, for [`SASL_USER`] only.
    pub kafka_sasl: String,
    /// PostgreSQL.
    pub postgres: String,
}

impl Shared {
    /// Reads the environment. An error, not a skipped test, when the servers are not there.
    pub fn from_env() -> Result<Self, ServerError> {
        let get = |variable| env::var(variable).map_err(|_| ServerError::NotShared { variable });
        Ok(Self { kafka: get(KAFKA_ENV)?, kafka_sasl: get(KAFKA_SASL_ENV)?, postgres: get(POSTGRES_ENV)? })
    }
}
