//! Calls to a server: one at a time, each bounded in time, tried anew for a while when it fails in a way that passes.
//!
//! A secret is in the header of a request and nowhere else.

use crate::address::Address;
use crate::failure::{Failure, Refusal};
use crate::options::Bounds;
use serde_json::Value;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tidegate_core::Pauses;
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest answer is that to a bulk request whose documents are all refused.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Between two tries.
const PAUSES: Pauses = Pauses { first: Duration::from_millis(50), longest: Duration::from_secs(2) };

pub(crate) const JSON: &str = "application/json";
pub(crate) const LINES: &str = "application/x-ndjson";

/// What a caller shows to be let in.
#[derive(Clone)]
pub(crate) struct Authorization(String);

impl Authorization {
    pub(crate) fn basic(user: &str, password: &str) -> Authorization {
        Authorization(format!("Basic {}", base64(format!("{user}:{password}").as_bytes())))
    }

    /// Of the key's encoded form, or of `id:key`.
    pub(crate) fn api_key(key: &str) -> Authorization {
        let encoded = if key.contains(':') { base64(key.as_bytes()) } else { key.to_owned() };
        Authorization(format!("ApiKey {encoded}"))
    }

    /// Whether it can be sent at all.
    pub(crate) fn is_sound(&self) -> bool {
        self.0.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(..)")
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A server, and how long it is waited for.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    pub(crate) address: Address,
    authorization: Option<Authorization>,
    patience: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.address.shown).finish()
    }
}

impl Client {
    /// `authority` signs the certificates that are accepted; without, those do whom the system trusts.
    pub(crate) fn new(
        address: Address,
        authorization: Option<Authorization>,
        authority: Option<Vec<Certificate<'static>>>,
        bounds: &Bounds,
    ) -> Client {
        let roots = match authority {
            Some(certificates) => RootCerts::Specific(Arc::new(certificates)),
            None => RootCerts::PlatformVerifier,
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_global(Some(bounds.request))
            // Another server must not be told what was meant for this one.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Of the environment: it would be told every document.
            .proxy(None)
            .tls_config(tls)
            .build();
        Client { agent: config.into(), address, authorization, patience: bounds.patience }
    }

    /// One call, once. `path` stands after the address.
    pub(crate) fn once(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Value, Failure> {
        let url = format!("{}/{path}", self.address.base);
        let mut request = Request::builder().method(method).uri(url).header("Accept", JSON);
        if !body.is_empty() {
            request = request.header("Content-Type", kind);
        }
        if let Some(Authorization(secret)) = &self.authorization {
            request = request.header("Authorization", secret.as_str());
        }
        let answer = match request.body(body) {
            Ok(request) => self.agent.run(request),
            Err(error) => Err(ureq::Error::Http(error)),
        };
        let mut answer = answer.map_err(|error| self.unanswered(error))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.unanswered(error))?;
        let value = serde_json::from_slice::<Value>(&body);
        match (status, value) {
            (200..=299, Ok(value)) => Ok(value),
            (200..=299, Err(_)) => {
                let start = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
                Err(Failure::Away(format!("the answer is no answer of Elasticsearch: {start:?}")))
            }
            (_, value) => Err(Failure::Refused(Refusal::read(status, &value.unwrap_or_default()["error"]))),
        }
    }

    /// A call to which no answer came.
    fn unanswered(&self, error: ureq::Error) -> Failure {
        let is_tls = match &error {
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
            ureq::Error::Io(error) => error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
            _ => false,
        };
        let hung_up = match &error {
            ureq::Error::Io(error) => {
                matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
            }
            ureq::Error::Protocol(_) => true,
            _ => false,
        };
        match error.to_string() {
            text if is_tls => Failure::Tls(text),
            text if hung_up && !self.address.is_tls => Failure::Away(format!(
                "{text} (a server with TLS hangs up so: then its URL begins with https://)"
            )),
            text => Failure::Away(text),
        }
    }

    /// A call with a body of JSON, tried anew while it fails in a way that passes.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut tries = self.tries();
        loop {
            match self.once(method, path, JSON, body.as_bytes()) {
                Err(failure) if failure.is_passing() && tries.wait() => {}
                done => return done,
            }
        }
    }

    /// The tries of a call that begins now.
    pub(crate) fn tries(&self) -> Tries {
        Tries { failures: 0, until: Instant::now() + self.patience }
    }
}

/// The tries of one call.
pub(crate) struct Tries {
    failures: u32,
    until: Instant,
}

impl Tries {
    /// One failed: waits for the next. False when there is to be none.
    pub(crate) fn wait(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        let pause = PAUSES.after(self.failures, fastrand::f64());
        if Instant::now() + pause > self.until {
            return false;
        }
        thread::sleep(pause);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_the_header_alone() {
        let basic = Authorization::basic("ann", "s3cret");
        assert_eq!((basic.0.as_str(), basic.is_sound()), ("Basic YW5uOnMzY3JldA==", true));
        assert_eq!(Authorization::api_key("id:key").0, "ApiKey aWQ6a2V5");
        assert_eq!(Authorization::api_key("aWQ6a2V5").0, "ApiKey aWQ6a2V5");
        assert!(!Authorization::api_key("a\nb").is_sound());
        assert_eq!(format!("{basic:?}"), "Authorization(..)");
    }

    #[test]
    fn tries_end_with_the_patience() {
        let mut tries = Tries { failures: 0, until: Instant::now() + Duration::from_millis(1) };
        assert!(!tries.wait());
    }
}
