//! HBase as tests want it: one process that is master, region server and ZooKeeper, and one that is the Thrift gateway.
//!
//! It differs from production in that it keeps its files on the local disk, to which it can't flush its log: what was acknowledged
//! survives [`Hbase::stop`], and may be lost by [`Hbase::kill`].

use crate::daemons::{Daemon, Daemons, java};
use crate::error::Tried;
use crate::hdfs::{LOGGING, xml};
use crate::needs::Need;
use crate::ports::Port;
use crate::{ServerError, fetch};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, mem};

/// Generous: a start takes 20 s on an idle machine, and tests may run on a busy one.
const READY_LIMIT: Duration = Duration::from_secs(240);
const MASTER_HEAP_MIB: u32 = 256;
const GATEWAY_HEAP_MIB: u32 = 96;
/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// A master and a Thrift gateway on loopback that live as long as this value at most.
#[derive(Debug)]
pub struct Hbase {
    dir: PathBuf,
    class_path: String,
    zookeeper: Port,
    master: Port,
    region: Port,
    thrift: Port,
    daemons: Daemons,
}

impl Hbase {
    /// Starts both in `dir` and returns when tables can be made. Tables of an earlier HBase there are kept and served.
    ///
    /// Only one at a time may use `dir`.
    pub fn start(dir: &Path) -> Result<Self, ServerError> {
        fs::create_dir_all(dir).tried(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize().tried(|| format!("cannot find {}", dir.display()))?;
        Need::Java.check()?;
        let jars = fetch::hbase_class_path()?;
        let mut hbase = Hbase {
            class_path: format!("{}:{jars}", dir.join("conf").display()),
            dir,
            zookeeper: Port::free()?,
            master: Port::free()?,
            region: Port::free()?,
            thrift: Port::free()?,
            daemons: Daemons::default(),
        };
        hbase.write_settings()?;
        hbase.start_again()?;
        Ok(hbase)
    }

    /// The gateway's address: `127.0.0.1:PORT`. It stays the same over stops and starts of this value.
    pub fn thrift(&self) -> String {
        format!("127.0.0.1:{}", self.thrift.number())
    }

    /// The file that all starts of the master log to.
    pub fn log(&self) -> PathBuf {
        self.dir.join("master.log")
    }

    /// Whether both processes are there.
    pub fn is_running(&mut self) -> bool {
        self.daemons.are_running()
    }

    /// Ends both in order and waits. Does nothing if they are stopped.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.daemons.stop()
    }

    /// Ends both as a crash would (SIGKILL). What was not written to disk yet is lost.
    pub fn kill(&mut self) {
        self.daemons.kill();
    }

    /// Ends the gateway alone as a crash would (SIGKILL). What it acknowledged is with the master, and survives.
    pub fn kill_gateway(&mut self) {
        self.daemons.kill_last();
    }

