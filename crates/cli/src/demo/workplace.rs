//! The directory of one demo: database and checkpoint. Removed at the end, however the demo ends, unless it is kept.

use crate::exit::Failure;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A new directory below the system's temporary one.
pub(super) struct Workplace(TempDir);

impl Workplace {
    pub(super) fn make(keep: bool) -> Result<Workplace, Failure> {
        let made = tempfile::Builder::new().prefix("tidegate-demo-").disable_cleanup(keep).tempdir();
        made.map(Workplace).map_err(|error| Failure::of("can't make a temporary directory", error))
    }

    pub(super) fn directory(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn database(&self) -> PathBuf {
        self.0.path().join("counts.db")
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.0.path().join("checkpoint")
    }
}
