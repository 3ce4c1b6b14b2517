//! The promises of [`Storage`] as functions that panic with the broken one, for every implementation to run on its real server.
//!
//! Each function works in a folder of the storage that is to be its own and empty, and leaves it empty when it passes. Several
//! may run on one storage at once, in different folders. [`all`] runs every one that needs nothing but the storage.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tidegate_core::{ErrorKind, Result, Storage, StoredObject};

/// How many writers race for one object, and how often.
const WRITERS: usize = 16;
const RACES: usize = 4;
/// More than a store's limit for sending an object in one piece that is asked for anywhere.
const LARGE: usize = 5 * 1024 * 1024;

type Test = fn(&dyn Storage, &str);

/// Runs every function of this module but [`an_aborted_write_is_not_seen`] and [`below_an_object_is_nothing`], in folders below
/// `folder`.
///
/// # Panics
/// With the promise that is broken.
pub fn all(storage: &dyn Storage, folder: &str) {
    let tests: [(&str, Test); 13] = [
        ("put", what_is_put_is_read_whole),
        ("replace", a_put_takes_the_place_of_what_is_there),
        ("put_new", a_second_put_new_is_refused_and_changes_nothing),
        ("race", one_of_many_writers_wins),
        ("torn", a_reader_sees_the_old_object_or_the_new_one),
        ("list", a_listing_is_all_below_the_folder_by_path),
        ("delete", a_deleted_object_is_gone),
        ("rename", a_renamed_object_is_whole_and_in_its_new_place_alone),
        ("again", a_rename_that_was_done_is_no_error_and_one_of_nothing_is),
        ("staged", a_staged_object_is_seen_whole_once_it_is_published),
        ("percent", a_percent_sign_stands_for_itself),
        ("missing", what_is_not_there_is_no_error),
        ("paths", a_bad_path_is_refused_as_a_bug),
    ];
    for (name, test) in tests {
        test(storage, &format!("{folder}/{name}"));
    }
}

/// Objects of every size come back byte for byte: empty, small, and larger than what a store takes in one piece.
///
/// # Panics
/// With the promise that is broken.
pub fn what_is_put_is_read_whole(storage: &dyn Storage, folder: &str) {
    for (name, length) in [("empty", 0), ("one", 1), ("small.json", 1_000), ("large", LARGE)] {
        let path = format!("{folder}/{name}");
        let bytes = patterned(length, 1);
        ok(storage.put(&path, bytes.clone()), "put", &path);
        is_stored(storage, &path, &bytes);
        let new = format!("{folder}/{name}.new");
        assert!(
            ok(storage.put_new(&new, bytes.clone()), "put_new", &new),
            "put_new of {new}: nothing was there"
        );
        is_stored(storage, &new, &bytes);
        for path in [path, new] {
            ok(storage.delete(&path), "delete", &path);
        }
    }
}

/// The last `put` is what is read, whether it is longer, shorter or empty.
///
/// # Panics
/// With the promise that is broken.
pub fn a_put_takes_the_place_of_what_is_there(storage: &dyn Storage, folder: &str) {
    let path = format!("{folder}/p=1/x");
    for (seed, length) in [(1, 100), (2, 10_000), (3, 10), (4, 0), (5, 50)] {
        let bytes = patterned(length, seed);
        ok(storage.put(&path, bytes.clone()), "put", &path);
        is_stored(storage, &path, &bytes);
        lists(storage, folder, &[(&path, length)]);
    }
    ok(storage.delete(&path), "delete", &path);
}

/// `put_new` on an object says `false` and leaves it; after a `delete` it says `true`.
///
/// # Panics
/// With the promise that is broken.
pub fn a_second_put_new_is_refused_and_changes_nothing(storage: &dyn Storage, folder: &str) {
    let path = format!("{folder}/deep/x");
    for first in [b"first".to_vec(), Vec::new()] {
        assert!(
            ok(storage.put_new(&path, first.clone()), "put_new", &path),
            "put_new of {path}: nothing was there"
        );
        let second = ok(storage.put_new(&path, b"second one".to_vec()), "put_new", &path);
        is_stored(storage, &path, &first);
        assert!(!second, "put_new of {path} says that it wrote, where an object was");
        lists(storage, folder, &[(&path, first.len())]);
        ok(storage.delete(&path), "delete", &path);
    }
    ok(storage.put(&path, b"put".to_vec()), "put", &path);
    assert!(!ok(storage.put_new(&path, b"new".to_vec()), "put_new", &path), "put_new of {path} after a put");
    is_stored(storage, &path, b"put");
    ok(storage.delete(&path), "delete", &path);
}

