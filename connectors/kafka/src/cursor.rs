//! Where a reader is within the ranges of one partition. Pure: no queue, no client.

/// Follows one partition from range to range, by positions and never by counts: offsets may have gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Records below were handed on in a batch. The next range must begin here, or fetching begins anew.
    handed: u64,
    /// Everything below was taken from the queue or is known not to exist. At least `handed`.
    reached: u64,
    /// End of the range being read.
    until: u64,
}

/// What to do for a new range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It goes on where the last one ended: what was fetched ahead is used.
    GoOn,
    /// Fetch from this offset.
    StartAt(u64),
}

/// Where a record belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It was handed on before.
    Known,
    InRange,
    Beyond,
}

impl Cursor {
    /// Fetching from `offset`, nothing asked for yet.
    pub(crate) fn at(offset: u64) -> Self {
        Cursor { handed: offset, reached: offset, until: offset }
    }

    /// Begins `from` .. `until`. After `StartAt` the caller throws away what it held.
    pub(crate) fn begin(&mut self, from: u64, until: u64) -> Begin {
        // A range left unfinished has handed on some records already: it can't be gone on with.
        let whole = self.is_done() || self.reached == self.handed;
        let begin = if whole && from == self.handed { Begin::GoOn } else { Begin::StartAt(from) };
        if let Begin::StartAt(offset) = begin {
            *self = Cursor::at(offset);
        }
        self.until = until;
        if self.is_done() {
            self.handed = until;
        }
        begin
    }

    /// Whether nothing of the range is missing.
    pub(crate) fn is_done(&self) -> bool {
        self.reached >= self.until
    }

    /// Messages that may be taken without taking many beyond the range.
    pub(crate) fn wanted(&self) -> usize {
        usize::try_from(self.until.saturating_sub(self.reached)).unwrap_or(usize::MAX)
    }

    /// Where the record at `offset` belongs. One beyond the range ends it; the caller holds it for the next one.
    #[inline]
    pub(crate) fn place(&mut self, offset: u64) -> Place {
        if offset < self.reached {
            return Place::Known;
        }
        if offset < self.until {
            self.reach(offset + 1);
            return Place::InRange;
        }
        // Offsets only rise: what the range still lacked does not exist. Not beyond: the record is yet to be handed on.
        self.reach(self.until);
        Place::Beyond
    }

    /// Everything below `offset` was taken or does not exist.
    pub(crate) fn reach(&mut self, offset: u64) {
        self.reached = self.reached.max(offset);
        if self.is_done() {
            self.handed = self.until;
        }
    }

    pub(crate) fn reached(&self) -> u64 {
        self.reached
    }

    pub(crate) fn until(&self) -> u64 {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_by_position_not_by_its_last_record() {
        let mut cursor = Cursor::at(0);
        assert_eq!(cursor.begin(0, 10), Begin::GoOn);
        assert_eq!(
            [cursor.place(0), cursor.place(7), cursor.place(7)],
            [Place::InRange, Place::InRange, Place::Known]
        );
        assert!(!cursor.is_done());
        // 8 and 9 were compacted away: the record at 12 says so, and stays for the next range.
        assert_eq!((cursor.place(12), cursor.is_done()), (Place::Beyond, true));
        assert_eq!(cursor.begin(10, 20), Begin::GoOn);
        assert_eq!((cursor.place(12), cursor.is_done()), (Place::InRange, false));
        cursor.reach(20);
        assert!(cursor.is_done());
    }

    #[test]
    fn the_end_of_the_partition_may_lie_beyond_several_ranges() {
        let mut cursor = Cursor::at(5);
        cursor.begin(5, 8);
        cursor.reach(30);
        assert!(cursor.is_done());
        assert_eq!(cursor.begin(8, 30), Begin::GoOn);
        assert!(cursor.is_done(), "nothing is left below the end that was seen");
        assert_eq!(cursor.begin(30, 31), Begin::GoOn);
        assert_eq!((cursor.is_done(), cursor.wanted()), (false, 1));
    }

    #[test]
    fn a_range_that_begins_elsewhere_starts_anew() {
        let mut cursor = Cursor::at(0);
        cursor.begin(0, 10);
        cursor.reach(10);
        assert_eq!(cursor.begin(5, 10), Begin::StartAt(5));
        assert_eq!((cursor.place(5), cursor.is_done()), (Place::InRange, false));
        assert_eq!(cursor.begin(5, 10), Begin::StartAt(5), "what was not read to its end is read again");
    }

    #[test]
    fn an_empty_range_is_done_and_moves_nothing() {
        let mut cursor = Cursor::at(3);
        assert_eq!(cursor.begin(3, 3), Begin::GoOn);
        assert!(cursor.is_done());
        assert_eq!(cursor.begin(3, 4), Begin::GoOn);
        assert!(!cursor.is_done());
    }
}
