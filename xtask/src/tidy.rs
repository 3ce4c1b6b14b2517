//! `cargo xtask tidy`: the rules on the tree that no compiler checks.
//!
//! Sizes are a symptom: a file or function over its limit wants a better sentence about what it is for, not a cut in the
//! middle. The rules read text, laid out by rustfmt; they do not parse Rust.

use crate::{Outcome, TaskResult, root};
use std::error::Error;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the names of tests against real servers begin; they are selected by it.
const REAL: &str = "real_";

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 100;

/// Which of the workspace's crates a crate may use (its dev-dependencies aside). Those that are not named here may use any.
const EDGES: &[(&str, &[&str])] = &[
    ("tidegate-core", &[]),
    ("tidegate-storage", &["tidegate-core"]),
    ("tidegate-state", &["tidegate-core"]),
    ("tidegate-dataflow", &["tidegate-core", "tidegate-state"]),
    ("tidegate-engine", &["tidegate-core", "tidegate-storage"]),
    ("tidegate-receivers", &["tidegate-core", "tidegate-storage"]),
    (
        "tidegate",
        &["tidegate-core", "tidegate-dataflow", "tidegate-engine", "tidegate-receivers", "tidegate-storage"],
    ),
    ("tidegate-elasticsearch", &["tidegate", "tidegate-core"]),
    ("tidegate-hbase", &["tidegate", "tidegate-core"]),
    ("tidegate-http", &["tidegate", "tidegate-core"]),
    ("tidegate-files", &["tidegate", "tidegate-core", "tidegate-object-store"]),
    // Its formats are also those of streams of files, behind a feature.
    ("tidegate-hadoop", &["tidegate", "tidegate-core", "tidegate-files"]),
    ("tidegate-kafka", &["tidegate", "tidegate-core"]),
    ("tidegate-sql", &["tidegate", "tidegate-core"]),
    ("tidegate-object-store", &["tidegate-core", "tidegate-storage"]),
    ("tidegate-servers", &[]),
    ("xtask", &["tidegate-servers"]),
];

/// Where the time may be asked for, as beginnings of paths. Everywhere else it comes in by argument.
const CLOCKS: &[&str] = &[
    // The one implementation of the clock.
    "crates/engine/src/clock.rs",
    // Waiting for the end of a job, which is real time whatever the stream's clock.
    "crates/engine/src/engine.rs",
    // Rates, block intervals and restart delays of receivers, whose origins know no stream's clock.
    "crates/receivers/src/rate.rs",
    "crates/receivers/src/stream.rs",
    "crates/receivers/src/writer.rs",
    "crates/receivers/src/supervisor.rs",
    // Timely wants to know when a worker began; peers are waited for with a deadline.
    "crates/dataflow/src/worker.rs",
    "crates/dataflow/src/cluster/",
    // How long an output took, for the report on a batch.
    "crates/dataflow/src/timing.rs",
    // Deadlines for a broker, a database and a store that may be away; the age of what dead writers left.
    "connectors/",
    // Programs that show and report real time.
    "crates/cli/",
    "examples/",
    // Deadlines for other processes, and measuring, which is their work.
    "benches/",
    "testing/",
    "xtask/",
];

/// Text that may stand nowhere in Rust. In two parts, so that this file keeps its own rule.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!("), "finish it or leave it out"),
    (concat!("dbg", "!("), "log it or leave it out"),
    (concat!("..", "/shared"), "the repository is complete in itself"),
];
const SLEEP: &str = concat!("thread::", "sleep");
const NOW: [&str; 2] = [concat!("SystemTime::", "now"), concat!("Instant::", "now")];

/// Prints what is wrong, one line each.
pub(crate) fn run() -> TaskResult {
    println!("\n==> tidy");
    let mut findings = Vec::new();
    for path in files(&root())? {
        let Some(name) = path.strip_prefix(root()).ok().and_then(Path::to_str) else { continue };
        // What is no text has no lines to look at.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        findings.extend(check_file(name, &text));
    }
    if !root().join("docs/formats.md").exists() {
        findings.push("docs/formats.md: is not there; every durable format is described in it".to_owned());
    }
    findings.extend(check_edges(&edges()?));
    for finding in &findings {
        println!("{finding}");
    }
    println!("<== {} findings", findings.len());
    Ok(Outcome::of(findings.is_empty()))
}

