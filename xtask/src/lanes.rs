//! Runs test programs that cargo has built, some of them at the same time: most wait for servers and processes, and cargo alone would
//! run one after the other.
//!
//! What a program prints is shown when it has ended, as one piece. What must not be here: what is built, and with which servers.

use crate::cargo::{Cargo, Tally};
use crate::{Outcome, root};
use serde_json::Value;
use std::collections::VecDeque;
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// How many programs run at the same time.
const LANES: usize = 2;
/// Those that take minutes, longest first: one that began last would run alone. A name that is out of date costs time only.
const LONG: [&str; 15] = [
    "hadoop.test.real_outages",
    "acceptance.test.sinks",
    "servers.test.real_servers",
    "files.test.real_stores",
    "hbase.test.real_hbase",
    "kafka.test.real_output_outage",
    "acceptance.test.kafka_receiver",
    "object-store.test.real_hdfs",
    "acceptance.test.sinks_together",
    "hadoop.test.real_stores",
    "documentation",
    "elasticsearch.test.real_elasticsearch",
    "object-store.test.real_alluxio",
    "acceptance.test.outages",
    "object-store.test.real_s3",
];

/// A program of tests, or several that cargo runs.
pub(crate) struct Test {
    /// Unique, and fit for a file.
    pub(crate) name: String,
    pub(crate) command: Command,
}

/// What came of a [`Test`].
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) tally: Tally,
}

/// Builds the tests of `selection`, and gives their programs; nothing when one does not compile.
pub(crate) fn build(selection: &str) -> Result<Option<Vec<Test>>, Box<dyn Error>> {
    let cargo = Cargo::new(&format!("test --no-run --message-format=json-render-diagnostics {selection}"));
    let (outcome, messages) = cargo.output()?;
    if outcome == Outcome::Failed {
        return Ok(None);
    }
    let tests =
        messages.lines().filter_map(|line| program(line).transpose()).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(tests))
}

/// The program that a message of cargo tells of, if it is one with tests. It runs as by cargo: in the directory of its package.
fn program(message: &str) -> Result<Option<Test>, Box<dyn Error>> {
    let message: Value = serde_json::from_str(message)?;
    let (Some(file), Some(true)) = (message["executable"].as_str(), message["profile"]["test"].as_bool())
    else {
        return Ok(None);
    };
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("cargo's messages have another form");
    let manifest = PathBuf::from(text(&message["manifest_path"])?);
    let directory = manifest.parent().ok_or("a manifest is in a directory")?;
    let path = directory.strip_prefix(root()).unwrap_or(directory).display().to_string().replace('/', ".");
    let name =
        format!("{path}.{}.{}", text(&message["target"]["kind"][0])?, text(&message["target"]["name"])?);
    let mut command = Command::new(file);
    command.current_dir(directory).env("CARGO_MANIFEST_DIR", directory);
    Ok(Some(Test { name, command }))
}

/// Runs `tests`, [`LANES`] at a time. What they print is also kept below `outputs`.
pub(crate) fn run(mut tests: Vec<Test>, outputs: &Path) -> Result<Vec<Ended>, Box<dyn Error>> {
    fs::create_dir_all(outputs)?;
    tests.sort_by_key(|test| LONG.iter().position(|long| test.name.ends_with(long)).unwrap_or(LONG.len()));
    let queue = Mutex::new(VecDeque::from(tests));
    let next = || queue.lock().expect("nothing panics with the lock").pop_front();
    let lane = || {
        let mut ended = Vec::new();
        while let Some(test) = next() {
            ended.push(test.run(outputs)?);
        }
        Ok::<_, io::Error>(ended)
    };
    let lanes: Vec<_> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().map(|lane| lane.join().expect("a lane gives errors, no panics")).collect()
    });
    Ok(lanes.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
}

impl Test {
    /// Runs it. Its output goes into a file: a process that a test left behind would hold a pipe open.
    fn run(mut self, outputs: &Path) -> io::Result<Ended> {
        let path = outputs.join(format!("{}.txt", self.name));
        let file = File::create(&path)?;
        let start = Instant::now();
        println!("==> {}", self.name);
        let status = self.command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status()?;
        // A test may print what is no text; that must not end the run.
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let (name, command, seconds) = (self.name, self.command, start.elapsed().as_secs_f64());
        println!("\n==> {name}: {command:?}\n{text}<== {seconds:.1} s, {status}: {name}\n");
        Ok(Ended { name, outcome: Outcome::of(status.success()), tally: Tally::of(&text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_those_of_tests() {
        let message = |executable: &str, test: bool| {
            format!(
                r#"{{"reason": "compiler-artifact", "manifest_path": "{}/crates/x/Cargo.toml", "executable": {executable},
                    "target": {{"kind": ["lib"], "name": "y"}}, "profile": {{"test": {test}}}}}"#,
                root().display()
            )
        };
        let name = |message: &str| program(message).unwrap().map(|test| test.name);
        assert_eq!(name(&message(r#""/deps/y""#, true)).as_deref(), Some("crates.x.lib.y"));
        assert_eq!(name(&message(r#""/y""#, false)), None);
        assert_eq!(name(&message("null", true)), None);
        assert_eq!(name(r#"{"reason": "build-finished", "success": true}"#), None);
    }

    #[test]
    fn each_program_runs_once_and_a_failure_is_told() {
        let shell = |name: &str, line: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            Test { name: name.to_owned(), command }
        };
        let directory = tempfile::tempdir().unwrap();
        let tests = vec![
            shell("a", "echo 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured'"),
            shell("b", "echo 'test result: FAILED. 1 passed; 3 failed; 0 ignored' >&2; exit 101"),
            shell("c", "exit 1"),
        ];
        let mut ended = run(tests, &directory.path().join("outputs")).unwrap();
        ended.sort_by(|a, b| a.name.cmp(&b.name));
        let found: Vec<_> = ended.iter().map(|one| (one.name.as_str(), one.outcome, one.tally)).collect();
        let tally = |passed, failed, ignored| Tally { passed, failed, ignored };
        assert_eq!(
            found,
            [
                ("a", Outcome::Passed, tally(2, 0, 1)),
                ("b", Outcome::Failed, tally(1, 3, 0)),
                ("c", Outcome::Failed, tally(0, 0, 0)),
            ]
        );
        assert!(fs::read_to_string(directory.path().join("outputs/b.txt")).unwrap().contains("FAILED"));
    }
}
