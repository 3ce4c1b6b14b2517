//! Finds out what a store does when several write one object that must be new.
//!
//! It is evidence, not proof: a store that breaks its promise only under load may pass. One that ignores the condition, or
//! looks first and writes then, is caught: the writers start at once, and each look takes as long as a request.

use std::sync::Barrier;
use std::thread;
use tidegate_core::Result;
use uuid::Uuid;

const ROUNDS: usize = 2;
const WRITERS: usize = 4;

/// What is tried on a store. A name is below the root, and no object can have it.
pub(crate) trait Probed: Sync {
    /// As [`Storage::put_new`](tidegate_core::Storage::put_new).
    fn put_new_probe(&self, name: &str, bytes: Vec<u8>) -> Result<bool>;

    /// Removes what was put.
    fn delete_probe(&self, name: &str) -> Result<()>;
}

/// Whether exactly one of several writers that race is told that it wrote.
///
/// # Errors
/// What the store says when it can't be written.
pub(crate) fn is_exclusive(store: &dyn Probed) -> Result<bool> {
    let mut exclusive = true;
    for _ in 0..ROUNDS {
        let name = format!("_~probe/{}", Uuid::new_v4());
        let won = race(store, &name)?;
        let again = store.put_new_probe(&name, b"late".to_vec())?;
        store.delete_probe(&name)?;
        exclusive &= won == 1 && !again;
    }
    Ok(exclusive)
}

/// How many of the writers won.
fn race(store: &dyn Probed, name: &str) -> Result<usize> {
    let start = Barrier::new(WRITERS);
    let write = |writer: usize| {
        start.wait();
        store.put_new_probe(name, writer.to_string().into_bytes())
    };
    let results: Vec<Result<bool>> = thread::scope(|scope| {
        let write = &write;
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        writers.into_iter().map(|writer| writer.join().expect("a store gives errors, no panics")).collect()
    });
    let mut won = 0;
    for result in results {
        won += usize::from(result?);
    }
    Ok(won)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use tidegate_core::Error;

    /// A store in memory that treats the condition as `kind` says.
    struct Fake {
        kind: &'static str,
        names: Mutex<BTreeSet<String>>,
        looked: Barrier,
    }

    impl Probed for Fake {
        fn put_new_probe(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
            let is_there = self.names.lock().unwrap().contains(name);
            match self.kind {
                "ignores" => Ok(true),
                "away" => Err(Error::retry("away")),
                // All look before one writes, but for the late one, which is alone.
                "looks first" => {
                    if bytes != b"late" {
                        self.looked.wait();
                    }
                    self.names.lock().unwrap().insert(name.to_owned());
                    Ok(!is_there)
                }
                _ => Ok(self.names.lock().unwrap().insert(name.to_owned())),
            }
        }

        fn delete_probe(&self, name: &str) -> Result<()> {
            self.names.lock().unwrap().remove(name);
            Ok(())
        }
    }

    #[test]
    fn only_a_store_that_lets_one_writer_win_is_exclusive() {
        for (kind, expected) in
            [("keeps", Some(true)), ("ignores", Some(false)), ("looks first", Some(false)), ("away", None)]
        {
            let store = Fake { kind, names: Mutex::default(), looked: Barrier::new(WRITERS) };
            assert_eq!(is_exclusive(&store).ok(), expected, "{kind}");
            assert!(store.names.lock().unwrap().is_empty(), "{kind}: a probe is left");
        }
    }
}
