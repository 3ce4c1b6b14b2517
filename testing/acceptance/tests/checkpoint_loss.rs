//! Checkpoints that are damaged or gone: the job goes on from an older one, or from its journal, or says what is lost. It never
//! goes on with other totals.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::program::{State, Store};
use tidegate_acceptance::story::{Memory, Story, Topic, shared};

const LINES: u64 = 6_000;

static TOPIC: LazyLock<Topic> = LazyLock::new(|| {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "checkpoint-loss", LINES), brokers, lines: LINES }
});

/// A job that was killed when it had published so many checkpoints.
fn killed_after(checkpoints: usize) -> Story {
    let story = Story::new(&TOPIC, Kind::Sqlite, Memory::Checkpoint, "");
    let mut story = story.with_state(State::Map, Store::Memory);
    kill_after(&mut story, checkpoints);
    story
}

/// Runs until so many checkpoints more are published. Where the lines end before that, batches without any follow.
fn kill_after(story: &mut Story, checkpoints: usize) {
    let at = format!("manifest-published:{checkpoints}");
    let ended = story.job.clone().rate(2_000).env("TIDEGATE_CRASH_AT", &at).run();
    assert!(ended.was_killed(), "{at}: {}; it printed:\n{}", ended.status, ended.output);
    story.check().unwrap();
}

/// The manifests, oldest first.
fn manifests(checkpoint: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(checkpoint.join("checkpoints")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// State files that the newest manifest names and no older one does.
fn newest_state_files(checkpoint: &Path) -> Vec<PathBuf> {
    let mut texts: Vec<String> =
        manifests(checkpoint).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let newest = texts.pop().unwrap();
    let folders = fs::read_dir(checkpoint.join("state")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let only_in_newest = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        newest.contains(name) && !texts.iter().any(|text| text.contains(name))
    };
    files.filter(only_in_newest).collect()
}

/// What is left of a file whose writing ended half way.
fn tear(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_torn_manifest_is_told_and_the_one_before_it_is_used() {
    let mut story = killed_after(3);
    let manifests = manifests(&story.checkpoint());
    assert!(manifests.len() >= 2, "{manifests:?}");
    tear(manifests.last().unwrap());
    let output = story.finish().unwrap();
    assert!(output.contains("; the job goes on from an older checkpoint"), "{output}");
}

#[test]
fn a_torn_state_file_is_told_and_the_checkpoint_before_it_is_used() {
    let mut story = killed_after(3);
    let files = newest_state_files(&story.checkpoint());
    tear(files.first().unwrap());
    let output = story.finish().unwrap();
    assert!(output.contains("the job goes on from an older one"), "{output}");
}

#[test]
fn without_checkpoints_a_journal_that_has_all_plans_gives_the_state_back() {
    let mut story = killed_after(1);
    fs::remove_dir_all(story.checkpoint().join("checkpoints")).unwrap();
    fs::remove_dir_all(story.checkpoint().join("state")).unwrap();
    let output = story.finish().unwrap();
    assert!(output.contains("planned batches again, from batch 1; "), "{output}");
    assert!(!output.contains("state is restored"), "{output}");
}

/// A job that has stopped as it should, with a checkpoint of its last batch.
fn stopped() -> Story {
    let story = Story::new(&TOPIC, Kind::Sqlite, Memory::Checkpoint, "");
    let story = story.with_state(State::Map, Store::Memory);
    let mut run = story.job.clone().rate(2_000).start();
    run.wait_until("some commits", || (story.database.read().newest() > 4).then_some(()));
    run.signal(Signal::TERM);
    run.wait().succeeded().unwrap();
    story
}

#[test]
fn without_a_journal_the_newest_checkpoint_is_gone_on_from_and_then_no_older_plan_is_left() {
    let mut story = stopped();
    let here = story.checkpoint();
    fs::remove_dir_all(here.join("journal")).unwrap();
    kill_after(&mut story, 1);
    let before = story.check().unwrap();
    let aside = story.directory().join("aside");
    fs::create_dir(&aside).unwrap();
    for folder in ["checkpoints", "state"] {
        fs::rename(here.join(folder), aside.join(folder)).unwrap();
    }
    let ended = story.job.run();
    for part in [
        here.to_str().unwrap(),
        "the state of the job is lost: batches 1 to ",
        "would have to be run again, and their plans are gone, and there is no checkpoint",
        "restore the checkpoint from a copy, or set tidegate.state.accept_loss=true",
    ] {
        assert!(ended.refusal().contains(part), "not in it: {part}\n{}", ended.refusal());
    }
    assert_eq!(story.check().unwrap().held, before.held);
    for folder in ["checkpoints", "state"] {
        let _ = fs::remove_dir_all(here.join(folder));
        fs::rename(aside.join(folder), here.join(folder)).unwrap();
    }
    story.finish().unwrap();
}

#[test]
fn a_database_alone_has_no_state_and_the_job_is_refused_until_its_checkpoints_are_back() {
    let mut story = killed_after(3);
    let before = story.check().unwrap();
    let aside = story.directory().join("aside");
    fs::rename(story.checkpoint(), &aside).unwrap();
    let ended = story.job.run();
    let lost =
        "the state of the job is lost: the outputs hold batches of this job, and there is no checkpoint";
    assert!(ended.refusal().contains(lost), "{}", ended.refusal());
    assert_eq!(story.check().unwrap().held, before.held);
    let _ = fs::remove_dir_all(story.checkpoint());
    fs::rename(&aside, story.checkpoint()).unwrap();
    story.finish().unwrap();
}
