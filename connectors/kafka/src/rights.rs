//! Rights that Kafka's authorizer asks for: which one is missing, to whom, and how it is given. Words only, for errors.

use crate::params::Settings;
use std::collections::{BTreeMap, BTreeSet};
use tidegate_core::Error;

/// What may be done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// Includes DESCRIBE.
    Read,
    /// Includes DESCRIBE.
    Write,
    Create,
    Describe,
}

impl Operation {
    /// Its name as Kafka's tools print it, and as they take it.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Operation::Read => ("READ", "Read"),
            Operation::Write => ("WRITE", "Write"),
            Operation::Create => ("CREATE", "Create"),
            Operation::Describe => ("DESCRIBE", "Describe"),
        }
    }
}

/// The operations that a user may do.
pub(crate) type Granted = BTreeSet<Operation>;

/// The operations that a user may do with topics. Topics of which the broker says nothing are not in it.
pub(crate) type GrantedTopics = BTreeMap<String, Granted>;

/// What rights are given on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    /// All that begin so.
    TransactionalIds(&'a str),
}

/// The error of a user who lacks `operations` on `resource`, at `place`.
pub(crate) fn missing(
    settings: &Settings,
    place: &str,
    operations: &[Operation],
    resource: Resource<'_>,
) -> Error {
    let principal = settings.principal();
    let names: Vec<_> = operations.iter().map(|operation| operation.names().0).collect();
    let options: Vec<_> =
        operations.iter().map(|operation| format!("--operation {}", operation.names().1)).collect();
    let (what, option) = match resource {
        Resource::Topic(topic) => (format!("topic {topic}"), format!("--topic {topic}")),
        Resource::Group(group) => (format!("group {group}"), format!("--group {group}")),
        Resource::TransactionalIds(prefix) => (
            format!("transactional ids that begin with {prefix}"),
            format!("--transactional-id {prefix} --resource-pattern-type prefixed"),
        ),
    };
    Error::reconfigure(format!(
        "{place}: {} lacks {} on {what}; grant it: kafka-acls.sh --bootstrap-server {} --add --allow-principal {} {} {option}",
        principal.as_deref().unwrap_or("this user"),
        names.join(" and "),
        settings.bootstrap,
        principal.as_deref().unwrap_or("User:NAME"),
        options.join(" "),
    ))
}

/// Refuses what a user is known to lack of `operations` on a topic.
pub(crate) fn check_topic(
    settings: &Settings,
    place: &str,
    granted: &GrantedTopics,
    operations: &[Operation],
    topic: &str,
) -> Result<(), Error> {
    let Some(granted) = granted.get(topic) else { return Ok(()) };
    let lacking: Vec<_> = operations.iter().copied().filter(|it| !granted.contains(it)).collect();
    if lacking.is_empty() { Ok(()) } else { Err(missing(settings, place, &lacking, Resource::Topic(topic))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Params;

    fn settings(more: &[(&str, &str)]) -> Settings {
        let all = [("bootstrap.servers", "h:1")].iter().chain(more).copied();
        Settings::check(&all.collect::<Params>()).unwrap()
    }

    const SASL: [(&str, &str); 4] = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "ann"),
        ("sasl.password", "hunter2"),
    ];

    #[test]
    fn what_is_missing_comes_with_the_command_that_grants_it() {
        let text = missing(&settings(&SASL), "here", &[Operation::Write], Resource::Topic("out")).to_string();
        assert_eq!(
            text,
            "here: User:ann lacks WRITE on topic out; grant it: kafka-acls.sh --bootstrap-server h:1 --add --allow-principal \
             User:ann --operation Write --topic out"
        );
        let text = missing(&settings(&[]), "here", &[Operation::Write], Resource::TransactionalIds("t-"))
            .to_string();
        assert!(
            text.contains("User:ANONYMOUS lacks WRITE on transactional ids that begin with t-"),
            "{text}"
        );
        assert!(text.ends_with("--transactional-id t- --resource-pattern-type prefixed"), "{text}");
    }

    #[test]
    fn only_what_the_broker_says_is_missing_is_refused() {
        let (settings, both) = (settings(&SASL), [Operation::Read, Operation::Write]);
        let granted = |operations: &[Operation]| {
            GrantedTopics::from([("t".to_owned(), operations.iter().copied().collect())])
        };
        let check = |granted: &GrantedTopics, topic| check_topic(&settings, "here", granted, &both, topic);
        check(&granted(&both), "t").unwrap();
        check(&GrantedTopics::new(), "t").unwrap();
        check(&granted(&[]), "another").unwrap();
        let text = check(&granted(&[Operation::Write]), "t").unwrap_err().to_string();
        assert!(text.contains("lacks READ on topic t"), "{text}");
        let text = check(&granted(&[Operation::Describe]), "t").unwrap_err().to_string();
        assert!(
            text.contains("READ and WRITE on topic t") && text.contains("--operation Read --operation Write"),
            "{text}"
        );
    }
}
