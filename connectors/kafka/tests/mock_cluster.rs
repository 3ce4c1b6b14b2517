//! Driver and worker against librdkafka's own cluster in this process: no server needed.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::{Duration, Instant};
use support::{Job, Kept, PATIENCE, Writer, earliest, numbers, positions, read, source, stream, try_read};
use tidegate_core::{ErrorKind, PartitionId, Progress, Source, SourceRange};
use tidegate_kafka::{ConsumerStrategy, TopicPartition};

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock(topic: &str, partitions: i32) -> (Mock, String) {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic(topic, partitions, 1).unwrap();
    let bootstrap = mock.bootstrap_servers();
    (mock, bootstrap)
}

#[test]
fn a_reader_hands_on_just_the_planned_ranges() {
    let (_mock, at) = mock("lines", 2);
    Writer::open(&at).write("lines", 0, numbers(0..100));
    Writer::open(&at).write("lines", 1, numbers(100..150));
    let source = source(earliest(&at, "lines", &[]));
    let mut reader = source.reader(&stream(), 0, 1).unwrap();
    let first =
        read(reader.as_mut(), &[SourceRange::new("lines-0", 0, 30), SourceRange::new("lines-1", 0, 0)]);
    assert_eq!(first.texts(), numbers(0..30));
    let second =
        read(reader.as_mut(), &[SourceRange::new("lines-0", 30, 100), SourceRange::new("lines-1", 0, 50)]);
    assert_eq!(second.offsets(0), (30..100).collect::<Vec<_>>());
    assert_eq!(second.texts(), numbers(30..150));
    assert!(
        second
            .records
            .iter()
            .zip(&second.partitions)
            .all(|(it, id)| *id == PartitionId(it.partition() as u32))
    );
    let again =
        read(reader.as_mut(), &[SourceRange::new("lines-0", 10, 20), SourceRange::new("lines-1", 50, 50)]);
    assert_eq!(again.texts(), numbers(10..20), "a range that begins elsewhere is fetched anew");
}

#[test]
fn what_was_fetched_ahead_is_kept_from_batch_to_batch() {
    let (mock, at) = mock("lines", 1);
    Writer::open(&at).write("lines", 0, numbers(0..100));
    let source = source(earliest(&at, "lines", &[]));
    let mut reader = source.reader(&stream(), 0, 1).unwrap();
    assert_eq!(read(reader.as_mut(), &[SourceRange::new("lines-0", 0, 10)]).texts(), numbers(0..10));
    // All came with one fetch. From here on nothing can be fetched.
    mock.broker_down(1).unwrap();
    assert_eq!(read(reader.as_mut(), &[SourceRange::new("lines-0", 10, 100)]).texts(), numbers(10..100));
}

/// After it has reported the end of a partition, librdkafka's own position is one too far.
#[test]
fn the_first_record_after_the_end_was_reported_is_handed_on() {
    let (_mock, at) = mock("lines", 1);
    let writer = Writer::open(&at);
    writer.write("lines", 0, numbers(0..10));
    let source = source(earliest(&at, "lines", &[]));
    let mut reader = source.reader(&stream(), 0, 1).unwrap();
    read(reader.as_mut(), &[SourceRange::new("lines-0", 0, 10)]);
    for next in 10..13 {
        let mut kept = Kept::default();
        reader
            .start(&[(PartitionId(0), SourceRange::new("lines-0", next.into(), u64::from(next) + 1))])
            .unwrap();
        // Each of these waits a little for a record; the end of the partition is reported meanwhile.
        for _ in 0..100 {
            assert_eq!(reader.read(1000, &mut kept).unwrap(), Progress::Waiting);
        }
        writer.write("lines", 0, numbers(next..next + 1));
        while reader.read(1000, &mut kept).unwrap() != Progress::Done {}
        assert_eq!(kept.texts(), numbers(next..next + 1));
    }
}

