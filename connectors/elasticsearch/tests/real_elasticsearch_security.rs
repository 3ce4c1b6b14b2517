//! The Elasticsearch output against a server with TLS, passwords and privileges: what is missing is told at the start with what
//! mends it, and no more is needed than is told.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[allow(dead_code, reason = "the other test file uses the rest")]
mod support;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{count, strict};
use tempfile::TempDir;
use tidegate::testkit::outputs::{Epoch, batch};
use tidegate_core::{Error, ErrorKind, Output, OutputContext, Result};
use tidegate_elasticsearch::{Document, ElasticsearchOutput, Refresh, Refused};
use tidegate_servers::Elasticsearch;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

const PASSWORD: &str = Elasticsearch::USER.1;
const PATIENCE: Duration = Duration::from_secs(60);

/// An authority, and a certificate of this host that it has signed.
struct Authority {
    certificate: String,
    host: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let host = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let host = host.signed_by(&key, &authority).unwrap();
        Authority { certificate: authority.pem(), host: host.pem(), key: key.serialize_pem() }
    }

    fn file(&self, directory: &TempDir, name: &str) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, &self.certificate).unwrap();
        path
    }
}

/// A server that `ann` is let in to by her password, and where she may do nothing yet.
struct Node {
    server: Elasticsearch,
    authority: Authority,
    directory: TempDir,
    /// How many roles `ann` has had.
    roles: Cell<u32>,
}

impl Node {
    fn start() -> Node {
        let (directory, authority) = (TempDir::new().unwrap(), Authority::new());
        let server = Elasticsearch::start_secured(directory.path(), &authority.host, &authority.key).unwrap();
        let node = Node { server, authority, directory, roles: Cell::new(0) };
        let started = Instant::now();
        while node.call("GET", "_cluster/health", None).0 != 200 {
            assert!(started.elapsed() < PATIENCE, "the administrator is not let in");
        }
        node.role(&json!([]));
        node
    }

