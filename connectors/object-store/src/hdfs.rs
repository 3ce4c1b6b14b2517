//! Objects as files of HDFS.
//!
//! A file is written in the folder `_~aside` (whose name no object can have), synced by its DataNodes, closed, and renamed
//! into place, which the NameNode does as one step: over what is there for `put`, and not if something is there for
//! `put_new`. What a crash leaves in `_~aside` is removed by whoever opens the folder a day later.
//!
//! The client is `hdfs-native` itself and not its `object_store` face, which can't sync, leaves the files of those who lost a
//! race among the objects, and reads a file that is replaced meanwhile in two pieces that do not fit.

mod files;
mod slowed;
mod staged;

pub(crate) use files::HdfsFiles;

use crate::blocking::Blocking;
use crate::probe::{self, Probed};
use crate::{ANSWER_LIMIT, limit, refused};
use hdfs_native::client::FileStatus;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use slowed::slowed;
use staged::HdfsStaged;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate_core::{Error, Result, StagedObject, Storage, StoredObject, is_storage_path};
use tidegate_storage::{check_folder, check_path, check_rename, nothing_to_rename};
use uuid::Uuid;

const ASIDE: &str = "_~aside";
/// A DataNode tells the NameNode of a block when it has told the writer. A writer that closes the file before that is told to come
/// again, and `hdfs-native` does so half a second later: with this pause it is rarely too early.
const REPORT_PAUSE: Duration = Duration::from_millis(5);
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a call is begun again that others got in the way of.
const TRIES: usize = 16;
/// So that the client gives up before the caller does. They go over those of `HADOOP_CONF_DIR`, and given ones over them.
const SETTINGS: [(&str, &str); 4] = [
    ("dfs.client.failover.max.attempts", "6"),
    ("dfs.client.failover.sleep.base.millis", "100"),
    ("dfs.client.failover.sleep.max.millis", "1000"),
    ("dfs.client.socket-timeout", "8000"),
];

/// The one setting that is no setting of Hadoop's, but a variable.
const USER: &str = "HADOOP_USER_NAME";

/// See [`crate::storage`].
pub(crate) struct HdfsStorage {
    folder: Folder,
    blocking: Arc<Blocking>,
    exclusive: bool,
}

/// The client and where it works: what a call takes with it.
#[derive(Clone)]
struct Folder {
    client: Client,
    /// `hdfs://host:port/path`.
    url: String,
    /// The path of it, without a slash at the end; empty for the root.
    root: String,
    /// Of new files.
    options: WriteOptions,
}

impl fmt::Debug for HdfsStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HdfsStorage({})", self.folder.url)
    }
}

impl HdfsStorage {
    pub(crate) fn open(authority: &str, root: &str, given: &[(&str, &str)]) -> Result<HdfsStorage> {
        let blocking = Arc::new(Blocking::new()?);
        let folder = Folder::open(authority, root, given, &blocking)?;
        let mut storage = HdfsStorage { folder, blocking, exclusive: false };
        storage.remove_leftovers()?;
        storage.exclusive = probe::is_exclusive(&storage)?;
        Ok(storage)
    }

    fn put_at(&self, path: &str, bytes: Vec<u8>, over: bool) -> Result<bool> {
        let (folder, owned) = (self.folder.clone(), path.to_owned());
        let limit = limit(bytes.len() as u64);
        self.blocking.run(&self.folder.place(path), limit, async move {
            let aside = folder.aside();
            let is_new = folder.write(&aside, bytes).await;
            let is_new = match is_new {
                Ok(()) => folder.publish(&aside, &owned, over).await,
                Err(e) => Err(e),
            };
            if !matches!(is_new, Ok(true)) {
                // It was not renamed. One that can't be removed now is a leftover.
                let _ = folder.client.delete(&aside, false).await;
            }
            is_new.map_err(|e| failed(&folder.place(&owned), "can't be put", e))
        })
    }

    fn is_there(&self, path: &str) -> Result<bool> {
        let (folder, path) = (self.folder.clone(), path.to_owned());
        self.blocking.run(&self.folder.place(&path), ANSWER_LIMIT, async move {
            let status = folder.status(&folder.file(&path)).await;
            let status = status.map_err(|e| failed(&folder.place(&path), "can't be looked at", e))?;
            Ok(status.is_some_and(|status| !status.isdir))
        })
    }

