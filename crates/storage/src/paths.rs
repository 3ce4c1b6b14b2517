//! What every storage does with a path before it does anything else.

use tidegate_core::{Error, Result, is_storage_path};

/// Refuses a path that is none. It comes from Tidegate itself, so a bad one is a mistake of ours.
///
/// # Errors
/// `Bug`, naming the path.
pub fn check_path(path: &str) -> Result<()> {
    if is_storage_path(path) {
        return Ok(());
    }
    Err(Error::bug(format!(
        "{path:?} is no path in a storage: it is names of letters, digits and \"._-=%\" joined by \"/\""
    )))
}

/// Refuses what can't be the paths of a [`rename`](tidegate_core::Storage::rename).
///
/// # Errors
/// `Bug`, naming the path.
pub fn check_rename(from: &str, to: &str) -> Result<()> {
    check_path(from)?;
    check_path(to)?;
    if from == to { Err(Error::bug(format!("{from:?} can't be renamed to itself"))) } else { Ok(()) }
}

/// The error about a rename of what is in neither place.
pub fn nothing_to_rename(from: &str, to: &str) -> Error {
    Error::data_lost(format!(
        "{from} can't be renamed to {to}: neither is there; was it removed by someone else?"
    ))
}

/// As [`check_path`] for the folder of a listing, which may also be empty: the root.
///
/// # Errors
/// `Bug`, naming the folder.
pub fn check_folder(folder: &str) -> Result<()> {
    if folder.is_empty() { Ok(()) } else { check_path(folder) }
}
