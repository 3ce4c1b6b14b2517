//! One Elasticsearch node, as tests want it: a small heap, nothing but the server's own modules, and no security unless a test asks
//! for it.
//!
//! It is the distribution that Elasticsearch's own integration tests use: without the modules for scripts, reindexing and most
//! analyzers. It refuses to run as root; see `nobody`.

use crate::error::Tried;
use crate::needs::{self, Need};
use crate::nobody::{Scratch, own, owned_dir, run_as_nobody};
use crate::ports::Port;
use crate::process::Process;
use crate::{ServerError, fetch, http};
use rustix::process::Signal;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Generous: a start takes 13 s on an idle machine, and tests may run on a busy one.
const READY_LIMIT: Duration = Duration::from_secs(240);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks whether it is ready.
const LOOK: Duration = Duration::from_millis(100);
const HEAP_MIB: u32 = 512;
/// The node logs these when one that asks for passwords lets users in.
const SECURE_LINES: [&str; 2] = ["Security is enabled", "indices into cluster_state"];

/// An Elasticsearch node on loopback that lives as long as this value at most.
#[derive(Debug)]
pub struct Elasticsearch {
    // The process before the scratch directory: the server must be gone when its data are removed.
    process: Option<Process>,
    home: PathBuf,
    java_home: String,
    work: PathBuf,
    log: PathBuf,
    http: Port,
    transport: Port,
    tls: Option<Tls>,
    _scratch: Option<Scratch>,
}

/// What a node shows who connects to it, as PEM.
#[derive(Clone)]
struct Tls {
    certificate: String,
    key: String,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Elasticsearch {
    /// Name and password of the user of a secured node who may do everything.
    pub const ADMIN: (&str, &str) = ("admin", "tidegate-admin");
    /// Name and password of the user of a secured node who may do what [`Self::set_role`] says, and at first nothing.
    pub const USER: (&str, &str) = ("ann", "open sesame");

    /// Starts a node in `dir` and returns when documents can be written. Indices of an earlier one there are kept and served.
    ///
    /// Only one at a time may use `dir`.
    pub fn start(dir: &Path) -> Result<Self, ServerError> {
        Self::start_with(dir, None)
    }

    /// As [`Elasticsearch::start`], for a node that speaks `https` by this certificate and its key (PEM), and lets in two users:
    /// [`Elasticsearch::ADMIN`] and [`Elasticsearch::USER`]. They stand in files: what would keep others, and API keys, in an index
    /// needs analyzers that this node has not.
    pub fn start_secured(dir: &Path, certificate: &str, key: &str) -> Result<Self, ServerError> {
        Self::start_with(dir, Some(Tls { certificate: certificate.to_owned(), key: key.to_owned() }))
    }

    fn start_with(dir: &Path, tls: Option<Tls>) -> Result<Self, ServerError> {
        fetch::create_open_dir(dir)?;
        let dir = dir.canonicalize().tried(|| format!("cannot find {}", dir.display()))?;
        Need::Java.check()?;
        let home = fetch::elasticsearch_home()?;
        let (work, scratch) = owned_dir(&dir, "elasticsearch", "node")?;
        let mut node = Elasticsearch {
            process: None,
            home,
            java_home: needs::java_home()?,
            work,
            log: dir.join("elasticsearch.log"),
            http: Port::free()?,
            transport: Port::free()?,
            tls,
            _scratch: scratch,
        };
        node.write_settings()?;
        node.start_again()?;
        Ok(node)
    }

    /// The address for clients: `http://127.0.0.1:PORT`, or `https://`. It stays the same over stops and starts of this value.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.http.number())
    }

    /// What [`Self::USER`] may do from now on, as a role in JSON. A secured node looks ten times a second whether it has changed.
    pub fn set_role(&self, role: &str) -> Result<(), ServerError> {
        let path = self.work.join("config/roles.yml");
        // Moved there: the node never sees a part of it.
        let part = path.with_extension("part");
        fs::write(&part, format!("writer: {role}\n")).tried(|| format!("cannot write {}", part.display()))?;
        own(&part)?;
        fs::rename(&part, &path).tried(|| format!("cannot write {}", path.display()))
    }

