//! Objects as files of a local directory, durable when a call returns.
//!
//! A file is written aside, synced, and then given its name in one step; then the folder is synced, since a name is an entry
//! in it. Files that are being written lie in the folder `_~aside`, whose name no object can have: so nothing half written
//! is ever listed. What a crash leaves there is removed when the directory is opened the next time; a lock on each file
//! tells a writer at work from a dead one.

use crate::failure;
use crate::paths::{check_folder, check_path, check_rename, nothing_to_rename};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate_core::{Error, Result, StagedObject, Storage, StoredObject, is_storage_path};

const ASIDE: &str = "_~aside";
/// How often a name is tried for that another process's `delete` takes the emptied folder away from.
const TRIES: usize = 32;

/// A [`Storage`] in a directory of this machine.
///
/// A path can't be an object and a folder at once: with `a/b` there, putting `a` is refused. Folders that are left empty are
/// removed. Several processes may use one directory. The file system must have hard links (which is how
/// [`put_new`](Storage::put_new) lets one of several writers win); FAT has none.
#[derive(Debug)]
pub struct LocalStorage {
    root: PathBuf,
}

impl LocalStorage {
    /// Opens `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// `Reconfigure` when it can't be made or written.
    pub fn open(directory: impl Into<PathBuf>) -> Result<LocalStorage> {
        let root = directory.into();
        let aside = root.join(ASIDE);
        make_folders(&aside).map_err(|e| failed(&aside, "can't be made", e))?;
        remove_leftovers(&aside).map_err(|e| failed(&aside, "can't be cleaned", e))?;
        Ok(LocalStorage { root })
    }

    /// The file of an object.
    fn file(&self, path: &str) -> Result<PathBuf> {
        check_path(path)?;
        Ok(self.root.join(path))
    }

    /// Writes `bytes` aside, has `publish` give them the name `file`, and syncs that name.
    fn publish(
        &self,
        file: &Path,
        bytes: &[u8],
        publish: impl Fn(&Path, &Path) -> io::Result<bool>,
    ) -> Result<bool> {
        let written =
            Aside::write(&self.root.join(ASIDE), bytes).map_err(|e| failed(file, "can't be written", e))?;
        let folder = file.parent().expect("an object lies below the root");
        let named = named(&self.root, folder, || publish(&written.path, file));
        let is_new = named.map_err(|e| failed(file, "can't be given its name", e))?;
        sync_folder(folder).map_err(|e| failed(folder, "can't be synced", e))?;
        Ok(is_new)
    }

    /// After `file` has gone: removes the folders that it leaves empty, and syncs that it has.
    fn left(&self, file: &Path) -> Result<()> {
        let above = file.ancestors().skip(1).take_while(|folder| *folder != self.root);
        for folder in above {
            // It fails at the first that is not empty, which is the usual end.
            if fs::remove_dir(folder).is_err() {
                return match sync_folder(folder) {
                    // Another process was quicker to remove it.
                    Err(e) if is_no_file(&e) => Ok(()),
                    other => other.map_err(|e| failed(folder, "can't be synced", e)),
                };
            }
        }
        sync_folder(&self.root).map_err(|e| failed(&self.root, "can't be synced", e))
    }
}

