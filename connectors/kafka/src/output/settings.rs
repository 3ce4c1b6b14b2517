//! Settings of the producers: the user's, checked, with what exactness rests on.

use crate::params::{Params, Settings};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use std::time::Duration;
use tidegate_core::{Error, Result};

/// How much longer than a batch a transaction may at least stay open.
const TRANSACTION_MARGIN: Duration = Duration::from_secs(10);

/// Where the user says nothing. Measured: the broker answers the first request of a transaction with "still completing the last
/// one", and librdkafka sleeps `retry.backoff.ms` then, 100 by default.
const DEFAULTS: &[(&str, &str)] = &[
    ("retry.backoff.ms", "1"),
    ("linger.ms", "20"),
    // As long as a broker allows unless its transaction.max.timeout.ms says otherwise.
    ("transaction.timeout.ms", "900000"),
    ("message.timeout.ms", "60000"),
    // What waits in the client is bounded by bytes.
    ("queue.buffering.max.kbytes", "32768"),
    // The topic's own limit decides; and plans of batches may be long.
    ("message.max.bytes", "8388608"),
    // A key goes to the partition that Java's producers take for it.
    ("partitioner", "murmur2_random"),
    // A topic that records name and that does not exist is told after this time.
    ("topic.metadata.propagation.max.ms", "10000"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
];

/// What exactness rests on.
const ALWAYS: &[(&str, &str)] =
    &[("acks", "all"), ("enable.idempotence", "true"), ("delivery.report.only.error", "true")];

/// Settings of Java's clients that say nothing here.
const NOT_USED: [&str; 4] = ["key.serializer", "value.serializer", "key.deserializer", "value.deserializer"];

/// Settings of Java's producer that have another name in librdkafka, or none.
const JAVA_ONLY: [(&str, &str); 4] = [
    ("buffer.memory", "use queue.buffering.max.kbytes, in KiB"),
    ("max.request.size", "use message.max.bytes"),
    (
        "max.block.ms",
        "leave it out: a full buffer is waited for, a broker that is away for message.timeout.ms",
    ),
    ("partitioner.class", "use partitioner, or set the partition of a record"),
];

/// What the settings mean, checked.
#[derive(Clone, Debug)]
pub(crate) struct ProducerSettings {
    params: Params,
    /// The same for clients that ask and read; knows the address and keeps secrets from texts.
    pub(crate) asking: Settings,
    pub(crate) transaction_timeout: Duration,
    pub(crate) message_timeout: Duration,
    pub(crate) message_bytes_max: usize,
}

impl ProducerSettings {
    /// # Errors
    /// `Reconfigure`, naming the setting: it is missing, unknown to librdkafka, or must not be set so.
    pub(crate) fn check(params: &Params) -> Result<ProducerSettings> {
        refuse(params)?;
        let asking = Settings::check(&asking(params))?;
        let mut settings = ProducerSettings {
            params: params.clone(),
            asking,
            transaction_timeout: Duration::ZERO,
            message_timeout: Duration::ZERO,
            message_bytes_max: 0,
        };
        let config = settings.producer(Some("check"));
        // Unknown names and bad values are refused by librdkafka itself, before anything is connected.
        let native = config.create_native_config().map_err(|error| settings.asking.refusal(&error))?;
        let number = |name: &str| -> Result<u64> {
            let text = native.get(name).map_err(|error| settings.asking.refusal(&error))?;
            text.parse().map_err(|_| Error::reconfigure(format!("Kafka setting {name}={text} is no number")))
        };
        let transaction_ms = number("transaction.timeout.ms")?;
        let message_bytes_max = number("message.max.bytes")?;
        let message_ms =
            config.get("message.timeout.ms").and_then(|text| text.parse().ok()).unwrap_or(60_000);
        settings.transaction_timeout = Duration::from_millis(transaction_ms);
        settings.message_timeout = Duration::from_millis(message_ms);
        settings.message_bytes_max = usize::try_from(message_bytes_max).unwrap_or(usize::MAX);
        for name in NOT_USED {
            if params.get(name).is_some() {
                log::info!("Kafka: {name} is not used: the function of the output makes bytes");
            }
        }
        Ok(settings)
    }

    /// Refuses a transaction timeout that batches of this length would run into.
    pub(crate) fn check_interval(&self, interval: Duration) -> Result<()> {
        let needed = interval + TRANSACTION_MARGIN;
        if self.transaction_timeout >= needed {
            return Ok(());
        }
        Err(Error::reconfigure(format!(
            "Kafka setting transaction.timeout.ms={} is too short for batches of {} ms: a transaction is open while its batch is \
             processed. Set it to {} or more, and the brokers' transaction.max.timeout.ms to as much (it is 900000 unless \
             set); or make batches shorter",
            self.transaction_timeout.as_millis(),
            interval.as_millis(),
            needed.as_millis()
        )))
    }

    /// What a producer is made with.
    pub(crate) fn producer(&self, transactional_id: Option<&str>) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS {
            config.set(*name, *value);
        }
        let with_another_name = |name: &str| match name {
            "queue.buffering.max.ms" => "linger.ms".to_owned(),
            "delivery.timeout.ms" => "message.timeout.ms".to_owned(),
            name => name.to_owned(),
        };
        for (name, value) in self.params.iter() {
            if !NOT_USED.contains(&name) {
                config.set(with_another_name(name), value);
            }
        }
        for (name, value) in ALWAYS {
            config.set(*name, *value);
        }
        match transactional_id {
            Some(id) => {
                config.set("transactional.id", id);
                let number = |name: &str| config.get(name).and_then(|text| text.parse::<u64>().ok());
                // librdkafka refuses a message that may live longer than its transaction.
                if let (Some(transaction), Some(message)) =
                    (number("transaction.timeout.ms"), number("message.timeout.ms"))
                    && self.params.get("message.timeout.ms").is_none()
                    && message > transaction
                {
                    config.set("message.timeout.ms", transaction.to_string());
                }
            }
            None => {
                config.remove("transaction.timeout.ms");
            }
        }
        // From this level on it says why a connection ended.
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }
}