/// Sixteen threads race for one object with `put_new`. Where [`Storage::is_exclusive`] says so, exactly one is told that it
/// wrote, and its object is there; else at least one is. What the others tried is listed nowhere.
///
/// # Panics
/// With the promise that is broken.
pub fn one_of_many_writers_wins(storage: &dyn Storage, folder: &str) {
    for race in 0..RACES {
        let path = format!("{folder}/{race}/x");
        let start = Barrier::new(WRITERS);
        let write = |writer: usize| {
            start.wait();
            ok(storage.put_new(&path, patterned(1_000, writer)), "put_new", &path)
        };
        let winners: Vec<usize> = thread::scope(|scope| {
            let write = &write;
            let threads: Vec<_> =
                (0..WRITERS).map(|writer| (writer, scope.spawn(move || write(writer)))).collect();
            let won = |(writer, thread): (usize, thread::ScopedJoinHandle<'_, bool>)| {
                thread.join().expect("the panic above says what broke").then_some(writer)
            };
            threads.into_iter().filter_map(won).collect()
        });
        if storage.is_exclusive() {
            assert_eq!(winners.len(), 1, "{path}: winners of a race for one object are {winners:?}");
        }
        let there = ok(storage.get(&path), "get", &path);
        assert!(
            winners.iter().any(|writer| there.as_deref() == Some(&patterned(1_000, *writer)[..])),
            "{path}: holds what none of its winners ({winners:?}) wrote"
        );
        lists(storage, &format!("{folder}/{race}"), &[(&path, 1_000)]);
        ok(storage.delete(&path), "delete", &path);
    }
}

/// While an object is replaced again and again, its readers find it there and whole.
///
/// # Panics
/// With the promise that is broken.
pub fn a_reader_sees_the_old_object_or_the_new_one(storage: &dyn Storage, folder: &str) {
    const ROUNDS: usize = 20;
    let path = format!("{folder}/x");
    let version = |round: usize| vec![u8::try_from(round).expect("few rounds"); 100_000 + round];
    ok(storage.put(&path, version(0)), "put", &path);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (path, done) = (&path, &done);
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let bytes = ok(storage.get(path), "get", path)
                        .unwrap_or_else(|| panic!("{path}: not there while it is replaced"));
                    let round = usize::from(bytes[0]);
                    assert!(
                        bytes == version(round),
                        "{path}: a reader got {} bytes of no version",
                        bytes.len()
                    );
                }
            });
        }
        let stop = SetOnDrop(done);
        for round in 1..=ROUNDS {
            ok(storage.put(path, version(round)), "put", path);
        }
        drop(stop);
    });
    is_stored(storage, &path, &version(ROUNDS));
    ok(storage.delete(&path), "delete", &path);
}

/// A listing has every object below the folder, at any depth, in the order of the paths, with its length; not those beside it
/// whose path only begins alike.
///
/// # Panics
/// With the promise that is broken.
pub fn a_listing_is_all_below_the_folder_by_path(storage: &dyn Storage, folder: &str) {
    lists(storage, folder, &[]);
    // In the order of bytes `-` and `.` are before `/`, and `=` and letters after it.
    let names = ["a-b/x", "a.b", "a/0", "a/b/c/d/e", "a/b/c=1", "a/z", "a=1/x", "ab/x", "b"];
    let paths: Vec<String> = names.iter().map(|name| format!("{folder}/{name}")).collect();
    for (length, path) in paths.iter().enumerate().rev() {
        ok(storage.put(path, patterned(length, 0)), "put", path);
    }
    let expected: Vec<(&str, usize)> =
        paths.iter().enumerate().map(|(length, path)| (path.as_str(), length)).collect();
    lists(storage, folder, &expected);
    lists(storage, &format!("{folder}/a"), &expected[2..6]);
    lists(storage, &format!("{folder}/a/b"), &expected[3..5]);
    lists(storage, &format!("{folder}/a/b/c/d"), &expected[3..4]);
    for none in ["b", "a/b/c/d/e", "a/0", "c", "c/d"].map(|name| format!("{folder}/{name}")) {
        lists(storage, &none, &[]);
    }
    let everything: BTreeSet<String> =
        ok(storage.list(""), "list", "").into_iter().map(|object| object.path).collect();
    assert!(
        paths.iter().all(|path| everything.contains(path)),
        "the listing of the root lacks some of {paths:?}"
    );
    for path in &paths {
        ok(storage.delete(path), "delete", path);
    }
    lists(storage, folder, &[]);
}

