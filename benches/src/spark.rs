//! Spark Streaming with the same work, built and fetched by Maven.

use crate::bench::{Bench, LIMIT, TOPIC};
use crate::child::{Ended, Running};
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const HEAP: &str = "-Xmx2g";
/// A fixed version, as for the servers: the newest one may ask for a newer Maven.
const DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";
/// Packages of Java's own that Spark reaches into; Java 17 keeps them closed without being told.
const OPENED: &[&str] = &[
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "sun.nio.ch",
    "sun.nio.cs",
    "sun.security.action",
    "sun.util.calendar",
];

/// A built Spark job.
pub(crate) struct Spark {
    class_path: String,
}

/// How it takes its input.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Batches {
    /// All there is, in one batch.
    One,
    /// At most this many records a batch.
    Of(u64),
}

impl Spark {
    /// Compiles the job and fetches what it needs: some minutes at first, seconds later.
    pub(crate) fn build(target: &Path) -> Result<Self, Box<dyn Error>> {
        let dir = target.join("bench-spark");
        fs::create_dir_all(&dir)?;
        let list = dir.join("classpath");
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-Dstyle.color=never", "-f"]).arg(source().join("pom.xml"));
        maven.arg(format!("-Dbuild.dir={}", dir.display()));
        maven.args(["compile", &format!("{DEPENDENCY_PLUGIN}:build-classpath")]);
        maven.arg("-Dmdep.includeScope=runtime").arg(format!("-Dmdep.outputFile={}", list.display()));
        Running::start("maven", maven, &dir)?.wait(LIMIT)?;
        let class_path = format!("{}:{}", dir.join("classes").display(), fs::read_to_string(&list)?);
        Ok(Self { class_path })
    }

    /// Counts the words of [`TOPIC`].
    pub(crate) fn run(
        &self,
        what: &str,
        bench: &Bench,
        batches: Batches,
        dir: &Path,
    ) -> Result<Ended, Box<dyn Error>> {
        // An interval of a second, at which two cores keep up. Four partitions share the batch.
        let rate = match batches {
            Batches::One => 0,
            Batches::Of(records) => records / 4,
        };
        let mut java = Command::new(java());
        java.env("CLASSPATH", &self.class_path).arg(HEAP);
        java.args(OPENED.iter().map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED")));
        java.arg(format!("-Dlog4j2.configurationFile={}", source().join("log4j2.properties").display()));
        java.args(["tidegate.SparkPeer", &bench.brokers, TOPIC, &bench.lines.to_string()]);
        java.args([&rate.to_string(), "1000"]).arg(dir);
        Running::start(what, java, &bench.dir)?.wait(LIMIT)
    }
}

/// The version that is asked for.
pub(crate) fn version() -> Option<String> {
    let pom = fs::read_to_string(source().join("pom.xml")).ok()?;
    Some(pom.split_once("<spark.version>")?.1.split_once('<')?.0.to_owned())
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("spark")
}

/// As the servers choose it.
pub(crate) fn java() -> PathBuf {
    let own = env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    own.filter(|java| java.exists()).unwrap_or_else(|| "java".into())
}
