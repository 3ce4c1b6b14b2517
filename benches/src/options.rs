//! What can be asked for on the command line. `cargo xtask bench --help` says it to people.

use crate::steps::{STEPS, Step};
use std::error::Error;
use std::path::PathBuf;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) spark: bool,
    pub(crate) repeats: Option<usize>,
    /// Another build of the example than the one beside this program.
    pub(crate) program: Option<PathBuf>,
    /// By name; all if there is none.
    steps: Vec<String>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { spark: true, ..Self::default() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} wants a value"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--no-spark" => options.spark = false,
                "--repeats" => {
                    let repeats = value()?.parse().ok().filter(|repeats| *repeats > 0);
                    options.repeats = Some(repeats.ok_or("--repeats wants a whole number above 0")?);
                }
                "--program" => options.program = Some(PathBuf::from(value()?)),
                name => {
                    let named = STEPS.iter().filter(|step| step.name == name || step.group == Some(name));
                    let names: Vec<String> = named.map(|step| step.name.to_owned()).collect();
                    if names.is_empty() {
                        return Err(format!("no such option or step: {name}").into());
                    }
                    options.steps.extend(names);
                }
            }
        }
        Ok(options)
    }

    /// The steps to run, in their own order.
    pub(crate) fn steps(&self) -> Vec<&'static Step> {
        let asked = |step: &&Step| self.steps.is_empty() || self.steps.iter().any(|name| name == step.name);
        STEPS.iter().filter(asked).collect()
    }

    /// Whether the figures are to be kept: those of a quick run or of another program must not replace real ones, nor those of a
    /// run without Spark the part that has it.
    pub(crate) fn writes(&self) -> bool {
        let without_spark = !self.spark && self.steps().iter().any(|step| step.name == "throughput");
        !self.quick && self.program.is_none() && !without_spark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_runs_of_the_own_program_are_kept() {
        for (line, steps, writes) in [
            ("", 11, true),
            ("latency --repeats 5", 1, true),
            ("--quick", 11, false),
            ("--no-spark", 11, false),
            ("--no-spark restart", 1, true),
            ("state restart", 2, true),
            ("inputs", 4, true),
            ("sinks", 2, true),
            ("wal inputs state", 5, true),
            ("--program other", 11, false),
        ] {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let options = Options::parse(&arguments).unwrap();
            assert_eq!((options.steps().len(), options.writes()), (steps, writes), "{line}");
        }
        for line in ["--fast", "--repeats", "--repeats 0", "speed"] {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert!(Options::parse(&arguments).is_err(), "{line}");
        }
    }
}
