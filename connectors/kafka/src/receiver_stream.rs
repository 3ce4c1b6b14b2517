//! `KafkaUtils.createStream`: records of a consumer group, received and kept in blocks.

use crate::member::{Member, MemberOptions, TakeMax};
use crate::params::{Params, Settings};
use crate::record::KafkaRecord;
use rdkafka::ClientConfig;
use std::sync::Arc;
use tidegate::core::{Error, Guarantee, Result};
use tidegate::{DStream, InputGuarantee, Receiver, ReceiverHandle, StreamingContext};

/// A stream of what one member of a consumer group receives: Spark's `KafkaUtils.createStream`.
///
/// Kafka shares the partitions of `topics` out over the members of the group `group.id`, in this job and in others. A topic
/// that begins with `^` is a regular expression. Records are kept in blocks, and batches take blocks: a partition of a batch is
/// no partition of a topic, and there are no offset ranges. Where that is not wanted,
/// [`create_direct_stream`](crate::create_direct_stream) reads the same topics without blocks and without a log.
///
/// With a write-ahead log (`tidegate.receiver.write_ahead_log.enable` and a checkpoint directory) each record is in the stream
/// exactly once: a block is durable, with the offsets of its records, before these are committed to the group, and a partition is
/// read from where the log ends or the group is, whichever is further. Without a log it is there at most once: offsets are committed
/// before their records are in a batch, so what is in memory when the process ends is lost.
///
/// A partition that has no offset in the group is begun by `auto.offset.reset`: `earliest`, `latest` (the default) or `none` (an
/// error). `enable.auto.commit=true` leaves it to the client when it commits what is stored (`auto.commit.interval.ms`); without a
/// log it has no effect.
///
/// The write-ahead log goes by the name of the stream, which is `kafka-GROUP-1`.
///
/// ```no_run
/// use tidegate::{Conf, StreamingContext};
/// use tidegate_kafka::create_stream;
/// use std::time::Duration;
///
/// # fn main() -> tidegate::Result<()> {
/// let conf = Conf::new().set_app_name("words").set("tidegate.receiver.write_ahead_log.enable", "true");
/// let ssc = StreamingContext::new(conf, Duration::from_millis(100))?;
/// ssc.checkpoint("/var/lib/words")?;
/// let lines = create_stream(&ssc, [("bootstrap.servers", "127.0.0.1:9092"), ("group.id", "words")], ["lines"])?;
/// lines.map(|line| String::from_utf8_lossy(line.value().unwrap_or_default()).into_owned()).print()?;
/// ssc.start()?;
/// ssc.await_termination()
/// # }
/// ```
///
/// # Errors
/// `Reconfigure`: a setting is missing (`group.id` is needed), unknown or can't be used, or the context has a stream of this group
/// already. Whether Kafka is there is seen while the job runs: a receiver waits for it.
pub fn create_stream<T: Into<String>>(
    ssc: &StreamingContext,
    params: impl Into<Params>,
    topics: impl IntoIterator<Item = T>,
) -> Result<DStream<KafkaRecord>> {
    create_streams(ssc, params, topics, 1)
}

/// As [`create_stream`], with so many members of the group, each with a log of its own, joined by `union`: for more records than
/// one member can take.
///
/// Stop the job gracefully before it is started with fewer members: what is in the log of one that is left out is in no stream.
///
/// # Errors
/// As [`create_stream`], and when there is to be no receiver.
pub fn create_streams<T: Into<String>>(
    ssc: &StreamingContext,
    params: impl Into<Params>,
    topics: impl IntoIterator<Item = T>,
    receivers: usize,
) -> Result<DStream<KafkaRecord>> {
    let topics: Vec<String> = topics.into_iter().map(Into::into).collect();
    let template = KafkaReceiver::new(&params.into(), topics)?;
    let stream = |number: usize| -> Result<DStream<KafkaRecord>> {
        let name = format!("kafka-{}-{number}", template.group);
        let mut receiver = template.clone();
        if let Some(instance) = template.instance.as_ref().filter(|_| receivers > 1) {
            receiver.instance = Some(format!("{instance}-{number}"));
        }
        let stream = ssc.named_receiver_stream(&name, receiver).map_err(|error| {
            error.context(format!(
                "Kafka stream {name} (a group has one stream in a job; give another group.id, or more receivers)"
            ))
        })?;
        Ok((*stream).clone())
    };
    let streams: Vec<_> = (1..=receivers).map(stream).collect::<Result<_>>()?;
    match streams.as_slice() {
        [] => Err(Error::reconfigure("a Kafka stream of no receivers; give it at least one")),
        [one] => Ok(one.clone()),
        several => Ok(ssc.union(several)),
    }
}

/// One member of a group, as a receiver.
#[derive(Clone)]
struct KafkaReceiver {
    settings: Arc<Settings>,
    topics: Vec<String>,
    group: String,
    /// `group.instance.id`, which no two members may share.
    instance: Option<String>,
    auto_commit: bool,
}