impl Storage for LocalStorage {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        let file = self.file(path)?;
        self.publish(&file, &bytes, |aside, file| fs::rename(aside, file).map(|()| true)).map(drop)
    }

    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        let file = self.file(path)?;
        // Only saves the writing: what decides is the link.
        if file.is_file() {
            return Ok(false);
        }
        self.publish(&file, &bytes, |aside, file| match fs::hard_link(aside, file) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && !file.is_dir() => Ok(false),
            other => other.map(|()| true),
        })
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let file = self.file(path)?;
        match fs::read(&file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if is_no_file(&e) => Ok(None),
            Err(e) => Err(failed(&file, "can't be read", e)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        check_folder(prefix)?;
        let mut found = Vec::new();
        let folder = self.root.join(prefix);
        collect(&folder, prefix, &mut found).map_err(|e| failed(&folder, "can't be listed", e))?;
        if found.is_empty() && !self.root.is_dir() {
            return Err(failed(&self.root, "can't be listed", ErrorKind::NotFound.into()));
        }
        // A walk is in another order: `a-1/x` comes before `a/x`.
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn delete(&self, path: &str) -> Result<()> {
        let file = self.file(path)?;
        if file.is_dir() {
            return Ok(());
        }
        match fs::remove_file(&file) {
            Err(e) if is_no_file(&e) => return Ok(()),
            other => other.map_err(|e| failed(&file, "can't be removed", e))?,
        }
        self.left(&file)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_rename(from, to)?;
        let (old, new) = (self.file(from)?, self.file(to)?);
        let folder = new.parent().expect("an object lies below the root");
        let is_there = |file: &Path| match fs::metadata(file) {
            Err(e) if is_no_file(&e) => Ok(false),
            other => other.map(|file| !file.is_dir()).map_err(|e| failed(&old, "can't be looked at", e)),
        };
        let mut moved = false;
        if is_there(&old)? {
            let named = named(&self.root, folder, || match fs::rename(&old, &new) {
                // Another did it meanwhile: what is there now is looked at below.
                Err(e) if e.kind() == ErrorKind::NotFound && !old.exists() => Ok(false),
                other => other.map(|()| true),
            });
            moved = named.map_err(|e| failed(&new, "can't be given its name", e))?;
        }
        if !moved && !is_there(&new)? {
            return Err(nothing_to_rename(from, to).context(self.root.display()));
        }
        // Also where it was done before: by a process that may have died before it synced the name.
        sync_folder(folder).map_err(|e| failed(folder, "can't be synced", e))?;
        if moved { self.left(&old) } else { Ok(()) }
    }

    fn stage(&self, path: &str) -> Result<Option<Box<dyn StagedObject>>> {
        let file = self.file(path)?;
        let aside =
            Aside::create(&self.root.join(ASIDE)).map_err(|e| failed(&file, "can't be written", e))?;
        Ok(Some(Box::new(LocalStaged { root: self.root.clone(), file, aside })))
    }

    fn settle(&self, folder: &str) -> Result<()> {
        check_folder(folder)?;
        let folder = self.root.join(folder);
        sync_folder(&folder).map_err(|e| failed(&folder, "can't be synced", e))
    }

    fn local_directory(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

/// A file that is written aside, piece by piece.
struct LocalStaged {
    root: PathBuf,
    file: PathBuf,
    aside: Aside,
}

impl StagedObject for LocalStaged {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.aside.file.write_all(bytes).map_err(|e| failed(&self.file, "can't be written", e))
    }

    fn close(&mut self) -> Result<()> {
        self.aside.file.sync_all().map_err(|e| failed(&self.file, "can't be written", e))
    }

    fn publish(&mut self) -> Result<()> {
        let folder = self.file.parent().expect("an object lies below the root");
        let publish = || fs::rename(&self.aside.path, &self.file).map(|()| true);
        match named(&self.root, folder, publish) {
            Ok(_) => Ok(()),
            Err(_) if self.root.is_dir() && !self.aside.path.exists() => Err(Error::retry(format!(
                "{}: what was written for it in {ASIDE} is gone; was it removed by someone else?",
                self.file.display()
            ))),
            Err(e) => Err(failed(&self.file, "can't be given its name", e)),
        }
    }
}

/// A file that is written and synced, and not yet published. It is removed with this value, whatever became of it.
struct Aside {
    path: PathBuf,
    /// Holds the lock, by which others see that it is no leftover.
    file: File,
}

impl Aside {
    fn write(folder: &Path, bytes: &[u8]) -> io::Result<Aside> {
        let mut aside = Aside::create(folder)?;
        aside.file.write_all(bytes)?;
        aside.file.sync_all()?;
        Ok(aside)
    }

    fn create(folder: &Path) -> io::Result<Aside> {
        // A directory may be shared by machines, so the number of the process is not enough.
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(process::id()));
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        for _ in 0..TRIES {
            let path = folder.join(format!("{:016x}-{}", *PROCESS, NUMBER.fetch_add(1, Ordering::Relaxed)));
            let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            // A file system without locks loses the cleaning only.
            let _ = file.lock();
            let aside = Aside { path, file };
            // Between its making and the lock it looked like a leftover to a process that opened the directory.
            if aside.file.metadata()?.nlink() > 0 {
                return Ok(aside);
            }
        }
        Err(io::Error::other(format!("{TRIES} files in {} were taken away", folder.display())))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // It is gone when it was renamed; one that stays is removed by the next that opens the directory.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what dead writers left.
fn remove_leftovers(aside: &Path) -> io::Result<()> {
    for entry in fs::read_dir(aside)? {
        let path = entry?.path();
        // It may be published or removed meanwhile; one that can't be locked is being written.
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok() {
            log::info!("{}: removed, it was left half written", path.display());
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

/// Runs `publish` in a folder that is made if it is missing, again when it was removed in between.
fn named(root: &Path, folder: &Path, publish: impl Fn() -> io::Result<bool>) -> io::Result<bool> {
    let mut tries = TRIES;
    loop {
        // A root that is gone was unmounted or removed by someone: making it anew would hide that.
        if !root.is_dir() {
            return Err(ErrorKind::NotFound.into());
        }
        tries -= 1;
        match make_folders(folder).and_then(|()| publish()) {
            Err(e) if e.kind() == ErrorKind::NotFound && tries > 0 => {}
            other => return other,
        }
    }
}

/// Makes a folder and those above it, each with a durable name.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    make_folders(above)?;
    match fs::create_dir(folder) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        other => other?,
    }
    sync_folder(above)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Adds the objects below `folder`, whose path in the storage is `prefix`.
fn collect(folder: &Path, prefix: &str, found: &mut Vec<StoredObject>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        // No such folder, or one that was removed since it was seen.
        Err(e) if is_no_file(&e) => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // What no object can be named was not made by this module, or lies aside.
        let Some(name) = name.to_str().filter(|name| is_storage_path(name)) else { continue };
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        match fs::metadata(entry.path()) {
            Ok(is) if is.is_dir() => collect(&entry.path(), &path, found)?,
            Ok(is) => found.push(StoredObject { path, bytes: is.len() }),
            Err(e) if is_no_file(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether there is no file of that name: nothing at all, a folder, or a file where the folder of it would be.
fn is_no_file(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory)
}

/// The error about `file`, with what helps where that is known.
fn failed(file: &Path, what: &str, e: io::Error) -> Error {
    let help = match e.kind() {
        ErrorKind::StorageFull => "; make room on its disk",
        ErrorKind::QuotaExceeded => "; make room within the user's quota",
        ErrorKind::PermissionDenied => "; give this user the right to write there",
        ErrorKind::ReadOnlyFilesystem => "; its file system is mounted read-only",
        ErrorKind::NotFound => "; is its file system mounted?",
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::DirectoryNotEmpty
        | ErrorKind::AlreadyExists => {
            "; there is a file where a folder is needed, or the other way round: move it away"
        }
        _ => "",
    };
    failure::of(file, what, help, e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    fn storage() -> (tempfile::TempDir, LocalStorage) {
        let directory = tempfile::tempdir().unwrap();
        let storage = LocalStorage::open(directory.path().join("deep/checkpoints")).unwrap();
        (directory, storage)
    }

    #[test]
    fn a_directory_keeps_what_a_storage_promises() {
        let (_directory, storage) = storage();
        conformance::all(&storage, "here");
        conformance::below_an_object_is_nothing(&storage, "here");
        assert_eq!(storage.list("").unwrap(), []);
        let left: Vec<_> =
            fs::read_dir(&storage.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [ASIDE], "folders that are left empty are removed");
        assert_eq!(fs::read_dir(storage.root.join(ASIDE)).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_writer_left_is_not_listed_and_goes_when_the_directory_is_opened() {
        let (_directory, storage) = storage();
        let aside = storage.root.join(ASIDE);
        conformance::an_aborted_write_is_not_seen(&storage, "here", |_| {
            fs::write(aside.join("1-2"), "half").unwrap();
        });
        let at_work = Aside::write(&aside, b"being written").unwrap();
        LocalStorage::open(&storage.root).unwrap();
        let left: Vec<_> = fs::read_dir(&aside).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, std::slice::from_ref(&at_work.path));
    }

    #[test]
    fn a_staged_object_is_no_leftover_and_one_that_is_gone_is_tried_again() {
        let (_directory, storage) = storage();
        let stage = || {
            let mut staged = storage.stage("a/x").unwrap().unwrap();
            staged.write(b"staged").unwrap();
            staged.close().unwrap();
            staged
        };
        let mut staged = stage();
        LocalStorage::open(&storage.root).unwrap();
        staged.publish().unwrap();
        assert_eq!(storage.get("a/x").unwrap(), Some(b"staged".to_vec()));
        let mut gone = stage();
        fs::remove_dir_all(storage.root.join(ASIDE)).unwrap();
        let error = gone.publish().unwrap_err();
        assert_eq!(error.kind(), tidegate_core::ErrorKind::Retry);
        assert!(error.to_string().contains("a/x: what was written for it"), "{error}");
    }

    #[test]
    fn deleting_and_putting_in_one_folder_at_once_loses_nothing() {
        let (_directory, storage) = storage();
        std::thread::scope(|scope| {
            for name in ["x", "y", "z"] {
                let storage = &storage;
                scope.spawn(move || {
                    for round in 0..100u8 {
                        let path = format!("a/b/{name}");
                        storage.put(&path, vec![round]).unwrap();
                        assert_eq!(storage.get(&path).unwrap(), Some(vec![round]));
                        storage.delete(&path).unwrap();
                    }
                });
            }
        });
        assert_eq!(storage.list("").unwrap(), []);
    }

    #[test]
    fn an_error_names_the_file_and_what_helps() {
        let (_directory, storage) = storage();
        storage.put("a", vec![1]).unwrap();
        storage.put("b/c", vec![1]).unwrap();
        for (path, error) in [
            ("a/b", storage.put("a/b", vec![1]).unwrap_err()),
            ("a/b", storage.put_new("a/b", vec![1]).unwrap_err()),
            ("b", storage.put("b", vec![1]).unwrap_err()),
            ("b", storage.put_new("b", vec![1]).unwrap_err()),
        ] {
            let file = storage.root.join(path).display().to_string();
            assert_eq!(error.kind(), tidegate_core::ErrorKind::Reconfigure);
            assert!(error.to_string().starts_with(&file), "{error}");
            assert!(error.to_string().contains("a file where a folder is needed"), "{error}");
        }
        for (kind, expected) in [
            (ErrorKind::StorageFull, "/d/x: can't be written; make room on its disk: no storage space"),
            (
                ErrorKind::PermissionDenied,
                "/d/x: can't be written; give this user the right to write there: p",
            ),
        ] {
            let error = failed(Path::new("/d/x"), "can't be written", kind.into());
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_root_that_is_gone_is_not_made_anew() {
        let (_directory, storage) = storage();
        storage.put("a/b", vec![1]).unwrap();
        fs::remove_dir_all(&storage.root).unwrap();
        for error in [storage.put("a/b", vec![2]).unwrap_err(), storage.list("").unwrap_err()] {
            assert_eq!(error.kind(), tidegate_core::ErrorKind::Reconfigure);
            assert!(error.to_string().contains("is its file system mounted?"), "{error}");
        }
        assert!(!storage.root.exists());
    }
}
