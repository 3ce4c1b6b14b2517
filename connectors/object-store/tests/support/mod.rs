//! What every store must do when its server goes and comes back.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tidegate_core::{ErrorKind, FileSystem, Storage, UserFile};
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

/// What an error must say while the server is away, and how long it may take: ten seconds and what a busy machine adds.
pub(crate) fn is_away<T: std::fmt::Debug>(call: impl FnOnce() -> tidegate_core::Result<T>, place: &str) {
    let start = Instant::now();
    let error = call().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains(place), "{error} does not name {place}");
    assert!(start.elapsed() < Duration::from_secs(60), "it took {:?}", start.elapsed());
}

/// With the server stopped every call is a `Retry` in bounded time; with it back the same storage works, and finds all.
pub(crate) fn survives_an_outage(storage: &dyn Storage, stop: impl FnOnce(), start: impl FnOnce()) {
    storage.put("a/before", b"before".to_vec()).unwrap();
    stop();
    is_away(|| storage.put("a/during", vec![1]), "a/during");
    is_away(|| storage.put_new("a/new", vec![1]), "a/new");
    is_away(|| storage.get("a/before"), "a/before");
    is_away(|| storage.list("a"), "/a");
    is_away(|| storage.delete("a/before"), "a/before");
    is_away(|| storage.rename("a/before", "b/after"), "");
    start();
    assert_eq!(storage.get("a/before").unwrap(), Some(b"before".to_vec()));
    storage.put("a/later", b"after".to_vec()).unwrap();
    storage.rename("a/later", "a/after").unwrap();
    assert!(storage.put_new("a/new", b"new".to_vec()).unwrap());
    let paths: Vec<String> = storage.list("a").unwrap().into_iter().map(|object| object.path).collect();
    assert_eq!(paths, ["a/after", "a/before", "a/new"]);
}

fn bytes(number: usize) -> Vec<u8> {
    vec![u8::try_from(number % 251).unwrap(); 50_000 + number]
}

/// The server is killed while objects are put, and started again: what was acknowledged is there, the rest is there whole or not
/// at all, and nothing else is.
pub(crate) fn loses_nothing_acknowledged(
    storage: Arc<dyn Storage>,
    kill: impl FnOnce(),
    start: impl FnOnce(),
) {
    const BEFORE_THE_KILL: usize = 10;
    let (acknowledged, seen) = mpsc::channel();
    let writer = thread::spawn({
        let storage = storage.clone();
        move || {
            let mut number = 0;
            loop {
                if let Err(error) = storage.put(&format!("kill/{number}"), bytes(number)) {
                    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                    return number;
                }
                acknowledged.send(number).unwrap();
                number += 1;
            }
        }
    });
    let first: Vec<usize> = seen.iter().take(BEFORE_THE_KILL).collect();
    kill();
    let failed = writer.join().unwrap();
    start();
    let all: Vec<usize> = first.into_iter().chain(seen.iter()).collect();
    for number in &all {
        let object = storage.get(&format!("kill/{number}")).unwrap();
        assert!(object == Some(bytes(*number)), "object {number} of {all:?} was acknowledged");
    }
    let last = storage.get(&format!("kill/{failed}")).unwrap();
    assert!(last.is_none() || last == Some(bytes(failed)), "what was not acknowledged is there in part");
    let listed: BTreeSet<String> = storage.list("").unwrap().into_iter().map(|object| object.path).collect();
    let mut expected: BTreeSet<String> = all.iter().map(|number| format!("kill/{number}")).collect();
    expected.extend(last.is_some().then(|| format!("kill/{failed}")));
    assert_eq!(listed, expected);
    storage.put(&format!("kill/{failed}"), bytes(failed)).unwrap();
    assert!(storage.get(&format!("kill/{failed}")).unwrap() == Some(bytes(failed)));
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