    fn delete_at(&self, path: &str) -> Result<()> {
        let (folder, path) = (self.folder.clone(), path.to_owned());
        self.blocking.run(&self.folder.place(&path), ANSWER_LIMIT, async move {
            folder.delete(&path).await.map_err(|e| failed(&folder.place(&path), "can't be removed", e))
        })
    }

    /// Removes what writers that died left aside. The time is this machine's, and a day leaves room for a clock that is off.
    fn remove_leftovers(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let old = u64::try_from(now.saturating_sub(LEFTOVER_AGE).as_millis()).unwrap_or(0);
        let folder = self.folder.clone();
        self.blocking.run(&self.folder.url, ANSWER_LIMIT, async move {
            let files = folder.list(ASIDE).await.map_err(|e| failed(&folder.url, "can't be listed", e))?;
            for file in files.into_iter().filter(|file| file.modification_time < old) {
                log::info!("{}: removed {}, it was left half written", folder.url, file.path);
                let removed = folder.client.delete(&file.path, false).await;
                removed.map_err(|e| failed(&folder.url, "can't be cleaned", e))?;
            }
            Ok(())
        })
    }
}

impl Folder {
    fn open(authority: &str, root: &str, given: &[(&str, &str)], blocking: &Blocking) -> Result<Folder> {
        let address = format!("hdfs://{authority}");
        let mut settings: BTreeMap<&str, &str> = BTreeMap::from(SETTINGS);
        settings.extend(given.iter().copied());
        let user = settings.remove(USER);
        let options = WriteOptions {
            replication: number(&address, "dfs.replication", &mut settings)?,
            block_size: number(&address, "dfs.blocksize", &mut settings)?,
            ..WriteOptions::default()
        };
        let mut builder =
            ClientBuilder::new().with_url(&address).with_config(settings).with_io_runtime(blocking.handle());
        if let Some(user) = user {
            builder = builder.with_user(user);
        }
        let client = builder.build().map_err(|e| failed(&address, "no client can be made", e))?;
        let root = if root.is_empty() { String::new() } else { format!("/{root}") };
        Ok(Folder { client, url: format!("{address}{root}"), root, options })
    }

    fn file(&self, path: &str) -> String {
        match (self.root.as_str(), path) {
            ("", "") => "/".to_owned(),
            (root, "") => root.to_owned(),
            (root, path) => format!("{root}/{path}"),
        }
    }

    /// A new name for a file that is being written.
    fn aside(&self) -> String {
        self.file(&format!("{ASIDE}/{}", Uuid::new_v4()))
    }

    fn place(&self, path: &str) -> String {
        if path.is_empty() { self.url.clone() } else { format!("{}/{path}", self.url) }
    }

    /// A new file, to be written.
    async fn create(&self, file: &str) -> Result<FileWriter, HdfsError> {
        self.client.create(file, &self.options).await
    }

    /// A new file, on the disks of its DataNodes on return.
    async fn write(&self, file: &str, bytes: Vec<u8>) -> Result<(), HdfsError> {
        let mut writer = self.create(file).await?;
        writer.write_bytes(bytes.into()).await?;
        writer.hsync().await?;
        slowed(writer.close(), REPORT_PAUSE).await
    }

    /// Gives a written file its name, in a folder that is made if it is missing. `false` when an object has it, unless it may
    /// be replaced.
    async fn publish(&self, aside: &str, path: &str, over: bool) -> Result<bool, HdfsError> {
        let file = self.file(path);
        for _ in 0..TRIES {
            match self.client.rename(aside, &file, over).await {
                Ok(()) => return Ok(true),
                Err(HdfsError::AlreadyExists(text)) => {
                    let status = self.status(&file).await?;
                    return match status {
                        Some(status) if !status.isdir && !over => Ok(false),
                        Some(_) => Err(HdfsError::IsADirectoryError(file)),
                        None => Err(HdfsError::OperationFailed(text)),
                    };
                }
                // The folder is missing, or was removed with the last object in it.
                Err(e) if is_missing(&e) => {
                    let folder = file.rsplit_once('/').map_or("/", |(folder, _)| folder);
                    self.client.mkdirs(folder, 0o755, true).await?;
                }
                Err(e) => return Err(e),
            }
        }
        Err(HdfsError::OperationFailed(format!("its folder was taken away {TRIES} times")))
    }

