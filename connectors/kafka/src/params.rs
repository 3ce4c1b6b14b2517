//! Settings of the client as the user gives them: checked, secrets kept from every text.

use crate::security;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::fmt;
use tidegate_core::{Error, Result};

/// librdkafka's settings by name: `bootstrap.servers`, `group.id`, `sasl.mechanism` and so on.
///
/// Values that may be secret (passwords, keys, tokens) are never printed. Spark's `key.deserializer` and
/// `value.deserializer` are accepted and not used: a record is bytes, and `text()` reads them as UTF-8.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    /// No settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a setting, or replaces it.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    pub(crate) fn without(&self, name: &str) -> Params {
        let mut others = self.clone();
        others.0.remove(name);
        others
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// `text` without the values of secret settings: librdkafka's errors may quote what they refuse.
    fn scrub(&self, text: &str) -> String {
        let secrets = self.0.iter().filter(|(name, value)| is_secret(name) && !value.is_empty());
        secrets.fold(text.to_owned(), |text, (_, value)| text.replace(value.as_str(), "***"))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(settings: I) -> Self {
        Params(settings.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for Params {
    fn from(settings: [(K, V); N]) -> Self {
        settings.into_iter().collect()
    }
}

impl From<std::collections::HashMap<String, String>> for Params {
    fn from(settings: std::collections::HashMap<String, String>) -> Self {
        settings.into_iter().collect()
    }
}

impl From<BTreeMap<String, String>> for Params {
    fn from(settings: BTreeMap<String, String>) -> Self {
        Params(settings)
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value }));
        f.debug_map().entries(shown).finish()
    }
}

/// Rather one setting hidden too many than a secret in a log.
fn is_secret(name: &str) -> bool {
    const MARKS: [&str; 9] = [
        "password",
        "passphrase",
        "secret",
        "token",
        "credential",
        "private.key",
        "ssl.key",
        "jaas",
        "oauthbearer.config",
    ];
    let name = name.to_ascii_lowercase();
    // Where a secret lies is none, and is what one must know to mend it.
    !name.ends_with(".location") && MARKS.iter().any(|mark| name.contains(mark))
}

/// Where a partition is begun that no plan and no `from_offsets` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetReset {
    /// At the oldest record that is there.
    Earliest,
    /// At the end: only what comes later.
    Latest,
    /// Nowhere: an error.
    None,
}

/// What the settings mean, checked.
#[derive(Clone)]
pub(crate) struct Settings {
    params: Params,
    pub(crate) bootstrap: String,
    pub(crate) group: Option<String>,
    pub(crate) reset: OffsetReset,
    /// Only records of committed transactions are read. Then the end of a partition is its last stable offset.
    pub(crate) read_committed: bool,
}

impl Settings {
    /// # Errors
    /// `Reconfigure`, naming the setting: it is missing, unknown to librdkafka, or must not be set so.
    pub(crate) fn check(params: &Params) -> Result<Settings> {
        let bootstrap = params.get("bootstrap.servers").or(params.get("metadata.broker.list"));
        let Some(bootstrap) = bootstrap.filter(|servers| !servers.trim().is_empty()) else {
            return Err(Error::reconfigure(
                "Kafka: the setting bootstrap.servers is missing; set it to host:port of one or more brokers",
            ));
        };
        refuse(params)?;
        security::check(params)?;
        let settings = Settings {
            bootstrap: bootstrap.to_owned(),
            group: params.get("group.id").filter(|group| !group.is_empty()).map(str::to_owned),
            reset: offset_reset(params.get("auto.offset.reset"))?,
            read_committed: params.get("isolation.level").unwrap_or("read_committed") == "read_committed",
            params: params.clone(),
        };
        // Unknown names and bad values are refused by librdkafka itself, before anything is connected.
        settings.client().create_native_config().map_err(|error| settings.refusal(&error))?;
        for name in NOT_USED {
            if params.get(name).is_some() {
                log::info!("Kafka: {name} is not used: records are bytes, `text()` reads them as UTF-8");
            }
        }
        Ok(settings)
    }

    #[cfg(test)]
    pub(crate) fn unchecked(params: &Params) -> Settings {
        Settings {
            bootstrap: params.get("bootstrap.servers").unwrap_or_default().to_owned(),
            group: None,
            reset: OffsetReset::Latest,
            read_committed: true,
            params: params.clone(),
        }
    }

    /// What every client of this source is made with, without `group.id`: only commits have to do with a group.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS {
            config.set(*name, *value);
        }
        for (name, value) in &self.params.0 {
            if !NOT_PASSED_ON.contains(&name.as_str()) && !NOT_USED.contains(&name.as_str()) {
                config.set(name, value);
            }
        }
        for (name, value) in ALWAYS {
            config.set(*name, *value);
        }
        // From this level on it says why a connection ended.
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// Who this client is to the broker's authorizer, where the settings say it: a certificate or a ticket says it elsewhere.
    pub(crate) fn principal(&self) -> Option<String> {
        let lower = |name: &str| self.params.get(name).map(str::to_ascii_lowercase);
        let protocol = lower("security.protocol").unwrap_or_else(|| "plaintext".to_owned());
        let mechanism = lower("sasl.mechanism").or_else(|| lower("sasl.mechanisms")).unwrap_or_default();
        if protocol == "plaintext" {
            return Some("User:ANONYMOUS".to_owned());
        }
        let named = protocol.starts_with("sasl") && (mechanism == "plain" || mechanism.starts_with("scram"));
        self.params.get("sasl.username").filter(|_| named).map(|name| format!("User:{name}"))
    }

    /// librdkafka's words for what it does not take, with the secret values left out.
    pub(crate) fn refusal(&self, error: &KafkaError) -> Error {
        let text = match error {
            KafkaError::ClientConfig(_, words, name, _) => format!("Kafka setting {name}: {words}"),
            KafkaError::ClientCreation(words) => {
                let words = words.trim_end();
                format!(
                    "Kafka client at {}: {words}{}",
                    self.bootstrap,
                    security::hint_at_files(&self.params, words)
                )
            }
            other => format!("Kafka client at {}: {other}", self.bootstrap),
        };
        Error::reconfigure(self.params.scrub(&text))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.params.iter().map(|(name, _)| name)
    }

    /// `text` without the values of secret settings.
    pub(crate) fn scrub(&self, text: &str) -> String {
        self.params.scrub(text)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.params.fmt(f)
    }
}

