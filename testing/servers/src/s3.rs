//! A server that speaks S3's protocol over a local directory: S3Proxy.
//!
//! It checks signatures and, unlike most stand-ins, keeps a conditional write (`If-None-Match: *`) atomic under a race. It says
//! nothing about the speed or the durability of a real S3. A bucket is a folder of its data.

use crate::daemons::{Daemon, Daemons, java};
use crate::error::Tried;
use crate::needs::Need;
use crate::ports::Port;
use crate::{ServerError, fetch, http};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Generous: a start takes 2 s on an idle machine, and tests may run on a busy one.
const READY_LIMIT: Duration = Duration::from_secs(120);
const HEAP_MIB: u32 = 192;

/// An S3-compatible server on loopback that lives as long as this value at most.
#[derive(Debug)]
pub struct S3 {
    dir: PathBuf,
    class_path: String,
    port: Port,
    daemons: Daemons,
}

impl S3 {
    /// The one bucket that is there after the start.
    pub const BUCKET: &str = "tidegate";
    /// The one access key that it knows.
    pub const ACCESS_KEY_ID: &str = "tester";
    /// That key's secret.
    pub const SECRET_ACCESS_KEY: &str = "tester-secret";

    /// Starts it in `dir` and returns when it takes requests. Objects of an earlier one there are kept and served.
    ///
    /// Only one at a time may use `dir`.
    pub fn start(dir: &Path) -> Result<Self, ServerError> {
        Need::Java.check()?;
        let bucket = dir.join("data").join(Self::BUCKET);
        fs::create_dir_all(&bucket).tried(|| format!("cannot create {}", bucket.display()))?;
        let dir = dir.canonicalize().tried(|| format!("cannot find {}", dir.display()))?;
        let class_path = fetch::s3_class_path()?;
        let mut s3 = Self { dir, class_path, port: Port::free()?, daemons: Daemons::default() };
        s3.write_settings()?;
        s3.start_again()?;
        Ok(s3)
    }

    /// The endpoint for clients: `http://127.0.0.1:PORT`. It stays the same over stops and starts of this value.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// Where the objects of the bucket lie as files.
    pub fn files(&self) -> PathBuf {
        self.dir.join("data").join(Self::BUCKET)
    }

    /// The file that all starts log to.
    pub fn log(&self) -> PathBuf {
        self.dir.join("s3.log")
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.daemons.are_running()
    }

    /// Ends it in order and waits. Does nothing if it is stopped.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.daemons.stop()
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.daemons.kill();
    }

    /// Starts it after [`S3::stop`] or [`S3::kill`]: same port, same data. A running one is left alone.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            return Ok(());
        }
        remove_half_written(&self.files())?;
        let mut command = java(&self.class_path, &self.dir, HEAP_MIB);
        command.arg(format!("-Dlogback.configurationFile={}", self.dir.join("logback.xml").display()));
        command.args(["org.gaul.s3proxy.Main", "--properties"]).arg(self.dir.join("s3proxy.conf"));
        let daemon = Daemon { name: "the S3 server", command, log: self.log() };
        let port = self.port.number();
        // It answers the unsigned request with a refusal, which is an answer.
        self.daemons = Daemons::start(vec![daemon], READY_LIMIT, || http::call("GET", port, "/").is_some())?;
        Ok(())
    }

    fn write_settings(&self) -> Result<(), ServerError> {
        let settings = format!(
            "s3proxy.authorization=aws-v4\n\
             s3proxy.identity={}\n\
             s3proxy.credential={}\n\
             s3proxy.endpoint={}\n\
             jclouds.provider=filesystem-nio2\n\
             jclouds.identity=unused\n\
             jclouds.credential=unused\n\
             jclouds.filesystem.basedir={}\n",
            Self::ACCESS_KEY_ID,
            Self::SECRET_ACCESS_KEY,
            self.endpoint(),
            self.dir.join("data").display(),
        );
        for (name, text) in [("s3proxy.conf", settings.as_str()), ("logback.xml", LOGGING)] {
            let path = self.dir.join(name);
            fs::write(&path, text).tried(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Removes what a server that was killed has left of objects on their way, which it would show as objects: `NAME-UUID`. A real S3 shows
/// no part of an object. Uploads in parts stay, as there.
fn remove_half_written(folder: &Path) -> Result<(), ServerError> {
    let read = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).tried(read)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).tried(read)?;
        if path.is_dir() {
            remove_half_written(&path)?;
        } else if name.to_str().is_some_and(is_half_written) {
            fs::remove_file(&path).tried(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// By which the server knows an upload in parts.
const UPLOAD: &str = ".s3proxy-mpu-stub";

/// Whether a name ends with a dash and a UUID.
fn is_half_written(name: &str) -> bool {
    let groups: Vec<&str> = name.rsplitn(6, '-').collect();
    let is_group = |(group, length): (&&str, usize)| {
        group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    groups.len() == 6 && groups[5] != UPLOAD && groups.iter().zip([12, 4, 4, 4, 8]).all(is_group)
}

/// To standard output, which is the log file. Without it every byte of every request is logged.
const LOGGING: &str = "\
<configuration>
<appender name=\"out\" class=\"ch.qos.logback.core.ConsoleAppender\">
<encoder><pattern>%d %p %c{1} %m%n</pattern></encoder>
</appender>
<root level=\"info\"><appender-ref ref=\"out\"/></root>
</configuration>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_half_written_is_known_by_its_name() {
        let uuid = "c92ed7d6-64be-41a3-a6a3-864bd212ac07";
        for (name, expected) in [
            (format!("10-{uuid}"), true),
            (format!("part-00000.parquet-{uuid}"), true),
            (uuid.to_owned(), false),
            (format!(".s3proxy-mpu-stub-{uuid}"), false),
            (format!("x{uuid}"), false),
            (format!("10-{uuid}0"), false),
            ("part-00000-0000000007-0000000012-0.parquet".to_owned(), false),
        ] {
            assert_eq!(is_half_written(&name), expected, "{name}");
        }
    }
}
