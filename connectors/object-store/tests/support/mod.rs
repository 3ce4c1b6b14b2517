//! What every store must do when its server goes and comes back.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod cuts;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tidegate_core::{Error, ErrorKind, FileSystem, Result, Storage, UserFile};
use tidegate_servers::Server;
use uuid::Uuid;

/// The address that `cargo xtask test` hands out.
pub(crate) fn shared(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} names no server: run these tests by `cargo xtask test`, which starts one")
    })
}

/// A folder that no other run has.
pub(crate) fn folder() -> String {
    format!("test-{}", Uuid::new_v4())
}

/// How long is waited for what a busy machine takes its time for.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a client waits that was told to try again.
const PAUSE: Duration = Duration::from_millis(20);
/// Waits for what is to come by itself.
pub(crate) fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "it does not come");
        thread::yield_now();
    }
}

/// Objects that are acknowledged between one fault and the next.
const OBJECTS: usize = 5;

/// What an error must say while the server is away, and how long it may take: ten seconds and what a busy machine adds.
pub(crate) fn is_away<T: std::fmt::Debug>(call: impl FnOnce() -> Result<T>, place: &str) {
    let start = Instant::now();
    is_retry(&call().unwrap_err(), place);
    assert!(start.elapsed() < Duration::from_secs(60), "it took {:?}", start.elapsed());
}

fn is_retry(error: &Error, place: &str) {
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains(place), "{error} does not name {place}");
}

fn bytes(number: usize) -> Vec<u8> {
    vec![u8::try_from(number % 251).unwrap(); 50_000 + number]
}

/// The server, one of the test's own, is stopped, and later killed, under calls, and started again: each call does what it says or is
/// a `Retry` that names its place, also while the server is on its way up or down, and while it is away in bounded time. A `put` and a
/// `rename` are asked for until they are acknowledged, as a job does: in the end all objects are there, whole, under their last names,
/// and nothing else is.
pub(crate) fn loses_nothing_while_it_goes_and_comes(
    open: impl Fn() -> Result<Arc<dyn Storage>> + Sync,
    server: &mut dyn Server,
) {
    let storage = open().unwrap();
    let place = storage.describe();
    let (acknowledged, over) = (AtomicUsize::new(0), Over::default());
    let until_it_is_done = |call: &dyn Fn() -> Result<()>| {
        while let Err(error) = call() {
            is_retry(&error, &place);
            if over.pause() {
                return false;
            }
        }
        true
    };
    let objects = || {
        for number in 0.. {
            let (from, to) = (format!("now/{number}"), format!("then/{number}"));
            if !until_it_is_done(&|| storage.put(&from, bytes(number)))
                || !until_it_is_done(&|| storage.rename(&from, &to))
                || !until_it_is_done(&|| {
                    assert!(storage.get(&to)? == Some(bytes(number)), "{to} was acknowledged");
                    storage.list("then").map(drop)
                })
            {
                return;
            }
            acknowledged.store(number + 1, Ordering::Release);
            if over.is_set() {
                return;
            }
        }
    };
    let more_come = || {
        let (begun, before) = (Instant::now(), acknowledged.load(Ordering::Acquire));
        while acknowledged.load(Ordering::Acquire) < before + OBJECTS {
            assert!(begun.elapsed() < PATIENCE, "{place}: nothing more is put");
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(objects);
        scope.spawn(|| while until_it_is_done(&|| open().map(drop)) && !over.pause() {});
        let _over = SetOnDrop(&over);
        more_come();
        server.stop().unwrap();
        every_call_is_away(&*storage, &open);
        server.start_again().unwrap();
        more_come();
        server.kill();
        server.start_again().unwrap();
        more_come();
    });
    let all = acknowledged.into_inner();
    for number in 0..all {
        assert!(storage.get(&format!("then/{number}")).unwrap() == Some(bytes(number)), "{number} of {all}");
    }
    // The last one may have been on its way.
    until_it_is_done(&|| storage.put(&format!("now/{all}"), bytes(all)));
    until_it_is_done(&|| storage.rename(&format!("now/{all}"), &format!("then/{all}")));
    let listed: BTreeSet<String> = storage.list("").unwrap().into_iter().map(|object| object.path).collect();
    assert_eq!(listed, (0..=all).map(|number| format!("then/{number}")).collect());
}