/// After a `delete` the object is neither read nor listed, and those beside it are; deleting it again is no error.
///
/// # Panics
/// With the promise that is broken.
pub fn a_deleted_object_is_gone(storage: &dyn Storage, folder: &str) {
    let (gone, stays) = (format!("{folder}/a/x"), format!("{folder}/a/x.json"));
    for path in [&gone, &stays] {
        ok(storage.put(path, patterned(10, 0)), "put", path);
    }
    for _ in 0..2 {
        ok(storage.delete(&gone), "delete", &gone);
        assert!(ok(storage.get(&gone), "get", &gone).is_none(), "{gone}: still there after a delete");
        lists(storage, folder, &[(&stays, 10)]);
    }
    ok(storage.delete(&stays), "delete", &stays);
}

/// A renamed object is byte for byte what it was, empty or large, in the place of what was there; its old path has nothing, and those
/// beside it stay.
///
/// # Panics
/// With the promise that is broken.
pub fn a_renamed_object_is_whole_and_in_its_new_place_alone(storage: &dyn Storage, folder: &str) {
    let (from, to) = (format!("{folder}/_hidden/a/x"), format!("{folder}/day=1/x"));
    let (beside, other) = (format!("{folder}/_hidden/a/x.json"), format!("{folder}/day=1/x-2"));
    for path in [&beside, &other] {
        ok(storage.put(path, patterned(10, 9)), "put", path);
    }
    for (seed, length) in [(1, 0), (2, 1_000), (3, LARGE), (4, 10)] {
        // The first has nothing in its place, the others what was renamed before.
        let bytes = patterned(length, seed);
        ok(storage.put(&from, bytes.clone()), "put", &from);
        ok(storage.rename(&from, &to), "rename", &from);
        is_stored(storage, &to, &bytes);
        assert_eq!(ok(storage.get(&from), "get", &from), None, "{from}: still there after a rename");
        lists(storage, folder, &[(&beside, 10), (&to, length), (&other, 10)]);
    }
    ok(storage.rename(&beside, &from), "rename", &beside);
    lists(storage, &format!("{folder}/_hidden"), &[(&from, 10)]);
    for path in [&from, &to, &other] {
        ok(storage.delete(path), "delete", path);
    }
    lists(storage, folder, &[]);
}

/// A staged object is neither read nor listed before it is published, and then whole, in the place of what was there. One that is
/// dropped is never seen. A storage that takes whole objects alone passes.
///
/// # Panics
/// With the promise that is broken.
pub fn a_staged_object_is_seen_whole_once_it_is_published(storage: &dyn Storage, folder: &str) {
    let path = format!("{folder}/deep/x");
    let stage = |pieces: &[&[u8]]| {
        let mut staged = ok(storage.stage(&path), "stage", &path)?;
        pieces.iter().for_each(|piece| ok(staged.write(piece), "write", &path));
        ok(staged.close(), "close", &path);
        Some(staged)
    };
    let (small, large) = (patterned(1_000, 2), patterned(LARGE, 3));
    let mut before: Option<Vec<u8>> = None;
    let cases: [&[&[u8]]; 4] = [&[], &[&small, b"", &small], &[&large, &small, &large], &[b"x"]];
    for pieces in cases {
        let Some(mut staged) = stage(pieces) else { return };
        let given_up = stage(&[b"given up"]);
        assert_eq!(ok(storage.get(&path), "get", &path), before, "{path}: staged, and seen");
        let there: Vec<_> = before.iter().map(|bytes| (path.as_str(), bytes.len())).collect();
        lists(storage, folder, &there);
        ok(staged.publish(), "publish", &path);
        ok(storage.settle(&format!("{folder}/deep")), "settle", &path);
        drop((staged, given_up));
        let bytes = pieces.concat();
        is_stored(storage, &path, &bytes);
        lists(storage, folder, &[(&path, bytes.len())]);
        before = Some(bytes);
    }
    ok(storage.delete(&path), "delete", &path);
    lists(storage, folder, &[]);
}

