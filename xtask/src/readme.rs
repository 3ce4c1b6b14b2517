//! Runs what the README tells a user to run, word for word.

use crate::cargo::Cargo;
use crate::root;
use std::fs;
use std::io;

/// Stands in the README for the address that `cargo xtask servers up` prints.
const KAFKA: &str = "$TIDEGATE_TEST_KAFKA";

/// The commands of the README's `sh` blocks, but for those of xtask itself: running the tests is how one got here.
pub(crate) fn commands(kafka: &str) -> io::Result<Vec<Cargo>> {
    // What an earlier run counted belongs to a Kafka that is gone.
    match fs::remove_dir_all(root().join("target/readme")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let text = fs::read_to_string(root().join("README.md"))?;
    Ok(lines(&text).map(|line| Cargo::new(&line.replace(KAFKA, kafka))).collect())
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("cargo "))
        .filter(|line| !line.starts_with("xtask"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_sh_blocks_are_run_and_no_others() {
        let text =
            "a\n```sh\ncargo run\ncargo xtask test\n```\n```text\ncargo no\n```\n```sh\ncargo b c\n```";
        assert_eq!(lines(text).collect::<Vec<_>>(), ["run", "b c"]);
    }
}
