//! TLS and SASL: what the settings ask for and this build can do, Java's keys, and what is wrong when a broker and this client do not
//! come together.
//!
//! What must not be here: a secret in a text. A refused handshake may be tried a second time, without anything secret (`call`).

use crate::context::Ear;
use crate::params::{Params, Settings};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};
use tidegate_core::{Error, Result};

/// Whether librdkafka has an OpenSSL: for TLS, and for the hashes of SCRAM.
const WITH_OPENSSL: bool = cfg!(feature = "tls-system");
const WITHOUT_OPENSSL: &str = "this program was built without it; build it with the cargo feature \"tls\" of tidegate-kafka, or \
     \"tls-system\" where OpenSSL's headers are installed";

/// For a second handshake, which tells what was wrong with the first.
const CALL_PATIENCE: Duration = Duration::from_secs(3);
const CALL_STEP: Duration = Duration::from_millis(100);

/// Keys of Java's clients, and what is written instead.
const JAVA_KEYS: &[(&str, &str)] = &[
    (
        "ssl.truststore.location",
        "set ssl.ca.location to a file with the authority's certificate in PEM; keytool -exportcert -rfc -keystore TRUSTSTORE \
         -alias NAME -file ca.pem makes it",
    ),
    ("ssl.truststore.password", "leave it out, certificates in PEM have none"),
    ("ssl.truststore.type", "leave it out, it is PEM"),
    ("ssl.truststore.certificates", "set ssl.ca.pem to the same"),
    ("ssl.keystore.type", "leave it out, ssl.keystore.location is PKCS12"),
    ("ssl.keystore.certificate.chain", "set ssl.certificate.pem to the same"),
    ("ssl.keystore.key", "set ssl.key.pem to the same"),
    ("ssl.protocol", "leave it out, the newest version that the broker knows is taken"),
    ("ssl.enabled.protocols", "leave it out, the newest version that the broker knows is taken"),
    ("ssl.provider", "leave it out, it is OpenSSL"),
    ("ssl.keymanager.algorithm", "leave it out"),
    ("ssl.trustmanager.algorithm", "leave it out"),
    ("ssl.secure.random.implementation", "leave it out"),
    ("ssl.engine.factory.class", "leave it out, it is OpenSSL"),
    ("sasl.jaas.config", "set sasl.username and sasl.password to those that are in it"),
    (
        "sasl.client.callback.handler.class",
        "leave it out, user and password are sasl.username and sasl.password",
    ),
    (
        "sasl.login.callback.handler.class",
        "leave it out, user and password are sasl.username and sasl.password",
    ),
    ("sasl.login.class", "leave it out, user and password are sasl.username and sasl.password"),
];

/// Whose value is this client's certificate or its key.
const OWN_CERTIFICATE: [&str; 4] =
    ["ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location", "ssl.key.location"];

/// Settings that name a file, and what must be in it.
const FILES: [(&str, &str); 5] = [
    ("ssl.ca.location", "a certificate in PEM"),
    ("ssl.certificate.location", "a certificate in PEM"),
    ("ssl.key.location", "a private key in PEM, which ssl.key.password opens if it has one"),
    ("ssl.keystore.location", "PKCS12, which ssl.keystore.password opens"),
    ("ssl.crl.location", "a list of revoked certificates in PEM"),
];

/// What is in the settings about who is who, read.
struct Asked {
    protocol: String,
    mechanism: Option<String>,
}

impl Asked {
    fn of(params: &Params) -> Asked {
        let lower = |name: &str| params.get(name).map(str::to_ascii_lowercase);
        Asked {
            protocol: lower("security.protocol").unwrap_or_else(|| "plaintext".to_owned()),
            mechanism: lower("sasl.mechanism")
                .or_else(|| lower("sasl.mechanisms"))
                .filter(|it| !it.is_empty()),
        }
    }

    fn tls(&self) -> bool {
        self.protocol.ends_with("ssl")
    }

    fn sasl(&self) -> bool {
        self.protocol.starts_with("sasl")
    }
}

