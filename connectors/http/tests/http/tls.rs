//! TLS, with a certificate that the test makes.

use crate::client::{Job, PATIENCE, conf, options, raw, to_the_end};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use tidegate::StreamingContext;
use tidegate_http::create_http_stream;

#[test]
fn records_come_by_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();

    let mut job = Job::start(conf(), None, options().token("secret").tls(&certificate, &key));
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = TcpStream::connect(job.address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connection);
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
    client.write_all(format!("{head}one").as_bytes()).unwrap();
    let answer = to_the_end(client);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"stored\":1}\n"), "{answer}");

    let plain = to_the_end(raw(job.address, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(!plain.contains("HTTP/1.1 200"), "{plain}");
    assert_eq!(job.rows(), ["one"]);
}

#[test]
fn files_that_are_no_certificate_or_key_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let ssc = StreamingContext::new(conf(), std::time::Duration::from_secs(1)).unwrap();
    let refusal = || create_http_stream(&ssc, options().tls(&certificate, &key)).err().unwrap().to_string();
    let missing = refusal();
    assert!(missing.contains("cert.pem"), "{missing}");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, "no key").unwrap();
    let no_key = refusal();
    assert!(no_key.contains("no private key can be read from") && no_key.contains("key.pem"), "{no_key}");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    let unfit = refusal();
    assert!(unfit.contains("can't be used"), "{unfit}");
    assert!(!unfit.contains("PRIVATE KEY"), "{unfit}");
}