    async fn status(&self, file: &str) -> Result<Option<FileStatus>, HdfsError> {
        match self.client.get_file_info(file).await {
            Ok(status) => Ok(Some(status)),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The whole file. One that is replaced while it is read is read again: its blocks may be gone.
    async fn read(&self, file: &str) -> Result<Option<Vec<u8>>, HdfsError> {
        let mut tries = TRIES;
        loop {
            let read = async {
                let mut reader = self.client.read(file).await?;
                let length = reader.file_length();
                let bytes = reader.read_bytes(length).await?;
                if bytes.len() == length {
                    Ok(bytes)
                } else {
                    Err(HdfsError::DataTransferError(format!("{} of {length} bytes came", bytes.len())))
                }
            };
            tries -= 1;
            match read.await {
                Ok(bytes) => return Ok(Some(bytes.into())),
                Err(HdfsError::IsADirectoryError(_)) => return Ok(None),
                Err(e) if is_missing(&e) => return Ok(None),
                Err(
                    HdfsError::DataTransferError(_) | HdfsError::BlocksNotFound(_) | HdfsError::IOError(_),
                ) if tries > 0 => {}
                Err(e) => {
                    // A folder has no blocks to be read.
                    let status = self.status(file).await?;
                    return if status.is_some_and(|status| status.isdir) { Ok(None) } else { Err(e) };
                }
            }
        }
    }

    /// All files below `path`. A folder that is removed meanwhile has it begin again.
    async fn list(&self, path: &str) -> Result<Vec<FileStatus>, HdfsError> {
        let folder = self.file(path);
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match self.client.list_status(&folder, true).await {
                Ok(files) => {
                    // A file answers a listing with itself.
                    return Ok(files.into_iter().filter(|file| !file.isdir && file.path != folder).collect());
                }
                Err(e) if is_missing(&e) && (tries == 0 || self.status(&folder).await?.is_none()) => {
                    return Ok(Vec::new());
                }
                Err(e) if is_missing(&e) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Removes an object, and the folders above that it leaves empty.
    async fn delete(&self, path: &str) -> Result<(), HdfsError> {
        let file = self.file(path);
        // Without a look an empty folder would be removed.
        if self.status(&file).await?.is_none_or(|status| status.isdir) {
            return Ok(());
        }
        self.client.delete(&file, false).await?;
        self.left(path).await;
        Ok(())
    }

    /// Renames an object over one that may be there. `false` when there was nothing to rename, and it was not done before either.
    async fn rename(&self, from: &str, to: &str) -> Result<bool, HdfsError> {
        let (old, new) = (self.file(from), self.file(to));
        for _ in 0..TRIES {
            // Each time: a call that the client sent again meets its own work.
            if self.status(&old).await?.is_none_or(|status| status.isdir) {
                return Ok(self.status(&new).await?.is_some_and(|status| !status.isdir));
            }
            match self.client.rename(&old, &new, true).await {
                Ok(()) => {
                    self.left(from).await;
                    return Ok(true);
                }
                // The folder is missing, or was removed with the last object in it.
                Err(e) if is_missing(&e) => {
                    let folder = new.rsplit_once('/').map_or("/", |(folder, _)| folder);
                    self.client.mkdirs(folder, 0o755, true).await?;
                }
                Err(e) => return Err(e),
            }
        }
        Err(HdfsError::OperationFailed(format!("its folder was taken away {TRIES} times")))
    }

    /// Removes the folders that an object has left empty.
    async fn left(&self, path: &str) {
        let mut above = path;
        while let Some((folder, _)) = above.rsplit_once('/') {
            // It fails at the first that is not empty, which is the usual end.
            if self.client.delete(&self.file(folder), false).await.is_err() {
                break;
            }
            above = folder;
        }
    }
}

impl Probed for HdfsStorage {
    fn put_new_probe(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        self.put_at(name, bytes, false)
    }

    fn delete_probe(&self, name: &str) -> Result<()> {
        self.delete_at(name)
    }
}

impl Storage for HdfsStorage {
    fn describe(&self) -> String {
        self.folder.url.clone()
    }

    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        check_path(path)?;
        self.put_at(path, bytes, true).map(drop)
    }

    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        check_path(path)?;
        // Only saves the writing: what decides is the rename.
        if self.is_there(path)? {
            return Ok(false);
        }
        self.put_at(path, bytes, false)
    }

    fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        check_path(path)?;
        let (folder, path) = (self.folder.clone(), path.to_owned());
        let status = folder.clone();
        let place = self.folder.place(&path);
        let file = folder.file(&path);
        let length = self.blocking.run(&place, ANSWER_LIMIT, {
            let (place, file) = (place.clone(), file.clone());
            async move { status.status(&file).await.map_err(|e| failed(&place, "can't be read", e)) }
        })?;
        let Some(length) = length.filter(|file| !file.isdir).map(|file| file.length) else { return Ok(None) };
        self.blocking.run(&place, limit(length as u64), {
            let place = place.clone();
            async move { folder.read(&file).await.map_err(|e| failed(&place, "can't be read", e)) }
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        check_folder(prefix)?;
        let (folder, prefix) = (self.folder.clone(), prefix.to_owned());
        // Each folder is a request; the time is for them all.
        let files = self.blocking.run(&self.folder.place(&prefix), ANSWER_LIMIT * 6, async move {
            folder.list(&prefix).await.map_err(|e| failed(&folder.place(&prefix), "can't be listed", e))
        })?;
        let start = format!("{}/", self.folder.root);
        let object = |file: FileStatus| {
            // What no object can be named lies aside, or is not ours.
            let path = file.path.strip_prefix(&start).filter(|path| is_storage_path(path))?;
            Some(StoredObject { path: path.to_owned(), bytes: file.length as u64 })
        };
        let mut found: Vec<StoredObject> = files.into_iter().filter_map(object).collect();
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn delete(&self, path: &str) -> Result<()> {
        check_path(path)?;
        self.delete_at(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_rename(from, to)?;
        let (folder, old, new) = (self.folder.clone(), from.to_owned(), to.to_owned());
        self.blocking.run(&self.folder.place(to), ANSWER_LIMIT, async move {
            match folder.rename(&old, &new).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(nothing_to_rename(&old, &new).context(&folder.url)),
                Err(e) => {
                    Err(failed(&folder.place(&new), &format!("can't be made of {old} by renaming it"), e))
                }
            }
        })
    }

    fn stage(&self, path: &str) -> Result<Option<Box<dyn StagedObject>>> {
        check_path(path)?;
        Ok(Some(Box::new(HdfsStaged::begin(&self.folder, &self.blocking, path)?)))
    }
}

/// Takes a setting that the client leaves to its callers.
fn number<N: FromStr>(address: &str, name: &str, settings: &mut BTreeMap<&str, &str>) -> Result<Option<N>> {
    let Some(value) = settings.remove(name) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| refused(address, &format!("{name} is {value:?}"), "give a number"))
}

/// Whether there is nothing of that name, or a file where a folder of it would be.
fn is_missing(error: &HdfsError) -> bool {
    match error {
        HdfsError::FileNotFound(_) => true,
        HdfsError::RPCError(class, text) | HdfsError::FatalRPCError(class, text) => {
            class.ends_with(".FileNotFoundException")
                || class.ends_with(".ParentNotDirectoryException")
                // What it says of a path below a file.
                || class.ends_with(".AccessControlException") && text.contains("(is not a directory)")
        }
        _ => false,
    }
}

/// Errors of the NameNode that it gives while it starts, fails over, or lacks a DataNode.
const PASSING: [&str; 6] = [
    ".SafeModeException",
    ".StandbyException",
    ".RetriableException",
    ".NotReplicatedYetException",
    ".LeaseExpiredException",
    // Mostly "could only be written to 0 of the 1 minReplication nodes".
    "java.io.IOException",
];

/// The error about the object or folder `place`.
fn failed(place: &str, what: &str, error: HdfsError) -> Error {
    let error = without_trace(error);
    let help = match &error {
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => {
            if PASSING.iter().any(|passing| class.ends_with(passing)) {
                None
            } else if is_missing(&error) {
                Some("there is a file where a folder is needed: move it away")
            } else if class.ends_with(".AccessControlException") {
                Some("give the user the right to write there (HADOOP_USER_NAME or Kerberos says who that is)")
            } else if class.contains("QuotaExceeded") {
                Some("make room within the quota of that folder")
            } else {
                Some("the NameNode refuses")
            }
        }
        HdfsError::IOError(_)
        | HdfsError::DataTransferError(_)
        | HdfsError::BlocksNotFound(_)
        | HdfsError::OperationFailed(_)
        | HdfsError::ChecksumError
        | HdfsError::FileNotFound(_) => None,
        HdfsError::IsADirectoryError(_) | HdfsError::AlreadyExists(_) => {
            Some("there is a file where a folder is needed, or the other way round: move it away")
        }
        HdfsError::SASLError(_) | HdfsError::GSSAPIError(..) | HdfsError::NoSASLMechanism => {
            Some("log in to Kerberos first (kinit, or a keytab)")
        }
        _ => Some("the client refuses"),
    };
    match help {
        Some(help) => refused(place, what, help).because(error),
        None => Error::retry(format!("{place}: {what}{}", passing_help(&error))).because(error),
    }
}

/// What the NameNode says, without the lines of its own program where it says so.
fn without_trace(error: HdfsError) -> HdfsError {
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    match error {
        HdfsError::RPCError(class, text) => HdfsError::RPCError(class, first(text)),
        HdfsError::FatalRPCError(class, text) => HdfsError::FatalRPCError(class, first(text)),
        HdfsError::AlreadyExists(text) => HdfsError::AlreadyExists(first(text)),
        other => other,
    }
}

/// What to look at when it does not pass by itself.
fn passing_help(error: &HdfsError) -> &'static str {
    match error {
        HdfsError::RPCError(class, _) if class.ends_with(".SafeModeException") => {
            "; the NameNode is in safe mode until the DataNodes have reported: do they run?"
        }
        HdfsError::RPCError(_, text) if text.contains("could only be written to") => {
            "; no DataNode takes it: does one run, with room on its disks?"
        }
        HdfsError::DataTransferError(_) | HdfsError::BlocksNotFound(_) => {
            "; do the DataNodes run that have it?"
        }
        HdfsError::IOError(_) => {
            "; do the NameNode and the DataNodes run, and is this the NameNode's address?"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::ErrorKind;

    #[test]
    fn a_setting_that_is_no_number_is_refused() {
        let number = |value| number::<u32>("hdfs://host", "dfs.replication", &mut BTreeMap::from([value]));
        assert_eq!(number(("dfs.replication", "2")).unwrap(), Some(2));
        assert_eq!(number(("dfs.other", "2")).unwrap(), None);
        let error = number(("dfs.replication", "two")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert_eq!(error.to_string(), "hdfs://host: dfs.replication is \"two\"; give a number");
    }

    #[test]
    fn what_may_pass_is_a_retry_that_says_what_to_look_at() {
        let answered = |class: &str, text: &str| HdfsError::RPCError(class.to_owned(), text.to_owned());
        let full = "File /a/x could only be written to 0 of the 1 minReplication nodes. There are 1 datanode(s) running and no \
                    node(s) are excluded in this operation.";
        for (error, help) in [
            (answered("java.io.IOException", full), "does one run, with room on its disks?"),
            (answered("org.apache.hadoop.hdfs.server.namenode.SafeModeException", ""), "is in safe mode"),
            (HdfsError::BlocksNotFound("/a/x".to_owned()), "do the DataNodes run that have it?"),
            (
                HdfsError::IOError(std::io::ErrorKind::ConnectionRefused.into()),
                "is this the NameNode's address?",
            ),
        ] {
            let error = failed("hdfs://host:8020/a/x", "can't be put", error);
            assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
            assert!(error.to_string().starts_with("hdfs://host:8020/a/x: can't be put; "), "{error}");
            assert!(error.to_string().contains(help), "{error}");
        }
    }
}