/// The settings of clients that write nothing: without what only a producer or a group has.
fn asking(params: &Params) -> Params {
    const LEFT_OUT: [&str; 9] = [
        "group.id",
        "client.rack",
        "isolation.level",
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "key.serializer",
        "value.serializer",
    ];
    // What a batch left is read from leaders, and only when it is committed.
    LEFT_OUT
        .iter()
        .fold(params.clone(), |params, name| params.without(name))
        .set("isolation.level", "read_committed")
}

fn refuse(params: &Params) -> Result<()> {
    let can_not = |name: &str, value: &str, why: &str| {
        Err(Error::reconfigure(format!("Kafka setting {name}={value} can't be used: {why}")))
    };
    for (name, instead) in JAVA_ONLY {
        if let Some(value) = params.get(name) {
            return can_not(name, value, &format!("it is one of Java's clients; {instead}"));
        }
    }
    if let Some(id) = params.get("transactional.id") {
        return can_not("transactional.id", id, "the output makes its own, by its name; leave it out");
    }
    if let Some(value @ "false") = params.get("enable.idempotence") {
        return can_not("enable.idempotence", value, "a record that is sent again would be there twice");
    }
    for name in ["acks", "request.required.acks"] {
        if let Some(value) = params.get(name).filter(|value| !matches!(*value, "all" | "-1")) {
            return can_not(name, value, "a batch counts as written when all in-sync replicas have it");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: &[(&str, &str)]) -> Result<ProducerSettings> {
        let mut params = Params::from([("bootstrap.servers", "127.0.0.1:1")]);
        for (name, value) in settings {
            params = params.set(*name, *value);
        }
        ProducerSettings::check(&params)
    }

    #[test]
    fn a_setting_that_can_not_work_is_refused_with_the_way_out() {
        let error = |settings| check(settings).unwrap_err().to_string();
        let missing = ProducerSettings::check(&Params::new()).unwrap_err().to_string();
        assert!(missing.contains("bootstrap.servers is missing"), "{missing}");
        assert!(error(&[("transactional.id", "mine")]).contains("the output makes its own"));
        assert!(error(&[("acks", "1")]).contains("all in-sync replicas"));
        assert!(error(&[("enable.idempotence", "false")]).contains("twice"));
        assert!(error(&[("buffer.memory", "1")]).contains("use queue.buffering.max.kbytes"));
        assert!(error(&[("no.such.thing", "1")]).contains("no.such.thing"));
        assert!(error(&[("linger.ms", "soon")]).contains("linger.ms"));
    }

    #[test]
    fn one_set_of_params_serves_for_reading_and_writing() {
        let shared = [
            ("group.id", "g"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "true"),
            ("isolation.level", "read_uncommitted"),
            ("value.serializer", "org.apache.kafka.common.serialization.StringSerializer"),
        ];
        let settings = check(&shared).unwrap();
        assert!(settings.asking.read_committed);
        settings.producer(Some("id")).create_native_config().unwrap();
    }

    #[test]
    fn what_the_user_sets_wins_over_our_defaults_but_not_over_exactness() {
        let config = check(&[("linger.ms", "3"), ("acks", "-1")]).unwrap().producer(None);
        assert_eq!(config.get("linger.ms"), Some("3"));
        assert_eq!(config.get("acks"), Some("all"));
        let config = check(&[("queue.buffering.max.ms", "4")]).unwrap().producer(None);
        assert_eq!(config.get("linger.ms"), Some("4"));
    }

    #[test]
    fn a_transaction_must_outlast_a_batch() {
        let settings = check(&[("transaction.timeout.ms", "15000")]).unwrap();
        assert_eq!(settings.producer(Some("id")).get("message.timeout.ms"), Some("15000"));
        settings.check_interval(Duration::from_secs(5)).unwrap();
        let error = settings.check_interval(Duration::from_secs(60)).unwrap_err().to_string();
        assert!(
            error.contains("too short for batches of 60000 ms") && error.contains("Set it to 70000"),
            "{error}"
        );
        check(&[]).unwrap().check_interval(Duration::from_secs(600)).unwrap();
    }
}
