//! Objects as files of Alluxio, through the REST interface of its proxy.
//!
//! Why not its S3 interface: that takes a conditional write and ignores the condition. What REST has is a rename that refuses a
//! name that is taken, also when several race for it, and no rename over an old file. So an object is written in the
//! folder `_~aside`, and then renamed to `NAME`, or, where an object is replaced, to `NAME~1`, `NAME~2` and so on; then the
//! older ones are removed. The object is the newest file of its name. A reader lists the folder and takes that; when it was
//! removed meanwhile, there is a newer one, and it looks again. So there is no moment without an object, and a crash leaves at
//! most an older file, which nobody reads and the next `put` or `delete` removes, or one in `_~aside`, which is removed by whoever
//! opens the folder a day later.

mod files;
mod rest;

pub(crate) use files::AlluxioFiles;

use crate::probe::{self, Probed};
use crate::{ANSWER_LIMIT, refused};
use rest::{Entry, NOT_BELOW, Rest, RestError};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate_core::{Error, Result, Storage, StoredObject, is_storage_path};
use tidegate_storage::{check_folder, check_path, check_rename, nothing_to_rename};
use uuid::Uuid;

const ASIDE: &str = "_~aside";
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// The proxy's port unless it is configured.
const PORT: u16 = 39_999;
/// How often a call is begun again that others got in the way of.
const TRIES: usize = 32;

/// See [`crate::storage`].
pub(crate) struct AlluxioStorage {
    rest: Rest,
    /// `alluxio://host:port/path`.
    url: String,
    /// The path in Alluxio, without a slash at the end; empty for the root.
    root: String,
    exclusive: bool,
}

impl fmt::Debug for AlluxioStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlluxioStorage({})", self.url)
    }
}

/// A file that is, or was, an object.
struct Version {
    /// 0 for the file that has the object's name.
    number: u64,
    file: String,
    bytes: u64,
}

impl AlluxioStorage {
    pub(crate) fn open(authority: &str, root: &str) -> Result<AlluxioStorage> {
        let authority = with_port(authority);
        let root = if root.is_empty() { String::new() } else { format!("/{root}") };
        let mut storage = AlluxioStorage {
            rest: Rest::new(&authority),
            url: format!("alluxio://{authority}{root}"),
            root,
            exclusive: false,
        };
        storage.check_persistence()?;
        storage.remove_leftovers()?;
        storage.exclusive = probe::is_exclusive(&storage)?;
        Ok(storage)
    }

    /// A file that is only in the memory of Alluxio's workers is lost with them.
    fn check_persistence(&self) -> Result<()> {
        let aside = self.aside();
        let written = self.rest.write(&aside, b"probe").and_then(|()| self.rest.is_persisted(&aside));
        let is_persisted = written.map_err(|e| failed(&self.url, "can't be written", e))?;
        self.rest.delete(&aside).map_err(|e| failed(&self.url, "can't be removed", e))?;
        if is_persisted {
            return Ok(());
        }
        let help = "have the folder backed by a store below Alluxio that can be written";
        Err(refused(&self.url, "a file that was written through is only in memory", help))
    }

    fn remove_leftovers(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let old = u64::try_from(now.saturating_sub(LEFTOVER_AGE).as_millis()).unwrap_or(0);
        let entries =
            self.entries(&self.file(ASIDE), false).map_err(|e| failed(&self.url, "can't be listed", e))?;
        for entry in entries.iter().filter(|entry| !entry.is_folder && entry.modified < old) {
            log::info!("{}: removed {}, it was left half written", self.url, entry.path);
            self.remove(&entry.path).map_err(|e| failed(&self.url, "can't be cleaned", e))?;
        }
        Ok(())
    }

    fn file(&self, path: &str) -> String {
        match (self.root.as_str(), path) {
            ("", "") => "/".to_owned(),
            (root, "") => root.to_owned(),
            (root, path) => format!("{root}/{path}"),
        }
    }