    /// Starts both after [`Hbase::stop`] or [`Hbase::kill`], the gateway after [`Hbase::kill_gateway`]: same ports, same data. Running
    /// ones are left alone.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            return Ok(());
        }
        let master = self.java(MASTER_HEAP_MIB, &["org.apache.hadoop.hbase.master.HMaster", "start"]);
        let gateway = self
            .java(GATEWAY_HEAP_MIB, &["org.apache.hadoop.hbase.thrift.ThriftServer", "start", "-threadpool"]);
        let daemons = vec![
            Daemon { name: "HBase's master", command: master, log: self.log() },
            Daemon { name: "HBase's gateway", command: gateway, log: self.dir.join("thrift.log") },
        ];
        let port = self.thrift.number();
        let running = mem::take(&mut self.daemons);
        self.daemons = running.complete(daemons, READY_LIMIT, || lists_tables(port))?;
        Ok(())
    }

    fn java(&self, heap_mib: u32, main: &[&str]) -> Command {
        let mut java = java(&self.class_path, &self.dir, heap_mib);
        java.args([
            "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
            "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
            "-Dorg.apache.hbase.thirdparty.io.netty.tryReflectionSetAccessible=true",
        ]);
        java.args(main);
        java
    }

    fn write_settings(&self) -> Result<(), ServerError> {
        let conf = self.dir.join("conf");
        fs::create_dir_all(&conf).tried(|| format!("cannot create {}", conf.display()))?;
        let folder = |name: &str| self.dir.join(name).display().to_string();
        let port = |port: &Port| port.number().to_string();
        let mut settings = vec![
            ("hbase.rootdir", format!("file://{}", folder("root"))),
            ("hbase.tmp.dir", folder("tmp")),
            ("hbase.zookeeper.property.dataDir", folder("zookeeper")),
            ("hbase.zookeeper.property.clientPort", port(&self.zookeeper)),
            ("hbase.master.port", port(&self.master)),
            ("hbase.regionserver.port", port(&self.region)),
            ("hbase.regionserver.thrift.port", port(&self.thrift)),
        ];
        settings.extend(SETTINGS.iter().map(|&(name, value)| (name, value.to_owned())));
        for (name, text) in [("hbase-site.xml", xml(&settings)), ("log4j.properties", LOGGING.to_owned())] {
            let path = conf.join(name);
            fs::write(&path, text).tried(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

const SETTINGS: &[(&str, &str)] = &[
    ("hbase.cluster.distributed", "false"),
    ("hbase.unsafe.stream.capability.enforce", "false"),
    ("hbase.zookeeper.quorum", "127.0.0.1"),
    ("hbase.zookeeper.property.clientPortAddress", "127.0.0.1"),
    ("hbase.master.hostname", "localhost"),
    ("hbase.master.ipc.address", "127.0.0.1"),
    ("hbase.master.info.port", "-1"),
    ("hbase.regionserver.hostname", "localhost"),
    ("hbase.regionserver.ipc.address", "127.0.0.1"),
    ("hbase.regionserver.info.port", "-1"),
    ("hbase.regionserver.thrift.ipaddress", "127.0.0.1"),
    ("hbase.thrift.info.port", "-1"),
    ("hbase.master.wait.on.regionservers.mintostart", "1"),
    ("hbase.master.start.timeout.localHBaseCluster", "120000"),
    // A gateway whose master is away gives up within the patience of a test.
    ("hbase.client.operation.timeout", "20000"),
    ("hbase.client.meta.operation.timeout", "20000"),
];

/// Whether the gateway answers with the tables' names, for which the master must be at work. An open port comes much earlier.
fn lists_tables(port: u16) -> bool {
    answer(port).is_some_and(|answer| is_list(&answer))
}

/// What the gateway answers to `getTableNames`, as far as its kind goes.
fn answer(port: u16) -> Option<[u8; ANSWER_HEAD]> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LOOK_LIMIT).ok()?;
    stream.set_read_timeout(Some(LOOK_LIMIT)).ok()?;
    stream.set_write_timeout(Some(LOOK_LIMIT)).ok()?;
    // Thrift's binary protocol: version and kind (a call), length and name, number of the call, and no arguments.
    let mut call = vec![0x80, 1, 0, 1, 0, 0, 0, 13];
    call.extend(*METHOD);
    call.extend([0, 0, 0, 1, 0]);
    stream.write_all(&call).ok()?;
    let mut head = [0; ANSWER_HEAD];
    stream.read_exact(&mut head).ok()?;
    Some(head)
}

const METHOD: &[u8; 13] = b"getTableNames";
/// Version, length, name, number, then the kind and the number of the first field.
const ANSWER_HEAD: usize = 4 + 4 + METHOD.len() + 4 + 3;

/// Whether it is a reply (2) whose field 0, the result, is a list (15), and not one with an error.
fn is_list(head: &[u8; ANSWER_HEAD]) -> bool {
    head[..4] == [0x80, 1, 0, 2] && head[ANSWER_HEAD - 3..] == [15, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_counts_as_an_answer() {
        let head = |kind: u8, field: [u8; 3]| {
            let mut head = [0; ANSWER_HEAD];
            head[..4].copy_from_slice(&[0x80, 1, 0, kind]);
            head[ANSWER_HEAD - 3..].copy_from_slice(&field);
            head
        };
        assert!(is_list(&head(2, [15, 0, 0])));
        assert!(!is_list(&head(2, [12, 0, 1])), "an error of HBase");
        assert!(!is_list(&head(3, [11, 0, 1])), "an error of Thrift");
    }
}
