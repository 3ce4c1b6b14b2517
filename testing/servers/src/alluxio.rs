//! Alluxio with one master, one worker and one proxy over a local directory, as tests want it.
//!
//! A file is written through to that directory before its writer is told. Nobody is asked who he is or what he may.

use crate::daemons::{Daemon, Daemons, java};
use crate::error::Tried;
use crate::hdfs::LOGGING;
use crate::needs::Need;
use crate::ports::Port;
use crate::process::run_logged;
use crate::{ServerError, fetch, http};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Generous: a start takes 15 s on an idle machine, and tests may run on a busy one.
const READY_LIMIT: Duration = Duration::from_secs(240);
const HEAP_MIB: u32 = 256;
/// A block that is being written takes 16 MiB of the worker, also for an hour after its writer was cut off.
const ROOM_MIB: u32 = 2048;
const FOLDERS: [&str; 6] = ["conf", "files", "journal", "cache", "meta", "logs"];

/// An Alluxio on loopback that lives as long as this value at most.
#[derive(Debug)]
pub struct Alluxio {
    dir: PathBuf,
    class_path: String,
    ports: Ports,
    room_mib: u32,
    daemons: Daemons,
}

#[derive(Debug)]
struct Ports {
    master_rpc: Port,
    master_web: Port,
    worker_rpc: Port,
    worker_web: Port,
    proxy_web: Port,
}

impl Alluxio {
    /// Starts it in `dir` and returns when files can be written. Files of an earlier one there are kept and served.
    ///
    /// Only one at a time may use `dir`.
    pub fn start(dir: &Path) -> Result<Self, ServerError> {
        for folder in FOLDERS.map(|folder| dir.join(folder)) {
            fs::create_dir_all(&folder).tried(|| format!("cannot create {}", folder.display()))?;
        }
        let dir = dir.canonicalize().tried(|| format!("cannot find {}", dir.display()))?;
        let jars = fetch::alluxio_class_path()?;
        let ports = Ports {
            master_rpc: Port::free()?,
            master_web: Port::free()?,
            worker_rpc: Port::free()?,
            worker_web: Port::free()?,
            proxy_web: Port::free()?,
        };
        let class_path = format!("{}:{jars}", dir.join("conf").display());
        let mut alluxio = Self { dir, class_path, ports, room_mib: ROOM_MIB, daemons: Daemons::default() };
        let logging = alluxio.dir.join("conf/log4j.properties");
        fs::write(&logging, LOGGING).tried(|| format!("cannot write {}", logging.display()))?;
        alluxio.format()?;
        alluxio.start_again()?;
        Ok(alluxio)
    }

    /// From its next start on the worker has room for so many MiB, of which a block that is being written takes 16. It is 2 GiB without
    /// this call.
    pub fn set_room(&mut self, mib: u32) {
        self.room_mib = mib;
    }

    /// The proxy's address, which takes REST: `127.0.0.1:PORT`. It stays the same over stops and starts of this value.
    pub fn rest(&self) -> String {
        format!("127.0.0.1:{}", self.ports.proxy_web.number())
    }

    /// Where the files lie in the store below, which is a directory.
    pub fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// The file that all starts of the master log to; beside it are `worker.log` and `proxy.log`.
    pub fn log(&self) -> PathBuf {
        self.dir.join("master.log")
    }

    /// Whether all processes are there.
    pub fn is_running(&mut self) -> bool {
        self.daemons.are_running()
    }