    fn place(&self, path: &str) -> String {
        if path.is_empty() { self.url.clone() } else { format!("{}/{path}", self.url) }
    }

    /// A new name for a file that is being written.
    fn aside(&self) -> String {
        self.file(&format!("{ASIDE}/{}", Uuid::new_v4()))
    }

    /// What is in a folder; nothing when it is none.
    fn entries(&self, folder: &str, below: bool) -> Result<Vec<Entry>, RestError> {
        match self.rest.list(folder, below, ANSWER_LIMIT) {
            // A file answers with itself.
            Ok(entries) => Ok(entries.into_iter().filter(|entry| entry.path != folder).collect()),
            Err(e) if e.is_missing() => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// The files that are or were the object, the newest last.
    fn versions(&self, path: &str) -> Result<Vec<Version>, RestError> {
        let file = self.file(path);
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let entries = self.entries(if folder.is_empty() { "/" } else { folder }, false)?;
        let version = |entry: Entry| {
            let (name, number) = versioned(&entry.path)?;
            (name == file && !entry.is_folder).then(|| Version {
                number,
                bytes: entry.bytes,
                file: entry.path.clone(),
            })
        };
        let mut versions: Vec<Version> = entries.into_iter().filter_map(version).collect();
        versions.sort_unstable_by_key(|version| version.number);
        Ok(versions)
    }

    fn remove(&self, file: &str) -> Result<(), RestError> {
        match self.rest.delete(file) {
            Err(e) if e.is_missing() => Ok(()),
            other => other,
        }
    }

    /// Writes aside, has `publish` give the file its name, and leaves nothing aside.
    fn put_with(
        &self,
        path: &str,
        bytes: &[u8],
        publish: impl Fn(&str) -> Result<bool, RestError>,
    ) -> Result<bool> {
        let aside = self.aside();
        let is_new = self.rest.write(&aside, bytes).and_then(|()| publish(&aside));
        if !matches!(is_new, Ok(true)) {
            // One that can't be removed now is a leftover.
            let _ = self.remove(&aside);
        }
        is_new.map_err(|e| failed(&self.place(path), "can't be put", e))
    }

    /// Names the written file as the newest version.
    fn publish_over(&self, aside: &str, path: &str) -> Result<bool, RestError> {
        for _ in 0..TRIES {
            let older = self.versions(path)?;
            let target = match older.last() {
                None => self.file(path),
                Some(newest) => format!("{}~{}", self.file(path), newest.number + 1),
            };
            if self.name(aside, &target)? {
                for version in older {
                    self.remove(&version.file)?;
                }
                return Ok(true);
            }
            // Another writer took that version: this one comes after it.
        }
        Err(RestError::Away(format!("other writers were first {TRIES} times")))
    }

    /// Names the written file as the object, if there is none.
    fn publish_new(&self, aside: &str, path: &str) -> Result<bool, RestError> {
        let file = self.file(path);
        if !self.versions(path)?.is_empty() || !self.name(aside, &file)? {
            return Ok(false);
        }
        // Since the look another may have put the object, replaced it, and so made its name free again.
        let is_hidden = self.versions(path)?.last().is_some_and(|newest| newest.number > 0);
        if is_hidden {
            self.remove(&file)?;
        }
        Ok(!is_hidden)
    }

    /// Renames, in a folder that is made if it is missing. `false` when a file has that name.
    fn name(&self, aside: &str, target: &str) -> Result<bool, RestError> {
        for _ in 0..TRIES {
            match self.rest.rename(aside, target) {
                Ok(()) => return Ok(true),
                Err(e) if e.is("ALREADY_EXISTS") => {
                    let folder = target.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let entries = self.entries(if folder.is_empty() { "/" } else { folder }, false)?;
                    return match entries.iter().find(|entry| entry.path == target) {
                        Some(entry) if entry.is_folder => Err(e),
                        _ => Ok(false),
                    };
                }
                // The folder is missing, or was removed with the last object in it.
                Err(e) if e.is("NOT_FOUND") => {
                    let folder = target.rsplit_once('/').map_or("", |(folder, _)| folder);
                    self.rest.make_folder(folder)?;
                }
                Err(e) => return Err(e),
            }
        }
        Err(RestError::Away(format!("its folder was taken away {TRIES} times")))
    }

    fn put_new_at(&self, path: &str, bytes: &[u8]) -> Result<bool> {
        self.put_with(path, bytes, |aside| self.publish_new(aside, path))
    }

    fn delete_at(&self, path: &str) -> Result<()> {
        let delete = || {
            let versions = self.versions(path)?;
            if versions.is_empty() {
                return Ok(());
            }
            // The newest last: a crash in between must not bring an older one back.
            for version in &versions {
                self.remove(&version.file)?;
            }
            self.left(path);
            Ok(())
        };
        delete().map_err(|e| failed(&self.place(path), "can't be removed", e))
    }

    /// Removes the folders that an object has left empty.
    fn left(&self, path: &str) {
        let mut above = path;
        while let Some((folder, _)) = above.rsplit_once('/') {
            // It fails at the first that is not empty, which is the usual end.
            if self.rest.delete(&self.file(folder)).is_err() {
                break;
            }
            above = folder;
        }
    }

    /// Names the newest version of one object as the newest of another. `false` when there is none, and it was not done before
    /// either.
    fn rename_over(&self, from: &str, to: &str) -> Result<bool, RestError> {
        let mut versions = self.versions(from)?;
        let Some(newest) = versions.pop() else { return self.keep_newest(to) };
        // First, or they would be the object when the newest has another name.
        for older in versions {
            self.remove(&older.file)?;
        }
        match self.publish_over(&newest.file, to) {
            // It was renamed before, which the master did not know until now.
            Err(e) if e.is(NOT_BELOW) && self.versions(from)?.is_empty() => return self.keep_newest(to),
            other => other?,
        };
        self.left(from);
        Ok(true)
    }

    /// Whether there is an object. Older ones of it, which a call that was cut off has left, are removed: programs that read the files
    /// themselves would see both.
    fn keep_newest(&self, path: &str) -> Result<bool, RestError> {
        let mut versions = self.versions(path)?;
        let newest = versions.pop();
        versions.iter().try_for_each(|older| self.remove(&older.file))?;
        Ok(newest.is_some())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, RestError> {
        let mut tries = TRIES;
        loop {
            let Some(newest) = self.versions(path)?.pop() else { return Ok(None) };
            tries -= 1;
            match self.rest.read(&newest.file, newest.bytes) {
                Ok(bytes) if bytes.len() as u64 == newest.bytes => return Ok(Some(bytes)),
                Ok(bytes) if tries == 0 => {
                    let text = format!("{} of {} bytes came", bytes.len(), newest.bytes);
                    return Err(RestError::Away(text));
                }
                // It may have been replaced, and removed, while it was read.
                Err(e @ RestError::Away(_)) => return Err(e),
                Err(e) if tries == 0 => return Err(e),
                _ => {}
            }
        }
    }
}

impl Probed for AlluxioStorage {
    fn put_new_probe(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        self.put_new_at(name, &bytes)
    }

    fn delete_probe(&self, name: &str) -> Result<()> {
        self.delete_at(name)
    }
}

impl Storage for AlluxioStorage {
    fn describe(&self) -> String {
        self.url.clone()
    }

    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        check_path(path)?;
        self.put_with(path, &bytes, |aside| self.publish_over(aside, path)).map(drop)
    }

    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        check_path(path)?;
        // Only saves the writing: what decides is the rename.
        let versions = self.versions(path).map_err(|e| failed(&self.place(path), "can't be looked at", e))?;
        if versions.is_empty() { self.put_new_at(path, &bytes) } else { Ok(false) }
    }

    fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        check_path(path)?;
        self.read(path).map_err(|e| failed(&self.place(path), "can't be read", e))
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        check_folder(prefix)?;
        let entries = self.entries(&self.file(prefix), true);
        let entries = entries.map_err(|e| failed(&self.place(prefix), "can't be listed", e))?;
        let start = format!("{}/", self.root);
        let mut newest: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| !entry.is_folder) {
            let Some((path, number)) = entry.path.strip_prefix(&start).and_then(versioned) else { continue };
            // What no object can be named lies aside, or is not ours.
            if is_storage_path(path) {
                let known = newest.entry(path.to_owned()).or_default();
                *known = (*known).max((number, entry.bytes));
            }
        }
        Ok(newest.into_iter().map(|(path, (_, bytes))| StoredObject { path, bytes }).collect())
    }

    fn delete(&self, path: &str) -> Result<()> {
        check_path(path)?;
        self.delete_at(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_rename(from, to)?;
        match self.rename_over(from, to) {
            Ok(true) => Ok(()),
            Ok(false) => Err(nothing_to_rename(from, to).context(&self.url)),
            Err(e) => Err(failed(&self.place(to), &format!("can't be made of {from} by renaming it"), e)),
        }
    }
}

