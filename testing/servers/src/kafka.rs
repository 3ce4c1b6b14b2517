//! One Kafka node, broker and controller in one process (KRaft), as tests want it.
//!
//! It differs from a production broker in that topics are not created by being asked for (so that "unknown topic" can be
//! tested), every internal topic has one replica, a group does not wait for further members, and nothing is deleted by age
//! unless a topic's own setting says so, in which case that is looked at every second.

use crate::certificates::{Authority, Identity, PASSWORD as CERTIFICATE_PASSWORD};
use crate::error::Tried;
use crate::needs::{self, Need};
use crate::ports::Port;
use crate::process::{Process, run_logged};
use crate::{ServerError, fetch};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Generous: starts take 3 s on an idle machine, and tests may run on a busy one.
const READY_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// The broker logs this when it takes requests and the controller has admitted it. An open port comes earlier.
const READY_LINE: &str = "Kafka Server started";

/// How a [`Kafka`] is to be; made by [`Kafka::options`].
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    heap_mib: u32,
    sasl: Option<(String, String)>,
    tls: Option<Tls>,
    properties: BTreeMap<String, String>,
    /// The cluster that it joins; `None`: it is one of its own.
    cluster: Option<Cluster>,
}

/// Who a broker is to its clients, and whom it takes for clients.
#[derive(Debug, Clone)]
struct Tls {
    host: Identity,
    clients: Authority,
}

/// A cluster that another node has made.
#[derive(Debug, Clone)]
struct Cluster {
    id: String,
    /// Address of its controller.
    controller: String,
    /// Number of the node that joins.
    node: u32,
}

impl KafkaOptions {
    /// Sets the size of the Java heap; 512 MiB without this call.
    #[must_use]
    pub fn heap_mib(mut self, heap_mib: u32) -> Self {
        self.heap_mib = heap_mib;
        self
    }

    /// Opens a second port that lets in only this user, by SASL/PLAIN and SASL/SCRAM-SHA-256. The first port stays open to everybody.
    #[must_use]
    pub fn sasl(mut self, user: &str, password: &str) -> Self {
        self.sasl = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Opens ports that speak TLS, as `host`: one for everybody, one for who has a certificate of `clients`, and, with
    /// [`KafkaOptions::sasl`], one for that user. The other ports stay as they are.
    #[must_use]
    pub fn tls(mut self, host: &Identity, clients: &Authority) -> Self {
        self.tls = Some(Tls { host: host.clone(), clients: clients.clone() });
        self
    }

    /// Has the brokers ask for rights. Who comes by the first port, the other brokers and tests, may do everything; the user of
    /// [`KafkaOptions::sasl`] nothing until a right is given ([`Acl`](crate::Acl)).
    #[must_use]
    pub fn authorizer(self) -> Self {
        let class = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        self.property("authorizer.class.name", class).property("super.users", "User:ANONYMOUS")
    }

    /// Sets a broker property, over what this module would set.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts a broker whose data, settings and log are in `dir`. Data of an earlier broker there is kept and served.
    ///
    /// Only one broker at a time may use `dir`.
    pub fn start(self, dir: &Path) -> Result<Kafka, ServerError> {
        fs::create_dir_all(dir).tried(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize().tried(|| format!("cannot find {}", dir.display()))?;
        let listeners = self.listeners().into_iter().map(|listener| Ok((listener, Port::free()?)));
        let listeners = listeners.collect::<Result<_, ServerError>>()?;
        let mut kafka = Kafka {
            class_path: fetch::kafka_class_path()?,
            options: self,
            dir,
            port: Port::free()?,
            controller_port: Port::free()?,
            listeners,
            process: None,
        };
        kafka.write_settings()?;
        kafka.format()?;
        kafka.start_again()?;
        Ok(kafka)
    }

    /// Those beside the one for everybody.
    fn listeners(&self) -> Vec<Listener> {
        let (sasl, tls) = (self.sasl.is_some(), self.tls.is_some());
        let wanted = [
            (Listener::Sasl, sasl),
            (Listener::Tls, tls),
            (Listener::Mutual, tls),
            (Listener::SaslTls, sasl && tls),
        ];
        wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(listener, _)| listener).collect()
    }
}

/// A port that asks something of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// A user and a password.
    Sasl,
    /// TLS.
    Tls,
    /// TLS, and a certificate.
    Mutual,
    /// TLS, and a user and a password.
    SaslTls,
}