impl KafkaReceiver {
    fn new(params: &Params, topics: Vec<String>) -> Result<Self> {
        const AUTO_COMMIT: &str = "enable.auto.commit";
        let auto_commit = match params.get(AUTO_COMMIT) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                return Err(Error::reconfigure(format!(
                    "Kafka setting {AUTO_COMMIT}={other} must be true or false"
                )));
            }
        };
        let settings = Settings::check(&params.without(AUTO_COMMIT).without("enable.partition.eof"))?;
        let Some(group) = settings.group.clone() else {
            return Err(Error::reconfigure(
                "Kafka: the setting group.id is missing; a receiver is a member of a consumer group",
            ));
        };
        if topics.is_empty() {
            return Err(Error::reconfigure("Kafka: a stream of no topics; name at least one"));
        }
        let instance = params.get("group.instance.id").map(str::to_owned);
        Ok(KafkaReceiver { settings: Arc::new(settings), topics, group, instance, auto_commit })
    }

    fn config(&self, logged: bool) -> ClientConfig {
        let mut config = self.settings.client();
        config.set("group.id", &self.group);
        config.set("enable.partition.eof", "false");
        // Only of what it is told is stored: enable.auto.offset.store is off.
        config.set("enable.auto.commit", if self.auto_commit && logged { "true" } else { "false" });
        if let Some(instance) = &self.instance {
            config.set("group.instance.id", instance);
        }
        config
    }
}

impl Receiver<KafkaRecord> for KafkaReceiver {
    fn describe(&self) -> String {
        format!(
            "Kafka topics {} at {} in group {}",
            self.topics.join(", "),
            self.settings.bootstrap,
            self.group
        )
    }

    fn promise(&self, logged: bool) -> InputGuarantee {
        if logged {
            let why =
                "a block is in the write-ahead log with its offsets before they are committed to the group";
            InputGuarantee::new(Guarantee::ExactlyOnce, why)
        } else {
            let why = "offsets are committed before their records are in a batch, and what is in memory is lost by a crash; \
                       tidegate.receiver.write_ahead_log.enable makes it exactly once";
            InputGuarantee::new(Guarantee::AtMostOnce, why)
        }
    }

    fn on_start(&mut self, handle: ReceiverHandle<KafkaRecord>) -> Result<()> {
        let options = MemberOptions {
            group: self.group.clone(),
            auto_commit: self.auto_commit,
            take_max: TakeMax::of(handle.is_logged(), handle.block_bytes_max()),
        };
        let config = self.config(handle.is_logged());
        let member = Member::join(&self.settings, &config, &self.topics, handle.clone(), options)?;
        handle.spawn("member", move |_| member.run())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tidegate::Conf;

    fn made(more: &[(&str, &str)], topics: &[&str]) -> Result<KafkaReceiver> {
        let params = [("bootstrap.servers", "127.0.0.1:1")].iter().chain(more).copied().collect();
        KafkaReceiver::new(&params, topics.iter().map(|topic| (*topic).to_owned()).collect())
    }

    #[test]
    fn what_a_member_of_a_group_needs_is_asked_for() {
        let error = |more: &[_], topics: &[_]| made(more, topics).err().unwrap().to_string();
        assert!(error(&[], &["lines"]).contains("group.id is missing"));
        assert!(error(&[("group.id", "g")], &[]).contains("no topics"));
        let auto = error(&[("group.id", "g"), ("enable.auto.commit", "maybe")], &["lines"]);
        assert!(auto.contains("enable.auto.commit=maybe must be true or false"), "{auto}");
    }

    #[test]
    fn the_client_never_commits_what_is_not_stored() {
        let receiver = made(&[("group.id", "g"), ("enable.auto.commit", "true")], &["lines"]).unwrap();
        for (logged, auto) in [(true, "true"), (false, "false")] {
            let config = receiver.config(logged);
            assert_eq!(config.get("enable.auto.commit"), Some(auto));
            assert_eq!(config.get("enable.auto.offset.store"), Some("false"));
            assert_eq!(config.get("auto.offset.reset"), Some("error"));
            assert_eq!(config.get("group.id"), Some("g"));
        }
    }

    #[test]
    fn the_guarantee_is_that_of_the_log() {
        let receiver = made(&[("group.id", "g")], &["a", "b"]).unwrap();
        assert_eq!(receiver.describe(), "Kafka topics a, b at 127.0.0.1:1 in group g");
        assert_eq!(receiver.promise(true).guarantee, Guarantee::ExactlyOnce);
        assert_eq!(receiver.promise(false).guarantee, Guarantee::AtMostOnce);
    }

    #[test]
    fn a_group_has_one_stream_in_a_job() {
        let ssc = StreamingContext::new(Conf::new(), Duration::from_secs(1)).unwrap();
        let params = || [("bootstrap.servers", "127.0.0.1:1"), ("group.id", "g")];
        create_streams(&ssc, params(), ["lines"], 2).unwrap();
        let error = create_stream(&ssc, params(), ["lines"]).err().unwrap().to_string();
        assert!(error.contains("kafka-g-1") && error.contains("another group.id"), "{error}");
        assert!(create_streams(&ssc, params(), ["lines"], 0).is_err());
    }
}
