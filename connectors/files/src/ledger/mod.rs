//! Which files were taken, durably: snapshots and what came after them, as objects of the job's storage.
//!
//! Increment `n` has the files of one plan that takes any. It is written once the plan is durable, so it is never ahead of the
//! journal, and it is durable before the next plan is made, so it is at most one plan behind: the newest, which a start is
//! given. A snapshot sums up all increments up to its number. The newest two are kept: should one be damaged, the other and
//! the increments after it say the same.

mod format;
mod keeper;

pub(crate) use keeper::Keeper;

use crate::pool::Taken;
use crate::sealed;
use format::{Increment, Name, Snapshot};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tidegate_core::{Error, InputContext, Result, Storage, UserFile};

/// Increments after a snapshot before there is another, at least; and at most, however large a snapshot is.
const INCREMENTS: (u64, u64) = (128, 1024);

/// Where the ledger of an input is.
#[derive(Clone)]
pub(crate) struct Ledger {
    storage: Arc<dyn Storage>,
    folder: String,
}

/// What a ledger holds.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) taken: HashMap<String, Taken>,
    /// The newest object that is whole.
    pub(crate) newest: u64,
    /// No object is there: the stream starts for the first time.
    pub(crate) is_new: bool,
    /// What the newest snapshot says.
    pub(crate) folder: Option<String>,
    /// Where the newest increment is damaged: why. A crash while it was written does that to a store that tears objects.
    pub(crate) torn: Option<String>,
    /// The newest snapshot, and the files in it.
    pub(crate) snapshot: (u64, u64),
    /// The files in the increments after it.
    pub(crate) since: u64,
}

impl Ledger {
    /// The ledger of the input of `context`; none where the job has no storage.
    pub(crate) fn of(context: &InputContext) -> Option<Ledger> {
        let storage = context.storage.clone()?;
        Some(Ledger { storage, folder: format!("{}/ledger", context.folder()) })
    }

    pub(crate) fn describe(&self) -> String {
        format!("{}/{}", self.storage.describe(), self.folder)
    }

    fn path(&self, name: Name) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Reads all that counts.
    ///
    /// # Errors
    /// The storage is away; or what is damaged or missing can't be made up for.
    pub(crate) fn read(&self) -> Result<Held> {
        let listed = self.storage.list(&self.folder)?;
        let name = |path: &str| Name::parse(path.strip_prefix(&self.folder)?.strip_prefix('/')?);
        let names: Vec<Name> = listed.iter().filter_map(|object| name(&object.path)).collect();
        let mut held = Held { is_new: names.is_empty(), ..Held::default() };
        let mut snapshots: Vec<u64> = names.iter().filter_map(|name| name.snapshot()).collect();
        snapshots.sort_unstable();
        let mut damaged = Vec::new();
        while let Some(number) = snapshots.pop() {
            let name = Name::Snapshot(number);
            match self.object::<Snapshot>(name)? {
                Ok(snapshot) => {
                    held.newest = number;
                    held.snapshot = (number, snapshot.files.len() as u64);
                    held.folder = Some(snapshot.folder);
                    held.taken
                        .extend(snapshot.files.into_iter().map(|file| (file.path.clone(), Taken::of(&file))));
                    break;
                }
                Err(why) => damaged.push(format!("{} is {why}", self.path(name))),
            }
        }
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.increment()).collect();
        numbers.retain(|number| *number > held.newest);
        numbers.sort_unstable();
        self.read_increments(&numbers, &damaged, &mut held)?;
        damaged
            .iter()
            .for_each(|text| log::warn!("file stream: {text}; the snapshot before it says the same"));
        Ok(held)
    }

    fn read_increments(&self, numbers: &[u64], damaged: &[String], held: &mut Held) -> Result<()> {
        // A snapshot that can't be read had summed up increments that may be gone.
        let first_damaged = damaged.first().cloned();
        if let (Some(text), true) = (&first_damaged, numbers.is_empty()) {
            return Err(self.lost(text));
        }
        for (place, &number) in numbers.iter().enumerate() {
            if number != held.newest + 1 {
                let missing = format!("{} is missing", self.path(Name::Increment(held.newest + 1)));
                return Err(self.lost(first_damaged.as_ref().unwrap_or(&missing)));
            }
            match self.object::<Increment>(Name::Increment(number))? {
                Ok(increment) => {
                    held.since += increment.files.len() as u64;
                    let files = increment.files.into_iter();
                    held.taken.extend(files.map(|file| (file.path.clone(), Taken::of(&file))));
                    held.newest = number;
                }
                Err(why) if place + 1 == numbers.len() => {
                    held.torn = Some(format!("{} is {why}", self.path(Name::Increment(number))));
                }
                Err(why) => {
                    return Err(self.lost(&format!("{} is {why}", self.path(Name::Increment(number)))));
                }
            }
        }
        Ok(())
    }

    /// An object, or what is wrong with it.
    fn object<T: sealed::Record>(&self, name: Name) -> Result<Result<T, String>> {
        Ok(match self.storage.get(&self.path(name))? {
            Some(bytes) => sealed::read(&bytes),
            None => Err("gone".to_owned()),
        })
    }

    /// The error about a ledger of which something is lost.
    pub(crate) fn lost(&self, what: &str) -> Error {
        Error::data_lost(format!(
            "{}: {what}, so it is not known which files were taken. Bring it back; or remove the folder {} to begin anew, \
             which takes all files that are there again (new_files_only(true): none of them)",
            self.storage.describe(),
            self.folder
        ))
    }

    fn write_increment(&self, number: u64, files: &[UserFile]) -> Result<()> {
        let increment = Increment { files: files.to_vec() };
        self.storage.put(&self.path(Name::Increment(number)), sealed::write(&increment))
    }

    /// Sums up all up to `number` in a snapshot, and removes what is older than the snapshot before, which was `before`.
    pub(crate) fn write_snapshot(
        &self,
        number: u64,
        before: u64,
        folder: String,
        files: Vec<UserFile>,
    ) -> Result<()> {
        self.storage.put(&self.path(Name::Snapshot(number)), sealed::write(&Snapshot { folder, files }))?;
        for object in self.storage.list(&self.folder)? {
            let name = object.path.strip_prefix(&self.folder).and_then(|path| path.strip_prefix('/'));
            let needless = match name.and_then(Name::parse) {
                Some(Name::Snapshot(of)) => of < before,
                Some(Name::Increment(of)) => of <= before,
                None => false,
            };
            if needless {
                self.storage.delete(&object.path)?;
            }
        }
        Ok(())
    }
}

