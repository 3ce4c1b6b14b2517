//! HDFS with one NameNode and one DataNode, as tests want it.
//!
//! It differs from production in that blocks have one copy, nobody is asked for a proof of who he is, and the NameNode leaves
//! its safe mode as soon as every block was reported. Who started it may do everything, others what the permissions of files say.

use crate::daemons::{Daemon, Daemons, java};
use crate::error::Tried;
use crate::needs::Need;
use crate::ports::Port;
use crate::process::run_logged;
use crate::{ServerError, fetch, http};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Generous: a start takes 6 s on an idle machine, and tests may run on a busy one.
const READY_LIMIT: Duration = Duration::from_secs(180);
const HEAP_MIB: u32 = 192;
/// The servers look for the pages of their web interface, which the artifacts do not have. Empty folders will do.
const WEB_PAGES: [&str; 3] = ["hdfs", "datanode", "static"];

/// A NameNode and a DataNode on loopback that live as long as this value at most.
#[derive(Debug)]
pub struct Hdfs {
    dir: PathBuf,
    class_path: String,
    ports: Ports,
    daemons: Daemons,
}

#[derive(Debug)]
struct Ports {
    name_rpc: Port,
    name_http: Port,
    data: Port,
    data_rpc: Port,
    data_http: Port,
}

impl Hdfs {
    /// Starts both in `dir` and returns when files can be written. Files of an earlier HDFS there are kept and served.
    ///
    /// Only one at a time may use `dir`.
    pub fn start(dir: &Path) -> Result<Self, ServerError> {
        fs::create_dir_all(dir).tried(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize().tried(|| format!("cannot find {}", dir.display()))?;
        let jars = fetch::hdfs_class_path()?;
        let ports = Ports {
            name_rpc: Port::free()?,
            name_http: Port::free()?,
            data: Port::free()?,
            data_rpc: Port::free()?,
            data_http: Port::free()?,
        };
        let class_path = format!("{}:{jars}", dir.join("conf").display());
        let mut hdfs = Self { dir, class_path, ports, daemons: Daemons::default() };
        hdfs.write_settings()?;
        hdfs.format()?;
        hdfs.start_again()?;
        Ok(hdfs)
    }

    /// The address for clients: `hdfs://127.0.0.1:PORT`. It stays the same over stops and starts of this value.
    pub fn url(&self) -> String {
        format!("hdfs://127.0.0.1:{}", self.ports.name_rpc.number())
    }

    /// Copies what a pattern such as `/a/*` names into a folder of this machine, which is there, by Hadoop's own client.
    pub fn copy_to_local(&self, pattern: &str, to: &Path) -> Result<(), ServerError> {
        self.run("org.apache.hadoop.fs.FsShell", &["-get", pattern, &to.display().to_string()])
    }

    /// Bounds the bytes that files below a folder, which is there, may take.
    pub fn set_space_quota(&self, folder: &str, bytes: u64) -> Result<(), ServerError> {
        let arguments = ["-setSpaceQuota", &bytes.to_string(), folder];
        self.run("org.apache.hadoop.hdfs.tools.DFSAdmin", &arguments)
    }

    /// Runs one of Hadoop's commands.
    fn run(&self, class: &str, arguments: &[&str]) -> Result<(), ServerError> {
        let mut java = java(&self.class_path, &self.dir, HEAP_MIB);
        java.arg(class).args(arguments);
        run_logged(&format!("Hadoop's {}", arguments.join(" ")), java, &self.dir.join("client.log"))
    }

    /// The file that all starts of the NameNode log to.
    pub fn log(&self) -> PathBuf {
        self.dir.join("namenode.log")
    }

    /// Whether both processes are there.
    pub fn is_running(&mut self) -> bool {
        self.daemons.are_running()
    }

    /// Ends both in order and waits. Does nothing if they are stopped.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.daemons.stop()
    }