    /// Asked as the administrator, without the code under test.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.call_as(Elasticsearch::ADMIN, method, path, body)
    }

    fn call_as(
        &self,
        (user, password): (&str, &str),
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let roots: Vec<Certificate<'static>> = parse_pem(self.authority.certificate.as_bytes())
            .filter_map(|item| match item.unwrap() {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            })
            .collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent =
            ureq::Agent::config_builder().http_status_as_error(false).tls_config(tls).build().new_agent();
        let secret = format!("{user}:{password}");
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/{path}", self.server.url()))
            .header("Content-Type", "application/json")
            .header("Authorization", format!("Basic {}", base64(&secret)));
        let Ok(mut answer) = agent.run(request.body(body.map(Value::to_string).unwrap_or_default()).unwrap())
        else {
            return (0, Value::Null);
        };
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }

    fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, Some(body));
        assert!(status < 300, "{method} {path}: {answer}");
        answer
    }

    /// Gives `ann` these privileges and no others, and returns when the server goes by them.
    fn role(&self, indices: &Value) {
        let mark = format!("role-{}", self.roles.replace(self.roles.get() + 1));
        let mut indices = indices.as_array().unwrap().clone();
        indices.push(json!({ "names": [mark], "privileges": ["read"] }));
        self.server.set_role(&json!({ "indices": indices }).to_string()).unwrap();
        let asked = json!({ "index": [{ "names": [mark], "privileges": ["read"] }] });
        let ask =
            || self.call_as(Elasticsearch::USER, "POST", "_security/user/_has_privileges", Some(&asked)).1;
        let started = Instant::now();
        while ask()["has_all_requested"] != json!(true) {
            assert!(started.elapsed() < PATIENCE, "the role is not taken: {}", ask());
        }
    }

    fn output(&self) -> ElasticsearchOutput {
        self.untrusting().ca_certificate(self.authority.file(&self.directory, "ca.pem")).unwrap()
    }

    fn untrusting(&self) -> ElasticsearchOutput {
        let output = ElasticsearchOutput::new(&self.server.url(), "words").unwrap();
        output.basic_auth("ann", PASSWORD).patience(Duration::from_millis(300))
    }

    /// How many documents there are in an index.
    fn count(&self, index: &str) -> u64 {
        assert_eq!(self.call("POST", &format!("{index}/_refresh"), None).0, 200);
        self.call("GET", &format!("{index}/_count"), None).1["count"].as_u64().unwrap()
    }

    /// Tries until it goes, granting each time the privileges that the error says a role needs, and nothing else. Gives what was
    /// said to be missing.
    fn granting<T>(&self, mut tried: impl FnMut() -> Result<T>) -> (T, Vec<String>) {
        let (mut missing, mut granted) = (Vec::new(), Vec::new());
        loop {
            let error = match tried() {
                Ok(done) => return (done, missing),
                Err(error) => self.told(&error),
            };
            let (_, rest) = error.split_once("user ann lacks the privileges ").expect(&error);
            let (lacking, role) = rest.split_once("; add to its role, or to that of its API key: ").unwrap();
            missing.push(lacking.to_owned());
            let role: Value = serde_json::from_str(role).unwrap();
            granted.extend(role["indices"].as_array().unwrap().iter().cloned());
            self.role(&json!(granted));
            assert!(missing.len() < 10, "{missing:?}");
        }
    }

    /// The text of an error that somebody must mend: it names the server and the index, and no secret.
    fn told(&self, error: &Error) -> String {
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{text}");
        let server = self.server.url().replace("https://", "");
        assert!(text.contains("output out, ") && text.contains(&server), "{text}");
        let all = format!("{text} {error:?} {error:#?}");
        for secret in [PASSWORD, &base64(&format!("ann:{PASSWORD}")), "wrong one"] {
            assert!(!all.contains(secret), "{all}");
        }
        text
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn context() -> OutputContext {
    OutputContext { output: "out".into(), job: None, new_job: "job-1".into() }
}

fn open(output: &ElasticsearchOutput) -> Result<()> {
    output.open(&context()).map(drop)
}

fn start(output: &ElasticsearchOutput, workers: usize) -> Result<Epoch<Document>> {
    Epoch::open_as(output, &context(), workers)
}

#[test]
fn what_a_guarded_server_asks_for_is_told_at_the_start_and_is_enough() {
    let node = Node::start();
    certificates(&node);
    passwords(&node);
    privileges(&node);
    privileges_of_more(&node);
    privileges_that_are_taken_away(&node);
}

fn certificates(node: &Node) {
    let stranger = Authority::new().file(&node.directory, "stranger.pem");
    for output in [node.untrusting(), node.untrusting().ca_certificate(stranger).unwrap()] {
        let text = node.told(&open(&output).unwrap_err());
        assert!(text.contains("index words") && text.contains("by ca_certificate()"), "{text}");
    }
    // Not as http either, which the server does not speak there.
    let plain = ElasticsearchOutput::new(&node.server.url().replace("https", "http"), "words").unwrap();
    let plain = plain.basic_auth("ann", PASSWORD).patience(Duration::from_millis(1));
    let error = open(&plain).unwrap_err();
    assert!(error.to_string().contains("https://"), "{error}");
}

fn passwords(node: &Node) {
    for (output, who) in [
        (node.output().basic_auth("ann", "the wrong one"), "unable to authenticate user [ann]"),
        (node.output().api_key("aWQ6a2V5"), "unable to authenticate"),
    ] {
        assert!(!format!("{output:?}").contains("wrong one"));
        let text = node.told(&open(&output).unwrap_err());
        assert!(text.contains("are not accepted") && text.contains(who), "{text}");
    }
    let nobody = ElasticsearchOutput::new(&node.server.url(), "words").unwrap();
    let nobody = nobody.ca_certificate(node.authority.file(&node.directory, "ca.pem")).unwrap();
    let text = node.told(&open(&nobody).unwrap_err());
    assert!(text.contains("missing authentication credentials") && text.contains("basic_auth"), "{text}");
}

fn privileges(node: &Node) {
    node.must("PUT", "words", &strict());
    let (mut workers, missing) = node.granting(|| start(&node.output(), 2));
    assert_eq!(missing, ["view_index_metadata and write on words, manage and write on tidegate-staging-*"]);
    assert_eq!(node.count("words"), 0);
    workers.run(&batch(1), vec![count("ebb", 1), count("flow", 2)]).unwrap();
    assert_eq!(node.count("words"), 2);
    workers.run(&batch(1), vec![count("ebb", 1), count("flow", 2)]).unwrap();
    assert_eq!(node.count("words"), 2);
}

/// An index that is made and takes new fields, dead letters, a refresh.
fn privileges_of_more(node: &Node) {
    node.role(&json!([]));
    node.call("DELETE", "words", None);
    let output = || {
        node.output()
            .create_with(json!({ "settings": { "number_of_replicas": 0 } }))
            .on_refused(Refused::DeadLetter("words-dead".to_owned()))
            .refresh(Refresh::Now)
    };
    let (mut workers, missing) = node.granting(|| start(&output(), 2));
    assert_eq!(
        missing,
        [
            "view_index_metadata and write and maintenance on words, view_index_metadata and write on words-dead, \
             manage and write on tidegate-staging-*",
            "create_index on words",
            "manage on words",
            "create_index on words-dead",
        ]
    );
    workers.run(&batch(1), vec![count("ebb", 1)]).unwrap();
    let odd = Document::new("odd", json!({ "count": "many" }));
    workers.run(&batch(2), vec![odd, count("flow", 1)]).unwrap();
    assert_eq!((node.count("words"), node.count("words-dead")), (2, 1));
}

fn privileges_that_are_taken_away(node: &Node) {
    node.call("DELETE", "words", None);
    node.must("PUT", "words", &strict());
    let staging = json!({ "names": ["tidegate-staging-*"], "privileges": ["manage", "write"] });
    let words = |privileges: &[&str]| json!({ "names": ["words"], "privileges": privileges });
    let full = json!([words(&["view_index_metadata", "write"]), staging]);
    node.role(&full);
    start(&node.output(), 2).unwrap().run(&batch(1), vec![count("ebb", 1)]).unwrap();
    for (left, what) in [
        (json!([words(&["view_index_metadata", "write"])]), "tidegate-staging-"),
        (json!([staging]), "index words"),
    ] {
        node.role(&full);
        let mut workers = start(&node.output(), 2).unwrap();
        node.role(&left);
        // One that has to be tried out: the server makes a number of the text.
        let doubtful = Document::new("flow", json!({ "word": "flow", "count": "2" }));
        let error = workers.prepare(&batch(2), vec![doubtful]).unwrap_err();
        let text = node.told(&error);
        assert!(text.contains("batch 2") && text.contains(what), "{text}");
        assert!(text.contains("unauthorized for user [ann]") && text.contains("privileges"), "{text}");
        assert_eq!(node.count("words"), 1);
    }
    // Between prepare and commit: the batch is run again once the privilege is back.
    node.role(&full);
    let mut workers = start(&node.output(), 2).unwrap();
    workers.prepare(&batch(2), vec![count("flow", 2)]).unwrap();
    node.role(&json!([words(&["view_index_metadata"]), staging]));
    let text = node.told(&workers.commit(&batch(2)).unwrap_err());
    assert!(text.contains("index words") && text.contains("write"), "{text}");
    assert_eq!(node.count("words"), 1);
    let text = node.told(&start(&node.output(), 2).err().unwrap());
    assert!(text.contains("user ann lacks the privileges write on words; add"), "{text}");
    node.role(&full);
    start(&node.output(), 2).unwrap().run(&batch(2), vec![count("flow", 2)]).unwrap();
    assert_eq!(node.count("words"), 2);
}
