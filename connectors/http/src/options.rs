//! What is listened on, who may post, and the bounds.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;
use tidegate::core::{Error, Result};

/// How an HTTP stream takes records. Bounds that are not said: bodies of 4 MiB, 64 requests at work, 1,024 connections, 10 s
/// for the head of a request, 30 s for its body.
#[derive(Clone)]
pub struct HttpOptions {
    pub(crate) address: String,
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) token: Option<String>,
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) identity_required: bool,
    pub(crate) body_bytes_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) connections_max: usize,
    pub(crate) head_patience: Duration,
    pub(crate) body_patience: Duration,
}

impl HttpOptions {
    /// Listens on `address`, `HOST:PORT`; port 0 takes one that is free. Others than this machine can reach an address that is
    /// not loopback: that one needs a [`token`](HttpOptions::token).
    pub fn listen(address: impl Into<String>) -> HttpOptions {
        HttpOptions {
            address: address.into(),
            path: "/".to_owned(),
            name: "http".to_owned(),
            token: None,
            tls: None,
            identity_required: false,
            body_bytes_max: 4 * 1024 * 1024,
            requests_max: 64,
            connections_max: 1024,
            head_patience: Duration::from_secs(10),
            body_patience: Duration::from_secs(30),
        }
    }

    /// Takes records at `path` (`/`). `/health` is taken.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> HttpOptions {
        self.path = path.into();
        self
    }

    /// Names the stream (`http`). By its name its log and what its clients have sent are found again after a restart.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> HttpOptions {
        self.name = name.into();
        self
    }

    /// Takes requests only with `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> HttpOptions {
        self.token = Some(token.into());
        self
    }

    /// Speaks TLS, with the certificate chain and the private key in these PEM files.
    #[must_use]
    pub fn tls(mut self, certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> HttpOptions {
        self.tls = Some((certificates.into(), key.into()));
        self
    }

    /// Refuses requests that have neither a number nor a key: so that the stream is exactly-once whatever clients do.
    #[must_use]
    pub fn identity_required(mut self) -> HttpOptions {
        self.identity_required = true;
        self
    }

    /// Takes bodies of at most `bytes`. As stored they must fit into a block too (`tidegate.receiver.block_bytes_max`).
    #[must_use]
    pub fn body_bytes_max(mut self, bytes: usize) -> HttpOptions {
        self.body_bytes_max = bytes;
        self
    }

    /// Works at most at so many requests at once, each with its body in memory; beyond it clients are told to come back.
    #[must_use]
    pub fn requests_max(mut self, requests: usize) -> HttpOptions {
        self.requests_max = requests;
        self
    }

    /// Holds at most so many connections; beyond it, new ones wait until one ends.
    #[must_use]
    pub fn connections_max(mut self, connections: usize) -> HttpOptions {
        self.connections_max = connections;
        self
    }

    /// How long a client may take for the head of a request (also until it comes, on an open connection), and for its body.
    #[must_use]
    pub fn patience(mut self, head: Duration, body: Duration) -> HttpOptions {
        (self.head_patience, self.body_patience) = (head, body);
        self
    }

    /// The addresses to listen on, once all options make sense.
    pub(crate) fn check(&self) -> Result<Vec<SocketAddr>> {
        let refuse = |what: String| Err(Error::reconfigure(format!("HTTP stream {}: {what}", self.name)));
        if self.name.is_empty() || self.name.len() > 100 {
            return refuse("a name has 1 to 100 bytes".to_owned());
        }
        if !self.path.starts_with('/') || self.path == crate::request::HEALTH {
            return refuse(format!("path {}: must begin with / and not be /health", self.path));
        }
        if self
            .token
            .as_ref()
            .is_some_and(|token| token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()))
        {
            return refuse("the token must be visible ASCII characters, at least one".to_owned());
        }
        if self.body_bytes_max == 0 || self.requests_max == 0 || self.connections_max == 0 {
            return refuse("bounds must be above 0".to_owned());
        }
        let addresses: Vec<_> = match self.address.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                return refuse(format!(
                    "address {}: must be HOST:PORT, as in 127.0.0.1:8080: {error}",
                    self.address
                ));
            }
        };
        let reachable = addresses.iter().find(|address| !address.ip().is_loopback());
        if let (Some(address), None) = (reachable, &self.token) {
            return refuse(format!(
                "{address} can be reached from other machines, and anyone there could post records. Give a token (HttpOptions::token), \
                 or listen on 127.0.0.1"
            ));
        }
        if let (Some(address), None) = (reachable, &self.tls) {
            log::warn!(
                "HTTP stream {}: {address} can be reached from other machines, and without TLS the token and the records can be read \
                 on the way (HttpOptions::tls)",
                self.name
            );
        }
        Ok(addresses)
    }
}

/// Without the token.
impl std::fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpOptions")
            .field("address", &self.address)
            .field("path", &self.path)
            .field("name", &self.name)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(options: HttpOptions) -> String {
        options.check().unwrap_err().to_string()
    }

    #[test]
    fn an_address_that_others_can_reach_needs_a_token() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
            let text = refusal(HttpOptions::listen(address));
            assert!(text.contains("can be reached from other machines") && text.contains("token"), "{text}");
            HttpOptions::listen(address).token("secret").check().unwrap();
        }
        for address in ["127.0.0.1:0", "localhost:80", "[::1]:0"] {
            HttpOptions::listen(address).check().unwrap();
        }
    }

    #[test]
    fn options_that_make_no_sense_are_refused_and_tokens_never_shown() {
        let options = || HttpOptions::listen("127.0.0.1:0");
        assert!(refusal(HttpOptions::listen("nowhere")).contains("must be HOST:PORT"));
        assert!(refusal(options().path("events")).contains("must begin with /"));
        assert!(refusal(options().path("/health")).contains("not be /health"));
        assert!(refusal(options().requests_max(0)).contains("above 0"));
        assert!(refusal(options().token("")).contains("visible ASCII"));
        let text = refusal(options().token("two words"));
        assert!(!text.contains("words"), "{text}");
        assert!(!format!("{:?}", options().token("hunter2")).contains("hunter2"));
    }
}
