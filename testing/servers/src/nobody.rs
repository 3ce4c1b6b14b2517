//! For servers that refuse to run as root: when we are root they run as `nobody`, which needs no new user.
//!
//! What such a server writes then belongs to `nobody`, and where that user cannot reach the given directory it lies in the
//! system's temporary directory instead.

use crate::error::Tried;
use crate::ports::Port;
use crate::{ServerError, fetch};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

/// `nobody` on every Linux; its group has the same number.
const NOBODY: u32 = 65_534;

/// Has `command` run as `nobody` if we are root, and as ourselves otherwise.
pub(crate) fn run_as_nobody(command: &mut Command) {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// A directory of ours outside the caller's, removed at the end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: nothing reads it again, and the system clears its temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The directory `name` of `dir` for a `server`, owned by whom it will run as.
pub(crate) fn owned_dir(
    dir: &Path,
    server: &str,
    name: &str,
) -> Result<(PathBuf, Option<Scratch>), ServerError> {
    if !rustix::process::geteuid().is_root() {
        return Ok((dir.join(name), None));
    }
    let (owned, scratch) = if fetch::others_can_reach(dir) {
        // `dir` may be closed to others (temporary directories are): then it has to be theirs.
        if !fetch::others_can_reach(&dir.join(name)) {
            own(dir)?;
        }
        (dir.join(name), None)
    } else {
        let unique = format!("tidegate-{server}-{}-{}", process::id(), Port::free()?.number());
        let scratch = Scratch(env::temp_dir().join(unique));
        fetch::create_open_dir(&scratch.0)?;
        (scratch.0.join(name), Some(scratch))
    };
    fs::create_dir_all(&owned).tried(|| format!("cannot create {}", owned.display()))?;
    own(&owned)?;
    Ok((owned, scratch))
}

/// Gives `path` to whom the server runs as.
pub(crate) fn own(path: &Path) -> Result<(), ServerError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    chown(path, Some(NOBODY), Some(NOBODY)).tried(|| format!("cannot give {} to nobody", path.display()))
}
