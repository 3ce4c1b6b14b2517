//! The rows of the output: what is to become of one row of the table.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bytes that a row key may have.
const KEY_BYTES_MAX: usize = i16::MAX as usize;
/// Bytes of a cell beside its row key, family, qualifier and value, as HBase counts them against its limit.
const CELL_BYTES: usize = 24;

/// What becomes of one row of a table: cells are put, cells are taken away, or all of it is.
///
/// The row key must follow from the data, and never from chance or the clock: a batch that is run again must give the same. Cells that are
/// not named stay as they are.
///
/// ```
/// use tidegate_hbase::Mutation;
///
/// let put = Mutation::put("ebb").cell("f", "count", "2").without("f", "draft");
/// assert_eq!(put.key(), b"ebb");
/// let gone = Mutation::delete("ebb");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mutation {
    key: Vec<u8>,
    pub(crate) change: Change,
}

/// What is done to a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Change {
    Cells(Vec<Cell>),
    /// The cells of all families are taken away.
    Delete,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) family: String,
    pub(crate) qualifier: Vec<u8>,
    /// None takes it away.
    pub(crate) value: Option<Vec<u8>>,
}

impl Mutation {
    /// Changes cells of the row `key`: name them by [`cell`](Mutation::cell) and [`without`](Mutation::without).
    pub fn put(key: impl Into<Vec<u8>>) -> Mutation {
        Mutation { key: key.into(), change: Change::Cells(Vec::new()) }
    }

    /// Takes the row `key` away, if it is there.
    pub fn delete(key: impl Into<Vec<u8>>) -> Mutation {
        Mutation { key: key.into(), change: Change::Delete }
    }

    /// Puts a cell. To a row that is taken away nothing is put.
    #[must_use]
    pub fn cell(self, family: &str, qualifier: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Mutation {
        self.with(family, qualifier.into(), Some(value.into()))
    }

    /// Takes a cell away, if it is there.
    #[must_use]
    pub fn without(self, family: &str, qualifier: impl Into<Vec<u8>>) -> Mutation {
        self.with(family, qualifier.into(), None)
    }

    fn with(mut self, family: &str, qualifier: Vec<u8>, value: Option<Vec<u8>>) -> Mutation {
        if let Change::Cells(cells) = &mut self.change {
            cells.push(Cell { family: family.to_owned(), qualifier, value });
        }
        self
    }

    /// The row key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Why no table can have it, from what can be told without asking.
    pub(crate) fn flaw(&self, cell_bytes_max: usize) -> Option<String> {
        if self.key.is_empty() {
            return Some("a row key is empty".to_owned());
        }
        if self.key.len() > KEY_BYTES_MAX {
            return Some(format!(
                "row {}: its key has {} bytes, and may have {KEY_BYTES_MAX}",
                shown(&self.key),
                self.key.len()
            ));
        }
        let Change::Cells(cells) = &self.change else { return None };
        if cells.is_empty() {
            return Some(format!("row {}: no cell of it is named", shown(&self.key)));
        }
        let mut names = BTreeSet::new();
        cells.iter().find_map(|cell| {
            let name = format!("row {}, cell {}:{}", shown(&self.key), cell.family, shown(&cell.qualifier));
            let bytes = self.key.len() + cell.family.len() + cell.qualifier.len() + CELL_BYTES;
            let bytes = bytes + cell.value.as_ref().map_or(0, Vec::len);
            if cell.family.is_empty() || cell.family.contains(':') {
                Some(format!("{name}: {:?} can't be a family", cell.family))
            } else if bytes > cell_bytes_max {
                Some(format!(
                    "{name}: it has {bytes} bytes with its key, and may have {cell_bytes_max} (cell_bytes_max(), and \
                     hbase.client.keyvalue.maxsize of the gateway)"
                ))
            } else if names.insert((&cell.family, &cell.qualifier)) {
                None
            } else {
                Some(format!("{name}: it is named twice, so which value stays would be chance"))
            }
        })
    }

    /// The families it names.
    pub(crate) fn families(&self) -> impl Iterator<Item = &str> {
        let cells = match &self.change {
            Change::Cells(cells) => cells.as_slice(),
            Change::Delete => &[],
        };
        cells.iter().map(|cell| cell.family.as_str())
    }

    pub(crate) fn bytes(&self) -> usize {
        let cell = |cell: &Cell| {
            cell.family.len() + cell.qualifier.len() + cell.value.as_ref().map_or(0, Vec::len) + CELL_BYTES
        };
        self.key.len()
            + match &self.change {
                Change::Cells(cells) => cells.iter().map(cell).sum(),
                Change::Delete => 0,
            }
    }
}

/// The beginning of bytes as text, for errors.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 40;
    let text = format!("\"{}\"", bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii());
    if bytes.len() > SHOWN_MAX { format!("{text}…") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_table_takes_is_found_here() {
        let flaw = |mutation: Mutation| mutation.flaw(1000).unwrap_or_default();
        let value = |bytes: usize| vec![0u8; bytes];
        for (found, expected) in [
            (flaw(Mutation::delete("")), "a row key is empty"),
            (flaw(Mutation::delete(value(32_768))), "its key has 32768 bytes, and may have 32767"),
            (flaw(Mutation::put("a")), "row \"a\": no cell of it is named"),
            (flaw(Mutation::put("a").cell("", "q", "v")), "\"\" can't be a family"),
            (flaw(Mutation::put("a").cell("f", "q", value(974))), "it has 1001 bytes with its key"),
            (
                flaw(Mutation::put("a").cell("f", "q", "v").without("f", "q")),
                "cell f:\"q\": it is named twice",
            ),
        ] {
            assert!(found.contains(expected), "{found}");
        }
        assert_eq!(flaw(Mutation::put("a").cell("f", "q", value(973)).cell("f", "", "")), "");
        assert_eq!(flaw(Mutation::delete(value(32_767))), "");
    }

    #[test]
    fn bytes_are_shown_as_text_and_not_for_long() {
        assert_eq!(shown(b"a\"\x00"), "\"a\\\"\\x00\"");
        assert_eq!(shown(&[b'x'; 41]), format!("\"{}\"…", "x".repeat(40)));
    }
}
