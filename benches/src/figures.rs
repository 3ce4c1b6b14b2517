//! What was measured, as rows with medians and targets, and how it reads.

use crate::noise::{LOUD_CORES, Noise};
use std::error::Error;
use std::fmt::Write as _;

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// The median is not under it.
    MedianAtLeast(f64),
    /// The median is under it.
    MedianBelow(f64),
    /// No single value is under it.
    EachAtLeast(f64),
    /// Every single value is under it.
    EachBelow(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    NoTarget,
    Met,
    Missed,
    /// There is a target and not a single value, or not one of every run.
    Unknown,
}

/// One figure over all repeats.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    /// One for each run; none where the program did not report it.
    values: Vec<Option<f64>>,
    target: Option<Target>,
}

impl Row {
    fn present(&self) -> Vec<f64> {
        let mut values: Vec<f64> = self.values.iter().flatten().copied().collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The middle value; of an even number of values the mean of the two in the middle.
    fn median(&self) -> Option<f64> {
        let values = self.present();
        let upper = *values.get(values.len() / 2)?;
        Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[values.len() / 2 - 1], upper) })
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let Some(target) = self.target else { return Verdict::NoTarget };
        let values = self.present();
        let (Some(median), [least, .., greatest] | [least @ greatest]) = (self.median(), &values[..]) else {
            return Verdict::Unknown;
        };
        let met = match target {
            Target::MedianAtLeast(bound) => median >= bound,
            Target::MedianBelow(bound) => median < bound,
            Target::EachAtLeast(bound) => *least >= bound,
            Target::EachBelow(bound) => *greatest < bound,
        };
        match met {
            false => Verdict::Missed,
            true if values.len() < self.values.len() => Verdict::Unknown,
            true => Verdict::Met,
        }
    }

    fn cells(&self) -> [String; 6] {
        let values = self.present();
        let (middle, range) = match (self.median(), values.first(), values.last()) {
            (Some(median), Some(least), Some(greatest)) => {
                (show(median), format!("{} - {}", show(*least), show(*greatest)))
            }
            _ => ("not reported".to_owned(), String::new()),
        };
        let target = match self.target {
            None => String::new(),
            Some(Target::MedianAtLeast(bound)) => format!("median at least {}", show(bound)),
            Some(Target::MedianBelow(bound)) => format!("median under {}", show(bound)),
            Some(Target::EachAtLeast(bound)) => format!("each at least {}", show(bound)),
            Some(Target::EachBelow(bound)) => format!("each under {}", show(bound)),
        };
        let verdict = match self.verdict() {
            Verdict::NoTarget => "",
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::Unknown => "**not reported**",
        };
        let name =
            if self.unit.is_empty() { self.name.clone() } else { format!("{}, {}", self.name, self.unit) };
        [name, middle, range, values.len().to_string(), target, verdict.to_owned()]
    }
}

const HEADS: [&str; 6] = ["figure", "median", "least - greatest", "n", "target", ""];

/// The figures of one step.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    rows: Vec<Row>,
    runs: Vec<(String, Option<f64>)>,
    /// What went wrong: a wrong table, a run that failed.
    pub(crate) wrong: Vec<String>,
    /// How to look into a missed target.
    pub(crate) profile: String,
}

impl Figures {
    /// Says what runs, runs it, and remembers the foreign load meanwhile.
    pub(crate) fn run<T>(
        &mut self,
        what: &str,
        work: impl FnOnce(&str) -> Result<T, Box<dyn Error>>,
    ) -> Result<T, Box<dyn Error>> {
        println!("--> {what}");
        let noise = Noise::start();
        let result = work(what);
        self.runs.push((what.to_owned(), noise.foreign_cores()));
        result
    }