/// Spark's keys that say nothing to a client whose records are bytes.
const NOT_USED: [&str; 2] = ["key.deserializer", "value.deserializer"];

/// Settings with a meaning of ours: the client gets its own value.
const NOT_PASSED_ON: [&str; 2] = ["group.id", "auto.offset.reset"];

/// Where the user says nothing. Measured: a full prefetch queue sleeps `fetch.queue.backoff.ms`, whose own default of
/// 1000 halves the rate; a fetch in flight for an idle partition keeps the others of its broker waiting for up to
/// `fetch.wait.max.ms`.
const DEFAULTS: &[(&str, &str)] = &[
    ("fetch.min.bytes", "1"),
    ("fetch.wait.max.ms", "20"),
    ("fetch.queue.backoff.ms", "1"),
    ("fetch.message.max.bytes", "4194304"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "8192"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
];

/// What exactness rests on.
const ALWAYS: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // The end of a range that holds no record (gaps, aborted transactions) is seen by this event.
    ("enable.partition.eof", "true"),
    // librdkafka must never jump to another offset by itself: that would be a silent loss.
    ("auto.offset.reset", "error"),
];

fn refuse(params: &Params) -> Result<()> {
    let whys = [
        (
            "enable.auto.commit",
            "true",
            "offsets are committed after a batch's output, as Spark asks too; leave it out (with group.id set, \
             offsets are committed after each batch)",
        ),
        ("enable.auto.offset.store", "true", "offsets are committed after a batch's output; leave it out"),
        ("enable.partition.eof", "false", "ends of batches are found by it; leave it out"),
    ];
    for (name, value, why) in whys {
        if params.get(name).is_some_and(|set| set.eq_ignore_ascii_case(value)) {
            return Err(Error::reconfigure(format!("Kafka setting {name}={value} can't be used: {why}")));
        }
    }
    Ok(())
}

fn offset_reset(value: Option<&str>) -> Result<OffsetReset> {
    match value {
        None | Some("latest" | "largest" | "end") => Ok(OffsetReset::Latest),
        Some("earliest" | "smallest" | "beginning") => Ok(OffsetReset::Earliest),
        Some("none" | "error") => Ok(OffsetReset::None),
        Some(other) => Err(Error::reconfigure(format!(
            "Kafka setting auto.offset.reset={other} is not known; use earliest, latest or none"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(settings: &[(&str, &str)]) -> Params {
        Params::from([("bootstrap.servers", "127.0.0.1:1")]).extended(settings)
    }

    impl Params {
        fn extended(mut self, settings: &[(&str, &str)]) -> Params {
            for (name, value) in settings {
                self = self.set(*name, *value);
            }
            self
        }
    }

    fn error(settings: &[(&str, &str)]) -> String {
        Settings::check(&with(settings)).unwrap_err().to_string()
    }

    #[test]
    fn a_setting_that_can_not_work_is_refused_with_the_way_out() {
        let none = Settings::check(&Params::new()).unwrap_err().to_string();
        assert!(none.contains("bootstrap.servers is missing"), "{none}");
        assert!(error(&[("enable.auto.commit", "true")]).contains("after a batch's output"));
        assert!(
            error(&[("no.such.thing", "1")]).contains("No such configuration property: \"no.such.thing\"")
        );
        assert!(error(&[("auto.offset.reset", "newest")]).contains("earliest, latest or none"));
        assert!(error(&[("fetch.min.bytes", "many")]).contains("fetch.min.bytes"));
    }

    #[test]
    fn spark_s_deserializers_are_accepted() {
        let string = "org.apache.kafka.common.serialization.StringDeserializer";
        Settings::check(&with(&[("key.deserializer", string), ("value.deserializer", string)])).unwrap();
    }

    #[test]
    fn what_the_user_sets_wins_over_our_defaults_but_not_over_exactness() {
        let settings = Settings::check(&with(&[("fetch.wait.max.ms", "7"), ("group.id", "g")])).unwrap();
        let client = settings.client();
        assert_eq!(client.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(client.get("auto.offset.reset"), Some("error"));
        assert_eq!(client.get("group.id"), None);
        assert_eq!(settings.group.as_deref(), Some("g"));
        assert_eq!(settings.reset, OffsetReset::Latest);
    }

    #[test]
    fn secrets_are_in_no_text() {
        let secret = "hunter2";
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "ssl.keystore.password",
        ] {
            let params = with(&[(name, secret)]);
            assert!(!format!("{params:?}").contains(secret), "{name}");
            match Settings::check(&params) {
                Ok(settings) => assert!(!format!("{settings:?}").contains(secret), "{name}"),
                Err(error) => assert!(!format!("{error} {error:?}").contains(secret), "{name}"),
            }
        }
        // librdkafka quotes the value that it refuses.
        let quoted = error(&[("sasl.oauthbearer.client.secret.typo", secret), ("sasl.password", secret)]);
        assert!(!quoted.contains(secret), "{quoted}");
    }
}