/// Every file of the tree but what is built or git's own.
fn files(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && !matches!(entry.file_name().to_str(), Some("target" | ".git")) {
            found.extend(files(&path)?);
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What is wrong with the file `name`, relative to the workspace.
fn check_file(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let rust = name.ends_with(".rs");
    // Code that must not compile is shown as a user would write it.
    let shown = name.contains("/compile_fail/");
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        for (forbidden, instead) in FORBIDDEN {
            if line.contains(forbidden) {
                findings.push(format!("{name}:{}: `{forbidden}`: {instead}", index + 1));
            }
        }
    }
    if name.ends_with("Cargo.toml") {
        findings.extend(tests_that_do_not_run(name, &lines));
    }
    if !rust || shown {
        return findings;
    }
    if !text.starts_with("//!") && !name.ends_with("build.rs") {
        findings.push(format!(
            "{name}:1: does not open with `//!`: what it is for, what it promises, what must not be here"
        ));
    }
    let tests = test_lines(name, &lines);
    let length = lines.len() - if tests.len() == lines.len() { 0 } else { tests.len() };
    if length > FILE_LINES_MAX {
        findings.push(format!("{name}:1: {length} lines without its tests, at most {FILE_LINES_MAX}"));
    }
    for (line, length) in functions(&lines) {
        if length > FUNCTION_LINES_MAX {
            findings
                .push(format!("{name}:{line}: a function of {length} lines, at most {FUNCTION_LINES_MAX}"));
        }
    }
    for (index, line) in lines.iter().enumerate() {
        if tests.contains(&index) && line.contains(SLEEP) {
            findings.push(format!(
                "{name}:{}: a test sleeps; move a clock, or wait for what it waits for",
                index + 1
            ));
        }
        let asks_time = NOW.iter().any(|now| line.contains(now)) && !line.trim_start().starts_with("//");
        if asks_time && !CLOCKS.iter().any(|clock| name.starts_with(clock)) {
            findings.push(format!("{name}:{}: asks for the time, which comes in by argument", index + 1));
        }
    }
    findings
}

/// Tests that plain `cargo test` leaves out, but for those that `cargo xtask test` runs by their name.
fn tests_that_do_not_run(name: &str, lines: &[&str]) -> Vec<String> {
    let (mut findings, mut target) = (Vec::new(), "");
    for (index, line) in lines.iter().enumerate() {
        match line.split_once(" = ") {
            Some(("name", quoted)) => target = quoted.trim_matches('"'),
            Some(("test", "false")) if !target.starts_with(REAL) => {
                findings.push(format!(
                    "{name}:{}: `{target}` never runs: its name must begin with {REAL}",
                    index + 1
                ));
            }
            _ => {}
        }
    }
    findings
}

/// Which lines are tests: all of a file under `tests/`, else the `mod tests` that closes a file.
fn test_lines(name: &str, lines: &[&str]) -> Range<usize> {
    if name.starts_with("tests/") || name.contains("/tests/") {
        return 0..lines.len();
    }
    let start = lines.iter().position(|line| line.starts_with("mod tests {")).unwrap_or(lines.len());
    start..lines.len()
}

/// The first line, counted from 1, and the length of each function with a body.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        if !opens_function(code) {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let signature = &lines[index..];
        let Some(body) = signature.iter().position(|line| line.ends_with(['{', '}', ';'])) else { continue };
        if !signature[body].ends_with('{') {
            continue;
        }
        let end = signature[body + 1..]
            .iter()
            .position(|line| line.strip_prefix(indent).is_some_and(|rest| rest.starts_with('}')));
        if let Some(end) = end {
            found.push((index + 1, body + end + 2));
        }
    }
    found
}

fn opens_function(code: &str) -> bool {
    let mut words = code.split(' ').skip_while(|word| {
        matches!(*word, "pub" | "async" | "const" | "unsafe" | "extern" | "\"C\"") || word.starts_with("pub(")
    });
    words.next() == Some("fn")
}

/// A crate of the workspace and those of the workspace that it uses, dev-dependencies aside.
struct Uses {
    name: String,
    used: Vec<String>,
}

fn edges() -> Result<Vec<Uses>, Box<dyn Error>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let each = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let packages = each(&metadata["packages"]);
    Ok(packages
        .iter()
        .map(|package| {
            let used = each(&package["dependencies"])
                .iter()
                // Only those by path are of this workspace.
                .filter(|dependency| dependency["path"].is_string() && dependency["kind"] != "dev")
                .map(|dependency| text(&dependency["name"]))
                .collect();
            Uses { name: text(&package["name"]), used }
        })
        .collect())
}

