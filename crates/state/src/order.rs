//! The places of the store in memory in the order of their keys' bytes, kept from one walk to the next.
//!
//! Made when the first walk wants it: a state that is only looked up by key never pays for it. After that a walk sorts what
//! came since the last one and merges it in.

use crate::encoding;
use crate::row::{Row, StateKey};
use serde::Serialize;
use tidegate_core::Result;

/// Places sorted by key.
#[derive(Debug, Default)]
pub(crate) struct Order {
    sorted: Vec<u32>,
    /// By place: whether what is there now stands in `sorted`.
    known: Vec<bool>,
    /// Whether `sorted` has places that are not known any more.
    has_gaps: bool,
    /// Places that got a key since the last walk; some may be empty again, or stand here twice.
    fresh: Vec<u32>,
}

impl Order {
    /// `place` got a key.
    pub(crate) fn came(&mut self, place: u32) {
        self.fresh.push(place);
    }

    /// `place` has no key any more.
    pub(crate) fn went(&mut self, place: u32) {
        if let Some(known) = self.known.get_mut(place as usize).filter(|known| **known) {
            *known = false;
            self.has_gaps = true;
        }
    }

    /// Whether it holds so much that was never asked for that making it anew is better than keeping it.
    pub(crate) fn is_overgrown(&self, places: usize) -> bool {
        self.fresh.len() > 2 * places + 1024
    }

    /// All places with a key, sorted; `key` gives the key of a place, `None` when it is empty.
    pub(crate) fn refresh<'a, K: Serialize + 'a>(
        &mut self,
        places: usize,
        key: impl Fn(u32) -> Option<&'a K>,
    ) -> Result<&[u32]> {
        self.known.resize(places, false);
        if std::mem::take(&mut self.has_gaps) {
            let known = &self.known;
            self.sorted.retain(|&place| known[place as usize]);
        }
        let mut added = Vec::new();
        for place in std::mem::take(&mut self.fresh) {
            if key(place).is_some() && !std::mem::replace(&mut self.known[place as usize], true) {
                added.push(place);
            }
        }
        let key = |place| key(place).expect("a known place has a key");
        if added.len() > self.sorted.len() / 8 {
            self.sorted.append(&mut added);
            self.sorted = sorted_by_bytes(&self.sorted, key)?;
        } else if !added.is_empty() {
            let added = sorted_by_bytes(&added, key)?;
            self.sorted = merged(&self.sorted, &added, key)?;
        }
        Ok(&self.sorted)
    }
}

/// `items` in the order of the bytes of their keys, of which no two are the same.
pub(crate) fn sorted_by_bytes<'a, T: Copy, K: Serialize + 'a>(
    items: &[T],
    key: impl Fn(T) -> &'a K,
) -> Result<Vec<T>> {
    let mut bytes = Vec::new();
    let mut spans = Vec::with_capacity(items.len());
    for &item in items {
        let from = bytes.len();
        encoding::append(key(item), &mut bytes)?;
        spans.push((from, bytes.len(), item));
    }
    spans.sort_unstable_by(|a, b| bytes[a.0..a.1].cmp(&bytes[b.0..b.1]));
    Ok(spans.into_iter().map(|(_, _, item)| item).collect())
}

/// Merges few `added` places into many `sorted` ones: finds the place of each by halving.
fn merged<'a, K: Serialize + 'a>(
    sorted: &[u32],
    added: &[u32],
    key: impl Fn(u32) -> &'a K,
) -> Result<Vec<u32>> {
    let mut all = Vec::with_capacity(sorted.len() + added.len());
    let (mut rest, mut wanted, mut there) = (sorted, Vec::new(), Vec::new());
    for &place in added {
        encoding::encode(key(place), &mut wanted)?;
        let (mut low, mut high) = (0, rest.len());
        while low < high {
            let middle = low + (high - low) / 2;
            encoding::encode(key(rest[middle]), &mut there)?;
            if there < wanted { low = middle + 1 } else { high = middle }
        }
        all.extend_from_slice(&rest[..low]);
        all.push(place);
        rest = &rest[low..];
    }
    all.extend_from_slice(rest);
    Ok(all)
}

/// Rows in the order in which files have them: that of the bytes of their keys.
///
/// # Errors
/// `UserCode` when a key can't be serialised.
pub fn in_key_order<K: StateKey, V>(rows: Vec<Row<K, V>>) -> Result<Vec<Row<K, V>>> {
    let mut keyed = Vec::with_capacity(rows.len());
    for row in rows {
        keyed.push((encoding::encoded(&row.key)?, row));
    }
    keyed.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(keyed.into_iter().map(|(_, row)| row).collect())
}
