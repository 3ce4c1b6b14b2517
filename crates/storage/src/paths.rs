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
        "{path:?} is no path in a storage: it is names of letters, digits and \"._-=\" joined by \"/\""
    )))
}

/// As [`check_path`] for the folder of a listing, which may also be empty: the root.
///
/// # Errors
/// `Bug`, naming the folder.
pub fn check_folder(folder: &str) -> Result<()> {
    if folder.is_empty() { Ok(()) } else { check_path(folder) }
}
