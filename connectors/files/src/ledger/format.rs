//! The bytes of the ledger, as `docs/formats.md` describes them: one JSON value an object, with a checksum over its exact bytes.

use crate::sealed::Record;
use serde::{Deserialize, Serialize};
use std::fmt;
use tidegate_core::UserFile;

const SNAPSHOT: &str = "-snapshot.json";
const INCREMENT: &str = ".json";
const DIGITS: usize = 20;

/// The name of an object of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Snapshot(u64),
    Increment(u64),
}

impl Name {
    pub(super) fn parse(name: &str) -> Option<Name> {
        let (digits, ending) = name.split_at_checked(DIGITS)?;
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
        match ending {
            SNAPSHOT => Some(Name::Snapshot(number)),
            INCREMENT => Some(Name::Increment(number)),
            _ => None,
        }
    }

    pub(super) fn snapshot(self) -> Option<u64> {
        if let Name::Snapshot(number) = self { Some(number) } else { None }
    }

    pub(super) fn increment(self) -> Option<u64> {
        if let Name::Increment(number) = self { Some(number) } else { None }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Snapshot(number) => write!(f, "{number:020}{SNAPSHOT}"),
            Name::Increment(number) => write!(f, "{number:020}{INCREMENT}"),
        }
    }
}

/// The files of one plan.
#[derive(Serialize, Deserialize)]
pub(super) struct Increment {
    #[serde(with = "rows")]
    pub(super) files: Vec<UserFile>,
}

impl Record for Increment {
    const NAME: &str = "increment";
}

/// All files that were taken and are not forgotten.
#[derive(Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// The folder that is read, for people.
    pub(super) folder: String,
    #[serde(with = "rows")]
    pub(super) files: Vec<UserFile>,
}

impl Record for Snapshot {
    const NAME: &str = "snapshot";
}

/// Files as arrays of path, length, time and identity: there are many of them.
mod rows {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tidegate_core::UserFile;

    pub(super) fn serialize<S: Serializer>(files: &[UserFile], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(files.iter().map(Row))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<UserFile>, D::Error> {
        let rows = Vec::<(String, u64, u64, String)>::deserialize(deserializer)?;
        let file = |(path, bytes, modified_ms, identity)| UserFile { path, bytes, modified_ms, identity };
        Ok(rows.into_iter().map(file).collect())
    }

    struct Row<'a>(&'a UserFile);

    impl Serialize for Row<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let UserFile { path, bytes, modified_ms, identity } = self.0;
            (path, bytes, modified_ms, identity).serialize(serializer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::{read, write};

    fn snapshot() -> Snapshot {
        let file = |path: &str| UserFile {
            path: path.to_owned(),
            bytes: 7,
            modified_ms: 1_700,
            identity: "9-3".to_owned(),
        };
        Snapshot { folder: "/in".to_owned(), files: vec![file("a\"b"), file("ä/c")] }
    }

    #[test]
    fn an_object_is_these_bytes() {
        assert_eq!(
            String::from_utf8(write(&snapshot())).unwrap(),
            "{\"format\":1,\"crc32c\":\"12244259\",\"snapshot\":{\"folder\":\"/in\",\
             \"files\":[[\"a\\\"b\",7,1700,\"9-3\"],[\"ä/c\",7,1700,\"9-3\"]]}}"
        );
    }

    #[test]
    fn an_object_cut_or_changed_anywhere_is_refused() {
        let whole = write(&snapshot());
        assert_eq!(read::<Snapshot>(&whole).unwrap().files, snapshot().files);
        assert!(read::<Increment>(&whole).is_err());
        for length in 0..whole.len() {
            assert!(read::<Snapshot>(&whole[..length]).is_err(), "cut at {length}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                assert!(read::<Snapshot>(&changed).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in [Name::Snapshot(0), Name::Increment(u64::MAX), Name::Increment(17)] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for name in [
            "",
            "1.json",
            "00000000000000000001.new",
            "ä0000000000000000001.json",
            "+0000000000000000001.json",
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }
}