/// Where only the new path has an object it was renamed before, which is no error; where neither has, it is lost. A folder is no object.
///
/// # Panics
/// With the promise that is broken.
pub fn a_rename_that_was_done_is_no_error_and_one_of_nothing_is(storage: &dyn Storage, folder: &str) {
    let (from, to) = (format!("{folder}/a/x"), format!("{folder}/b/c/x"));
    ok(storage.put(&from, b"x".to_vec()), "put", &from);
    for _ in 0..3 {
        ok(storage.rename(&from, &to), "rename", &from);
        is_stored(storage, &to, b"x");
    }
    for (from, to) in [(&from, format!("{folder}/y")), (&format!("{folder}/b"), format!("{folder}/z"))] {
        let kind = storage.rename(from, &to).err().map(|error| error.kind());
        assert_eq!(
            kind,
            Some(ErrorKind::DataLost),
            "rename of {from} to {to}, neither of which is an object"
        );
    }
    lists(storage, folder, &[(&to, 1)]);
    let kind = storage.rename(&to, &to).err().map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::Bug), "rename of {to} to itself");
    is_stored(storage, &to, b"x");
    ok(storage.delete(&to), "delete", &to);
}

/// What looks like an escape is none: each path is that of an object of its own, under which it is listed.
///
/// # Panics
/// With the promise that is broken.
pub fn a_percent_sign_stands_for_itself(storage: &dyn Storage, folder: &str) {
    let names = ["%", "%%", "%25", "%2525", "%41", "%zz", "A", "a%2Fb", "a%3Ab/x%20y", "at=07%3A00%3A00/x"];
    let paths: Vec<String> = names.iter().map(|name| format!("{folder}/{name}")).collect();
    for (length, path) in paths.iter().enumerate() {
        ok(storage.put(path, patterned(length, 5)), "put", path);
    }
    let expected: Vec<(&str, usize)> =
        paths.iter().enumerate().map(|(length, path)| (path.as_str(), length)).collect();
    lists(storage, folder, &expected);
    for (length, path) in paths.iter().enumerate() {
        is_stored(storage, path, &patterned(length, 5));
        let renamed = path.replace(folder, &format!("{folder}/to%2F"));
        ok(storage.rename(path, &renamed), "rename", path);
        is_stored(storage, &renamed, &patterned(length, 5));
        lists(storage, &format!("{folder}/to%2F"), &[(&renamed, length)]);
        ok(storage.delete(&renamed), "delete", &renamed);
    }
    lists(storage, folder, &[]);
}

/// Reading gives `None` and deleting no error, also where folders are missing or a folder has the name.
///
/// # Panics
/// With the promise that is broken.
pub fn what_is_not_there_is_no_error(storage: &dyn Storage, folder: &str) {
    let there = format!("{folder}/a/b");
    ok(storage.put(&there, vec![1]), "put", &there);
    for missing in ["x", "a", "a/x", "x/y/z"].map(|name| format!("{folder}/{name}")) {
        assert_eq!(ok(storage.get(&missing), "get", &missing), None, "{missing}: was never put");
        ok(storage.delete(&missing), "delete", &missing);
    }
    is_stored(storage, &there, &[1]);
    ok(storage.delete(&there), "delete", &there);
    lists(storage, folder, &[]);
}

/// Below an object there is nothing: reading there gives `None`, listing nothing, deleting no error. Not part of [`all`]: servers
/// that speak S3 over a file system give an error, which is their users' to avoid.
///
/// # Panics
/// With the promise that is broken.
pub fn below_an_object_is_nothing(storage: &dyn Storage, folder: &str) {
    let (object, below) = (format!("{folder}/a/b"), format!("{folder}/a/b/c"));
    ok(storage.put(&object, vec![1]), "put", &object);
    assert_eq!(ok(storage.get(&below), "get", &below), None, "{below}: was never put");
    ok(storage.delete(&below), "delete", &below);
    lists(storage, &object, &[]);
    lists(storage, &below, &[]);
    is_stored(storage, &object, &[1]);
    ok(storage.delete(&object), "delete", &object);
}

