//! Files that come into a folder are each counted once, whatever is killed; lines of a socket at most once.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use tempfile::TempDir;
use tidegate_acceptance::kills::{Killed, kill_at_random, kills};
use tidegate_acceptance::program::Run;
use tidegate_acceptance::sources::SourceJob;
use tidegate_acceptance::truth::totals_of;
use tidegate_core::CRASH_POINTS;

const FILES_A_KILL: u64 = 20;

/// Puts a file into place as its writer should: whole, by a rename.
fn put(folder: &Path, number: u64) {
    let (aside, path) = (folder.join(format!("{number}.txt.tmp")), folder.join(format!("{number}.txt")));
    fs::write(&aside, line(number) + "\n").unwrap();
    fs::rename(aside, path).unwrap();
}

fn line(number: u64) -> String {
    format!("file {}", number % 100)
}

#[test]
fn a_job_killed_at_every_crash_point_counts_each_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let job = SourceJob::new(&format!("files:{}", folder.path().display()));
    let mut files = 0;
    for point in CRASH_POINTS {
        (0..FILES_A_KILL).for_each(|_| {
            put(folder.path(), files);
            files += 1;
        });
        job.crash(&format!("{point}:2"));
    }
    job.finish(job.start(), &totals_of((0..files).map(line))).unwrap();
}

/// A job over a folder, into which files come while it runs.
struct Folder {
    folder: TempDir,
    job: SourceJob,
    files: u64,
}

impl Killed for Folder {
    fn start(&mut self, _: u64) -> Run {
        let run = self.job.start();
        (0..FILES_A_KILL).for_each(|number| put(self.folder.path(), self.files + number));
        self.files += FILES_A_KILL;
        run
    }

    fn committed(&self) -> u64 {
        self.job.committed()
    }
}

#[test]
fn random_kills_while_files_come_count_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let job = SourceJob::new(&format!("files:{}", folder.path().display()));
    let mut folder = Folder { folder, job, files: 0 };
    let seed = kill_at_random("files", &mut folder, kills());
    let Folder { job, files, .. } = &folder;
    job.finish(job.start(), &totals_of((0..*files).map(line)))
        .unwrap_or_else(|text| panic!("seed {seed}: {text}"));
}

#[test]
fn lines_of_a_socket_are_counted_at_most_once_and_the_job_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let job = SourceJob::new(&format!("socket:{}", listener.local_addr().unwrap())).logged();
    let words = |numbers: std::ops::Range<u64>| numbers.map(|number| format!("line-{number}"));
    // The server sends a line once: what the job loses is lost.
    let send = |lines: std::ops::Range<u64>| {
        let (mut connection, _) = listener.accept().unwrap();
        words(lines).for_each(|line| writeln!(connection, "{line}").unwrap());
        connection
    };
    let (mut run, mut sent) = (job.start(), 0);
    run.wait_for_output("at most once");
    for _ in 0..3 {
        let connection = send(sent..sent + 1000);
        sent += 1000;
        run.wait_until("some lines are counted", || {
            job.totals().contains_key(&format!("line-{}", sent - 1000)).then_some(())
        });
        assert!(run.kill().was_killed());
        drop(connection);
        run = job.start();
    }
    let _connection = send(sent..sent + 10);
    run.wait_until("the last line is counted", || {
        job.totals().contains_key(&format!("line-{}", sent + 9)).then_some(())
    });
    let expected = totals_of(words(0..sent + 10));
    for (word, count) in job.totals() {
        assert_eq!((count, expected.get(&word)), (1, Some(&1)), "{word}");
    }
}