fn with_port(authority: &str) -> String {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { authority.to_owned() } else { format!("{authority}:{PORT}") }
}

/// The object's path and the version of a file; none for one that is no object's.
fn versioned(file: &str) -> Option<(&str, u64)> {
    let (folder, name) = file.rsplit_once('/').map_or(("", file), |(folder, name)| (folder, name));
    let (base, number) = match name.split_once('~') {
        None => return Some((file, 0)),
        Some((base, number)) => (base, number),
    };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    let number = number.parse().ok().filter(|_| is_number && !base.is_empty())?;
    let slash = usize::from(file.contains('/'));
    Some((&file[..folder.len() + slash + base.len()], number))
}

/// Statuses that pass by themselves: a process of Alluxio is away or restarting, or has too much to do.
const PASSING: [&str; 7] =
    ["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELED", "ABORTED", "INTERNAL", "UNKNOWN", "NOT_FOUND"];

/// The error about the object or folder `place`.
fn failed(place: &str, what: &str, error: RestError) -> Error {
    let away = |help: &str| Error::retry(format!("{place}: {what}; {help}"));
    let help = match &error {
        RestError::Away(_) => {
            return away("does Alluxio's proxy run, and is this its address and not the master's?")
                .because(error);
        }
        RestError::Status(status, _) if PASSING.contains(&status.as_str()) => {
            return away("do Alluxio's master and workers run, and the store below them?").because(error);
        }
        RestError::Status(status, text) => match status.as_str() {
            "ALREADY_EXISTS" => {
                "there is a file where a folder is needed, or the other way round: move it away"
            }
            "INVALID_ARGUMENT" if text.contains("is a file, not a directory") => {
                "there is a file where a folder is needed: move it away"
            }
            "PERMISSION_DENIED" | "UNAUTHENTICATED" => {
                "give the user of Alluxio's proxy the right to write there"
            }
            "RESOURCE_EXHAUSTED" => "make room in Alluxio or the store below it",
            _ => "Alluxio refuses",
        },
    };
    refused(place, what, help).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_version_of_its_object() {
        for (file, expected) in [
            ("/a/x", Some(("/a/x", 0))),
            ("/a/x~1", Some(("/a/x", 1))),
            ("a/x.json~12", Some(("a/x.json", 12))),
            ("x~3", Some(("x", 3))),
            ("/x~3", Some(("/x", 3))),
            ("/~3", None),
            ("/a/x~0", None),
            ("/a/x~01", None),
            ("/a/x~", None),
            ("/a/x~y", None),
            ("/a/x~1~2", None),
            ("/a/_~aside", None),
        ] {
            assert_eq!(versioned(file), expected, "{file}");
        }
    }
}