/// Whether it is time for a snapshot: `increments` with `since` files came after one of `files` files.
fn is_due(increments: u64, since: u64, files: u64) -> bool {
    let (least, most) = INCREMENTS;
    increments >= most || increments >= least && since >= files / 4
}

/// Files by path, as a snapshot has them.
pub(crate) fn files<'a>(taken: impl Iterator<Item = (&'a str, &'a Taken)>) -> Vec<UserFile> {
    let file = |(path, taken): (&str, &Taken)| UserFile {
        path: path.to_owned(),
        bytes: taken.bytes,
        modified_ms: taken.modified_ms,
        identity: taken.identity.to_string(),
    };
    let sorted: BTreeMap<&str, &Taken> = taken.collect();
    sorted.into_iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidegate_core::ErrorKind;
    use tidegate_storage::MemoryStorage;

    fn file(number: u64) -> UserFile {
        let path = format!("f {number}");
        UserFile {
            path,
            bytes: number,
            modified_ms: 1_700_000_000_000 + number,
            identity: format!("i-{number}"),
        }
    }

    fn ledger() -> (MemoryStorage, Ledger) {
        let storage = MemoryStorage::new();
        {
            let context =
                InputContext { storage: Some(Arc::new(storage.clone())), ..InputContext::new("files") };
            (storage, Ledger::of(&context).unwrap())
        }
    }

    fn numbers(held: &Held) -> Vec<u64> {
        let mut numbers: Vec<u64> = held.taken.values().map(|taken| taken.bytes).collect();
        numbers.sort_unstable();
        numbers
    }

    fn increments(ledger: &Ledger, numbers: std::ops::RangeInclusive<u64>) {
        numbers.for_each(|number| ledger.write_increment(number, &[file(number)]).unwrap());
    }

    fn snapshot(ledger: &Ledger, number: u64, before: u64) {
        ledger.write_snapshot(number, before, "in".to_owned(), (1..=number).map(file).collect()).unwrap();
    }

    fn damage(storage: &MemoryStorage, path: &str) {
        let mut bytes = storage.get(path).unwrap().unwrap();
        bytes.truncate(bytes.len() - 1);
        storage.put(path, bytes).unwrap();
    }

    #[test]
    fn a_ledger_says_what_was_written_to_it() {
        let (_, ledger) = ledger();
        assert!(ledger.read().unwrap().is_new);
        increments(&ledger, 1..=3);
        snapshot(&ledger, 2, 0);
        let held = ledger.read().unwrap();
        assert_eq!((numbers(&held), held.newest, held.is_new), (vec![1, 2, 3], 3, false));
        assert_eq!((held.snapshot, held.since, held.folder.as_deref()), ((2, 2), 1, Some("in")));
        assert_eq!(held.taken["f 3"], Taken::of(&file(3)));
    }

    #[test]
    fn two_snapshots_are_kept_and_the_older_makes_up_for_the_newer() {
        let (storage, ledger) = ledger();
        increments(&ledger, 1..=2);
        snapshot(&ledger, 2, 0);
        increments(&ledger, 3..=4);
        snapshot(&ledger, 4, 2);
        increments(&ledger, 5..=6);
        let paths: Vec<String> = storage.list("").unwrap().into_iter().map(|object| object.path).collect();
        let name = |name: &str| format!("inputs/files/ledger/{name}");
        assert_eq!(
            paths,
            [
                name("00000000000000000002-snapshot.json"),
                name("00000000000000000003.json"),
                name("00000000000000000004-snapshot.json"),
                name("00000000000000000004.json"),
                name("00000000000000000005.json"),
                name("00000000000000000006.json"),
            ]
        );
        damage(&storage, &paths[2]);
        assert_eq!(numbers(&ledger.read().unwrap()), [1, 2, 3, 4, 5, 6]);
        damage(&storage, &paths[0]);
        let error = ledger.read().map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLost);
        assert!(error.to_string().contains("remove the folder inputs/files/ledger"), "{error}");
    }

    #[test]
    fn a_damaged_or_missing_increment_is_refused_but_for_the_newest() {
        let (storage, ledger) = ledger();
        increments(&ledger, 1..=3);
        damage(&storage, "inputs/files/ledger/00000000000000000003.json");
        let held = ledger.read().unwrap();
        assert_eq!((numbers(&held), held.newest), (vec![1, 2], 2));
        assert!(held.torn.unwrap().contains("00000000000000000003.json is "));
        damage(&storage, "inputs/files/ledger/00000000000000000002.json");
        assert_eq!(ledger.read().map(drop).unwrap_err().kind(), ErrorKind::DataLost);
        storage.delete("inputs/files/ledger/00000000000000000002.json").unwrap();
        let error = ledger.read().map(drop).unwrap_err().to_string();
        assert!(error.contains("00000000000000000002.json is missing"), "{error}");
    }

    #[test]
    fn a_snapshot_that_alone_is_left_and_damaged_is_refused() {
        let (storage, ledger) = ledger();
        snapshot(&ledger, 0, 0);
        damage(&storage, "inputs/files/ledger/00000000000000000000-snapshot.json");
        assert_eq!(ledger.read().map(drop).unwrap_err().kind(), ErrorKind::DataLost);
    }

    proptest! {
        #[test]
        fn whatever_is_summed_up_and_wherever_a_crash_falls_all_is_remembered(
            due in proptest::collection::vec(any::<bool>(), 1..30),
            lost_deletes in proptest::collection::vec(any::<bool>(), 30),
        ) {
            let (storage, ledger) = ledger();
            let mut before = 0;
            for (place, due) in due.iter().enumerate() {
                let number = place as u64 + 1;
                ledger.write_increment(number, &[file(number)]).unwrap();
                if *due {
                    let older = storage.list("").unwrap();
                    let bytes: Vec<_> =
                        older.iter().map(|object| storage.get(&object.path).unwrap().unwrap()).collect();
                    snapshot(&ledger, number, before);
                    if lost_deletes[place] {
                        // The process died before it removed anything.
                        for (object, bytes) in older.into_iter().zip(bytes) {
                            storage.put(&object.path, bytes).unwrap();
                        }
                    }
                    before = number;
                }
                let held = ledger.read().unwrap();
                prop_assert_eq!(numbers(&held), (1..=number).collect::<Vec<_>>());
                prop_assert_eq!(held.newest, number);
            }
        }
    }
}
