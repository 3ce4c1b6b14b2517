//! A job that receives a topic as a member of a group and tells each record that is in a batch.

use crate::support::PATIENCE;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tidegate::{Conf, Stop, StreamingContext};
use tidegate_kafka::{Params, create_streams};

/// A group's job, in any number of runs.
#[derive(Clone)]
pub(crate) struct Group<'a> {
    pub(crate) at: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) name: &'a str,
    /// The checkpoint, with a write-ahead log in it.
    pub(crate) log: Option<&'a Path>,
    pub(crate) receivers: usize,
    pub(crate) settings: Vec<(&'a str, &'a str)>,
    /// Settings of the job.
    pub(crate) conf: Vec<(&'a str, &'a str)>,
}

/// One run.
pub(crate) struct Run {
    pub(crate) ssc: StreamingContext,
    told: Receiver<String>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(at: &'a str, topic: &'a str, log: Option<&'a Path>) -> Self {
        let settings = vec![("auto.offset.reset", "earliest")];
        Group { at, topic, name: topic, log, receivers: 1, settings, conf: Vec::new() }
    }

    pub(crate) fn start(&self) -> Run {
        self.start_with(|_| {})
    }

    /// `each` sees each record within the output operation.
    pub(crate) fn start_with(&self, each: impl Fn(&str) + Send + Sync + 'static) -> Run {
        let conf = Conf::new()
            .set_master("local[2]")
            .set("tidegate.signals", "false")
            .set("tidegate.receiver.restart_delay_ms", "50")
            .set(
                "tidegate.receiver.write_ahead_log.enable",
                if self.log.is_some() { "true" } else { "false" },
            );
        let conf = self.conf.iter().fold(conf, |conf, (key, value)| conf.set(key, value));
        let ssc = StreamingContext::new(conf, Duration::from_millis(20)).unwrap();
        if let Some(log) = self.log {
            ssc.checkpoint(log).unwrap();
        }
        let fixed = [
            ("bootstrap.servers", self.at),
            ("group.id", self.name),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "200"),
        ];
        let params: Params = fixed.into_iter().chain(self.settings.iter().copied()).collect();
        let lines = create_streams(&ssc, params, [self.topic], self.receivers).unwrap();
        let (tell, told) = channel();
        let texts = lines.map(|line| line.text().unwrap().to_owned());
        texts
            .foreach_rdd(move |rdd| {
                rdd.collect(move |_, rows| {
                    rows.into_iter().for_each(|row| {
                        each(&row);
                        tell.send(row).unwrap_or(());
                    });
                })
            })
            .unwrap();
        ssc.start().unwrap();
        Run { ssc, told }
    }

    fn client(&self) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.at)
            .set("group.id", self.name)
            .set("enable.auto.commit", "false");
        config
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "200")
            .create()
            .unwrap()
    }

    /// What the group has committed of partitions 0 to `partitions`; 0 where there is nothing.
    pub(crate) fn committed(&self, partitions: i32) -> Vec<u64> {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(self.topic, 0, partitions - 1);
        let started = Instant::now();
        let client = self.client();
        let told = loop {
            match client.committed_offsets(list.clone(), PATIENCE) {
                Ok(told) => break told,
                // The coordinator is still being chosen.
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
            }
        };
        let offset = |it: Offset| if let Offset::Offset(offset) = it { offset.unsigned_abs() } else { 0 };
        told.elements().iter().map(|it| offset(it.offset())).collect()
    }

    /// Sets the group's offset of partition 0 while nobody is in the group.
    pub(crate) fn set_committed(&self, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.topic, 0, Offset::Offset(offset)).unwrap();
        let (client, started) = (self.client(), Instant::now());
        while let Err(error) = client.commit(&list, CommitMode::Sync) {
            assert!(started.elapsed() < PATIENCE, "{error}");
        }
        assert_eq!(self.committed(1), [offset.unsigned_abs()]);
    }

    /// Another member, of no job: joins until it is given partitions, then leaves. It commits nothing.
    pub(crate) fn disturb(&self, while_joined: impl FnOnce()) {
        let (client, started) = (self.client(), Instant::now());
        client.subscribe(&[self.topic]).unwrap();
        while client.assignment().unwrap().count() == 0 {
            let _ = client.poll(Duration::from_millis(100));
            assert!(started.elapsed() < PATIENCE, "the member is given nothing");
        }
        while_joined();
    }
}

impl Run {
    /// The next `count` records, sorted.
    pub(crate) fn next(&self, count: usize) -> Vec<String> {
        let mut texts: Vec<_> = (0..count)
            .map(|n| {
                self.told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{n} of {count} records came"))
            })
            .collect();
        texts.sort();
        texts
    }

    /// Stops, and gives what came beyond all that was asked for.
    pub(crate) fn stop(self, stop: Stop) -> Vec<String> {
        self.ssc.stop(stop).unwrap();
        self.told.try_iter().collect()
    }
}