/// Every method refuses a path that is none, with [`ErrorKind::Bug`].
///
/// # Panics
/// With the promise that is broken.
pub fn a_bad_path_is_refused_as_a_bug(storage: &dyn Storage, folder: &str) {
    for bad in ["/x", "x/", "x//y", "../x", "x/../y", "./x", "a b", "x\\y", "x\0", "ä", "*", "x~1"] {
        let path = format!("{folder}/{bad}");
        let path = if bad.starts_with('/') { bad } else { path.as_str() };
        let calls = [
            ("put", storage.put(path, vec![1])),
            ("put_new", storage.put_new(path, vec![1]).map(drop)),
            ("get", storage.get(path).map(drop)),
            ("list", storage.list(path).map(drop)),
            ("delete", storage.delete(path)),
            ("rename", storage.rename(path, &format!("{folder}/to"))),
            ("rename", storage.rename(&format!("{folder}/from"), path)),
        ];
        for (call, result) in calls {
            let kind = result.err().map(|error| error.kind());
            assert_eq!(kind, Some(ErrorKind::Bug), "{call} of {path:?}, which is no path");
        }
    }
    for call in [storage.put("", vec![1]), storage.get("").map(drop), storage.delete("")] {
        assert_eq!(call.err().map(|error| error.kind()), Some(ErrorKind::Bug), "an object without a name");
    }
    lists(storage, folder, &[]);
}

/// What a crash leaves in the middle of writing an object is not seen, and does not hinder the next writer. `abort` is given
/// the object's path and leaves what a writer of this storage would.
///
/// # Panics
/// With the promise that is broken.
pub fn an_aborted_write_is_not_seen(storage: &dyn Storage, folder: &str, abort: impl Fn(&str)) {
    let path = format!("{folder}/a/x");
    abort(&path);
    assert_eq!(ok(storage.get(&path), "get", &path), None, "{path}: its writing was aborted");
    lists(storage, folder, &[]);
    assert!(
        ok(storage.put_new(&path, b"new".to_vec()), "put_new", &path),
        "put_new of {path} after an aborted one"
    );
    abort(&path);
    is_stored(storage, &path, b"new");
    lists(storage, folder, &[(&path, 3)]);
    ok(storage.put(&path, b"newer".to_vec()), "put", &path);
    is_stored(storage, &path, b"newer");
    lists(storage, folder, &[(&path, 5)]);
    ok(storage.delete(&path), "delete", &path);
    lists(storage, folder, &[]);
}

/// Bytes that tell a shift, a cut and another seed.
fn patterned(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + at / 251 + seed * 17) % 256) as u8).collect()
}

fn ok<T>(result: Result<T>, call: &str, path: &str) -> T {
    result.unwrap_or_else(|error| panic!("{call} of {path:?} failed ({:?}): {error}", error.kind()))
}

fn is_stored(storage: &dyn Storage, path: &str, expected: &[u8]) {
    match ok(storage.get(path), "get", path) {
        None => panic!("{path}: not there"),
        // Not assert_eq: it would print megabytes.
        Some(bytes) => assert!(
            bytes == expected,
            "{path}: {} bytes are read where {} others were put",
            bytes.len(),
            expected.len()
        ),
    }
}

fn lists(storage: &dyn Storage, folder: &str, expected: &[(&str, usize)]) {
    let expected: Vec<StoredObject> = expected
        .iter()
        .map(|&(path, bytes)| StoredObject { path: path.to_owned(), bytes: bytes as u64 })
        .collect();
    assert_eq!(ok(storage.list(folder), "list", folder), expected, "the listing of {folder:?}");
}