fn check_edges(edges: &[Uses]) -> Vec<String> {
    let mut findings = Vec::new();
    for Uses { name: user, used } in edges {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| name == user) else { continue };
        for name in used.iter().filter(|name| !allowed.contains(&name.as_str())) {
            findings.push(format!("{user}: may not use {name}; a new edge needs a decision in docs/adr"));
        }
    }
    for (name, _) in EDGES.iter().filter(|(name, _)| edges.iter().all(|user| user.name != *name)) {
        findings.push(format!("{name}: is in xtask's table of edges and not in the workspace"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, text: &str) -> Vec<String> {
        check_file(name, text)
    }

    #[test]
    fn each_rule_finds_what_it_is_for() {
        let long_file = format!("//! X.\n{}", "\n".repeat(FILE_LINES_MAX));
        let long_function =
            format!("//! X.\n    pub fn f() {{\n{}    }}\n", "        f();\n".repeat(FUNCTION_LINES_MAX));
        let sleeping = format!("//! X.\nmod tests {{\n    {SLEEP}(x);\n}}\n");
        let asking = format!("//! X.\nlet t = {}();\n", NOW[0]);
        for (name, text, expected) in [
            ("a/src/x.rs", "//! X.\n", ""),
            ("a/src/x.rs", "use x;\n", "a/src/x.rs:1: does not open"),
            ("a/build.rs", "use x;\n", ""),
            ("a/tests/compile_fail/x.rs", "use x;\n", ""),
            ("a/src/x.rs", &long_file, "a/src/x.rs:1: 601 lines"),
            ("a/src/x.rs", &long_function, "a/src/x.rs:2: a function of 102 lines"),
            ("a/src/x.rs", &sleeping, "a/src/x.rs:3: a test sleeps"),
            ("a/src/x.rs", &sleeping.replace("mod tests {", "mod other {"), ""),
            (
                "a/tests/x.rs",
                &sleeping.replace("mod tests {", "mod other {"),
                "a/tests/x.rs:3: a test sleeps",
            ),
            ("a/src/x.rs", &asking, "a/src/x.rs:2: asks for the time"),
            ("benches/src/x.rs", &asking, ""),
            ("a/src/x.rs", &format!("//! X.\n{}x)", FORBIDDEN[0].0), "a/src/x.rs:2: `todo"),
            ("a/Cargo.toml", "name = \"real_x\"\ntest = false\n", ""),
            ("a/Cargo.toml", "name = \"x\"\ntest = false\n", "a/Cargo.toml:2: `x` never runs"),
            ("README.md", &format!("see {}/x", FORBIDDEN[2].0), "README.md:1: `../sha"),
        ] {
            let found = findings(name, text);
            assert!(found.len() == usize::from(!expected.is_empty()), "{name} {expected}: {found:?}");
            assert!(found.iter().all(|finding| finding.starts_with(expected)), "{expected}: {found:?}");
        }
    }

    #[test]
    fn tests_at_the_end_of_a_file_do_not_count_to_its_length() {
        let text =
            format!("//! X.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "    // line\n".repeat(FILE_LINES_MAX));
        assert_eq!(findings("a/src/x.rs", &text), [""; 0]);
    }

    #[test]
    fn function_is_measured_from_its_signature_to_its_closing_brace() {
        let text = "\
trait T {
    fn declared(&self) -> u32;
    pub(crate) async fn long_signature<A>(
        a: A,
    ) -> u32
    where
        A: Copy,
    {
        if a {
        }
    }
    fn empty() {}
}";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(functions(&lines), [(3, 9)]);
    }

    #[test]
    fn edge_that_the_table_does_not_have_is_found() {
        let edge = |user: &str, used: &[&str]| Uses {
            name: user.to_owned(),
            used: used.iter().map(|&name| name.to_owned()).collect(),
        };
        let mut all: Vec<Uses> = EDGES.iter().map(|(user, used)| edge(user, used)).collect();
        all.push(edge("tidegate-cli", &["tidegate", "tidegate-kafka"]));
        assert_eq!(check_edges(&all), [""; 0]);
        all[0].used.push("tidegate-storage".to_owned());
        assert_eq!(check_edges(&all).len(), 1);
        assert_eq!(check_edges(&all[1..]).len(), 1);
    }
}