/// # Errors
/// `Reconfigure`, naming the setting: it is one of Java's, needs what this build does not have, or lacks another one.
pub(crate) fn check(params: &Params) -> Result<()> {
    let java = java_keys(params);
    let lacking = needs_openssl(params).filter(|_| !WITH_OPENSSL);
    let lacking = lacking.map(|wants| format!("Kafka setting {wants} needs OpenSSL, and {WITHOUT_OPENSSL}"));
    match (java.as_slice(), lacking) {
        ([], None) => {}
        ([], Some(lacking)) => return Err(Error::reconfigure(lacking)),
        (keys, lacking) => {
            let lacking = lacking.map(|text| format!(". And {text}")).unwrap_or_default();
            return Err(Error::reconfigure(format!(
                "Kafka settings of Java's clients are written in another way here: {}{lacking}",
                keys.join("; ")
            )));
        }
    }
    check_login(params)?;
    warn_of_holes(params);
    Ok(())
}

/// Those that are set, each with what to do.
fn java_keys(params: &Params) -> Vec<String> {
    let set =
        JAVA_KEYS.iter().filter_map(|(name, instead)| params.get(name).map(|value| (*name, *instead, value)));
    let mut keys: Vec<_> = set
        .map(|(name, instead, value)| match name {
            "sasl.jaas.config" if value.contains("Krb5LoginModule") => {
                format!("{name}: it asks for Kerberos, which this build can't do; use PLAIN or SCRAM")
            }
            _ => format!("{name}: {instead}"),
        })
        .collect();
    if let Some(file) = params.get("ssl.keystore.location")
        && let Some(instead) = of_another_kind(file)
    {
        keys.push(format!("ssl.keystore.location={file}: {instead}"));
    }
    if params.get("ssl.endpoint.identification.algorithm") == Some("") {
        keys.push(
            "ssl.endpoint.identification.algorithm: write none where Java has nothing; the brokers' names are not checked then"
                .to_owned(),
        );
    }
    keys
}

/// What to do with a keystore that is not PKCS12. One that can't be read is told by librdkafka.
fn of_another_kind(file: &str) -> Option<&'static str> {
    let mut head = [0; 4];
    File::open(file).and_then(|mut file| file.read_exact(&mut head)).ok()?;
    match &head {
        [0xfe, 0xed, 0xfe, 0xed] | [0xce, 0xce, 0xce, 0xce] => Some(
            "it is in Java's own format; make it PKCS12: keytool -importkeystore -srckeystore THIS -destkeystore NEW.p12 \
             -deststoretype PKCS12",
        ),
        b"----" => Some("it is PEM; set ssl.certificate.location and ssl.key.location to it"),
        _ => None,
    }
}

/// The setting that goes with OpenSSL alone.
fn needs_openssl(params: &Params) -> Option<String> {
    let asked = Asked::of(params);
    if asked.tls() {
        return Some(format!("security.protocol={}", asked.protocol));
    }
    if let Some(mechanism) = asked.mechanism.filter(|it| it.starts_with("scram") || it == "oauthbearer") {
        return Some(format!("sasl.mechanism={}", mechanism.to_ascii_uppercase()));
    }
    let of_tls = |name: &str| name.starts_with("ssl.") || name.starts_with("enable.ssl.");
    params.iter().map(|(name, _)| name).find(|name| of_tls(name)).map(str::to_owned)
}

fn check_login(params: &Params) -> Result<()> {
    let asked = Asked::of(params);
    if !asked.sasl() {
        return Ok(());
    }
    let protocol = format!("Kafka setting security.protocol={}", asked.protocol);
    match asked.mechanism.as_deref() {
        None | Some("gssapi") => Err(Error::reconfigure(format!(
            "{protocol} without sasl.mechanism means Kerberos (GSSAPI), which this build can't do; set sasl.mechanism to PLAIN, \
             SCRAM-SHA-256 or SCRAM-SHA-512, as the brokers have it"
        ))),
        Some(mechanism) if mechanism == "plain" || mechanism.starts_with("scram") => {
            let lacking =
                ["sasl.username", "sasl.password"].into_iter().find(|name| params.get(name).is_none());
            lacking.map_or(Ok(()), |lacking| {
                let mechanism = mechanism.to_ascii_uppercase();
                Err(Error::reconfigure(format!("{protocol} with sasl.mechanism={mechanism} needs {lacking}")))
            })
        }
        Some(_) => Ok(()),
    }
}

