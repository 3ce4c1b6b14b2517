//! What an error of Kafka means for the batch, and who can do something about it.

use crate::context::passes;
use rdkafka::error::RDKafkaErrorCode as Code;
use tidegate_core::{Error, ErrorKind};

/// The error in Tidegate's words: what went wrong at `place`.
pub(crate) fn failure(place: &str, code: Code, text: &str) -> Error {
    let (kind, advice) = meaning(code);
    let text = if text.is_empty() { code.to_string() } else { text.to_owned() };
    let advice = if advice.is_empty() { String::new() } else { format!("; {advice}") };
    Error::new(kind, format!("{place}: {text}{advice}"))
}

/// What a writer is told whose place another run has taken.
pub(crate) fn taken_over(place: &str) -> Error {
    Error::reconfigure(format!(
        "{place}: the output was taken over by another run, and nothing of the batch was written here. Let one run of the job \
         live, or give the other one an output of another name"
    ))
}

/// Whether `code` says that another producer has the transactional id.
pub(crate) fn is_fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// Whether the message was given up because of something else that went wrong.
pub(crate) fn is_purged(code: Code) -> bool {
    matches!(code, Code::PurgeQueue | Code::PurgeInflight)
}

fn meaning(code: Code) -> (ErrorKind, &'static str) {
    use ErrorKind::{Reconfigure, Retry};
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => (
            Reconfigure,
            "the limit is max.message.bytes of the topic (1 MiB unless set), and message.max.bytes of this client: raise them, \
             make records smaller, or drop them before the output. A limit below 1 MB wants batch.size of this client below it",
        ),
        Code::TopicAuthorizationFailed => (
            Reconfigure,
            "this user needs WRITE and DESCRIBE on the topic, and on the markers topic READ too",
        ),
        Code::ClusterAuthorizationFailed => {
            (Reconfigure, "this user needs IDEMPOTENT_WRITE on the cluster, or WRITE on the topic")
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            (Reconfigure, "create the topic, or the partition that records name")
        }
        Code::InvalidTopic => (Reconfigure, "check the name of the topic"),
        Code::InvalidTransactionTimeout => (
            Reconfigure,
            "transaction.timeout.ms of this output is longer than the brokers' transaction.max.timeout.ms allows: lower it (and \
             keep it longer than a batch takes), or raise that of the brokers",
        ),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => (
            Retry,
            "fewer replicas are in sync than min.insync.replicas of the topic asks for: bring brokers back. The batch is run \
             again",
        ),
        Code::MessageTimedOut => (
            Retry,
            "it was not acknowledged within message.timeout.ms: is the broker away, or are fewer replicas in sync than \
             min.insync.replicas asks for? The batch is run again",
        ),
        Code::InvalidProducerIdMapping | Code::UnknownProducerId => {
            (Retry, "Kafka has forgotten this producer, which was idle for long; the batch is run again")
        }
        Code::KafkaStorageError
        | Code::Unknown
        | Code::OutOfOrderSequenceNumber
        | Code::ConcurrentTransactions
        | Code::InvalidTransactionalState
        | Code::Fail
        | Code::Retry
        | Code::InProgress
        | Code::PurgeQueue
        | Code::PurgeInflight => (Retry, "the batch is run again"),
        code if passes(code) => (Retry, "the batch is run again when the broker is back"),
        _ => (Reconfigure, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_says_is_tried_again_or_must_be_mended() {
        for code in
            [Code::BrokerTransportFailure, Code::MessageTimedOut, Code::NotEnoughReplicas, Code::Unknown]
        {
            assert_eq!(failure("here", code, "").kind(), ErrorKind::Retry, "{code}");
        }
        for code in [Code::MessageSizeTooLarge, Code::TopicAuthorizationFailed, Code::UnknownTopicOrPartition]
        {
            assert_eq!(failure("here", code, "").kind(), ErrorKind::Reconfigure, "{code}");
        }
        let text = failure("here", Code::InvalidTransactionTimeout, "told").to_string();
        assert!(text.starts_with("here: told; transaction.timeout.ms of this output is longer"), "{text}");
    }
}
