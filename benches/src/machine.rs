//! What a figure belongs to: the machine, the versions, the state of the source, the hour.

use crate::spark;
use std::fs;
use std::process::Command;
use std::thread;

const KAFKA_POM: &str = include_str!("../../testing/servers/kafka-pom.xml");

/// All of it, as one paragraph. What cannot be found out is left out.
pub(crate) fn describe() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".to_owned());
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .map(|kib| format!("{:.0} GiB", kib / 1024.0 / 1024.0));
    let parts = [
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        source_state(),
        Some(format!("{cores} cores of {cpu}")),
        memory,
        said("uname", &["-sr"]),
        said("rustc", &["--version"]),
        Some(format!("librdkafka {}", rdkafka::util::get_rdkafka_version().1)),
        kafka_version().map(|version| format!("Kafka {version}")),
        spark::version().map(|version| format!("Spark {version}")),
        java_version().map(|version| format!("Java {version}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn source_state() -> Option<String> {
    let commit = said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"])?;
    // The document itself changes by this very run.
    let arguments = ["-C", env!("CARGO_MANIFEST_DIR"), "status", "--porcelain", "--", ":/", ":!/docs"];
    let changed = said("git", &arguments).map_or("", |_| " with changes");
    Some(format!("commit {commit}{changed}"))
}

fn kafka_version() -> Option<&'static str> {
    let (_, artifact) = KAFKA_POM.split_once("<artifactId>kafka_2.13</artifactId>")?;
    Some(artifact.split_once("<version>")?.1.split_once('<')?.0)
}

fn java_version() -> Option<String> {
    let output = Command::new(spark::java()).arg("-version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stderr).split('"').nth(1)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_where_they_are_set() {
        for version in [kafka_version().map(str::to_owned), spark::version()] {
            assert!(version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit())));
        }
    }
}