fn warn_of_holes(params: &Params) {
    let asked = Asked::of(params);
    let is = |name: &str, value: &str| params.get(name).is_some_and(|set| set.eq_ignore_ascii_case(value));
    if !asked.tls() {
        if let Some((name, _)) = params.iter().find(|(name, _)| name.starts_with("ssl.")) {
            log::warn!(
                "Kafka: {name} is set, but security.protocol={} has no TLS: nothing is encrypted",
                asked.protocol
            );
        }
    } else if is("enable.ssl.certificate.verification", "false") {
        log::warn!(
            "Kafka: enable.ssl.certificate.verification=false: anyone on the way can pass for a broker"
        );
    } else if is("ssl.endpoint.identification.algorithm", "none") {
        log::warn!(
            "Kafka: ssl.endpoint.identification.algorithm=none: whoever has a certificate of a trusted authority can pass for a broker"
        );
    }
}

/// Whether waiting does not mend what librdkafka says: credentials or certificates are wrong. A connection that broke off while it was
/// being made is no reason.
pub(crate) fn is_final(code: Code, text: &str) -> bool {
    match code {
        // Said of a broker that went away meanwhile too.
        Code::Authentication => !text.contains("supported mechanisms: (n/a)"),
        Code::SaslAuthenticationFailed => true,
        Code::SSL => !text.contains("SSL transport error") && alert(text) != Some(INTERNAL_ERROR),
        // With TLS 1.3 a broker looks at a client's certificate when the client thinks that all is done.
        _ => alert(text).is_some_and(|number| number != INTERNAL_ERROR && number != USER_CANCELED),
    }
}

/// Numbers of TLS alerts that speak of the broker's own state.
const INTERNAL_ERROR: u32 = 80;
const USER_CANCELED: u32 = 90;
/// Those that speak of a certificate, or of one that is lacking.
const ABOUT_CERTIFICATES: [u32; 10] = [40, 41, 42, 43, 44, 45, 46, 48, 49, 116];

/// The number of the alert with which the broker ended the handshake.
fn alert(text: &str) -> Option<u32> {
    let (_, number) = text.split_once("SSL alert number ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn is_unverified(text: &str) -> bool {
    text.contains("certificate verify failed") || text.contains("Failed to verify broker certificate")
}

/// The error of a client that can't come together with a broker, by what librdkafka says of it.
pub(crate) fn refused(settings: &Settings, text: &str) -> Error {
    let place = format!("Kafka at {}", settings.bootstrap);
    let about_certificates = alert(text).is_some_and(|number| ABOUT_CERTIFICATES.contains(&number))
        || text.contains("client SSL authentication might be required");
    let text = if is_unverified(text) {
        let name_is_wrong = broker(text).and_then(|broker| name_is_wrong(settings, broker));
        format!("{place}: {}", unverified(settings, text, name_is_wrong))
    } else if about_certificates {
        format!("{place}: {}", unwelcome(settings, text))
    } else {
        let who = settings.principal().map(|principal| format!(" of {principal}")).unwrap_or_default();
        format!(
            "{place} refuses this client; check security.protocol and the sasl and ssl settings{who}: {text}"
        )
    };
    Error::reconfigure(settings.scrub(&text))
}

/// The broker's certificate does not do. `name_is_wrong`: it is only for another name; `None`: not known.
fn unverified(settings: &Settings, text: &str, name_is_wrong: Option<bool>) -> String {
    let broker = broker(text).unwrap_or("a broker");
    // librdkafka's own advice is about one of the two reasons.
    let said = text.split(": broker certificate could not be verified").next().unwrap_or(text);
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let name = format!(
        "call it by a name that is in its certificate, in bootstrap.servers and in the brokers' advertised.listeners, or have its \
         certificate made for {host} too (ssl.endpoint.identification.algorithm=none would leave the check out: anyone with a \
         certificate of that authority could pass for the broker)"
    );
    let authority = match settings.get("ssl.ca.location") {
        Some(file) => format!("set ssl.ca.location, which is {file}, to the certificate (PEM) of the authority that made it"),
        None if settings.get("ssl.ca.pem").is_some() => {
            "set ssl.ca.pem to the certificate of the authority that made it".to_owned()
        }
        None => "set ssl.ca.location to the file of the certificate (PEM) of the authority that made it; without, those of this \
                 system are trusted"
            .to_owned(),
    };
    match name_is_wrong {
        Some(true) => {
            format!("the certificate of broker {broker} is not for the name {host}: {name}: {said}")
        }
        Some(false) => {
            format!("the certificate of broker {broker} is not trusted, or out of date: {authority}: {said}")
        }
        None => format!(
            "the certificate of broker {broker} is not trusted, out of date, or not for the name {host}: {authority}; or {name}: \
             {said}"
        ),
    }
}

/// The broker does not take this client for want of a certificate.
fn unwelcome(settings: &Settings, text: &str) -> String {
    let broker = broker(text).unwrap_or("a broker");
    match OWN_CERTIFICATE.iter().find_map(|name| Some((name, settings.get(name)?))) {
        None => format!(
            "broker {broker} wants a certificate of this client, and none is set: set ssl.certificate.location and \
             ssl.key.location (PEM), or ssl.keystore.location and ssl.keystore.password (PKCS12): {text}"
        ),
        Some((name, value)) => {
            let value = if name.ends_with(".pem") { String::new() } else { format!("={value}") };
            format!(
                "broker {broker} does not take this client's certificate ({name}{value}): it must be of an authority that the broker \
                 trusts (ssl.truststore.location there), and not out of date: {text}"
            )
        }
    }
}

/// What to look at when no client can be made of the settings, by what librdkafka says: it names the setting, not always the file.
pub(crate) fn hint_at_files(params: &Params, words: &str) -> String {
    let named = FILES.iter().find(|(name, _)| words.contains(name));
    let Some((file, kind)) = named.and_then(|(name, kind)| Some((params.get(name)?, kind))) else {
        return String::new();
    };
    match File::open(file) {
        Err(error) => format!("; {file}: {error}"),
        Ok(_) if words.contains("mac verify failure") => "; check ssl.keystore.password".to_owned(),
        Ok(_) => format!("; {file} must be {kind}"),
    }
}

/// What to look at when a broker is there and gives no answer, by what librdkafka says of it.
pub(crate) fn hint(settings: &Settings, heard: &str) -> &'static str {
    let tls = settings.get("security.protocol").is_some_and(|it| it.to_ascii_lowercase().ends_with("ssl"));
    // A broker that takes the first request for a handshake hangs up, or sends an alert, which is read as the length of an answer.
    let no_request = heard.contains("Disconnected") && heard.contains("in state APIVERSION_QUERY");
    let no_answer = heard.contains("Invalid response size");
    if tls && heard.contains("PLAINTEXT broker listener") {
        "; that port hangs up on TLS: take the port where the brokers speak it, or set security.protocol to what this one is \
         (PLAINTEXT or SASL_PLAINTEXT, on a network that you trust)"
    } else if !tls && (no_request || no_answer) {
        "; that port seems to speak TLS: set security.protocol to SSL, or to SASL_SSL with user and password"
    } else if heard.contains("Disconnected") {
        "; a broker hangs up on who does not speak the security.protocol that its port is set to"
    } else {
        ""
    }
}

