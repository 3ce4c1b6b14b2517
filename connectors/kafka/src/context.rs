//! What librdkafka tells a client beside records: errors and log lines. Here the ones that must end the job are told
//! from those that pass.

use crate::security::is_final;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Hears the errors of one client.
#[derive(Default)]
pub(crate) struct Ear {
    /// Waiting does not mend it: the credentials or certificates are wrong.
    refused: Mutex<Option<String>>,
    /// The newest error that says something, for the text of a time-out.
    newest: Mutex<Option<String>>,
    away: AtomicBool,
}

impl Ear {
    /// One that does not tell of outages.
    pub(crate) fn quiet() -> Ear {
        Ear { away: AtomicBool::new(true), ..Ear::default() }
    }

    /// Why the broker does not let this client in, if it does not.
    pub(crate) fn refused(&self) -> Option<String> {
        lock(&self.refused).clone()
    }

    /// The newest error, in librdkafka's words.
    pub(crate) fn newest(&self) -> Option<String> {
        lock(&self.newest).clone()
    }

    /// Records arrived again: the next outage is logged anew.
    pub(crate) fn back(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            log::info!("Kafka: the broker is back");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `code` passes by itself once a broker is there again.
pub(crate) fn passes(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::BrokerNotAvailable
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
    )
}

impl ClientContext for Ear {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, text: &str) {
        // A broker that hangs up is no error event, but what librdkafka makes of it (verify security.protocol) is worth to be told.
        if facility == "FAIL" {
            let said = text.split_once("]: ").map_or(text, |(_, said)| said);
            *lock(&self.newest) = Some(said.to_owned());
        }
        // What else matters comes as an error event too; the lines are for whoever looks into librdkafka itself.
        log::debug!(target: "librdkafka", "{facility} {text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let mut newest = lock(&self.newest);
        // That all brokers are down says less than what was said of one of them.
        if newest.is_none() || code != Some(RDKafkaErrorCode::AllBrokersDown) {
            *newest = Some(reason.to_owned());
        }
        drop(newest);
        match code {
            Some(code) if is_final(code, reason) => {
                *lock(&self.refused) = Some(reason.to_owned());
            }
            // Said once an outage: librdkafka repeats it for each broker and each try.
            Some(code) if passes(code) => {
                if !self.away.swap(true, Ordering::Relaxed) {
                    log::warn!("Kafka: {reason}; waiting for the broker");
                }
            }
            _ => log::debug!("Kafka: {reason}"),
        }
    }
}

impl ConsumerContext for Ear {}
