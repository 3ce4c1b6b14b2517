//! A user's files as objects of a bucket: read, never written.
//!
//! An object appears whole and is known by its entity tag. Its time is cut to seconds, as only a listing has more. A key that the
//! client can't name (an empty part, `.`, `..`, a control character) makes a listing fail.

use super::{Connections, client, failed, is_no_object, place, settings_of, variables};
use crate::blocking::Blocking;
use crate::{ANSWER_LIMIT, LISTING_LIMIT, limit, refused};
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3;
use object_store::path::Path as Key;
use object_store::{GetOptions, ObjectMeta, ObjectStore};
use std::fmt;
use std::sync::Arc;
use tidegate_core::{Error, FileSystem, OpenFile, Result, UserFile};

/// See [`crate::files`].
pub(crate) struct S3Files {
    folder: Arc<Folder>,
}

/// What a call takes with it.
struct Folder {
    client: AmazonS3,
    blocking: Blocking,
    bucket: String,
    root: String,
}

impl fmt::Debug for S3Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Files({})", self.describe())
    }
}

impl S3Files {
    pub(crate) fn open(bucket: &str, root: &str, settings: &[(&str, &str)]) -> Result<S3Files> {
        let client = client(bucket, &settings_of(variables(), settings)?, Connections::default())?;
        let blocking = Blocking::new()?;
        let (bucket, root) = (bucket.to_owned(), root.to_owned());
        Ok(S3Files { folder: Arc::new(Folder { client, blocking, bucket, root }) })
    }
}

impl Folder {
    fn place(&self, path: &str) -> String {
        place(&self.bucket, &self.root, path)
    }

    fn key(&self, path: &str) -> Result<Key> {
        let whole = if self.root.is_empty() { path.to_owned() } else { format!("{}/{path}", self.root) };
        Key::parse(whole).map_err(|e| {
            let help = "rename it: names are not empty, \".\" or \"..\", and have no control characters";
            refused(&self.place(path), "can't be named", help).because(e)
        })
    }

    fn user_file(&self, object: &ObjectMeta) -> Option<UserFile> {
        let key = object.location.as_ref();
        let path = if self.root.is_empty() {
            key
        } else {
            key.strip_prefix(self.root.as_str())?.strip_prefix('/')?
        };
        let modified_ms = u64::try_from(object.last_modified.timestamp()).unwrap_or(0) * 1000;
        let identity = match &object.e_tag {
            Some(tag) => tag.trim_matches('"').to_owned(),
            None => format!("{modified_ms}-{}", object.size),
        };
        Some(UserFile { path: path.to_owned(), bytes: object.size, modified_ms, identity })
    }

    /// The objects below the folder, each level by requests of its own; all levels by one request for 1,000 objects.
    async fn list(&self, depth: usize) -> Result<Vec<UserFile>> {
        let fails = |e| failed(&self.place(""), "can't be listed", e);
        let root = self.key("")?;
        let root = (!root.as_ref().is_empty()).then_some(root);
        if depth == usize::MAX {
            let objects = self.client.list(root.as_ref());
            let found = objects.try_filter_map(async |object| Ok(self.user_file(&object)));
            return found.try_collect().await.map_err(fails);
        }
        let (mut folders, mut found) = (vec![root], Vec::new());
        for level in 1..=depth {
            let mut below = Vec::new();
            for folder in folders {
                let listed = self.client.list_with_delimiter(folder.as_ref()).await.map_err(fails)?;
                found.extend(listed.objects.iter().filter_map(|object| self.user_file(object)));
                below.extend(listed.common_prefixes.into_iter().map(Some));
            }
            if below.is_empty() || level == depth {
                break;
            }
            folders = below;
        }
        Ok(found)
    }
}

impl FileSystem for S3Files {
    fn describe(&self) -> String {
        self.folder.place("")
    }

    fn list(&self, depth: usize) -> Result<Vec<UserFile>> {
        let folder = self.folder.clone();
        self.folder.blocking.run(
            &self.describe(),
            LISTING_LIMIT,
            async move { folder.list(depth.max(1)).await },
        )
    }

    fn status(&self, path: &str) -> Result<Option<UserFile>> {
        let (folder, key, place) = (self.folder.clone(), self.folder.key(path)?, self.folder.place(path));
        self.folder.blocking.run(&self.folder.place(path), ANSWER_LIMIT, async move {
            match folder.client.get_opts(&key, GetOptions::new().with_head(true)).await {
                Ok(answer) => Ok(folder.user_file(&answer.meta)),
                Err(e) if is_no_object(&e) => Ok(None),
                Err(e) => Err(failed(&place, "can't be looked at", e)),
            }
        })
    }

    fn open(&self, file: &UserFile) -> Result<Box<dyn OpenFile>> {
        let key = self.folder.key(&file.path)?;
        let place = self.folder.place(&file.path);
        Ok(Box::new(S3File { folder: self.folder.clone(), key, place, bytes: file.bytes }))
    }

    fn appears_whole(&self) -> bool {
        true
    }
}

struct S3File {
    folder: Arc<Folder>,
    key: Key,
    place: String,
    bytes: u64,
}

impl OpenFile for S3File {
    fn read(&mut self, from: u64, length: usize) -> Result<Vec<u8>> {
        let until = self.bytes.min(from.saturating_add(length as u64));
        if until <= from {
            return Ok(Vec::new());
        }
        let (folder, key, place) = (self.folder.clone(), self.key.clone(), self.place.clone());
        self.folder.blocking.run(&self.place, limit(length as u64), async move {
            let options = GetOptions::new().with_range(Some(from..until));
            let answer = match folder.client.get_opts(&key, options).await {
                Ok(answer) => answer,
                Err(e) if is_no_object(&e) => {
                    return Err(Error::retry(format!("{place}: is gone")).because(e));
                }
                Err(e) => return Err(failed(&place, "can't be read", e)),
            };
            let bytes = answer.bytes().await.map_err(|e| failed(&place, "can't be read", e))?;
            Ok(Vec::from(bytes))
        })
    }
}
