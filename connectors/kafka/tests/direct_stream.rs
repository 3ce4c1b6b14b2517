//! A whole job: topic in, direct stream, offsets of each batch out.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use rdkafka::mocking::MockCluster;
use std::sync::mpsc::channel;
use std::time::Duration;
use support::{PATIENCE, Writer, earliest, numbers};
use tidegate::{Conf, ErrorKind, Stop, StreamingContext};
use tidegate_kafka::{LocationStrategy, create_direct_stream};

fn context() -> StreamingContext {
    let conf = Conf::new().set_master("local[2]").set("tidegate.signals", "false");
    StreamingContext::new(conf, Duration::from_millis(20)).unwrap()
}

#[test]
fn each_partition_of_a_batch_is_the_range_of_its_place() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("lines", 2, 1).unwrap();
    let at = mock.bootstrap_servers();
    let writer = Writer::open(&at);
    writer.write("lines", 0, numbers(0..50));
    writer.write("lines", 1, numbers(50..70));

    let ssc = context();
    let strategy = earliest(&at, "lines", &[]).max_rate_per_partition(500);
    let lines = create_direct_stream(&ssc, LocationStrategy::PreferConsistent, strategy).unwrap();
    assert_eq!(lines.end_offsets().unwrap().iter().map(|it| it.1).collect::<Vec<_>>(), [50, 20]);
    let (tell, told) = channel();
    let offsets = lines.offsets();
    lines
        .foreach_rdd(|rdd| {
            rdd.foreach_partition(move |batch, partition, records| {
                let range = offsets.of(batch)[partition.0 as usize].clone();
                let seen: Vec<_> = records.map(|it| (it.partition(), it.offset())).collect();
                let planned: Vec<_> =
                    (range.from_offset..range.until_offset).map(|offset| (range.partition, offset)).collect();
                tell.send((seen == planned, seen.len())).ok();
            })
        })
        .unwrap();
    ssc.start().unwrap();
    let mut records = 0;
    while records < 70 {
        let (as_planned, count) = told.recv_timeout(PATIENCE).unwrap();
        assert!(as_planned);
        assert!(count <= 10, "500 a second are 10 a batch of 20 ms");
        records += count;
    }
    ssc.stop(Stop::Gracefully).unwrap();
}

#[test]
fn a_second_stream_is_asked_for_a_name() {
    let ssc = context();
    let stream = |strategy| create_direct_stream(&ssc, LocationStrategy::PreferConsistent, strategy);
    let lines = stream(earliest("127.0.0.1:1", "lines", &[])).unwrap();
    assert_eq!(lines.stream_id().0, "kafka");
    let error = stream(earliest("127.0.0.1:1", "words", &[])).err().unwrap().to_string();
    assert!(error.contains("ConsumerStrategy::named"), "{error}");
    stream(earliest("127.0.0.1:1", "words", &[]).named("words")).unwrap();
}

#[test]
fn a_job_that_may_lose_data_goes_on_in_a_topic_that_was_made_again() {
    let checkpoint = tempfile::tempdir().unwrap();
    for (lines, fails) in [(0..10, false), (0..3, true), (0..3, false)] {
        // Another cluster with a topic of the same name: for the job it is the topic made again.
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("lines", 1, 1).unwrap();
        let at = mock.bootstrap_servers();
        let wanted = numbers(lines);
        Writer::open(&at).write("lines", 0, &wanted);
        let ssc = context();
        ssc.checkpoint(checkpoint.path()).unwrap();
        let strategy = earliest(&at, "lines", &[]).fail_on_data_loss(fails);
        let stream = create_direct_stream(&ssc, LocationStrategy::PreferConsistent, strategy).unwrap();
        let (tell, told) = channel();
        let texts = stream.map(|line| line.text().unwrap().to_owned());
        texts
            .foreach_rdd(|rdd| {
                rdd.collect(move |_, rows| rows.into_iter().for_each(|row| tell.send(row).unwrap_or(())))
            })
            .unwrap();
        if fails {
            let error = ssc.start().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DataLost, "{error}");
            continue;
        }
        ssc.start().unwrap();
        let read: Vec<_> = wanted.iter().map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(read, wanted);
        ssc.stop(Stop::Gracefully).unwrap();
    }
}

/// The hashes of SCRAM are OpenSSL's, whether the connection is encrypted or not.
#[cfg(not(feature = "tls-system"))]
#[test]
fn tls_and_scram_name_the_feature_that_a_build_lacks() {
    use tidegate_kafka::{KafkaOutput, Params, create_stream};
    let login = [("sasl.username", "ann"), ("sasl.password", "open sesame")];
    let scram = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "SCRAM-SHA-256")];
    for (settings, named) in [
        (&[("security.protocol", "SSL")][..], "security.protocol=ssl"),
        (&[&scram[..], &login[..]].concat(), "SCRAM-SHA-256"),
    ] {
        let strategy = earliest("127.0.0.1:1", "lines", settings);
        let params =
            || settings.iter().copied().chain([("bootstrap.servers", "127.0.0.1:1"), ("group.id", "g")]);
        let errors = [
            create_direct_stream(&context(), LocationStrategy::PreferConsistent, strategy).err().unwrap(),
            create_stream(&context(), params().collect::<Params>(), ["lines"]).err().unwrap(),
            KafkaOutput::new(params().collect::<Params>(), "lines").unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
            let text = error.to_string();
            assert!(
                text.contains(named) && text.contains("cargo feature \"tls\" of tidegate-kafka"),
                "{text}"
            );
            assert!(!text.contains("open sesame"), "{text}");
        }
    }
}
