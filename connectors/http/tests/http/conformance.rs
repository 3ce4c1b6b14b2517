//! What every receiver must hold, for clients that number, that give keys, and that do neither.

use crate::client::try_send;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use tidegate::core::Guarantee;
use tidegate::testkit::receivers::{self, Origin, Sent};
use tidegate::{DStream, Result, StreamingContext};
use tidegate_http::{HttpOptions, create_http_stream};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    Number,
    Key,
    None,
}

struct Client {
    address: SocketAddr,
    identity: Identity,
    there: AtomicBool,
}

impl Client {
    fn new(identity: Identity) -> Client {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Client { address, identity, there: AtomicBool::new(true) }
    }
}

impl Origin for Client {
    fn stream(&self, ssc: &StreamingContext) -> Result<DStream<String>> {
        let options = HttpOptions::listen(self.address.to_string());
        let options = if self.identity == Identity::None { options } else { options.identity_required() };
        Ok(DStream::clone(&*create_http_stream(ssc, options)?))
    }

    fn guarantee(&self) -> Guarantee {
        match self.identity {
            Identity::None => Guarantee::AtLeastOnce,
            _ => Guarantee::ExactlyOnce,
        }
    }

    fn appear(&self) {
        self.there.store(true, Ordering::Relaxed);
    }

    fn vanish(&self) {
        self.there.store(false, Ordering::Relaxed);
    }

    fn send(&self, number: u64, record: &str) -> Sent {
        assert!(self.there.load(Ordering::Relaxed));
        let number = number.to_string();
        let headers: &[(&str, &str)] = match self.identity {
            Identity::Number => &[("Tidegate-Producer", "p"), ("Tidegate-Sequence", &number)],
            Identity::Key => &[("Idempotency-Key", &number)],
            Identity::None => &[],
        };
        match try_send("POST", &format!("http://{}/", self.address), headers, record.as_bytes()) {
            Ok(answer) if answer.status == 200 => Sent::Acknowledged,
            Ok(answer) => panic!("{answer:?}"),
            // The receiver does not listen yet.
            Err(_) => Sent::Unanswered,
        }
    }
}

#[test]
fn clients_that_number_their_requests_get_exactly_once() {
    receivers::all(|| Client::new(Identity::Number));
}

#[test]
fn clients_that_give_keys_get_exactly_once() {
    receivers::all(|| Client::new(Identity::Key));
}

#[test]
fn clients_that_do_neither_get_at_least_once() {
    receivers::all(|| Client::new(Identity::None));
}