    /// The file that all starts of this node log to.
    pub fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// Whether the node's process is there.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Ends the node in order and waits. Does nothing if it is stopped.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.process.take().map_or(Ok(()), |process| process.stop(Signal::TERM, STOP_LIMIT).map(drop))
    }

    /// Ends the node as a crash would (SIGKILL). What was acknowledged survives.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the node after [`Elasticsearch::stop`] or [`Elasticsearch::kill`]: same port, same data. A running one is left
    /// alone.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            return Ok(());
        }
        let mut process = Process::spawn("Elasticsearch", self.command(), &self.log)?;
        let (port, secured) = (self.http.number(), self.tls.is_some());
        process.wait_ready(READY_LIMIT, |process| {
            let ready = if secured {
                let logged = process.logged();
                SECURE_LINES.iter().all(|line| logged.contains(line))
            } else {
                is_ready(port)
            };
            if !ready {
                thread::sleep(LOOK);
            }
            ready
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// The launcher, which starts the server itself as a process of its own and ends with it.
    fn command(&self) -> Command {
        let mut command = Command::new(self.home.join("bin/elasticsearch"));
        command
            .current_dir(&self.work)
            .env("ES_PATH_CONF", self.work.join("config"))
            .env("ES_TMPDIR", self.work.join("tmp"))
            .env("ES_JAVA_HOME", &self.java_home)
            .env("CLI_JAVA_OPTS", "-Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1")
            // Options of the person who runs the tests.
            .env_remove("ES_JAVA_OPTS");
        run_as_nobody(&mut command);
        command
    }

    fn write_settings(&self) -> Result<(), ServerError> {
        let config = self.work.join("config");
        for folder in [self.work.clone(), config.clone(), config.join("jvm.options.d")]
            .into_iter()
            .chain(["data", "logs", "tmp"].map(|name| self.work.join(name)))
        {
            fetch::create_open_dir(&folder)?;
            own(&folder)?;
        }
        let (http, transport) = (self.http.number(), self.transport.number());
        let settings = format!(
            "cluster.name: tidegate\nnode.name: one\nnetwork.host: 127.0.0.1\nhttp.port: {http}\n\
             transport.port: {transport}\npath.data: {}\npath.logs: {}\n{SETTINGS}{}",
            self.work.join("data").display(),
            self.work.join("logs").display(),
            if self.tls.is_some() { SECURED } else { OPEN }
        );
        let heap = format!("-Xms{HEAP_MIB}m\n-Xmx{HEAP_MIB}m\n{JVM}");
        let given = |name: &str| {
            let path = self.home.join("config").join(name);
            fs::read_to_string(&path).tried(|| format!("cannot read {}", path.display()))
        };
        let mut files = vec![
            ("elasticsearch.yml", settings),
            ("jvm.options.d/tests.options", heap),
            ("jvm.options", given("jvm.options")?),
            ("log4j2.properties", given("log4j2.properties")?),
        ];
        if let Some(Tls { certificate, key }) = &self.tls {
            files.extend([
                ("http.crt", certificate.clone()),
                ("http.key", key.clone()),
                ("users", format!("{}:{ADMIN_HASH}\n{}:{USER_HASH}\n", Self::ADMIN.0, Self::USER.0)),
                ("users_roles", format!("superuser:{}\nwriter:{}\n", Self::ADMIN.0, Self::USER.0)),
            ]);
        }
        for (name, text) in files {
            let path = config.join(name);
            fs::write(&path, text).tried(|| format!("cannot write {}", path.display()))?;
            own(&path)?;
        }
        Ok(())
    }
}

const SETTINGS: &str = "\
discovery.type: single-node
# A full disk of the machine is not what the tests are about.
cluster.routing.allocation.disk.threshold_enabled: false
";

const OPEN: &str = "xpack.security.enabled: false\n";

const SECURED: &str = "\
xpack.security.enabled: true
resource.reload.interval.high: 100ms
xpack.security.http.ssl:
  enabled: true
  certificate: http.crt
  key: http.key
";

/// Of the passwords, as `elasticsearch-users` makes it.
const ADMIN_HASH: &str = "$2a$10$dzTan/06.BIhyHgi.orNq.9RoyhSYZDtExsr4s5K3G77e4T1kWxZ2";

const USER_HASH: &str = "$2a$10$H2qIyTuSeeumeZX7xIcvbubvpFhBI/fPTa.VGZXMFj0mLV8cfNryy";

/// Starts sooner and stays smaller than the default collector and compiler.
const JVM: &str = "-XX:+UseSerialGC\n-XX:-UseG1GC\n-XX:TieredStopAtLevel=1\n";

/// Whether every index can be written. An open port comes earlier.
fn is_ready(port: u16) -> bool {
    http::call("GET", port, "/_cluster/health").is_some_and(|(status, text)| {
        status == 200
            && [r#""status":"green""#, r#""status":"yellow""#].iter().any(|word| text.contains(word))
    })
}
