//! Which keys were last updated before a time, without looking at all of them.
//!
//! Each place of the store in memory is listed once, under a time that is not after its update. An update leaves it there: it
//! is moved on when its list is looked at, so a key that is updated in every batch costs one move an expiry and not one a batch.

use std::collections::BTreeMap;

/// The time of a place that stands in no list.
pub(crate) const NOT_LISTED: u64 = u64::MAX;

/// Places by time.
#[derive(Debug, Default)]
pub(crate) struct Times {
    lists: BTreeMap<u64, Vec<u32>>,
    entries: usize,
}

impl Times {
    /// Lists `place` under `updated_ms`, unless it is listed under a time not after it. `listed` is the place's own note of its list.
    pub(crate) fn note(&mut self, place: u32, listed: &mut u64, updated_ms: u64) {
        if updated_ms < *listed {
            *listed = updated_ms;
            self.lists.entry(updated_ms).or_default().push(place);
            self.entries += 1;
        }
    }

    /// Takes out the oldest list, if it is of a time before `before_ms`.
    pub(crate) fn take_before(&mut self, before_ms: u64) -> Option<(u64, Vec<u32>)> {
        let first = self.lists.first_entry()?;
        if *first.key() >= before_ms {
            return None;
        }
        let (time, places) = first.remove_entry();
        self.entries -= places.len();
        Some((time, places))
    }

    /// Number of entries, those that no longer count included.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }
}
