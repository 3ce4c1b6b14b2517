//! What every measured program is: arguments in, one line of figures out.

use serde_json::Value;
use std::env;
use std::error::Error;
use std::process::ExitCode;

/// Why a program has no figures.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The `main` of a program: prints the figures that `run` makes of the arguments, or its error and the exit code of a failure.
pub fn answer(run: impl FnOnce(&[&str]) -> Result<Value, Failure>) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
