//! Which files were taken and which wait to be: decided from listings and plans alone, without a clock or a disk. Pure.
//!
//! A file is known by its path and its identity, and is taken once. What grew or was written over in place keeps its identity: it
//! is not taken again, which is said once. Another file in its place has another identity, and is taken.

use crate::mark::{file_of, range_of};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tidegate_core::{SourceRange, UserFile};

/// A file that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) bytes: u64,
    pub(crate) modified_ms: u64,
    pub(crate) identity: Box<str>,
}

impl Taken {
    pub(crate) fn of(file: &UserFile) -> Taken {
        Taken { bytes: file.bytes, modified_ms: file.modified_ms, identity: file.identity.as_str().into() }
    }

    fn is_the_same_as(&self, file: &UserFile) -> bool {
        *self.identity == *file.identity
    }

    fn is_as_it_was(&self, file: &UserFile) -> bool {
        self.bytes == file.bytes && self.modified_ms == file.modified_ms
    }
}

struct Known {
    taken: Taken,
    /// The newest listing that had it.
    listing: u64,
    /// Since when listings do not have it.
    missing_since: Option<Duration>,
    warned: bool,
}

/// A file that is new, and may still be written to.
struct Unsettled {
    file: UserFile,
    listing: u64,
    since: Duration,
}

/// How the pool decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long a file must look the same before it is taken; with zero it is taken when it is seen.
    pub(crate) settle: Duration,
    /// How long a file must be gone before it is forgotten that it was taken.
    pub(crate) forget_after: Duration,
}

/// What a listing brought to light.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Files that were taken before and written to since.
    pub(crate) written_again: Vec<String>,
    /// Files that took the place of one that was taken.
    pub(crate) replaced: Vec<String>,
}

pub(crate) struct Pool {
    rules: Rules,
    taken: HashMap<String, Known>,
    unsettled: HashMap<String, Unsettled>,
    /// By path: the newest listing that had it, and its place in `order`.
    waiting: HashMap<String, (u64, UserFile)>,
    /// Waiting files, the oldest first.
    order: BTreeSet<(u64, String)>,
    listing: u64,
    found: usize,
}

impl Pool {
    pub(crate) fn new(rules: Rules) -> Pool {
        Pool {
            rules,
            taken: HashMap::new(),
            unsettled: HashMap::new(),
            waiting: HashMap::new(),
            order: BTreeSet::new(),
            listing: 0,
            found: 0,
        }
    }

    /// `file` was taken.
    pub(crate) fn take(&mut self, file: &UserFile) {
        let waits =
            self.waiting.get(&file.path).is_some_and(|(_, waiting)| waiting.identity == file.identity);
        if waits {
            self.stop_waiting(&file.path);
        }
        self.unsettled.remove(&file.path);
        let known =
            Known { taken: Taken::of(file), listing: self.listing, missing_since: None, warned: false };
        self.taken.insert(file.path.clone(), known);
    }

    pub(crate) fn is_taken(&self, file: &UserFile) -> bool {
        self.taken.get(&file.path).is_some_and(|known| known.taken.is_the_same_as(file))
    }

    pub(crate) fn taken(&self) -> impl ExactSizeIterator<Item = (&str, &Taken)> {
        self.taken.iter().map(|(path, known)| (path.as_str(), &known.taken))
    }

    /// Files that are to be taken.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A listing begins.
    pub(crate) fn begin_listing(&mut self) {
        self.listing += 1;
        self.found = 0;
    }

    /// Some of the files of the listing that was begun, which was made at `now` (any clock that never goes back).
    pub(crate) fn see(&mut self, files: impl IntoIterator<Item = UserFile>, now: Duration) -> Findings {
        let mut findings = Findings::default();
        for file in files {
            self.found += 1;
            if let Some(known) = self.taken.get_mut(&file.path) {
                if known.taken.is_the_same_as(&file) {
                    known.listing = self.listing;
                    known.missing_since = None;
                    if !known.taken.is_as_it_was(&file) && !known.warned {
                        known.warned = true;
                        findings.written_again.push(file.path);
                    }
                    continue;
                }
                // The path is in use: what was taken is remembered until the other is taken.
                known.listing = self.listing;
                known.missing_since = None;
            }
            self.see_new(file, now, &mut findings);
        }
        findings
    }

    fn see_new(&mut self, file: UserFile, now: Duration, findings: &mut Findings) {
        if let Some((listing, waiting)) = self.waiting.get_mut(&file.path) {
            if *waiting == file {
                *listing = self.listing;
                return;
            }
            self.stop_waiting(&file.path);
        }
        let since = match self.unsettled.remove(&file.path) {
            Some(before) if before.file == file => before.since,
            _ if self.rules.settle.is_zero() => now,
            _ => {
                let unsettled = Unsettled { listing: self.listing, since: now, file: file.clone() };
                self.unsettled.insert(file.path, unsettled);
                return;
            }
        };
        if now.saturating_sub(since) < self.rules.settle {
            let unsettled = Unsettled { listing: self.listing, since, file: file.clone() };
            self.unsettled.insert(file.path, unsettled);
            return;
        }
        if self.taken.contains_key(&file.path) {
            findings.replaced.push(file.path.clone());
        }
        self.order.insert((file.modified_ms, file.path.clone()));
        self.waiting.insert(file.path.clone(), (self.listing, file));
    }