impl Listener {
    fn name(self) -> &'static str {
        match self {
            Listener::Sasl => "SASL",
            Listener::Tls => "TLS",
            Listener::Mutual => "MUTUAL",
            Listener::SaslTls => "SASLTLS",
        }
    }

    fn protocol(self) -> &'static str {
        match self {
            Listener::Sasl => "SASL_PLAINTEXT",
            Listener::Tls | Listener::Mutual => "SSL",
            Listener::SaslTls => "SASL_SSL",
        }
    }

    /// The broker's settings for this port alone, without what their names begin with.
    fn settings(self, options: &KafkaOptions) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if let (Listener::Sasl | Listener::SaslTls, Some((user, password))) = (self, &options.sasl) {
            // Inside its quotes JAAS has escapes of its own, before those of the properties file.
            let password = password.replace('\\', "\\\\").replace('"', "\\\"");
            let login = "org.apache.kafka.common.security.plain.PlainLoginModule";
            settings
                .push(("plain.sasl.jaas.config", format!("{login} required user_{user}=\"{password}\";")));
            let login = "org.apache.kafka.common.security.scram.ScramLoginModule";
            settings.push(("scram-sha-256.sasl.jaas.config", format!("{login} required;")));
        }
        if let (Listener::Tls | Listener::Mutual | Listener::SaslTls, Some(tls)) = (self, &options.tls) {
            let asks = if self == Listener::Mutual { "required" } else { "none" };
            settings.extend([
                ("ssl.keystore.type", "PKCS12".to_owned()),
                ("ssl.keystore.location", tls.host.pkcs12().display().to_string()),
                ("ssl.keystore.password", CERTIFICATE_PASSWORD.to_owned()),
                ("ssl.key.password", CERTIFICATE_PASSWORD.to_owned()),
                ("ssl.truststore.type", "PKCS12".to_owned()),
                ("ssl.truststore.location", tls.clients.truststore().display().to_string()),
                ("ssl.truststore.password", CERTIFICATE_PASSWORD.to_owned()),
                ("ssl.client.auth", asks.to_owned()),
            ]);
        }
        settings
    }
}

/// A Kafka broker on loopback that lives as long as this value at most.
#[derive(Debug)]
pub struct Kafka {
    options: KafkaOptions,
    dir: PathBuf,
    class_path: String,
    port: Port,
    controller_port: Port,
    listeners: Vec<(Listener, Port)>,
    process: Option<Process>,
}

impl Kafka {
    /// The settings of [`Kafka::start`], to be changed.
    pub fn options() -> KafkaOptions {
        KafkaOptions { heap_mib: 512, sasl: None, tls: None, properties: BTreeMap::new(), cluster: None }
    }

    /// Starts a broker in `dir` and returns when it takes requests.
    pub fn start(dir: &Path) -> Result<Self, ServerError> {
        Self::options().start(dir)
    }

    /// The settings of another broker of the same cluster, with a number of its own from 2 on. This one stays the only controller,
    /// so it is to outlive the others.
    ///
    /// # Panics
    /// When what this broker wrote about its cluster can't be read.
    pub fn another(&self, node: u32) -> KafkaOptions {
        let file = self.data_dir().join("meta.properties");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let id = text.lines().find_map(|line| line.strip_prefix("cluster.id="));
        let id = id.unwrap_or_else(|| panic!("{} names no cluster", file.display())).to_owned();
        let cluster = Cluster { id, controller: address(&self.controller_port), node };
        KafkaOptions { cluster: Some(cluster), ..Self::options() }
    }

