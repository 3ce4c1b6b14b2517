//! A storage that fails on purpose, for tests of what is built on storages.
//!
//! The way to use it: run the work once, read [`FailingStorage::calls`], then run it once for each call with that call made to
//! fail. So no step is forgotten, also not one that is added later.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use tidegate_core::{Error, Result, StagedObject, Storage, StoredObject};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and the error is a [`Retry`](tidegate_core::ErrorKind::Retry): the store was away.
    Away,
    /// Nothing is done, and the error is a [`Reconfigure`](tidegate_core::ErrorKind::Reconfigure): the store said no.
    Refused,
    /// All is done, and the answer got lost: a `Retry`.
    AnswerLost,
    /// The store breaks its promise. `put` and `put_new` leave the first half of the object in its place and give a `Retry`, as a
    /// store without atomic writes does when its writer dies. `get` gives the first half, and `list` the first half of the
    /// objects, as if that were all. `rename` leaves the object in both places and gives a `Retry`, as a store that copies does. `delete`
    /// and all that is done with a staged object are as [`AnswerLost`](Fault::AnswerLost).
    Torn,
}

/// A [`Storage`] whose calls fail as planned, and are else those of another.
///
/// Calls are counted from 1, over `put`, `put_new`, `get`, `list`, `delete` and `rename`, `stage` and what is done with the object that it
/// gives, and `settle`. Copies share counter and plan. It says that it
/// is no [local directory](Storage::local_directory), whatever is below: else files would go past it.
#[derive(Clone, Debug)]
pub struct FailingStorage {
    inner: Arc<dyn Storage>,
    plan: Arc<Mutex<Plan>>,
    whole: bool,
}

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    from: Option<(u64, Fault)>,
}

impl FailingStorage {
    /// Passes every call on to `inner` until told otherwise.
    pub fn new(inner: Arc<dyn Storage>) -> FailingStorage {
        FailingStorage { inner, plan: Arc::default(), whole: false }
    }

    /// Takes [whole objects](Storage::stage) alone, whatever the storage below can do.
    #[must_use]
    pub fn of_whole_objects(mut self) -> FailingStorage {
        self.whole = true;
        self
    }

    /// Has call `number` fail, counted from 1 since the beginning.
    pub fn fail(&self, number: u64, fault: Fault) {
        self.plan().faults.insert(number, fault);
    }

    /// Has every call from `number` on fail, until [`mend`](FailingStorage::mend).
    pub fn fail_from(&self, number: u64, fault: Fault) {
        self.plan().from = Some((number, fault));
    }

    /// Has no further call fail. Goes on counting.
    pub fn mend(&self) {
        let mut plan = self.plan();
        plan.faults.clear();
        plan.from = None;
    }

    /// How many calls there were, those that failed among them.
    pub fn calls(&self) -> u64 {
        self.plan().calls
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("nothing panics while it holds the plan")
    }

    /// Counts a call; what is planned for it, and the words for its error.
    fn count(&self, call: &str, path: &str) -> (Option<Fault>, String) {
        let mut plan = self.plan();
        plan.calls += 1;
        let number = plan.calls;
        let from = plan.from.filter(|(from, _)| number >= *from).map(|(_, fault)| fault);
        let fault = plan.faults.get(&number).copied().or(from);
        (fault, format!("{call} of {path:?}, call {number}, was made to fail ({fault:?})"))
    }

    /// A call that is done or not done, with an answer or without.
    fn all_or_nothing<R>(&self, call: &str, path: &str, done: impl FnOnce() -> Result<R>) -> Result<R> {
        match self.count(call, path) {
            (None, _) => done(),
            (Some(Fault::Away), text) => Err(Error::retry(text)),
            (Some(Fault::Refused), text) => Err(Error::reconfigure(text)),
            (Some(Fault::AnswerLost | Fault::Torn), text) => done().and(Err(Error::retry(text))),
        }
    }

    fn put_with(
        &self,
        call: &str,
        path: &str,
        bytes: Vec<u8>,
        put: impl Fn(Vec<u8>) -> Result<bool>,
    ) -> Result<bool> {
        match self.count(call, path) {
            (None, _) => put(bytes),
            (Some(Fault::Away), text) => Err(Error::retry(text)),
            (Some(Fault::Refused), text) => Err(Error::reconfigure(text)),
            (Some(Fault::AnswerLost), text) => put(bytes).and(Err(Error::retry(text))),
            (Some(Fault::Torn), text) => put(half(bytes)).and(Err(Error::retry(text))),
        }
    }
}