    /// Ends all in order and waits. Does nothing if they are stopped.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.daemons.stop()
    }

    /// Ends all as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.daemons.kill();
    }

    /// Starts all after [`Alluxio::stop`] or [`Alluxio::kill`]: same ports, same data. Running ones are left alone.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            return Ok(());
        }
        let daemon = |name, class: &str, log: &str| Daemon {
            name,
            command: self.java(class),
            log: self.dir.join(log),
        };
        let daemons = vec![
            daemon("Alluxio's master", "alluxio.master.AlluxioMaster", "master.log"),
            daemon("Alluxio's worker", "alluxio.worker.AlluxioWorker", "worker.log"),
            daemon("Alluxio's proxy", "alluxio.proxy.AlluxioProxy", "proxy.log"),
        ];
        let (master, proxy) = (self.ports.master_web.number(), self.ports.proxy_web.number());
        self.daemons = Daemons::start(daemons, READY_LIMIT, || is_ready(master, proxy))?;
        Ok(())
    }

    fn format(&self) -> Result<(), ServerError> {
        let mark = self.dir.join("formatted");
        if mark.exists() {
            return Ok(());
        }
        Need::Java.check()?;
        let mut java = self.java("alluxio.cli.Format");
        java.arg("master");
        run_logged("formatting Alluxio's journal", java, &self.log())?;
        fs::write(&mark, "").tried(|| format!("cannot write {}", mark.display()))
    }

    fn java(&self, class: &str) -> Command {
        let mut java = java(&self.class_path, &self.dir, HEAP_MIB);
        java.arg(format!("-XX:MaxDirectMemorySize={HEAP_MIB}m"));
        java.args(self.settings().into_iter().map(|(name, value)| format!("-Dalluxio.{name}={value}")));
        java.arg(class);
        java
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let folder = |name: &str| self.dir.join(name).display().to_string();
        let port = |port: &Port| port.number().to_string();
        let own = [
            ("home", self.dir.display().to_string()),
            ("work.dir", self.dir.display().to_string()),
            ("logs.dir", folder("logs")),
            ("master.mount.table.root.ufs", folder("files")),
            ("master.journal.folder", folder("journal")),
            ("master.metastore.dir", folder("meta")),
            ("worker.tieredstore.level0.dirs.path", folder("cache")),
            ("worker.ramdisk.size", format!("{}MB", self.room_mib)),
            ("master.rpc.port", port(&self.ports.master_rpc)),
            ("master.web.port", port(&self.ports.master_web)),
            ("worker.rpc.port", port(&self.ports.worker_rpc)),
            ("worker.web.port", port(&self.ports.worker_web)),
            ("proxy.web.port", port(&self.ports.proxy_web)),
        ];
        own.into_iter().chain(SETTINGS.iter().map(|&(name, value)| (name, value.to_owned()))).collect()
    }
}

/// Whether the master knows its worker, and the proxy reaches the master.
fn is_ready(master_port: u16, proxy_port: u16) -> bool {
    let info = http::call("GET", master_port, "/api/v1/master/info");
    info.is_some_and(|(_, text)| text.contains(r#""workers":[{"#))
        && http::call("POST", proxy_port, "/api/v1/paths///exists").is_some_and(|(status, _)| status == 200)
}

const SETTINGS: &[(&str, &str)] = &[
    ("master.hostname", "127.0.0.1"),
    ("master.bind.host", "127.0.0.1"),
    ("master.web.hostname", "127.0.0.1"),
    ("master.web.bind.host", "127.0.0.1"),
    ("worker.hostname", "127.0.0.1"),
    ("worker.bind.host", "127.0.0.1"),
    ("worker.web.hostname", "127.0.0.1"),
    ("worker.web.bind.host", "127.0.0.1"),
    ("proxy.web.hostname", "127.0.0.1"),
    ("proxy.web.bind.host", "127.0.0.1"),
    // One master: no quorum to be found at the start.
    ("master.journal.type", "UFS"),
    ("master.metastore", "HEAP"),
    ("worker.tieredstore.level0.alias", "SSD"),
    ("worker.tieredstore.level0.dirs.mediumtype", "SSD"),
    ("user.file.writetype.default", "CACHE_THROUGH"),
    ("user.block.size.bytes.default", "16MB"),
    // The newer handler of S3's protocol keeps the REST interface from answering.
    ("proxy.s3.v2.version.enabled", "false"),
    ("security.authorization.permission.enabled", "false"),
    ("user.update.check.enabled", "false"),
    ("master.update.check.enabled", "false"),
    ("conf.validation.enabled", "false"),
];
