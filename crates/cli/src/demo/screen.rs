//! What is shown while the demo runs: on a terminal a status that is rewritten in place, else a line each second.

use super::progress::Job;
use super::table::TopWords;
use crate::exit::Failure;
use crate::figures::grouped;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Between two pictures on a terminal.
const PICTURE_EVERY: Duration = Duration::from_millis(200);
/// Between two lines elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Of the longest bar.
const BAR_WIDTH: i64 = 40;

/// The figures of a moment.
pub(super) struct Status {
    pub(super) at: Duration,
    pub(super) job: Job,
    pub(super) batches: u64,
    pub(super) records_per_second: u64,
    pub(super) delay_ms: u64,
    pub(super) lag: u64,
    pub(super) kills_survived: usize,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delay = match self.job {
            Job::Running => format!("{} ms", self.delay_ms),
            Job::Starting => "starting".to_owned(),
            Job::Recovering { .. } => "down".to_owned(),
        };
        write!(
            f,
            "{:>3} s  batches {:>4}  records/s {:>7}  delay {delay:>8}  lag {:>6}  kills survived {}",
            self.at.as_secs(),
            grouped(self.batches),
            grouped(self.records_per_second),
            grouped(self.lag),
            self.kills_survived
        )
    }
}

/// Standard output.
pub(super) struct Screen {
    kind: Kind,
    next: Duration,
}

enum Kind {
    /// The picture last drawn has so many lines.
    Terminal {
        drawn: usize,
    },
    Lines,
}

impl Screen {
    pub(super) fn on_stdout() -> Screen {
        let dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        let rewrites = std::io::stdout().is_terminal() && !dumb;
        let kind = if rewrites { Kind::Terminal { drawn: 0 } } else { Kind::Lines };
        Screen { kind, next: Duration::ZERO }
    }

    /// Writes text that stays, above the picture.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Failure> {
        let wiped = self.wipe();
        write(&format!("{wiped}{text}\n"))
    }

    /// Shows the status, when it is time to.
    pub(super) fn show(&mut self, status: &Status, words: &mut TopWords) -> Result<(), Failure> {
        if status.at < self.next {
            return Ok(());
        }
        match self.kind {
            Kind::Lines => {
                self.next = status.at + LINE_EVERY;
                write(&format!("{status}\n"))
            }
            Kind::Terminal { .. } => {
                self.next = status.at + PICTURE_EVERY;
                let picture = picture(status, words.read());
                let mut text = self.wipe();
                // Without wrapping: a line cut off at the edge is one line still, so that it can be rewritten.
                text.push_str("\x1b[?7l");
                picture.iter().for_each(|line| text.extend([line.as_str(), "\n"]));
                text.push_str("\x1b[?7h");
                self.kind = Kind::Terminal { drawn: picture.len() };
                write(&text)
            }
        }
    }

    /// What takes the picture off the terminal.
    fn wipe(&mut self) -> String {
        match &mut self.kind {
            Kind::Terminal { drawn } if *drawn > 0 => format!("\x1b[{}A\r\x1b[J", std::mem::take(drawn)),
            Kind::Terminal { .. } | Kind::Lines => String::new(),
        }
    }
}

/// The status and the words counted most.
fn picture(status: &Status, words: &[(String, i64)]) -> Vec<String> {
    let most = words.first().map_or(1, |(_, count)| (*count).max(1));
    let bar = |count: i64| "#".repeat((count * BAR_WIDTH / most).clamp(0, BAR_WIDTH) as usize);
    let word = |(word, count): &(String, i64)| {
        format!("  {word:<12} {:>11} {}", grouped(count.unsigned_abs()), bar(*count))
    };
    std::iter::once(status.to_string()).chain(words.iter().map(word)).collect()
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::of("can't write to standard output", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(job: Job) -> Status {
        let at = Duration::from_millis(12_300);
        Status {
            at,
            job,
            batches: 118,
            records_per_second: 19_980,
            delay_ms: 14,
            lag: 1203,
            kills_survived: 1,
        }
    }

    #[test]
    fn a_status_is_one_line_of_a_terminal() {
        let running = status(Job::Running).to_string();
        assert_eq!(
            running,
            " 12 s  batches  118  records/s  19,980  delay    14 ms  lag  1,203  kills survived 1"
        );
        let down = status(Job::Recovering { killed_at: Duration::from_secs(12) }).to_string();
        assert!(down.contains("delay     down  lag"), "{down}");
        assert_eq!(down.len(), running.len());
    }

    #[test]
    fn the_longest_bar_is_that_of_the_word_counted_most() {
        let words = [("the".to_owned(), 2000), ("tide".to_owned(), 500)];
        let picture = picture(&status(Job::Running), &words);
        let bars: Vec<_> = picture[1..].iter().map(|line| line.matches('#').count()).collect();
        assert_eq!(bars, [40, 10]);
        assert_eq!(picture[2], format!("  tide                 500 {}", "#".repeat(10)));
    }
}