impl Storage for FailingStorage {
    fn describe(&self) -> String {
        format!("{}, failing on purpose", self.inner.describe())
    }

    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.put_with("put", path, bytes, |bytes| self.inner.put(path, bytes).map(|()| true)).map(drop)
    }

    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        self.put_with("put_new", path, bytes, |bytes| self.inner.put_new(path, bytes))
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.count("get", path) {
            (None, _) => self.inner.get(path),
            (Some(Fault::Refused), text) => Err(Error::reconfigure(text)),
            (Some(Fault::Away | Fault::AnswerLost), text) => Err(Error::retry(text)),
            (Some(Fault::Torn), _) => Ok(self.inner.get(path)?.map(half)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        match self.count("list", prefix) {
            (None, _) => self.inner.list(prefix),
            (Some(Fault::Refused), text) => Err(Error::reconfigure(text)),
            (Some(Fault::Away | Fault::AnswerLost), text) => Err(Error::retry(text)),
            (Some(Fault::Torn), _) => self.inner.list(prefix).map(half),
        }
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.all_or_nothing("delete", path, || self.inner.delete(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        match self.count("rename", from) {
            (None, _) => self.inner.rename(from, to),
            (Some(Fault::Away), text) => Err(Error::retry(text)),
            (Some(Fault::Refused), text) => Err(Error::reconfigure(text)),
            (Some(Fault::AnswerLost), text) => self.inner.rename(from, to).and(Err(Error::retry(text))),
            (Some(Fault::Torn), text) => {
                if let Some(object) = self.inner.get(from)? {
                    self.inner.put(to, object)?;
                }
                Err(Error::retry(text))
            }
        }
    }

    fn stage(&self, path: &str) -> Result<Option<Box<dyn StagedObject>>> {
        if self.whole {
            return Ok(None);
        }
        let staged = self.all_or_nothing("stage", path, || self.inner.stage(path))?;
        Ok(staged.map(|inner| {
            Box::new(FailingStaged { storage: self.clone(), path: path.to_owned(), inner })
                as Box<dyn StagedObject>
        }))
    }

    fn settle(&self, folder: &str) -> Result<()> {
        self.all_or_nothing("settle", folder, || self.inner.settle(folder))
    }

    fn local_directory(&self) -> Option<&Path> {
        None
    }
}

/// An object on its way that fails as its storage does.
struct FailingStaged {
    storage: FailingStorage,
    path: String,
    inner: Box<dyn StagedObject>,
}

impl StagedObject for FailingStaged {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.storage.all_or_nothing("write", &self.path, || self.inner.write(bytes))
    }

    fn close(&mut self) -> Result<()> {
        self.storage.all_or_nothing("close", &self.path, || self.inner.close())
    }

    fn publish(&mut self) -> Result<()> {
        self.storage.all_or_nothing("publish", &self.path, || self.inner.publish())
    }
}

fn half<T>(mut all: Vec<T>) -> Vec<T> {
    all.truncate(all.len() / 2);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStorage, conformance};
    use tidegate_core::ErrorKind;

    fn failing() -> (MemoryStorage, FailingStorage) {
        let memory = MemoryStorage::new();
        (memory.clone(), FailingStorage::new(Arc::new(memory)))
    }

    #[test]
    fn without_a_plan_it_is_the_storage_below() {
        conformance::all(&failing().1, "here");
    }

    #[test]
    fn just_the_planned_call_fails_in_the_planned_way() {
        for (fault, kind, left) in [
            (Fault::Away, ErrorKind::Retry, None),
            (Fault::Refused, ErrorKind::Reconfigure, None),
            (Fault::AnswerLost, ErrorKind::Retry, Some(b"abcd".to_vec())),
            (Fault::Torn, ErrorKind::Retry, Some(b"ab".to_vec())),
        ] {
            let (memory, failing) = failing();
            failing.fail(2, fault);
            failing.put("first", b"abcd".to_vec()).unwrap();
            let error = failing.put("second", b"abcd".to_vec()).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().starts_with("put of \"second\", call 2, was made to fail"), "{error}");
            failing.put("third", b"abcd".to_vec()).unwrap();
            assert_eq!(memory.get("second").unwrap(), left, "{fault:?}");
            assert_eq!(
                (failing.calls(), memory.list("").unwrap().len()),
                (3, 2 + usize::from(left.is_some()))
            );
        }
    }

    #[test]
    fn a_rename_is_not_done_or_done_or_half_done() {
        for (fault, left) in
            [(Fault::Away, vec!["x"]), (Fault::AnswerLost, vec!["y"]), (Fault::Torn, vec!["x", "y"])]
        {
            let (memory, failing) = failing();
            failing.fail(2, fault);
            failing.put("x", vec![1]).unwrap();
            assert_eq!(failing.rename("x", "y").unwrap_err().kind(), ErrorKind::Retry);
            let paths = memory.list("").unwrap().into_iter().map(|object| object.path);
            assert_eq!(paths.collect::<Vec<_>>(), left, "{fault:?}");
            failing.rename("x", "y").unwrap();
            assert_eq!((memory.get("x").unwrap(), memory.get("y").unwrap()), (None, Some(vec![1])));
        }
    }

    #[test]
    fn each_step_of_a_staged_object_is_a_call() {
        for call in 1..=5 {
            let (memory, failing) = failing();
            failing.fail(call, Fault::Away);
            let stage = || {
                let mut staged = failing.stage("a/x")?.expect("memory takes pieces");
                staged.write(b"x")?;
                staged.close()?;
                staged.publish()?;
                failing.settle("a")
            };
            assert_eq!(stage().unwrap_err().kind(), ErrorKind::Retry);
            assert_eq!(memory.list("").unwrap().len(), usize::from(call == 5), "call {call}");
            assert!(failing.of_whole_objects().stage("a/x").unwrap().is_none());
        }
    }

    #[test]
    fn a_torn_read_looks_whole() {
        let (memory, failing) = failing();
        memory.put("a/x", b"abcd".to_vec()).unwrap();
        memory.put("a/y", b"abcd".to_vec()).unwrap();
        failing.fail_from(1, Fault::Torn);
        assert_eq!(failing.get("a/x").unwrap(), Some(b"ab".to_vec()));
        assert_eq!(failing.list("a").unwrap().len(), 1);
        failing.mend();
        assert_eq!(failing.list("a").unwrap().len(), 2);
    }
}
