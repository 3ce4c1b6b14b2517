//! The names of all objects of an output: of the files that everyone sees, and of what lies hidden below `_tidegate`.
//!
//! They are described in `docs/formats.md`. Nothing hidden ends like a file of rows, so that a pattern of names (`**/*.parquet`) finds
//! visible files alone.

use std::fmt;
use tidegate_core::{Error, Result};

/// The folder of what is not to be seen: Spark, Hive and others pass over names that begin with `_`.
pub(super) const HIDDEN: &str = "_tidegate";
/// The folder with the claims alone, which every commit lists.
pub(super) const CLAIMS: &str = "_tidegate/claims";
/// Hive's folder of rows that have no value for a partition column.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// One opening of an output. Of two the greater one is the newer, whose writers alone may commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch {
    pub(super) number: u64,
    /// Tells two that were opened at the same time.
    pub(super) token: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{:016x}", self.number, self.token)
    }
}

impl Epoch {
    fn parse(name: &str) -> Option<Epoch> {
        let (number, token) = name.split_once('-')?;
        let epoch = Epoch { number: number.parse().ok()?, token: u64::from_str_radix(token, 16).ok()? };
        (epoch.to_string() == name).then_some(epoch)
    }

    pub(super) fn claim(self) -> String {
        format!("{CLAIMS}/{self}")
    }

    pub(super) fn base(self) -> String {
        format!("{HIDDEN}/epochs/{self}/base")
    }

    pub(super) fn record(self, partition: u32, batch: u64) -> String {
        format!("{HIDDEN}/epochs/{self}/{partition:05}/{batch:020}")
    }

    /// The `place`th object that a batch stages of a partition.
    pub(super) fn staged(self, partition: u32, batch: u64, place: usize) -> String {
        format!("{HIDDEN}/staged/{self}/{partition:05}/{batch:020}-{place}")
    }
}

/// What a hidden object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hidden {
    Claim(Epoch),
    Base(Epoch),
    /// Epoch, partition and batch.
    Record(Epoch, u32, u64),
    Staged(Epoch),
}

impl Hidden {
    /// `None` for what no output of this version makes.
    pub(super) fn parse(path: &str) -> Option<Hidden> {
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            [HIDDEN, "claims", epoch] => Some(Hidden::Claim(Epoch::parse(epoch)?)),
            [HIDDEN, "epochs", epoch, "base"] => Some(Hidden::Base(Epoch::parse(epoch)?)),
            [HIDDEN, "epochs", epoch, partition, batch] => {
                Some(Hidden::Record(Epoch::parse(epoch)?, partition.parse().ok()?, batch.parse().ok()?))
            }
            [HIDDEN, "staged", epoch, ..] => Some(Hidden::Staged(Epoch::parse(epoch)?)),
            _ => None,
        }
    }

    pub(super) fn epoch(self) -> Epoch {
        match self {
            Hidden::Claim(epoch)
            | Hidden::Base(epoch)
            | Hidden::Record(epoch, ..)
            | Hidden::Staged(epoch) => epoch,
        }
    }
}

/// The path of a file that everyone sees. No other file of the output ever has it: `first` and `number` say which file was begun,
/// and `last` how far it goes.
pub(super) fn visible(
    folder: &str,
    partition: u32,
    batches: (u64, u64),
    number: u32,
    ending: &str,
) -> String {
    let (first, last) = batches;
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("{folder}{slash}part-{partition:05}-{first:010}-{last:010}-{number}.{ending}")
}

/// Whether a path is that of a visible file of some output.
pub(super) fn is_visible(path: &str) -> bool {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let Some((numbers, _)) = name.strip_prefix("part-").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let numbers: Vec<&str> = numbers.split('-').collect();
    numbers.len() == 4
        && numbers.iter().all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The folder of a row by the values of its partition columns: `day=2026-11-26/hour=07`.
pub(super) fn folder<K: AsRef<str>, V: fmt::Display>(
    columns: impl IntoIterator<Item = (K, V)>,
) -> Result<String> {
    let mut folder = String::new();
    for (column, value) in columns {
        let column = column.as_ref();
        if column.is_empty() || column.starts_with(['_', '.']) {
            return Err(Error::reconfigure(format!(
                "partition column {column:?}: its folder would be hidden from readers; give it a name that begins otherwise"
            )));
        }
        if !folder.is_empty() {
            folder.push('/');
        }
        escape(column, &mut folder);
        folder.push('=');
        let value = value.to_string();
        if value.is_empty() { folder.push_str(NO_VALUE) } else { escape(&value, &mut folder) }
    }
    Ok(folder)
}

/// As Hive does: `%` and two digits for each byte that can't stand in a name.
fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::is_storage_path;

    #[test]
    fn a_hidden_name_is_read_as_it_is_written() {
        let epoch = Epoch { number: 7, token: 0xAB };
        for (path, hidden) in [
            (epoch.claim(), Hidden::Claim(epoch)),
            (epoch.base(), Hidden::Base(epoch)),
            (epoch.record(3, 12), Hidden::Record(epoch, 3, 12)),
            (epoch.staged(3, 12, 0), Hidden::Staged(epoch)),
        ] {
            assert_eq!((Hidden::parse(&path), is_storage_path(&path)), (Some(hidden), true), "{path}");
            assert!(path.starts_with("_tidegate/") && !path.contains('.'), "{path}");
        }
        assert_eq!(
            epoch.record(3, 12),
            "_tidegate/epochs/0000000007-00000000000000ab/00003/00000000000000000012"
        );
        for path in [
            "_tidegate/claims/x",
            "_tidegate/claims/7-ab",
            "_tidegate",
            "part-0-1-1-0.x",
            "a/_tidegate/claims/x",
        ] {
            assert_eq!(Hidden::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_newer_epoch_is_greater_whatever_its_token() {
        let epoch = |number, token| Epoch { number, token };
        assert!(epoch(10, 0) > epoch(9, u64::MAX) && epoch(9, 2) > epoch(9, 1));
    }

    #[test]
    fn a_visible_name_tells_partition_and_batches() {
        let path = visible("day=1", 2, (7, 12), 0, "jsonl.gz");
        assert_eq!(path, "day=1/part-00002-0000000007-0000000012-0.jsonl.gz");
        assert!(is_visible(&path) && is_visible(&visible("", 0, (1, 1), 0, "parquet")));
        for path in
            ["part-00000-1b2c.c000.snappy.parquet", "x/part-1-2-3.csv", "part-1-2-3-4", "part--2-3-4.csv"]
        {
            assert!(!is_visible(path), "{path}");
        }
    }

    #[test]
    fn a_folder_is_named_as_hive_names_it() {
        let named = |columns: &[(&str, &str)]| folder(columns.iter().copied()).map_err(|e| e.to_string());
        assert_eq!(named(&[("day", "2026-11-26"), ("hour", "07")]).unwrap(), "day=2026-11-26/hour=07");
        assert_eq!(named(&[("at", "07:30/x y=%")]).unwrap(), "at=07%3A30%2Fx%20y%3D%25");
        assert_eq!(named(&[("a", ""), ("b", "..")]).unwrap(), "a=__HIVE_DEFAULT_PARTITION__/b=..");
        assert_eq!(named(&[("a", "\u{e4}")]).unwrap(), "a=%C3%A4");
        assert!(is_storage_path(&named(&[("\u{e4}/", "\n"), ("b", "..")]).unwrap()));
        for hidden in ["", "_x", ".x"] {
            assert!(named(&[(hidden, "1")]).unwrap_err().contains("would be hidden"), "{hidden}");
        }
    }
}