    /// The address for clients. It stays the same over stops and starts of this value.
    pub fn bootstrap(&self) -> String {
        address(&self.port)
    }

    /// The address that asks for user and password; none unless [`KafkaOptions::sasl`] was called.
    pub fn sasl_bootstrap(&self) -> Option<String> {
        self.address_of(Listener::Sasl)
    }

    /// The address that speaks TLS with everybody; none unless [`KafkaOptions::tls`] was called.
    pub fn tls_bootstrap(&self) -> Option<String> {
        self.address_of(Listener::Tls)
    }

    /// The address that speaks TLS with who has a certificate; none unless [`KafkaOptions::tls`] was called.
    pub fn mutual_tls_bootstrap(&self) -> Option<String> {
        self.address_of(Listener::Mutual)
    }

    /// The address that speaks TLS and asks for user and password; none unless both are in the options.
    pub fn sasl_tls_bootstrap(&self) -> Option<String> {
        self.address_of(Listener::SaslTls)
    }

    fn address_of(&self, wanted: Listener) -> Option<String> {
        self.listeners.iter().find(|(listener, _)| *listener == wanted).map(|(_, port)| address(port))
    }

    /// The file that all starts of this broker log to.
    pub fn log(&self) -> PathBuf {
        self.dir.join("kafka.log")
    }

    /// Whether the broker's process is there. False also when it ended by itself.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Ends the broker in order, as an operator would (SIGTERM), and waits. Does nothing if it is stopped.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.process.take().map_or(Ok(()), |process| process.stop(Signal::TERM, STOP_LIMIT).map(drop))
    }

    /// Ends the broker as a crash would (SIGKILL). What it acknowledged is in the page cache and survives.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the broker after [`Kafka::stop`] or [`Kafka::kill`]: same ports, same data. A running one is left alone.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            return Ok(());
        }
        let mut process = Process::spawn("Kafka", self.server_command(), &self.log())?;
        process.wait_ready(READY_LIMIT, |process| process.logged().contains(READY_LINE))?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops the broker in order and starts it again.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.stop()?;
        self.start_again()
    }

    fn java(&self) -> Command {
        let mut java = Command::new(needs::java());
        // The class path goes by environment: as an argument it fills every process listing.
        java.env("CLASSPATH", &self.class_path).current_dir(&self.dir);
        java.arg(format!("-Dlog4j2.configurationFile={}", self.dir.join("log4j2.properties").display()));
        java
    }

    fn server_command(&self) -> Command {
        let mut java = self.java();
        java.args([format!("-Xms{0}m", self.options.heap_mib), format!("-Xmx{0}m", self.options.heap_mib)]);
        java.args(["-XX:+UseG1GC", "kafka.Kafka"]).arg(self.settings_path());
        java
    }

    fn settings_path(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn write_settings(&self) -> Result<(), ServerError> {
        let mut text = String::new();
        for (name, value) in self.settings() {
            writeln!(text, "{name}={}", value.replace('\\', "\\\\")).expect("a String takes all");
        }
        let path = self.settings_path();
        fs::write(&path, text).tried(|| format!("cannot write {}", path.display()))?;
        let path = self.dir.join("log4j2.properties");
        fs::write(&path, LOGGING).tried(|| format!("cannot write {}", path.display()))
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let (broker, controller) = (address(&self.port), address(&self.controller_port));
        let mut listeners = format!("PLAINTEXT://{broker}");
        let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        let mut settings: BTreeMap<String, String> =
            SETTINGS.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        for (listener, port) in &self.listeners {
            let name = listener.name();
            listeners.push_str(&format!(",{name}://{}", address(port)));
            protocols.push_str(&format!(",{name}:{}", listener.protocol()));
            let prefix = format!("listener.name.{}", name.to_ascii_lowercase());
            let own = listener.settings(&self.options).into_iter();
            settings.extend(own.map(|(name, value)| (format!("{prefix}.{name}"), value)));
        }
        if self.options.sasl.is_some() {
            settings.insert("sasl.enabled.mechanisms".into(), "PLAIN,SCRAM-SHA-256".into());
        }
        let (bound, voter) = match &self.options.cluster {
            None => (format!("{listeners},CONTROLLER://{controller}"), controller),
            Some(cluster) => {
                settings.insert("process.roles".into(), "broker".into());
                settings.insert("node.id".into(), cluster.node.to_string());
                (listeners.clone(), cluster.controller.clone())
            }
        };
        settings.extend([
            ("advertised.listeners".to_owned(), listeners),
            ("listeners".to_owned(), bound),
            ("listener.security.protocol.map".to_owned(), protocols),
            ("controller.quorum.voters".to_owned(), format!("1@{voter}")),
            ("log.dirs".to_owned(), self.data_dir().display().to_string()),
        ]);
        settings.extend(self.options.properties.clone());
        settings
    }

    fn format(&self) -> Result<(), ServerError> {
        if self.data_dir().join("meta.properties").exists() {
            return Ok(());
        }
        Need::Java.check()?;
        let mut java = self.java();
        java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        let cluster =
            self.options.cluster.as_ref().map_or_else(random_cluster_id, |cluster| cluster.id.clone());
        java.args(["kafka.tools.StorageTool", "format", "--cluster-id", &cluster, "--config"]);
        java.arg(self.settings_path());
        if let Some((user, password)) = &self.options.sasl {
            java.args(["--add-scram", &format!("SCRAM-SHA-256=[name=\"{user}\",password=\"{password}\"]")]);
        }
        run_logged("formatting Kafka's storage", java, &self.log())
    }
}

