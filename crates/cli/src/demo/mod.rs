//! `tidegate demo`: a word count over Kafka into SQLite whose job process is killed again and again, and a comparison of
//! every count with what was produced.
//!
//! The parent process is broker, producer, killer and judge. The job is a child process of its own (`demo-job`), so that
//! SIGKILL takes from it everything but its files.

mod compare;
mod feed;
pub(crate) mod job;
mod killing;
mod lines;
mod options;
mod pacing;
mod process;
mod progress;
mod run;
mod screen;
mod signal;
mod table;
mod workplace;

pub(crate) use options::Options;

use crate::exit::Failure;
use compare::Report;
use feed::Broker;
use run::Run;
use screen::Screen;
use signal::Signal;
use workplace::Workplace;

/// The topic of lines.
const TOPIC: &str = "lines";
/// Its partitions.
const PARTITIONS: usize = 4;
/// The table of counts.
const TABLE: &str = "word_counts";

/// Runs the demo: `Ok` only if every word was counted exactly once and every kill took place.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    options.check()?;
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("off")).init();
    let signal = Signal::listen()?;
    let workplace = Workplace::make(options.keep)?;
    let broker = Broker::start()?;
    let seed = options.seed();
    let mut screen = Screen::on_stdout();
    screen.say(&options.introduction(seed, &workplace))?;

    let mut run = Run::start(options, seed, &signal, &workplace, &broker, &mut screen)?;
    run.feed_and_kill()?; // 1 lines come in, the job is killed and started again
    let produced = run.drain()?; // 2 no more lines; every one is counted
    let tally = run.stop_job()?; // 3 the job ends by itself
    let found = table::all(&workplace.database())?; // 4 what the table holds is what is judged
    let report = Report { produced, found, tally, kills_asked: options.kills };
    screen.say(&report.to_string())?;
    report.verdict()?;
    screen.say("Every word was counted exactly once.")
}
