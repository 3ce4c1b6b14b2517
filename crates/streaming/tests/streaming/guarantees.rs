//! What a job says that it promises: which input leads to which output, through which states, and what is left of their words.

use std::time::Duration;
use tidegate::testkit::{BATCH, MemoryInput, MemoryOutput};
use tidegate::{Conf, DStream, PathGuarantee, PathPromise, QueueInput, Result, StreamingContext};

fn context(checkpoint: bool) -> StreamingContext {
    let ssc = StreamingContext::new(Conf::new(), BATCH).unwrap();
    if checkpoint {
        // Nothing is written there before a start.
        ssc.checkpoint("never-made").unwrap();
    }
    ssc
}

fn memory(ssc: &StreamingContext, name: &str) -> DStream<i64> {
    ssc.input_stream(name, MemoryInput::new(1)).unwrap().clone()
}

fn queue(ssc: &StreamingContext) -> DStream<i64> {
    ssc.queue_stream(&QueueInput::new(), true).unwrap().clone()
}

fn keep(stream: &DStream<i64>, name: &str) -> Result<()> {
    stream.output(name, MemoryOutput::new()).map(|_| ())
}

/// Each path as `input -> output`, with the states on it and what is promised.
fn told(ssc: &StreamingContext) -> Vec<(String, Vec<String>, PathPromise)> {
    let states = |path: &PathGuarantee| {
        let names = path.links.iter().filter_map(|link| link.what.strip_prefix("state "));
        names.map(str::to_owned).collect()
    };
    let paths = ssc.guarantees().into_iter();
    paths.map(|path| (format!("{} -> {}", path.input, path.output), states(&path), path.promise)).collect()
}

#[test]
fn the_weakness_of_each_link_is_that_of_the_path() {
    use PathPromise::{AtLeastOnce, AtMostOnce, ExactlyOnce, Neither};
    type Build = fn(&StreamingContext) -> Result<()>;
    let table: [(&str, bool, PathPromise, Build); 8] = [
        ("memory -> kept", true, ExactlyOnce, |ssc| keep(&memory(ssc, "memory"), "kept")),
        ("memory -> kept", false, ExactlyOnce, |ssc| keep(&memory(ssc, "memory"), "kept")),
        ("memory -> print-0", true, AtLeastOnce, |ssc| memory(ssc, "memory").print()),
        // Nothing remembers what the last batches took.
        ("memory -> print-0", false, Neither, |ssc| memory(ssc, "memory").print()),
        ("queue-1 -> kept", true, AtMostOnce, |ssc| keep(&queue(ssc), "kept")),
        ("queue-1 -> print-0", true, Neither, |ssc| queue(ssc).print()),
        ("constant-1 -> kept", true, ExactlyOnce, |ssc| {
            let constant = ssc.constant_stream(vec![1])?;
            keep(&constant, "kept")
        }),
        ("rate-1 -> print-1", true, AtLeastOnce, |ssc| ssc.rate_stream(1)?.print()),
    ];
    for (path, checkpoint, promise, build) in table {
        let ssc = context(checkpoint);
        build(&ssc).unwrap();
        assert_eq!(told(&ssc), [(path.to_owned(), vec![], promise)], "checkpoint: {checkpoint}");
    }
}

#[test]
fn a_path_is_where_records_go_and_nowhere_else() {
    let ssc = context(true);
    let (a, b) = (memory(&ssc, "a"), memory(&ssc, "b"));
    let _unused = memory(&ssc, "unused").map(|n| n);
    let pairs = |stream: &DStream<i64>| stream.map(|n| (n % 2, n));
    let total = |new: Vec<i64>, total: Option<i64>| Some(total.unwrap_or(0) + new.iter().sum::<i64>());
    let totals = pairs(&a).update_state_by_key(total).uid("totals");
    let joined = totals.join(&pairs(&b)).map(|(key, _)| key);
    let windowed = b.window(2 * BATCH, BATCH);
    keep(&joined, "joined").unwrap();
    keep(&a.union(&windowed), "both").unwrap();
    // A state that leads nowhere is none of the job's.
    let _nowhere = pairs(&a).update_state_by_key(total).uid("nowhere");
    keep(&totals.map(|(key, _)| key), "totals").unwrap();
    let own = |path: &str, states: &[&str]| {
        (path.to_owned(), states.iter().map(|state| (*state).to_owned()).collect(), PathPromise::ExactlyOnce)
    };
    let expected = [
        own("a -> joined", &["totals"]),
        own("a -> both", &[]),
        own("a -> totals", &["totals"]),
        own("b -> joined", &[]),
        own("b -> both", &["window-1"]),
    ];
    assert_eq!(told(&ssc), expected);
}

#[test]
fn a_state_without_a_checkpoint_is_not_promised() {
    let ssc = context(false);
    keep(&memory(&ssc, "a").window(2 * BATCH, Duration::from_secs(1)), "kept").unwrap();
    assert_eq!(told(&ssc), [("a -> kept".to_owned(), vec!["window-1".to_owned()], PathPromise::Neither)]);
}

#[test]
fn a_path_is_told_in_words() {
    let ssc = context(true);
    queue(&ssc).print().unwrap();
    let told = ssc.guarantees()[0].to_string();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(
        lines[0],
        "queue-1 -> print-0: neither at least nor at most once: it may be lost, or seen twice"
    );
    assert!(
        lines[1].starts_with("  input queue-1 (a queue in memory): at most once: what waits in it"),
        "{told}"
    );
    assert!(lines[2].starts_with("  plans of batches: exactly once: they are in the journal"), "{told}");
    assert!(lines[3].starts_with("  output print-0 (standard output): at least once: it does not"), "{told}");
    assert_eq!(lines.len(), 4);
}