    /// Adds `value` to the row `name`, which is made by the first value.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, target: Option<Target>, value: Option<f64>) {
        let shown = value.map_or("not reported".to_owned(), |value| format!("{} {unit}", show(value)));
        println!("    {name}: {}", shown.trim_end());
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.values.push(value),
            None => self.rows.push(Row { name: name.to_owned(), unit, values: vec![value], target }),
        }
    }

    pub(crate) fn worst(&self) -> Verdict {
        let verdicts: Vec<Verdict> = self.rows.iter().map(Row::verdict).collect();
        [Verdict::Missed, Verdict::Unknown, Verdict::Met]
            .into_iter()
            .find(|verdict| verdicts.contains(verdict))
            .unwrap_or(Verdict::NoTarget)
    }

    /// For a terminal, in columns.
    pub(crate) fn table(&self) -> String {
        let lines: Vec<[String; 6]> =
            std::iter::once(HEADS.map(str::to_owned)).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| lines.iter().map(|cells| cells[column].len()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
        let mut text = String::new();
        for cells in &lines {
            let columns: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            let _ = writeln!(text, "{}", columns.join("  ").trim_end());
        }
        text + &self.remarks()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|{}\n", HEADS.join(" | "), "---|".repeat(HEADS.len()));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.cells().join(" | "));
        }
        format!("{text}\n{}", self.remarks())
    }

    fn remarks(&self) -> String {
        let mut text = String::new();
        for wrong in &self.wrong {
            // The first line: what follows are lines of a log.
            let _ = writeln!(text, "- WRONG: {}", wrong.lines().next().unwrap_or_default());
        }
        let known: Vec<f64> = self.runs.iter().filter_map(|(_, cores)| *cores).collect();
        if let Some(most) = known.iter().copied().max_by(f64::total_cmp) {
            let least = known.iter().copied().fold(most, f64::min);
            let _ = writeln!(text, "- Cores used by others during a run: {least:.2} - {most:.2}.");
        } else {
            let _ = writeln!(text, "- Cores used by others during a run: not known here.");
        }
        for (what, cores) in &self.runs {
            if let Some(cores) = cores.filter(|cores| *cores >= LOUD_CORES) {
                let _ = writeln!(text, "- LOUD: others used {cores:.2} cores during `{what}`.");
            }
        }
        text
    }
}

/// Whole numbers as they are, others by three digits or all before the point; thousands in groups.
pub(crate) fn show(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let digits = format!("{:.0}", size);
            let groups: Vec<&str> = digits
                .as_bytes()
                .rchunks(3)
                .rev()
                .map(|group| std::str::from_utf8(group).expect("digits"))
                .collect();
            format!("{}{}", if value < 0.0 { "-" } else { "" }, groups.join(","))
        }
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_is_about_every_run() {
        use Target::*;
        for (target, values, expected) in [
            (None, vec![Some(1.0)], Verdict::NoTarget),
            (Some(MedianBelow(2.0)), vec![], Verdict::Unknown),
            (Some(MedianBelow(2.0)), vec![None], Verdict::Unknown),
            (Some(MedianBelow(2.0)), vec![Some(1.0), Some(9.0), Some(1.5)], Verdict::Met),
            (Some(MedianBelow(2.0)), vec![Some(1.0), None], Verdict::Unknown),
            (Some(MedianBelow(2.0)), vec![Some(2.0), None], Verdict::Missed),
            (Some(EachBelow(2.0)), vec![Some(1.0), Some(9.0), Some(1.5)], Verdict::Missed),
            (Some(MedianAtLeast(0.8)), vec![Some(0.7), Some(0.9)], Verdict::Met),
            (Some(EachAtLeast(0.8)), vec![Some(0.7), Some(0.9)], Verdict::Missed),
        ] {
            let row = Row { name: "x".into(), unit: "", values, target };
            assert_eq!(row.verdict(), expected, "{row:?}");
        }
    }

    #[test]
    fn numbers_show_three_digits_or_all() {
        for (value, expected) in [
            (3_265_432.4, "3,265,432"),
            (1_000.0, "1,000"),
            (-1_234.0, "-1,234"),
            (123.4, "123"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.0456, "0.046"),
            (0.0, "0"),
            (40.0, "40"),
        ] {
            assert_eq!(show(value), expected);
        }
    }
}
