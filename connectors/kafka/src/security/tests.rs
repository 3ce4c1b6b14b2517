//! Settings that are refused, and what librdkafka's words come to. That librdkafka says these words is seen in `tests/real_tls.rs`.

use super::*;
use tidegate_core::ErrorKind;

const BOOTSTRAP: (&str, &str) = ("bootstrap.servers", "h:1");

fn params(settings: &[(&str, &str)]) -> Params {
    [BOOTSTRAP].iter().chain(settings).copied().collect()
}

fn error(settings: &[(&str, &str)]) -> String {
    let error = Settings::check(&params(settings)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    error.to_string()
}

#[cfg(not(feature = "tls-system"))]
#[test]
fn what_needs_openssl_names_the_setting_and_the_feature_in_a_build_without() {
    let scram = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "SCRAM-SHA-256")];
    let login = [("sasl.username", "ann"), ("sasl.password", "hunter2")];
    for (settings, named) in [
        (&[("security.protocol", "SSL")][..], "security.protocol=ssl"),
        (&[("security.protocol", "sasl_ssl")], "security.protocol=sasl_ssl"),
        (&[&scram[..], &login[..]].concat(), "sasl.mechanism=SCRAM-SHA-256"),
        (&[("sasl.mechanisms", "SCRAM-SHA-512")], "sasl.mechanism=SCRAM-SHA-512"),
        (&[("ssl.ca.location", "ca.pem")], "ssl.ca.location"),
        (&[("enable.ssl.certificate.verification", "true")], "enable.ssl.certificate.verification"),
    ] {
        let text = error(settings);
        assert!(text.starts_with(&format!("Kafka setting {named} needs OpenSSL")), "{text}");
        assert!(text.contains("cargo feature \"tls\" of tidegate-kafka"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn keys_of_java_are_told_all_at_once_with_what_to_write_instead() {
    let text = error(&[
        ("security.protocol", "SASL_SSL"),
        ("ssl.truststore.location", "/etc/trust.jks"),
        ("ssl.truststore.password", "hunter2"),
        ("ssl.keystore.type", "JKS"),
        (
            "sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"ann\" password=\"hunter2\";",
        ),
    ]);
    for part in [
        "ssl.truststore.location: set ssl.ca.location to a file with the authority's certificate in PEM; keytool -exportcert -rfc",
        "ssl.truststore.password: leave it out",
        "ssl.keystore.type: leave it out",
        "sasl.jaas.config: set sasl.username and sasl.password",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(text.contains("cargo feature"), !WITH_OPENSSL, "{text}");
    let kerberos = error(&[("sasl.jaas.config", "com.sun.security.auth.module.Krb5LoginModule required;")]);
    assert!(kerberos.contains("Kerberos, which this build can't do"), "{kerberos}");
    let empty = error(&[("ssl.endpoint.identification.algorithm", "")]);
    assert!(empty.contains("write none"), "{empty}");
}

#[test]
fn a_keystore_that_is_not_pkcs12_is_told_by_what_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    let keys = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        java_keys(&params(&[("ssl.keystore.location", file.to_str().unwrap())]))
    };
    assert!(keys(b"\xfe\xed\xfe\xed\0\0\0\x02")[0].contains("-deststoretype PKCS12"));
    assert!(keys(b"-----BEGIN CERTIFICATE-----")[0].contains("set ssl.certificate.location"));
    assert_eq!(keys(b"\x30\x82\x05\xe0\x02"), [""; 0]);
    assert_eq!(java_keys(&params(&[("ssl.keystore.location", "/no/such/file")])), [""; 0]);
}

#[test]
fn a_login_that_lacks_something_names_it() {
    let plain = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN")];
    let text = error(&[("security.protocol", "sasl_plaintext"), ("sasl.username", "ann")]);
    assert!(text.contains("set sasl.mechanism to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"), "{text}");
    assert!(error(&plain).ends_with("needs sasl.username"));
    assert!(error(&[&plain[..], &[("sasl.username", "ann")]].concat()).ends_with("needs sasl.password"));
    check(&params(&[&plain[..], &[("sasl.username", "ann"), ("sasl.password", "p")]].concat())).unwrap();
}

const REQUIRED: &str = "ssl://h:1/bootstrap: Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL \
                        alert number 116 (after 1ms in state APIVERSION_QUERY)";

#[test]
fn only_what_waiting_does_not_mend_ends_a_job() {
    let unverified = "ssl://h:1/1: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate \
                      could not be verified, verify that ssl.ca.location is correctly configured (after 3ms)";
    assert!(is_final(Code::SSL, unverified));
    assert!(is_final(Code::BrokerTransportFailure, REQUIRED));
    assert!(is_final(Code::Authentication, "SASL authentication error: Authentication failed (after 5ms)"));
    let mechanism = "SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported \
                     mechanisms: PLAIN";
    assert!(is_final(Code::Authentication, mechanism));
    // The broker went away while it was spoken with.
    for (code, text) in [
        (
            Code::BrokerTransportFailure,
            "ssl://h:1/1: SSL handshake failed: Disconnected: connection reset by peer",
        ),
        (Code::SSL, "ssl://h:1/1: SSL handshake failed: SSL transport error: Broken pipe (after 3ms)"),
        (
            Code::SSL,
            "ssl://h:1/1: SSL handshake failed: tlsv1 alert internal error: SSL alert number 80 (after 3ms)",
        ),
        (
            Code::Authentication,
            "SASL PLAIN mechanism handshake failed: Local: Broker transport failure: broker's supported mechanisms: (n/a)",
        ),
        (Code::BrokerTransportFailure, "ssl://h:1/1: Connect to ipv4#127.0.0.1:1 failed: Connection refused"),
    ] {
        assert!(!is_final(code, text), "{text}");
    }
}

fn settings(more: &[(&str, &str)]) -> Settings {
    Settings::unchecked(&params(more))
}

#[test]
fn a_certificate_that_does_not_do_is_told_by_reason_and_way_out() {
    let said = "ssl://kafka-1:9093/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker \
                certificate could not be verified, verify that ssl.ca.location is correctly configured (after 3ms)";
    let file = settings(&[("ssl.ca.location", "/etc/ca.pem")]);
    let text = unverified(&file, said, Some(false));
    assert!(
        text.starts_with("the certificate of broker kafka-1:9093 is not trusted, or out of date"),
        "{text}"
    );
    assert!(
        text.contains("set ssl.ca.location, which is /etc/ca.pem")
            && text.ends_with("certificate verify failed"),
        "{text}"
    );
    assert!(
        unverified(&settings(&[]), said, Some(false)).contains("without, those of this system are trusted")
    );
    let text = unverified(&file, said, Some(true));
    assert!(text.starts_with("the certificate of broker kafka-1:9093 is not for the name kafka-1"), "{text}");
    assert!(text.contains("bootstrap.servers") && !text.contains("ssl.ca.location"), "{text}");
    let text = unverified(&file, said, None);
    assert!(text.contains("ssl.ca.location") && text.contains("or not for the name kafka-1"), "{text}");
}

#[test]
fn a_broker_that_wants_a_certificate_is_told_with_the_one_that_is_set() {
    let text = refused(&settings(&[]), REQUIRED).to_string();
    assert!(
        text.starts_with("Kafka at h:1: broker h:1 wants a certificate of this client, and none is set"),
        "{text}"
    );
    assert!(text.contains("ssl.key.location (PEM)") && text.contains("ssl.keystore.location"), "{text}");
    let text = refused(&settings(&[("ssl.keystore.location", "/etc/me.p12")]), REQUIRED).to_string();
    assert!(
        text.contains("does not take this client's certificate (ssl.keystore.location=/etc/me.p12)"),
        "{text}"
    );
    let text = refused(&settings(&[("ssl.certificate.pem", "-----BEGIN")]), REQUIRED).to_string();
    assert!(text.contains("certificate (ssl.certificate.pem)"), "{text}");
}

#[test]
fn a_port_that_speaks_something_else_is_told_by_which_side_has_tls() {
    let (plain, tls) = (settings(&[]), settings(&[("security.protocol", "SASL_SSL")]));
    let alert = "h:1/bootstrap: Receive failed: Invalid response size 352518912 (0..1000): increase receive.message.max.bytes";
    assert!(hint(&plain, alert).contains("seems to speak TLS: set security.protocol to SSL"));
    let hung_up = "h:1/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 10ms in state APIVERSION_QUERY)";
    assert!(hint(&plain, hung_up).contains("seems to speak TLS"));
    assert!(hint(&tls, hung_up).contains("hangs up on who does not speak"));
    let closed = "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after 5ms)";
    assert!(hint(&tls, closed).contains("hangs up on TLS"));
    let up = "Disconnected: verify that security.protocol is correctly configured";
    assert!(hint(&plain, up).contains("hangs up on who does not speak"));
    assert_eq!(hint(&plain, "Connection refused"), "");
}

#[test]
fn a_file_that_does_not_do_is_told_by_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f");
    std::fs::write(&file, "nothing").unwrap();
    let file = file.to_str().unwrap();
    let hint = |name, file, words: &str| hint_at_files(&params(&[(name, file)]), words);
    let failed = "ssl.ca.location failed: error:05880020:x509 certificate routines::BIO lib";
    assert!(hint("ssl.ca.location", "/no/such/file", failed).starts_with("; /no/such/file: No such file"));
    assert_eq!(hint("ssl.ca.location", file, failed), format!("; {file} must be a certificate in PEM"));
    let mac = "Failed to parse ssl.keystore.location PKCS#12 file: f: error:11800071:PKCS12 routines::mac verify failure";
    assert_eq!(hint("ssl.keystore.location", file, mac), "; check ssl.keystore.password");
    assert_eq!(hint("ssl.ca.location", file, "something else"), "");
}
