//! Where the directories of batches lie, and what they are called.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tidegate_core::{BatchTime, Error, Result, Storage, is_storage_path};
use tidegate_storage::LocalStorage;

/// A directory for each batch: `PREFIX-TIME_IN_MS.SUFFIX`, or `PREFIX-TIME_IN_MS` where the suffix is empty, as Spark names it.
#[derive(Clone, Debug)]
pub struct BatchDirectories {
    place: Place,
    prefix: String,
    suffix: String,
}

#[derive(Clone, Debug)]
enum Place {
    /// A directory of this machine, made when the output is opened.
    Local(PathBuf),
    Storage(Arc<dyn Storage>),
}

impl BatchDirectories {
    /// On this machine: `counts/words` and an empty suffix give `counts/words-1000`, in the working directory. The directory `counts`
    /// is made if it is missing, and in it `~aside`, where files are written before they have a name.
    ///
    /// # Errors
    /// `Reconfigure` for a URL, and for a name that has other characters than ASCII letters, digits and `._-=%`. Folders above may
    /// have any name.
    pub fn local(prefix: &str, suffix: &str) -> Result<BatchDirectories> {
        let path = prefix.strip_prefix("file://").unwrap_or(prefix);
        if path.contains("://") {
            return Err(Error::reconfigure(format!(
                "{prefix:?} is no path of this machine; for other places there are the functions that end in \"_on\", and \
                 tidegate_object_store::storage(url)"
            )));
        }
        let (above, name) = match path.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((above, name)) => (above, name),
            None => (".", path),
        };
        BatchDirectories {
            place: Place::Local(above.into()),
            prefix: name.to_owned(),
            suffix: suffix.to_owned(),
        }
        .checked()
    }

    /// In `storage`, where `prefix` is a path below its root.
    ///
    /// # Errors
    /// `Reconfigure` for a path that a [`Storage`] does not take.
    pub fn on(storage: Arc<dyn Storage>, prefix: &str, suffix: &str) -> Result<BatchDirectories> {
        BatchDirectories {
            place: Place::Storage(storage),
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
        }
        .checked()
    }

    /// The directory of the batch of `time`: a path below the root of the storage, or below the folder of the local prefix.
    pub fn of(&self, time: BatchTime) -> String {
        let dash = if self.prefix.is_empty() { "" } else { "-" };
        let dot = if self.suffix.is_empty() { "" } else { "." };
        format!("{}{dash}{}{dot}{}", self.prefix, time.0, self.suffix)
    }

    /// What and where it is, for messages.
    pub(super) fn describe(&self) -> String {
        let place = match &self.place {
            Place::Local(directory) => directory.display().to_string(),
            Place::Storage(storage) => storage.describe(),
        };
        let dash = if self.prefix.is_empty() { "" } else { "-" };
        let dot = if self.suffix.is_empty() { "" } else { "." };
        format!("{}/{}{dash}TIME{dot}{}", place.trim_end_matches('/'), self.prefix, self.suffix)
    }

    pub(super) fn storage(&self) -> Result<Arc<dyn Storage>> {
        match &self.place {
            Place::Local(directory) => Ok(Arc::new(LocalStorage::open(directory)?)),
            Place::Storage(storage) => Ok(storage.clone()),
        }
    }

    fn checked(self) -> Result<BatchDirectories> {
        let path = self.of(BatchTime(0));
        if is_storage_path(&path) && !self.suffix.contains('/') {
            return Ok(self);
        }
        Err(Error::reconfigure(format!(
            "prefix {:?} and suffix {:?} name no directory: names have ASCII letters, digits and \"._-=%\"",
            self.prefix, self.suffix
        )))
    }
}

impl fmt::Display for BatchDirectories {
    /// The name of an output that has them: `counts/words.txt`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Local(above) if above.as_os_str() != "." => write!(f, "{}/", above.display())?,
            _ => {}
        }
        let dot = if self.suffix.is_empty() { "" } else { "." };
        write!(f, "{}{dot}{}", self.prefix, self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_storage::MemoryStorage;

    #[test]
    fn a_directory_is_named_as_spark_does() {
        for (prefix, suffix, path, output) in [
            ("counts/words", "txt", "words-1000.txt", "counts/words.txt"),
            ("counts/words", "", "words-1000", "counts/words"),
            ("words", "", "words-1000", "words"),
            ("/words", "a.b", "words-1000.a.b", "//words.a.b"),
            ("file:///a b/words", "", "words-1000", "/a b/words"),
            ("", "txt", "1000.txt", ".txt"),
        ] {
            let local = BatchDirectories::local(prefix, suffix).unwrap();
            assert_eq!((local.of(BatchTime(1000)).as_str(), local.to_string().as_str()), (path, output));
        }
        let stored = BatchDirectories::on(Arc::new(MemoryStorage::new()), "a/words", "txt").unwrap();
        assert_eq!(stored.of(BatchTime(7)), "a/words-7.txt");
        assert_eq!(stored.describe(), "memory/a/words-TIME.txt");
    }

    #[test]
    fn what_names_no_directory_is_refused_with_the_way_out() {
        for (prefix, suffix, expected) in [
            ("hdfs://host/words", "", "end in \"_on\""),
            ("a/wörds", "", "name no directory"),
            ("words", "../x", "name no directory"),
            ("words", "a/b", "name no directory"),
        ] {
            let error = BatchDirectories::local(prefix, suffix).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let storage = Arc::new(MemoryStorage::new());
        assert!(BatchDirectories::on(storage.clone(), "../words", "").is_err());
        assert!(BatchDirectories::on(storage, "/words", "").is_err());
    }
}
