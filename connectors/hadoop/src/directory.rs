//! The directory of a batch, read back: its parts in order, if it is whole.

use crate::object::ObjectReader;
use crate::sequence::SequenceReader;
use crate::writable::Writable;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidegate_core::{Error, Result, Storage};

const SUCCESS: &str = "_SUCCESS";
const PART: &str = "part-";

/// The pairs of the SequenceFiles in `directory`, one file after the other, in the order of the partitions.
///
/// # Errors
/// `Reconfigure` when it is not there or has no `_SUCCESS`: then it is not whole. What is wrong with a file comes as an item,
/// and ends the iterator.
pub fn read_hadoop_files<K: Writable, V: Writable>(
    directory: impl AsRef<Path>,
) -> Result<impl Iterator<Item = Result<(K, V)>>> {
    Ok(pairs(local_parts(directory.as_ref())?))
}

/// As [`read_hadoop_files`], from a directory of `storage`.
///
/// # Errors
/// As [`read_hadoop_files`], and what the storage gives.
pub fn read_hadoop_files_on<K: Writable, V: Writable>(
    storage: Arc<dyn Storage>,
    directory: &str,
) -> Result<impl Iterator<Item = Result<(K, V)>>> {
    Ok(pairs(stored_parts(storage, directory)?))
}

/// The objects in `directory`, one file after the other, in the order of the partitions.
///
/// # Errors
/// As [`read_hadoop_files`].
pub fn read_object_files<T: DeserializeOwned>(
    directory: impl AsRef<Path>,
) -> Result<impl Iterator<Item = Result<T>>> {
    Ok(objects(local_parts(directory.as_ref())?))
}

/// As [`read_object_files`], from a directory of `storage`.
///
/// # Errors
/// As [`read_hadoop_files`], and what the storage gives.
pub fn read_object_files_on<T: DeserializeOwned>(
    storage: Arc<dyn Storage>,
    directory: &str,
) -> Result<impl Iterator<Item = Result<T>>> {
    Ok(objects(stored_parts(storage, directory)?))
}

/// A part that is opened: its name for messages, and its bytes.
type Opened = Result<(String, Box<dyn Read>)>;

fn pairs<K: Writable, V: Writable>(
    parts: impl Iterator<Item = Opened>,
) -> impl Iterator<Item = Result<(K, V)>> {
    until_an_error(parts.flat_map(|part| {
        let records = part.and_then(|(name, bytes)| SequenceReader::new(name, bytes)?.records());
        one_or_all(records)
    }))
}

fn objects<T: DeserializeOwned>(parts: impl Iterator<Item = Opened>) -> impl Iterator<Item = Result<T>> {
    until_an_error(
        parts.flat_map(|part| one_or_all(part.and_then(|(name, bytes)| ObjectReader::new(name, bytes)))),
    )
}

/// The items, or the one error.
fn one_or_all<T, I: Iterator<Item = Result<T>>>(items: Result<I>) -> impl Iterator<Item = Result<T>> {
    let (items, error) = match items {
        Ok(items) => (Some(items), None),
        Err(error) => (None, Some(Err(error))),
    };
    items.into_iter().flatten().chain(error)
}

fn until_an_error<T>(items: impl Iterator<Item = Result<T>>) -> impl Iterator<Item = Result<T>> {
    let mut failed = false;
    items.map_while(move |item| {
        let is_over = failed;
        failed |= item.is_err();
        (!is_over).then_some(item)
    })
}

fn local_parts(directory: &Path) -> Result<impl Iterator<Item = Opened> + use<>> {
    let failed = |path: &Path, e: io::Error| {
        Error::reconfigure(format!("{}: can't be read", path.display())).because(e)
    };
    let entries = fs::read_dir(directory).map_err(|e| failed(directory, e))?;
    let entries: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = entries.map_err(|e| failed(directory, e))?;
    let is_named = |path: &Path, what: fn(&str) -> bool| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(what)
    };
    is_whole(
        files.iter().any(|path| is_named(path, |name| name == SUCCESS)),
        &directory.display().to_string(),
    )?;
    files.retain(|path| is_named(path, |name| name.starts_with(PART)));
    files.sort_by_key(|path| number(&path.to_string_lossy()));
    Ok(files.into_iter().map(move |path| {
        let file = File::open(&path).map_err(|e| failed(&path, e))?;
        let bytes: Box<dyn Read> = Box::new(BufReader::with_capacity(256 * 1024, file));
        Ok((path.display().to_string(), bytes))
    }))
}

fn stored_parts(storage: Arc<dyn Storage>, directory: &str) -> Result<impl Iterator<Item = Opened> + use<>> {
    let place = format!("{}/{directory}", storage.describe().trim_end_matches('/'));
    let objects = storage.list(directory)?;
    let name = |path: &str| path.get(directory.len() + 1..).unwrap_or_default().to_owned();
    is_whole(objects.iter().any(|object| name(&object.path) == SUCCESS), &place)?;
    let is_part = |path: &str| name(path).starts_with(PART) && !name(path).contains('/');
    let mut paths: Vec<String> =
        objects.into_iter().map(|object| object.path).filter(|path| is_part(path)).collect();
    paths.sort_by_key(|path| number(path));
    Ok(paths.into_iter().map(move |path| {
        let place = format!("{}/{path}", storage.describe().trim_end_matches('/'));
        let bytes = storage.get(&path)?.ok_or_else(|| Error::data_lost(format!("{place}: is gone")))?;
        let bytes: Box<dyn Read> = Box::new(Cursor::new(bytes));
        Ok((place, bytes))
    }))
}

fn is_whole(has_success: bool, place: &str) -> Result<()> {
    if has_success {
        return Ok(());
    }
    Err(Error::reconfigure(format!(
        "{place}: has no _SUCCESS, so its batch is not committed, or it is no directory of one; wait for it"
    )))
}

/// The number of a part; names have five digits, or more where there are more partitions.
fn number(path: &str) -> (usize, String) {
    let name = path.rsplit('/').next().unwrap_or_default();
    let digits = name.strip_prefix(PART).unwrap_or_default().bytes().take_while(u8::is_ascii_digit).count();
    (digits, name.to_owned())
}
