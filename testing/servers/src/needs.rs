//! The programs that must be on a machine before a server can be fetched and run, and the command that installs them.

use crate::ServerError;
use std::path::Path;
use std::process::Command;
use std::{env, fmt};

/// The oldest Java that Kafka 4 runs on; the other servers take it too.
const JAVA_MIN: u32 = 17;

/// A program that the tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Java 17 or later: runs all servers but PostgreSQL, and Maven.
    Java,
    /// Maven: fetches the servers.
    Maven,
    /// C and C++ compilers and make: librdkafka and SQLite are built from source.
    Compiler,
}

impl Need {
    /// Everything that `cargo xtask test` needs besides Rust.
    pub const ALL: [Need; 3] = [Need::Java, Need::Maven, Need::Compiler];

    /// Ok when the program is here; otherwise an error that says what it is needed for and how to install it.
    pub fn check(self) -> Result<(), ServerError> {
        match self {
            Need::Java => match java_version() {
                Some(found) if found >= JAVA_MIN => Ok(()),
                Some(found) => Err(self.missing(format!(
                    "Java {JAVA_MIN} or later is needed to run the servers and Java {found} was found"
                ))),
                None => Err(self.missing(format!("Java {JAVA_MIN} or later is needed to run the servers"))),
            },
            Need::Maven => self.runs(&["mvn"], "Maven is needed to fetch the servers"),
            Need::Compiler => self.runs(
                &["cc", "c++", "make"],
                "a C compiler, a C++ compiler and make are needed to build librdkafka",
            ),
        }
    }

    fn runs(self, programs: &[&str], what: &str) -> Result<(), ServerError> {
        match programs.iter().find(|program| output_of(program, "--version").is_none()) {
            None => Ok(()),
            Some(absent) => Err(self.missing(format!("{what} (no `{absent}` here)"))),
        }
    }

    pub(crate) fn missing(self, what: String) -> ServerError {
        ServerError::Missing { what, install: install_command(&[self]) }
    }

    fn package(self) -> &'static str {
        match self {
            Need::Java => "openjdk-17-jdk-headless",
            Need::Maven => "maven",
            Need::Compiler => "build-essential",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::Java => "Java 17 or later",
            Need::Maven => "Maven",
            Need::Compiler => "C and C++ compilers and make",
        })
    }
}

/// The one command that installs all of `needs` on a Debian-like system.
pub fn install_command(needs: &[Need]) -> String {
    let packages: Vec<&str> = needs.iter().map(|need| need.package()).collect();
    format!("apt-get install -y {}", packages.join(" "))
}

/// The `java` to run: that of `JAVA_HOME`, as Maven takes it, else that on the path.
pub(crate) fn java() -> String {
    env::var("JAVA_HOME")
        .map(|home| format!("{home}/bin/java"))
        .ok()
        .filter(|java| Path::new(java).exists())
        .unwrap_or_else(|| "java".to_owned())
}

/// The directory of that `java`, for programs that look for it themselves.
pub(crate) fn java_home() -> Result<String, ServerError> {
    let told = Command::new(java()).args(["-XshowSettings:properties", "-version"]).output().ok();
    let text = told.map(|told| String::from_utf8_lossy(&told.stderr).into_owned()).unwrap_or_default();
    let home = text.lines().find_map(|line| line.trim().strip_prefix("java.home = "));
    home.map(str::to_owned).ok_or_else(|| {
        Need::Java.missing("Java that names its own directory is needed to run servers".to_owned())
    })
}

fn java_version() -> Option<u32> {
    parse_java_version(&output_of(&java(), "-version")?)
}

/// What `program argument` prints on either stream; none if it cannot be run or fails.
fn output_of(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let both = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&both).into_owned())
}

/// The feature release: 17 of `"17.0.15"`, and 8 of the old form `"1.8.0_292"`.
fn parse_java_version(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    let mut parts = version.split(['.', '-', '+', '_']).map(|part| part.parse::<u32>());
    match (parts.next()?.ok()?, parts.next()) {
        (1, Some(Ok(old))) => Some(old),
        (feature, _) => Some(feature),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_version_is_the_feature_release() {
        for (text, expected) in [
            ("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK", Some(17)),
            ("java version \"1.8.0_292\"", Some(8)),
            ("openjdk version \"21\" 2023-09-19", Some(21)),
            ("openjdk version \"24-ea\" 2025-03-18", Some(24)),
            ("no java here", None),
        ] {
            assert_eq!(parse_java_version(text), expected, "{text}");
        }
    }

    #[test]
    fn one_command_installs_everything_that_is_missing() {
        assert_eq!(
            install_command(&Need::ALL),
            "apt-get install -y openjdk-17-jdk-headless maven build-essential"
        );
    }
}
