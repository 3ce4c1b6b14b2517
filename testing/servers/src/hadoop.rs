//! Hadoop's own SequenceFiles, to read what Tidegate wrote and to write what it is to read.

use crate::ServerError;
use crate::daemons::java;
use crate::error::{Tried, last_lines};
use crate::fetch::{cache_dir, hdfs_class_path};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

/// The small program around it; Java runs it from its source.
const PROGRAM: &str = include_str!("../SequenceFiles.java");
const HEAP_MIB: u32 = 128;

/// What the program prints, as lines. Its arguments are `read FILE...`, or `write FOLDER`; what they do is said in its source.
pub fn hadoop_sequence_files(arguments: &[&str]) -> Result<Vec<String>, ServerError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let jars = hdfs_class_path()?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = cache_dir().join(format!("hadoop-{}-{number}", std::process::id()));
    fs::create_dir_all(&directory).tried(|| format!("cannot create {}", directory.display()))?;
    let source = directory.join("SequenceFiles.java");
    fs::write(&source, PROGRAM).tried(|| format!("cannot write {}", source.display()))?;
    let output = java(&jars, &directory, HEAP_MIB).arg(&source).args(arguments).output();
    let output = output.tried(|| "cannot start java".to_owned())?;
    // Costs nothing if it stays.
    let _ = fs::remove_dir_all(&directory);
    if !output.status.success() {
        return Err(ServerError::Client {
            what: format!("Hadoop's SequenceFile: {}", arguments.join(" ")),
            cause: last_lines(&String::from_utf8_lossy(&output.stderr)),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