/// Ends the readers also when the writer panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FailingStorage, Fault, MemoryStorage};
    use std::sync::Arc;

    /// Breaks one promise in the way that `get`, `list` and `put_new` say.
    #[derive(Debug)]
    struct Broken {
        inner: MemoryStorage,
        breaks: &'static str,
        /// All writers of a race have looked.
        looked: Barrier,
        /// A half was written that nobody has read yet.
        half: AtomicBool,
    }

    impl Broken {
        fn new(breaks: &'static str) -> Broken {
            Broken {
                inner: MemoryStorage::new(),
                breaks,
                looked: Barrier::new(WRITERS),
                half: AtomicBool::new(false),
            }
        }
    }

    impl Storage for Broken {
        fn describe(&self) -> String {
            "broken".to_owned()
        }

        fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
            if self.breaks == "replace" {
                return self.inner.put_new(path, bytes).map(drop);
            }
            if self.breaks == "torn" && bytes.first() == Some(&1) {
                self.half.store(true, Ordering::SeqCst);
                self.inner.put(path, bytes[..bytes.len() / 2].to_vec())?;
                while self.half.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
            }
            self.inner.put(path, bytes)
        }

        fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
            match self.breaks {
                "ignores" => self.inner.put(path, bytes).map(|()| true),
                "race" => {
                    let is_there = self.inner.get(path)?.is_some();
                    self.looked.wait();
                    if is_there { Ok(false) } else { self.inner.put(path, bytes).map(|()| true) }
                }
                _ => self.inner.put_new(path, bytes),
            }
        }

        fn is_exclusive(&self) -> bool {
            true
        }

        fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
            let bytes = self.inner.get(path)?;
            if bytes.as_ref().is_some_and(|bytes| bytes.len() < 100_000) {
                self.half.store(false, Ordering::SeqCst);
            }
            Ok(bytes)
        }

        fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
            let mut all = self.inner.list("")?;
            match self.breaks {
                "prefix" => all.retain(|object| object.path.starts_with(prefix)),
                "order" => {
                    all = self.inner.list(prefix)?;
                    all.sort_by_key(|object| object.path.replace('/', "\0"));
                }
                _ => all = self.inner.list(prefix)?,
            }
            Ok(all)
        }

        fn delete(&self, path: &str) -> Result<()> {
            if self.breaks == "delete" && self.inner.get(path)?.is_none() {
                return Err(tidegate_core::Error::reconfigure("no such object"));
            }
            self.inner.delete(path)
        }

        fn rename(&self, from: &str, to: &str) -> Result<()> {
            match self.breaks {
                "copies" => self.inner.get(from)?.map_or(Ok(()), |bytes| self.inner.put(to, bytes)),
                "keeps" if self.inner.get(to)?.is_some() => self.inner.delete(from),
                "lost" if self.inner.get(from)?.is_none() => Ok(()),
                "again" if self.inner.get(from)?.is_none() => {
                    Err(tidegate_core::Error::data_lost("no such object"))
                }
                "decodes" => self.inner.rename(from, &to.replace("%41", "A")),
                _ => self.inner.rename(from, to),
            }
        }
    }

    fn is_found(breaks: &'static str, test: Test) {
        let broken = Broken::new(breaks);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&broken, "here")));
        assert!(run.is_err(), "nobody sees what breaks {breaks:?}");
        test(&Broken::new("nothing"), "here");
    }

    #[test]
    fn a_storage_that_breaks_a_promise_is_found_out() {
        is_found("replace", a_put_takes_the_place_of_what_is_there);
        is_found("ignores", a_second_put_new_is_refused_and_changes_nothing);
        is_found("ignores", one_of_many_writers_wins);
        is_found("race", one_of_many_writers_wins);
        is_found("torn", a_reader_sees_the_old_object_or_the_new_one);
        is_found("prefix", a_listing_is_all_below_the_folder_by_path);
        is_found("order", a_listing_is_all_below_the_folder_by_path);
        is_found("delete", a_deleted_object_is_gone);
        is_found("copies", a_renamed_object_is_whole_and_in_its_new_place_alone);
        is_found("keeps", a_renamed_object_is_whole_and_in_its_new_place_alone);
        is_found("lost", a_rename_that_was_done_is_no_error_and_one_of_nothing_is);
        is_found("again", a_rename_that_was_done_is_no_error_and_one_of_nothing_is);
        is_found("decodes", a_percent_sign_stands_for_itself);
    }

    #[test]
    #[should_panic(expected = "put of \"here/put/empty\" failed (Retry)")]
    fn a_failure_names_call_and_object() {
        let storage = FailingStorage::new(Arc::new(MemoryStorage::new()));
        storage.fail(1, Fault::Away);
        all(&storage, "here");
    }
}