    fn stop_waiting(&mut self, path: &str) {
        if let Some((path, (_, file))) = self.waiting.remove_entry(path) {
            self.order.remove(&(file.modified_ms, path));
        }
    }

    /// The listing has ended: what it did not have is not waited for, and what is gone for long enough is forgotten. A listing
    /// without any file forgets nothing: it may be that of a folder on which nothing is mounted. Says how many are forgotten.
    pub(crate) fn end_listing(&mut self, now: Duration) -> usize {
        let listing = self.listing;
        let gone: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, (seen, _))| *seen < listing)
            .map(|(path, _)| path.clone())
            .collect();
        gone.iter().for_each(|path| self.stop_waiting(path));
        self.unsettled.retain(|_, unsettled| unsettled.listing == listing);
        if self.found == 0 {
            return 0;
        }
        let before = self.taken.len();
        let forget_after = self.rules.forget_after;
        self.taken.retain(|_, known| {
            if known.listing >= listing {
                return true;
            }
            let since = *known.missing_since.get_or_insert(now);
            now.saturating_sub(since) < forget_after
        });
        before - self.taken.len()
    }

    /// What a batch takes: the files that have waited longest by their own times, at most `files` of them and about `bytes` bytes,
    /// and one in any case.
    pub(crate) fn next(&self, files: usize, bytes: u64) -> Vec<SourceRange> {
        let mut taken: u64 = 0;
        let mut ranges = Vec::new();
        for (_, path) in self.order.iter().take(files.max(1)) {
            let (_, file) = &self.waiting[path];
            if !ranges.is_empty() && taken.saturating_add(file.bytes) > bytes {
                break;
            }
            taken += file.bytes;
            ranges.push(range_of(file, self.taken.contains_key(path)));
        }
        ranges
    }

    /// The files of `ranges` were taken.
    pub(crate) fn take_ranges(&mut self, ranges: &[SourceRange]) -> Vec<UserFile> {
        let files: Vec<UserFile> = ranges.iter().filter_map(file_of).collect();
        files.iter().for_each(|file| self.take(file));
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const RULES: Rules = Rules { settle: Duration::ZERO, forget_after: Duration::from_secs(10) };

    fn file(path: &str, bytes: u64, modified_ms: u64, identity: &str) -> UserFile {
        UserFile { path: path.to_owned(), bytes, modified_ms, identity: identity.to_owned() }
    }

    fn list(pool: &mut Pool, files: &[UserFile], second: u64) -> Findings {
        pool.begin_listing();
        let findings = pool.see(files.iter().cloned(), Duration::from_secs(second));
        pool.end_listing(Duration::from_secs(second));
        findings
    }

    fn take_all(pool: &mut Pool) -> Vec<String> {
        let ranges = pool.next(usize::MAX, u64::MAX);
        pool.take_ranges(&ranges).into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn a_file_is_taken_once_however_often_it_is_listed() {
        let mut pool = Pool::new(RULES);
        let files = [file("new", 1, 20, "2"), file("old", 1, 10, "1")];
        list(&mut pool, &files, 0);
        assert_eq!(pool.next(1, u64::MAX), pool.next(1, u64::MAX));
        assert_eq!(take_all(&mut pool), ["old", "new"]);
        assert_eq!(list(&mut pool, &files, 1), Findings::default());
        assert_eq!(take_all(&mut pool), [""; 0]);
    }

    #[test]
    fn a_batch_takes_at_most_so_many_files_and_bytes_and_never_none() {
        let mut pool = Pool::new(RULES);
        let files: Vec<_> = (0..5).map(|n| file(&n.to_string(), 100, n, "i")).collect();
        list(&mut pool, &files, 0);
        for (most, bytes, expected) in [(2, u64::MAX, 2), (9, 250, 2), (9, 1, 1), (9, 500, 5), (0, 0, 1)] {
            assert_eq!(pool.next(most, bytes).len(), expected, "{most} files, {bytes} bytes");
        }
    }

    #[test]
    fn a_taken_file_that_is_written_to_is_told_of_once_and_not_taken_again() {
        let mut pool = Pool::new(RULES);
        list(&mut pool, &[file("a", 1, 10, "1")], 0);
        take_all(&mut pool);
        let grown = [file("a", 2, 11, "1")];
        assert_eq!(list(&mut pool, &grown, 1).written_again, ["a"]);
        assert_eq!(list(&mut pool, &grown, 2), Findings::default());
        assert_eq!(pool.waiting(), 0);
    }

    #[test]
    fn another_file_of_the_same_path_is_taken_as_new() {
        let mut pool = Pool::new(RULES);
        list(&mut pool, &[file("a", 1, 10, "1")], 0);
        take_all(&mut pool);
        assert_eq!(list(&mut pool, &[file("a", 1, 10, "2")], 1).replaced, ["a"]);
        let ranges = pool.next(9, 9);
        assert!(ranges[0].begins_anew, "or the plan would contradict the one before");
        assert_eq!(take_all(&mut pool), ["a"]);
    }

    #[test]
    fn a_file_that_is_replaced_before_it_is_planned_is_taken_as_it_is() {
        let mut pool = Pool::new(RULES);
        list(&mut pool, &[file("a", 1, 10, "1")], 0);
        list(&mut pool, &[file("a", 5, 11, "2")], 1);
        assert_eq!(pool.next(9, 9), [range_of(&file("a", 5, 11, "2"), false)]);
        list(&mut pool, &[], 2);
        assert_eq!(pool.next(9, 9), []);
        assert!(pool.order.is_empty());
    }

    #[test]
    fn a_file_settles_before_it_is_taken() {
        let mut pool = Pool::new(Rules { settle: Duration::from_secs(2), ..RULES });
        for (second, bytes, waiting) in [(0, 1, 0), (1, 2, 0), (2, 2, 0), (3, 2, 1), (4, 3, 0), (6, 3, 1)] {
            list(&mut pool, &[file("a", bytes, bytes, "1")], second);
            assert_eq!(pool.waiting(), waiting, "second {second}");
        }
        list(&mut pool, &[], 7);
        assert_eq!(pool.waiting(), 0);
    }

    #[test]
    fn what_is_gone_is_forgotten_after_a_while_and_never_by_an_empty_listing() {
        let mut pool = Pool::new(RULES);
        let (a, b) = (file("a", 1, 10, "1"), file("b", 1, 10, "2"));
        list(&mut pool, &[a.clone(), b.clone()], 0);
        take_all(&mut pool);
        list(&mut pool, &[], 100);
        list(&mut pool, &[], 200);
        assert_eq!(pool.taken().len(), 2);
        list(&mut pool, std::slice::from_ref(&b), 300);
        list(&mut pool, std::slice::from_ref(&b), 309);
        assert_eq!(pool.taken().len(), 2);
        list(&mut pool, std::slice::from_ref(&b), 310);
        assert_eq!(pool.taken().map(|(path, _)| path).collect::<Vec<_>>(), ["b"]);
        list(&mut pool, &[a.clone(), b], 311);
        assert_eq!(take_all(&mut pool), ["a"], "it came back long after");
    }

    /// What happens to a folder between two listings.
    #[derive(Clone, Debug)]
    enum Step {
        Make(u8),
        Grow(u8),
        Remove(u8),
        List,
        Plan(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6u8).prop_map(Step::Make),
            (0..6u8).prop_map(Step::Grow),
            (0..6u8).prop_map(Step::Remove),
            Just(Step::List),
            (1..4usize).prop_map(Step::Plan),
        ]
    }

    proptest! {
        #[test]
        fn each_file_that_lasts_is_taken_once_and_none_is_taken_twice(
            steps in proptest::collection::vec(step(), 0..80),
        ) {
            let mut pool = Pool::new(RULES);
            let mut folder: BTreeMap<String, UserFile> = BTreeMap::new();
            let mut taken: BTreeSet<String> = BTreeSet::new();
            let (mut made, mut time) = (0u64, 0u64);
            let plan = |pool: &mut Pool, taken: &mut BTreeSet<String>, most: usize| {
                let ranges = pool.next(most, u64::MAX);
                for file in pool.take_ranges(&ranges) {
                    assert!(taken.insert(file.identity.clone()), "{file:?} is taken twice");
                }
                ranges.len()
            };
            for step in steps {
                time += 1;
                match step {
                    Step::Make(name) => {
                        made += 1;
                        let path = name.to_string();
                        folder.insert(path.clone(), file(&path, 1, time, &made.to_string()));
                    }
                    Step::Grow(name) => {
                        if let Some(file) = folder.get_mut(&name.to_string()) {
                            (file.bytes, file.modified_ms) = (file.bytes + 1, time);
                        }
                    }
                    Step::Remove(name) => drop(folder.remove(&name.to_string())),
                    Step::List => {
                        let files: Vec<_> = folder.values().cloned().collect();
                        // Time stands still, so that nothing is forgotten.
                        list(&mut pool, &files, 0);
                    }
                    Step::Plan(most) => drop(plan(&mut pool, &mut taken, most)),
                }
            }
            let files: Vec<_> = folder.values().cloned().collect();
            list(&mut pool, &files, 0);
            while plan(&mut pool, &mut taken, 2) > 0 {}
            for file in folder.values() {
                prop_assert!(taken.contains(&file.identity), "{:?} was never taken", file);
            }
        }
    }
}
