//! Starts each server for real, uses it, and takes it down in every way that tests of Tidegate rely on.

use postgres::{Client, NoTls};
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::Duration;
use tidegate_servers::{Alluxio, Elasticsearch, Hbase, Hdfs, Kafka, Postgres, S3, load};

#[test]
fn kafka_keeps_its_address_and_its_records_over_stop_and_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::start(dir.path()).unwrap();
    let bootstrap = kafka.bootstrap();
    load::create_topic(&bootstrap, "lines", 4, &[("compression.type", "producer")]).unwrap();
    load::produce_lines(&bootstrap, "lines", 0..1_000).unwrap();
    assert_eq!(load::end_offsets(&bootstrap, "lines").unwrap(), [250; 4]);

    kafka.restart().unwrap();
    assert_eq!(kafka.bootstrap(), bootstrap);
    load::produce_lines(&bootstrap, "lines", 1_000..1_400).unwrap();
    assert_eq!(load::end_offsets(&bootstrap, "lines").unwrap(), [350; 4]);

    kafka.kill();
    assert!(!kafka.is_running());
    kafka.start_again().unwrap();
    assert_eq!(load::end_offsets(&bootstrap, "lines").unwrap(), [350; 4]);

    assert!(load::end_offsets(&bootstrap, "unknown").is_err(), "asking for a topic must not create it");
    assert!(load::create_topic(&bootstrap, "lines", 1, &[]).is_err());
    load::delete_topic(&bootstrap, "lines").unwrap();
    assert!(load::end_offsets(&bootstrap, "lines").is_err());
    kafka.stop().unwrap();
    assert!(!kafka.is_running());
}

#[test]
fn kafka_lets_only_the_right_password_in_at_its_sasl_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::options().sasl("gate", "let me \\ in").heap_mib(256).start(dir.path()).unwrap();
    let sasl_bootstrap = kafka.sasl_bootstrap().unwrap();
    let metadata = |password: &str| {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &sasl_bootstrap).set("security.protocol", "SASL_PLAINTEXT");
        config.set("sasl.mechanism", "PLAIN").set("sasl.username", "gate").set("sasl.password", password);
        BaseConsumer::from_config(&config).unwrap().fetch_metadata(None, Duration::from_secs(5))
    };
    assert!(metadata("let me \\ in").is_ok());
    assert!(metadata("let me in").is_err());
    kafka.stop().unwrap();
}

#[test]
fn kafka_start_that_fails_shows_why() {
    let dir = tempfile::tempdir().unwrap();
    let error =
        Kafka::options().property("num.io.threads", "none").start(dir.path()).unwrap_err().to_string();
    assert!(error.contains("num.io.threads"), "{error}");
    assert!(error.contains("kafka.log"), "{error}");
}

#[test]
fn paced_records_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = Kafka::start(dir.path()).unwrap();
    load::create_topic(&kafka.bootstrap(), "paced", 2, &[]).unwrap();
    let written =
        load::produce_paced(&kafka.bootstrap(), "paced", 1_000, Duration::from_millis(500)).unwrap();
    assert_eq!(written, 500);
    assert_eq!(load::end_offsets(&kafka.bootstrap(), "paced").unwrap(), [250; 2]);
}

#[test]
fn postgres_keeps_its_address_and_its_rows_over_stop_and_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut postgres = Postgres::start(dir.path()).unwrap();
    let url = postgres.url();
    let rows = || Client::connect(&url, NoTls).unwrap().query_one("select count(*) from seen", &[]).unwrap();
    let mut client = Client::connect(&url, NoTls).unwrap();
    assert_eq!(client.query_one("select 1", &[]).unwrap().get::<_, i32>(0), 1);
    client.batch_execute("create table seen (n bigint); insert into seen values (1), (2)").unwrap();
    client.batch_execute("begin; insert into seen values (3); prepare transaction 'two-phase'").unwrap();
    client.batch_execute("commit prepared 'two-phase'").unwrap();

    postgres.restart().unwrap();
    assert!(client.is_closed() || client.query_one("select 1", &[]).is_err(), "a stop cuts open sessions");
    assert_eq!(postgres.url(), url);
    assert_eq!(rows().get::<_, i64>(0), 3);

    let _open_session = Client::connect(&url, NoTls).unwrap();
    postgres.kill();
    assert!(!postgres.is_running());
    postgres.start_again().unwrap();
    assert_eq!(rows().get::<_, i64>(0), 3);
    postgres.stop().unwrap();
    assert!(Client::connect(&url, NoTls).is_err());
}

#[test]
fn postgres_start_that_fails_shows_why() {
    let dir = tempfile::tempdir().unwrap();
    let error =
        Postgres::options().setting("max_connections", "none").start(dir.path()).unwrap_err().to_string();
    assert!(error.contains("max_connections"), "{error}");
    assert!(error.contains("postgres.log"), "{error}");
}

#[test]
fn hdfs_keeps_its_address_and_comes_back_after_stop_and_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut hdfs = Hdfs::start(dir.path()).unwrap();
    let url = hdfs.url();
    hdfs.stop().unwrap();
    assert!(!hdfs.is_running());
    hdfs.start_again().unwrap();
    hdfs.kill();
    hdfs.start_again().unwrap();
    assert!(hdfs.is_running());
    assert_eq!(hdfs.url(), url);
    // A second value finds the first one's files and does not format them.
    hdfs.stop().unwrap();
    Hdfs::start(dir.path()).unwrap().stop().unwrap();
}

#[test]
fn s3_keeps_its_address_and_comes_back_after_stop_and_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut s3 = S3::start(dir.path()).unwrap();
    let endpoint = s3.endpoint();
    s3.stop().unwrap();
    assert!(!s3.is_running());
    s3.start_again().unwrap();
    s3.kill();
    s3.start_again().unwrap();
    assert!(s3.is_running());
    assert_eq!(s3.endpoint(), endpoint);
}

#[test]
fn alluxio_keeps_its_address_and_comes_back_after_stop_and_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut alluxio = Alluxio::start(dir.path()).unwrap();
    let rest = alluxio.rest();
    alluxio.stop().unwrap();
    assert!(!alluxio.is_running());
    alluxio.start_again().unwrap();
    alluxio.kill();
    alluxio.start_again().unwrap();
    assert!(alluxio.is_running());
    assert_eq!(alluxio.rest(), rest);
}

#[test]
fn elasticsearch_keeps_its_address_and_comes_back_after_stop_and_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut elasticsearch = Elasticsearch::start(dir.path()).unwrap();
    let url = elasticsearch.url();
    elasticsearch.stop().unwrap();
    assert!(!elasticsearch.is_running());
    elasticsearch.start_again().unwrap();
    elasticsearch.kill();
    elasticsearch.start_again().unwrap();
    assert!(elasticsearch.is_running());
    assert_eq!(elasticsearch.url(), url);
}

#[test]
fn hbase_keeps_its_address_and_comes_back_after_stop_and_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut hbase = Hbase::start(dir.path()).unwrap();
    let thrift = hbase.thrift();
    hbase.stop().unwrap();
    assert!(!hbase.is_running());
    hbase.start_again().unwrap();
    hbase.kill();
    hbase.start_again().unwrap();
    assert!(hbase.is_running());
    assert_eq!(hbase.thrift(), thrift);
}