/// `host:port` of the broker that librdkafka speaks of.
fn broker(text: &str) -> Option<&str> {
    text.split_once("://")?.1.split(['/', ' ']).next()
}

/// Whether the broker's certificate is good but for its name: OpenSSL says the same of both. `None`: it can't be told.
///
/// The broker is called again without that check. As it may be anyone, it is sent nothing but the beginning of a conversation: no user,
/// no password, no certificate.
fn name_is_wrong(settings: &Settings, broker: &str) -> Option<bool> {
    if settings.get("ssl.endpoint.identification.algorithm").is_some_and(|it| it.eq_ignore_ascii_case("none"))
    {
        return Some(false);
    }
    let mut config = settings.client();
    let secret = |name: &str| {
        name.starts_with("sasl.")
            || name.starts_with("ssl.key")
            || name.starts_with("ssl.certificate")
            || name == "metadata.broker.list"
    };
    let names: Vec<_> = settings.names().filter(|name| secret(name)).collect();
    names.into_iter().for_each(|name| {
        config.remove(name);
    });
    config.set("bootstrap.servers", broker).set("security.protocol", "ssl");
    config.set("ssl.endpoint.identification.algorithm", "none");
    let client: BaseConsumer<Ear> = config.create_with_context(Ear::quiet()).ok()?;
    let (ear, started) = (client.client().context(), Instant::now());
    while started.elapsed() < CALL_PATIENCE {
        let answered = client.fetch_metadata(None, CALL_STEP).is_ok();
        while client.poll(Duration::ZERO).is_some() {}
        let said = [ear.refused(), ear.newest()].into_iter().flatten().collect::<Vec<_>>();
        if said.iter().any(|text| is_unverified(text)) {
            return Some(false);
        }
        // It was spoken with, or hung up when it had been.
        if answered || said.iter().any(|text| text.contains("in state UP") || alert(text).is_some()) {
            return Some(true);
        }
    }
    None
}

#[cfg(test)]
mod tests;