    /// Ends both as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.daemons.kill();
    }

    /// Starts both after [`Hdfs::stop`] or [`Hdfs::kill`]: same ports, same data. Running ones are left alone.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            return Ok(());
        }
        let daemons = vec![
            self.daemon("HDFS's NameNode", "namenode.NameNode", self.log()),
            self.daemon("HDFS's DataNode", "datanode.DataNode", self.dir.join("datanode.log")),
        ];
        let port = self.ports.name_http.number();
        self.daemons = Daemons::start(daemons, READY_LIMIT, || is_ready(port))?;
        Ok(())
    }

    fn java(&self, class: &str) -> Command {
        let mut java = java(&self.class_path, &self.dir, HEAP_MIB);
        java.arg(format!("org.apache.hadoop.hdfs.server.{class}"));
        java
    }

    fn daemon(&self, name: &'static str, class: &str, log: PathBuf) -> Daemon {
        Daemon { name, command: self.java(class), log }
    }

    fn format(&self) -> Result<(), ServerError> {
        if self.dir.join("name/current/VERSION").exists() {
            return Ok(());
        }
        Need::Java.check()?;
        let mut java = self.java("namenode.NameNode");
        java.args(["-format", "-nonInteractive"]);
        run_logged("formatting HDFS", java, &self.log())
    }

    fn write_settings(&self) -> Result<(), ServerError> {
        let conf = self.dir.join("conf");
        for page in WEB_PAGES {
            let folder = conf.join("webapps").join(page);
            fs::create_dir_all(&folder).tried(|| format!("cannot create {}", folder.display()))?;
        }
        let core = [
            ("fs.defaultFS", self.url()),
            ("hadoop.tmp.dir", self.dir.join("tmp").display().to_string()),
            ("hadoop.http.staticuser.user", "tidegate".to_owned()),
        ];
        let address = |port: &Port| format!("127.0.0.1:{}", port.number());
        let hdfs = [
            ("dfs.namenode.rpc-address", address(&self.ports.name_rpc)),
            ("dfs.namenode.http-address", address(&self.ports.name_http)),
            ("dfs.datanode.address", address(&self.ports.data)),
            ("dfs.datanode.ipc.address", address(&self.ports.data_rpc)),
            ("dfs.datanode.http.address", address(&self.ports.data_http)),
            ("dfs.datanode.hostname", "127.0.0.1".to_owned()),
            ("dfs.namenode.name.dir", format!("file://{}", self.dir.join("name").display())),
            ("dfs.datanode.data.dir", format!("file://{}", self.dir.join("data").display())),
            ("dfs.replication", "1".to_owned()),
            ("dfs.permissions.enabled", "true".to_owned()),
            ("dfs.namenode.safemode.extension", "0".to_owned()),
            ("dfs.namenode.datanode.registration.ip-hostname-check", "false".to_owned()),
        ];
        for (name, text) in [
            ("core-site.xml", xml(&core)),
            ("hdfs-site.xml", xml(&hdfs)),
            ("log4j.properties", LOGGING.to_owned()),
        ] {
            let path = conf.join(name);
            fs::write(&path, text).tried(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Whether the DataNode has reported and the NameNode lets files be written. An open port comes earlier.
fn is_ready(http_port: u16) -> bool {
    let bean = |name: &str| {
        let answer = http::call("GET", http_port, &format!("/jmx?qry=Hadoop:service=NameNode,name={name}"));
        answer.map_or_else(String::new, |(_, text)| text.replace([' ', '\n'], ""))
    };
    bean("FSNamesystemState").contains(r#""NumLiveDataNodes":1"#)
        && bean("NameNodeInfo").contains(r#""Safemode":"""#)
}

/// Hadoop's settings file.
pub(crate) fn xml(settings: &[(&str, String)]) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let mut text = "<configuration>\n".to_owned();
    for (name, value) in settings {
        writeln!(text, "<property><name>{name}</name><value>{}</value></property>", escaped(value))
            .expect("a String takes all");
    }
    text + "</configuration>\n"
}

/// To standard error, which is the log file.
pub(crate) const LOGGING: &str = "\
log4j.rootLogger=INFO,err
log4j.appender.err=org.apache.log4j.ConsoleAppender
log4j.appender.err.target=System.err
log4j.appender.err.layout=org.apache.log4j.PatternLayout
log4j.appender.err.layout.ConversionPattern=%d{ISO8601} %p %c{1} %m%n
";