fn address(port: &Port) -> String {
    format!("127.0.0.1:{}", port.number())
}

/// Each broker is a cluster of its own, so that mistaking one for another can be seen. 16 bytes in URL-safe base 64; the
/// last letter carries two bits only.
fn random_cluster_id() -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let state = RandomState::new();
    let letter = |n: u64| char::from(LETTERS[usize::try_from(state.hash_one(n) % 64).expect("less than 64")]);
    // Not a dash in front: the tool would take it for an option.
    format!("T{}A", (0..20).map(letter).collect::<String>())
}

const SETTINGS: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("auto.create.topics.enable", "false"),
    // After a SIGKILL the controller takes the broker for alive this long, and does not admit its successor.
    ("broker.heartbeat.interval.ms", "500"),
    ("broker.session.timeout.ms", "3000"),
    ("default.replication.factor", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("log.cleaner.dedupe.buffer.size", "16777216"),
    ("log.cleaner.enable", "true"),
    ("log.retention.bytes", "-1"),
    ("log.retention.check.interval.ms", "1000"),
    // Records of the tests carry create times years back; by age they would be gone at once.
    ("log.retention.ms", "-1"),
    ("log.segment.delete.delay.ms", "1000"),
    ("min.insync.replicas", "1"),
    ("num.io.threads", "4"),
    ("num.network.threads", "2"),
    ("num.partitions", "1"),
    ("offsets.topic.num.partitions", "4"),
    ("offsets.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("transaction.max.timeout.ms", "3600000"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "4"),
    ("transaction.state.log.replication.factor", "1"),
];

/// To standard output, which is the log file; `kafka.server` at info holds the line that says "ready".
const LOGGING: &str = "\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
logger.server.name=kafka.server
logger.server.level=info
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_22_letters_and_differ() {
        let ids: Vec<String> = (0..100).map(|_| random_cluster_id()).collect();
        assert!(ids.iter().all(|id| id.len() == 22));
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