#[test]
fn records_outlive_their_reader_on_another_thread() {
    let (_mock, at) = mock("lines", 1);
    Writer::open(&at).write("lines", 0, numbers(0..10));
    let kept = {
        let source = source(earliest(&at, "lines", &[]));
        let mut reader = source.reader(&stream(), 0, 1).unwrap();
        read(reader.as_mut(), &[SourceRange::new("lines-0", 0, 10)]).records
    };
    let texts = std::thread::spawn(move || {
        let copy = kept[3].clone();
        let same = copy == kept[3];
        drop(kept);
        (same, copy.text().unwrap().to_owned(), copy.topic().to_owned(), copy.offset())
    });
    assert_eq!(texts.join().unwrap(), (true, "line 00003".to_owned(), "lines".to_owned(), 3));
}

#[test]
fn times_are_told_once_a_run_of_equal_ones() {
    let (_mock, at) = mock("lines", 1);
    let writer = Writer::open(&at);
    for (n, time_ms) in [1000, 1000, 1000, 2000, 2000, 1000].into_iter().enumerate() {
        writer.send("lines", 0, &n.to_string(), Some(time_ms));
    }
    writer.write("lines", 0, ["last"]);
    for (measure, times) in [(true, vec![1000, 2000, 1000]), (false, vec![])] {
        let source = source(earliest(&at, "lines", &[]).measure_ages(measure));
        let mut reader = source.reader(&stream(), 0, 1).unwrap();
        let mut told = read(reader.as_mut(), &[SourceRange::new("lines-0", 0, 6)]).made_at;
        // A read says the time of its first record in any case; how records fall into reads is chance.
        told.dedup();
        assert_eq!(told, times);
    }
}

#[test]
fn batches_follow_each_other_and_a_new_job_goes_on() {
    let (_mock, at) = mock("lines", 3);
    let writer = Writer::open(&at);
    for partition in 0..3 {
        writer.write("lines", partition, numbers(0..10));
    }
    let mut job = Job::start(earliest(&at, "lines", &[]), None).unwrap();
    assert_eq!(job.batches_until(30).unwrap().records.len(), 30);
    writer.write("lines", 1, numbers(10..15));
    assert_eq!(job.batches_until(5).unwrap().texts(), numbers(10..15));
    let last = job.last.clone().unwrap();
    assert_eq!(
        last.ranges.iter().map(|it| it.partition.as_str()).collect::<Vec<_>>(),
        ["lines-0", "lines-1", "lines-2"]
    );
    drop(job);
    writer.write("lines", 2, numbers(10..12));
    let mut job = Job::start(earliest(&at, "lines", &[]), Some(&last)).unwrap();
    assert_eq!(job.batches_until(2).unwrap().texts(), numbers(10..12));
}

