//! What every receiver must hold, held by a member of a group on a broker of its own: the way to it is cut, and with each start of a
//! job the group has forgotten what it was told.
//!
//! It runs by name alone (`test = false`).
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::Writer;
use support::broker::Broker;
use support::receiving::Group;
use tidegate::core::Guarantee;
use tidegate::testkit::receivers::{self, Origin, Sent};
use tidegate::{DStream, Result, StreamingContext};
use tidegate_kafka::{Params, create_stream};
use tidegate_servers::Kafka;
use tidegate_servers::wire::Wire;

/// A broker whose clients come through a way that can be cut.
struct Own {
    wire: Wire,
    kafka: Kafka,
    _dir: tempfile::TempDir,
    topics: AtomicUsize,
}

impl Own {
    fn start() -> Own {
        let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::shut());
        let options = Kafka::options()
            .heap_mib(256)
            // Clients connect to the address that the broker tells them.
            .property("advertised.listeners", &format!("PLAINTEXT://{}", wire.address()))
            // A member that could not leave is put out soon.
            .property("group.min.session.timeout.ms", "1000");
        let kafka = options.start(dir.path()).unwrap();
        Own { wire, kafka, _dir: dir, topics: AtomicUsize::new(0) }
    }
}

/// A topic of one partition, which one group receives.
struct Topic {
    own: Arc<Own>,
    at: String,
    name: String,
    writer: Writer,
    there: AtomicBool,
    sent: Mutex<BTreeSet<u64>>,
}

impl Topic {
    fn new(own: &Arc<Own>) -> Topic {
        own.wire.open_to(&own.kafka.bootstrap());
        let at = own.wire.address();
        let name = format!("origin-{}", own.topics.fetch_add(1, Ordering::Relaxed));
        Broker::at(&at).create(&name, 1);
        // What is sent again after a cut is in the topic once.
        let settings = [("enable.idempotence", "true"), ("reconnect.backoff.max.ms", "200")];
        let writer = Writer::with(&at, &settings);
        Topic { own: own.clone(), at, name, writer, there: AtomicBool::new(true), sent: Mutex::default() }
    }
}

impl Origin for Topic {
    fn stream(&self, ssc: &StreamingContext) -> Result<DStream<String>> {
        // A group that gives everything again, for the log alone to know what is stored.
        if self.there.load(Ordering::Relaxed) && !self.sent.lock().unwrap().is_empty() {
            Group::new(&self.at, &self.name, None).set_committed(0);
        }
        let params: Params = [
            ("bootstrap.servers", self.at.as_str()),
            ("group.id", self.name.as_str()),
            ("auto.offset.reset", "earliest"),
            ("session.timeout.ms", "2000"),
            ("heartbeat.interval.ms", "200"),
            ("reconnect.backoff.max.ms", "200"),
        ]
        .into_iter()
        .collect();
        let lines = create_stream(ssc, params, [self.name.as_str()])?;
        Ok(lines.map(|line| line.text().unwrap().to_owned()))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn appear(&self) {
        self.own.wire.open_to(&self.own.kafka.bootstrap());
        self.there.store(true, Ordering::Relaxed);
    }

    fn vanish(&self) {
        self.there.store(false, Ordering::Relaxed);
        self.own.wire.cut();
    }

    /// A topic has a record once, however often the group gives it.
    fn send(&self, number: u64, record: &str) -> Sent {
        if self.sent.lock().unwrap().insert(number) {
            self.writer.write(&self.name, 0, [record]);
        }
        Sent::Acknowledged
    }
}

#[test]
fn a_member_of_a_group_holds_what_every_receiver_must() {
    let own = Arc::new(Own::start());
    receivers::all(|| Topic::new(&own));
}