/// At the same time: each of them waits until it gives up.
fn every_call_is_away(storage: &dyn Storage, open: &(impl Fn() -> Result<Arc<dyn Storage>> + Sync)) {
    let place = storage.describe();
    thread::scope(|scope| {
        scope.spawn(|| is_away(|| storage.put("a/put", vec![1]), "a/put"));
        scope.spawn(|| is_away(|| storage.put_new("a/new", vec![1]), "a/new"));
        scope.spawn(|| is_away(|| storage.get("a/get"), "a/get"));
        scope.spawn(|| is_away(|| storage.list("a"), "/a"));
        scope.spawn(|| is_away(|| storage.delete("a/delete"), "a/delete"));
        scope.spawn(|| is_away(|| storage.rename("a/from", "b/to"), &place));
        scope.spawn(|| is_away(open, &place));
    });
}

/// Whether the calls that go on in other threads are to end.
#[derive(Default)]
struct Over(Mutex<bool>, Condvar);

impl Over {
    fn is_set(&self) -> bool {
        *self.0.lock().unwrap()
    }

    /// Waits as a client does that is to try again.
    fn pause(&self) -> bool {
        let over = self.0.lock().unwrap();
        *self.1.wait_timeout_while(over, PAUSE, |over| !*over).unwrap().0
    }
}

struct SetOnDrop<'a>(&'a Over);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Files of any name are listed to a depth, looked at, read in pieces, and told from those that take their place.
pub(crate) fn shows_files_of_any_name(files: &dyn FileSystem, odd: &str, write: &dyn Fn(&str, &[u8])) {
    let names = [odd, "sub folder/x", "sub folder/\u{f6}=1/y"];
    let bytes: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
    for name in names {
        write(name, &bytes);
    }
    let paths = |depth: usize| {
        let listed = files.list(depth).unwrap();
        listed.into_iter().map(|file| file.path).collect::<BTreeSet<_>>()
    };
    let expected = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(paths(1), expected(&names[..1]));
    assert_eq!(paths(2), expected(&names[..2]));
    assert_eq!(paths(3), expected(&names));
    assert_eq!(paths(usize::MAX), expected(&names));
    for file in files.list(3).unwrap() {
        assert_eq!(files.status(&file.path).unwrap().as_ref(), Some(&file));
        assert_eq!(file.bytes, 2_500_000, "{file:?}");
        assert!(file.modified_ms > 1_600_000_000_000, "{file:?}");
        let mut open = files.open(&file).unwrap();
        for (from, length) in
            [(0, 1_000_000), (1_000_000, 1_000_000), (7, 13), (2_499_990, 100), (2_500_000, 5)]
        {
            let read = open.read(from as u64, length).unwrap();
            assert!(read == bytes[from..bytes.len().min(from + length)], "{from} of {}", file.path);
        }
    }
    assert_eq!(files.status("nothing").unwrap(), None);
    assert_eq!(files.status("sub folder").unwrap(), None);
    let gone = UserFile { path: "nothing".to_owned(), bytes: 1, modified_ms: 0, identity: String::new() };
    let error = files.open(&gone).and_then(|mut open| open.read(0, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    let before = files.status(names[1]).unwrap().unwrap();
    write(names[1], b"other");
    let after = files.status(names[1]).unwrap().unwrap();
    assert_ne!((before.identity, before.bytes), (after.identity.clone(), after.bytes));
    assert!(files.list(2).unwrap().contains(&after));
}
