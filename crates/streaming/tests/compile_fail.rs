//! What the compiler says of a wrong program: pinned, because it is the first thing a user reads.
//!
//! Each program in `compile_fail` is only checked, against the library that this test was built with, so that nothing is compiled
//! anew. Beside it stands what is said of it: every error with its labels, notes and helps, without the lines that it quotes of the
//! library. `TIDEGATE_EXPECT=new cargo test -p tidegate --test compile_fail` writes that down; what changed is to be read then.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What other types could have done depends on the libraries that happen to be there.
const OTHER_TYPES: &str = "the following other types implement trait";

/// The library as it was built last: by then this test was too.
fn library(built: &Path) -> PathBuf {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libtidegate-") && name.ends_with(".rlib")
    };
    let files = fs::read_dir(built).unwrap().map(|entry| entry.unwrap().path());
    let newest = files.filter(is_ours).max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    newest.unwrap_or_else(|| panic!("no library of tidegate is in {}", built.display()))
}

/// The compiler of the same toolchain as the cargo that runs the test.
fn compiler() -> PathBuf {
    let beside = std::env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name("rustc"));
    beside.filter(|rustc| rustc.is_file()).unwrap_or_else(|| "rustc".into())
}

/// What the compiler says of a program.
fn said_of(program: &Path, built: &Path, library: &Path) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let mut rustc = Command::new(compiler());
    rustc.args([
        "--edition=2024",
        "--emit=metadata",
        "--error-format=json",
        "--cap-lints=allow",
        "--verbose",
    ]);
    rustc.arg("--out-dir").arg(scratch.path()).arg("-L").arg(format!("dependency={}", built.display()));
    rustc.arg("--extern").arg(format!("tidegate={}", library.display())).arg(program);
    let output = rustc.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{} compiles", program.display());
    let messages = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}")));
    let mut said = String::new();
    for message in messages.filter(|message: &Value| message["code"]["code"].is_string()) {
        let _ = write!(said, "error[{}]", message["code"]["code"].as_str().unwrap());
        tell(&message, program, &mut said);
        for child in message["children"].as_array().unwrap() {
            if !child["message"].as_str().unwrap().starts_with(OTHER_TYPES) {
                said.push_str(child["level"].as_str().unwrap());
                tell(child, program, &mut said);
            }
        }
        said.push('\n');
    }
    said
}

/// One message, and what is said at places of the program itself.
fn tell(message: &Value, program: &Path, said: &mut String) {
    let _ = writeln!(said, ": {}", message["message"].as_str().unwrap());
    for span in message["spans"].as_array().unwrap() {
        if Path::new(span["file_name"].as_str().unwrap()) != program {
            continue;
        }
        let _ = write!(said, "  {}:{}", span["line_start"], span["column_start"]);
        for what in ["label", "suggested_replacement"] {
            if let Some(text) = span[what].as_str() {
                let _ = write!(said, " {}", text.trim_end());
            }
        }
        said.push('\n');
    }
}

#[test]
fn a_wrong_program_is_told_what_to_do_by_the_compiler() {
    let (test, folder) = (std::env::current_exe().unwrap(), Path::new("tests/compile_fail"));
    let built = test.parent().unwrap();
    let library = library(built);
    let programs = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut programs: Vec<_> =
        programs.filter(|path| path.extension().is_some_and(|it| it == "rs")).collect();
    programs.sort();
    assert!(programs.len() > 5, "{programs:?}");
    let mut wrong = String::new();
    for program in programs {
        let (said, expected) = (said_of(&program, built, &library), program.with_extension("txt"));
        if std::env::var_os("TIDEGATE_EXPECT").is_some() {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).ok().as_ref() != Some(&said) {
            let _ = writeln!(
                wrong,
                "of {} the compiler says, not as {}:\n{said}",
                program.display(),
                expected.display()
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