#[test]
fn a_job_begins_where_its_settings_say() {
    let (_mock, at) = mock("lines", 1);
    let writer = Writer::open(&at);
    writer.write("lines", 0, numbers(0..20));
    let begin = |strategy: ConsumerStrategy| {
        Job::start(strategy, None).map(|mut it| positions(&it.planner.plan(Duration::MAX).unwrap()))
    };
    let latest = || ConsumerStrategy::subscribe(["lines"], [("bootstrap.servers", at.as_str())]);
    assert_eq!(begin(latest()).unwrap(), [SourceRange::new("lines-0", 20, 20)]);
    let lines = TopicPartition::new("lines", 0);
    let from = |offset| latest().from_offsets([(lines.clone(), offset)]);
    assert_eq!(begin(from(7)).unwrap(), [SourceRange::new("lines-0", 7, 20)]);
    let error = begin(from(21)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(
        error.to_string().contains("lines-0: from_offsets names offset 21, but the log holds 0 to 20"),
        "{error}"
    );
}

#[test]
fn the_rate_limits_the_first_batch_too_and_planning_changes_nothing() {
    let (_mock, at) = mock("lines", 1);
    Writer::open(&at).write("lines", 0, numbers(0..100));
    let mut job = Job::start(earliest(&at, "lines", &[]).max_rate_per_partition(30), None).unwrap();
    let half = Duration::from_millis(500);
    assert_eq!(positions(&job.planner.plan(half).unwrap()), [SourceRange::new("lines-0", 0, 15)]);
    assert_eq!(positions(&job.planner.plan(half).unwrap()), [SourceRange::new("lines-0", 0, 15)]);
    let sizes: Vec<_> = (0..4).map(|_| job.batch().unwrap().records.len()).collect();
    assert_eq!(sizes, [30, 30, 30, 10]);
}

#[test]
fn back_pressure_is_obeyed_from_the_next_plan_on_and_shared_out_by_lag() {
    let (_mock, at) = mock("lines", 3);
    let writer = Writer::open(&at);
    for (partition, records) in [(0, 300), (1, 100), (2, 0)] {
        writer.write("lines", partition, numbers(0..records));
    }
    let mut job = Job::start(earliest(&at, "lines", &[]).max_rate_per_partition(200), None).unwrap();
    let mut sizes = |rate| {
        job.planner.limit_rate(rate);
        job.planner
            .plan(Duration::from_millis(500))
            .unwrap()
            .ranges
            .iter()
            .map(SourceRange::len)
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(80.0), [30, 10, 0]);
    assert_eq!(sizes(0.0), [1, 1, 0], "a partition with records always goes on");
    assert_eq!(sizes(600.0), [100, 75, 0], "never above the partition's own limit");
    job.planner.limit_rate(40.0);
    let kept = job.batch().unwrap();
    assert_eq!((kept.offsets(0).len(), kept.offsets(1).len()), (30, 10));
}

#[test]
fn a_new_topic_of_the_pattern_is_read_from_its_beginning() {
    let (mock, at) = mock("lines-a", 1);
    let writer = Writer::open(&at);
    let strategy = ConsumerStrategy::subscribe_pattern("lines-.*", [("bootstrap.servers", at.as_str())])
        .partition_discovery(Duration::from_millis(20));
    let mut job = Job::start(strategy, None).unwrap();
    mock.create_topic("lines-0", 1, 1).unwrap();
    mock.create_topic("other", 1, 1).unwrap();
    writer.write("other", 0, ["no"]);
    writer.write("lines-0", 0, ["yes"]);
    assert_eq!(job.batches_until(1).unwrap().texts(), ["yes"]);
    let places: Vec<_> = job.last.unwrap().ranges.into_iter().map(|it| it.partition).collect();
    assert_eq!(places, ["lines-a-0", "lines-0-0"], "what was known before keeps its place");
}

#[test]
fn fixed_partitions_are_read_and_no_other() {
    let (_mock, at) = mock("lines", 3);
    let strategy =
        ConsumerStrategy::assign([TopicPartition::new("lines", 2)], [("bootstrap.servers", at.as_str())]);
    let mut job = Job::start(strategy, None).unwrap();
    assert_eq!(positions(&job.planner.plan(Duration::MAX).unwrap()), [SourceRange::new("lines-2", 0, 0)]);
    let missing =
        ConsumerStrategy::assign([TopicPartition::new("lines", 3)], [("bootstrap.servers", at.as_str())]);
    let error = Job::start(missing, None).err().unwrap().to_string();
    assert!(error.contains("partition lines-3 does not exist"), "{error}");
}

#[test]
fn offsets_are_committed_after_the_batch() {
    let (_mock, at) = mock("lines", 1);
    Writer::open(&at).write("lines", 0, numbers(0..10));
    let mut job = Job::start(earliest(&at, "lines", &[("group.id", "g")]), None).unwrap();
    job.batches_until(10).unwrap();
    Writer::open(&at).write("lines", 0, numbers(10..15));
    job.batches_until(5).unwrap();
    let started = Instant::now();
    job.planner.close();
    assert!(started.elapsed() < Duration::from_millis(1900), "the last commit was answered, not given up");
    assert_eq!(committed(&at, "g"), Offset::Offset(15));

    let mut job =
        Job::start(earliest(&at, "lines", &[("group.id", "h")]).commit_offsets(false), None).unwrap();
    job.source.commit_async(&[tidegate_kafka::OffsetRange::new("lines", 0, 0, 4)]);
    job.batches_until(10).unwrap();
    job.planner.close();
    assert_eq!(committed(&at, "h"), Offset::Offset(4), "only what was asked for");
}

fn committed(at: &str, group: &str) -> Offset {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", at).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition("lines", 0);
    let told = client.committed_offsets(list, PATIENCE).unwrap();
    told.find_partition("lines", 0).unwrap().offset()
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let (mock, at) = mock("lines", 1);
    let writer = Writer::open(&at);
    writer.write("lines", 0, numbers(0..10));
    let source = source(earliest(&at, "lines", &[]));
    let mut reader = source.reader(&stream(), 0, 1).unwrap();
    read(reader.as_mut(), &[SourceRange::new("lines-0", 0, 10)]);
    mock.broker_down(1).unwrap();
    reader.start(&[(PartitionId(0), SourceRange::new("lines-0", 10, 20))]).unwrap();
    let mut kept = Kept::default();
    for _ in 0..200 {
        assert_eq!(reader.read(100, &mut kept).unwrap(), Progress::Waiting);
    }
    mock.broker_up(1).unwrap();
    writer.write("lines", 0, numbers(10..20));
    let started = Instant::now();
    while reader.read(100, &mut kept).unwrap() != Progress::Done {
        assert!(started.elapsed() < PATIENCE);
    }
    assert_eq!(kept.texts(), numbers(10..20));
}

/// A batch that is planned must be read as planned by a reader that has nothing fetched ahead, as after a crash.
#[test]
fn a_broker_that_is_bounced_between_plan_and_read_gives_what_was_planned() {
    let (mock, at) = mock("lines", 1);
    let writer = Writer::open(&at);
    writer.write("lines", 0, numbers(0..10));
    let mut job = Job::start(earliest(&at, "lines", &[]), None).unwrap();
    let plan = job.planner.plan(Duration::from_secs(1)).unwrap();
    assert_eq!(positions(&plan), [SourceRange::new("lines-0", 0, 10)]);
    job.planner.planned(&plan);
    mock.broker_down(1).unwrap();
    job.reader.start(&[(PartitionId(0), plan.ranges[0].clone())]).unwrap();
    let mut kept = Kept::default();
    for _ in 0..20 {
        assert_eq!(job.reader.read(100, &mut kept).unwrap(), Progress::Waiting);
    }
    mock.broker_up(1).unwrap();
    writer.write("lines", 0, numbers(10..15));
    let started = Instant::now();
    while job.reader.read(100, &mut kept).unwrap() != Progress::Done {
        assert!(started.elapsed() < PATIENCE);
    }
    assert_eq!(kept.texts(), numbers(0..10), "what came meanwhile belongs to the next batch");
    assert_eq!(job.batches_until(5).unwrap().texts(), numbers(10..15));
}

/// The servers of the tests are single brokers, so the mock cluster has to do.
#[test]
fn a_leader_that_moves_is_followed() {
    let mock = MockCluster::new(3).unwrap();
    mock.create_topic("lines", 1, 3).unwrap();
    mock.partition_leader("lines", 0, Some(1)).unwrap();
    let at = mock.bootstrap_servers();
    let writer = Writer::with(&at, &[("topic.metadata.refresh.interval.ms", "100")]);
    writer.write("lines", 0, numbers(0..20));
    let mut job = Job::start(earliest(&at, "lines", &[]).max_rate_per_partition(10), None).unwrap();
    assert_eq!(job.batch().unwrap().texts(), numbers(0..10));
    let plan = job.planner.plan(Duration::from_secs(1)).unwrap();
    job.planner.planned(&plan);
    mock.partition_leader("lines", 0, Some(2)).unwrap();
    mock.broker_down(1).unwrap();
    assert_eq!(
        read(job.reader.as_mut(), &plan.ranges).texts(),
        numbers(10..20),
        "planned before, read after"
    );
    writer.write("lines", 0, numbers(20..30));
    assert_eq!(job.batches_until(10).unwrap().texts(), numbers(20..30));
    // For a moment there is none at all, then the third one.
    mock.partition_leader("lines", 0, None).unwrap();
    mock.broker_up(1).unwrap();
    assert_eq!(job.batch().unwrap().records.len(), 0);
    mock.partition_leader("lines", 0, Some(3)).unwrap();
    writer.write("lines", 0, numbers(30..40));
    assert_eq!(job.batches_until(10).unwrap().texts(), numbers(30..40));
}

#[test]
fn a_job_that_can_not_start_says_what_to_do() {
    let (_mock, at) = mock("lines", 1);
    let error = Job::start(earliest(&at, "lnies", &[]), None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains(&format!("topic lnies does not exist at {at}; create it")), "{error}");

    let nowhere = earliest("127.0.0.1:1", "lines", &[]).start_timeout(Duration::from_millis(700));
    let error = Job::start(nowhere, None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    let text = error.to_string();
    assert!(text.contains("Kafka at 127.0.0.1:1 did not answer within 0.7 s"), "{text}");
}

#[test]
fn a_position_beyond_the_log_is_data_lost() {
    let (_mock, at) = mock("lines", 1);
    Writer::open(&at).write("lines", 0, numbers(0..10));
    let last = |until| tidegate_core::SourcePlan {
        stream: stream(),
        ranges: vec![SourceRange::new("lines-0", 0, until)],
    };
    let error = Job::start(earliest(&at, "lines", &[]), Some(&last(50))).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DataLost);
    assert!(error.to_string().contains("has read up to offset 50, but the log ends at 10"), "{error}");
    let mut job = Job::start(earliest(&at, "lines", &[]).fail_on_data_loss(false), Some(&last(50))).unwrap();
    assert_eq!(job.batches_until(10).unwrap().texts(), numbers(0..10));
}

#[test]
fn a_reader_that_is_sent_beyond_the_log_says_so() {
    let (_mock, at) = mock("lines", 1);
    Writer::open(&at).write("lines", 0, numbers(0..10));
    for (fail, outcome) in [(true, None), (false, Some(0))] {
        let source = source(earliest(&at, "lines", &[]).fail_on_data_loss(fail));
        let mut reader = source.reader(&stream(), 0, 1).unwrap();
        let read = try_read(reader.as_mut(), &[SourceRange::new("lines-0", 50, 60)]);
        assert_eq!(read.as_ref().ok().map(|it| it.records.len()), outcome);
        if let Err(error) = read {
            assert_eq!(error.kind(), ErrorKind::DataLost);
        }
    }
}

#[test]
fn a_job_ends_soon_though_the_broker_is_away() {
    let (mock, at) = mock("lines", 1);
    Writer::open(&at).write("lines", 0, numbers(0..10));
    let mut job = Job::start(earliest(&at, "lines", &[("group.id", "g")]), None).unwrap();
    mock.broker_down(1).unwrap();
    job.source.commit_async(&[tidegate_kafka::OffsetRange::new("lines", 0, 0, 4)]);
    let plan = job.planner.plan(Duration::from_secs(1)).unwrap();
    let batch = tidegate_core::BatchPlan {
        id: tidegate_core::BatchId::FIRST,
        time: tidegate_core::BatchTime(0),
        zero: tidegate_core::BatchTime(0),
        sources: vec![plan.clone()],
    };
    job.planner.committed(&batch, &plan);
    let started = Instant::now();
    drop(job);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}
