//! Which positions of origins are stored: over all streams of a job, since an origin may move from one receiver to another.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegate_core::Result;

/// Origins whose positions are remembered at most; beyond it the one that has been silent the longest is forgotten.
pub(crate) const ORIGINS_MAX: usize = 100_000;
/// Keys that are remembered at most; beyond it the oldest is forgotten.
pub(crate) const KEYS_MAX: usize = 100_000;

/// Where records come from: positions `from` (in) to `until` (out) of `origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The origin's name, the same after a restart and in every receiver of the job: `kafka/counts/lines-3`.
    pub origin: String,
    /// Position of the first record.
    pub from: u64,
    /// Position behind the last record.
    pub until: u64,
    /// What a gap before `from` means.
    pub gaps: Gaps,
}

impl Position {
    /// Positions `from` to `until` of `origin`, which may have gaps.
    pub fn new(origin: impl Into<String>, from: u64, until: u64) -> Position {
        Position { origin: origin.into(), from, until, gaps: Gaps::Natural }
    }

    /// Position `number` of an origin that numbers what it sends 0, 1, 2 and so on, or begins anywhere when it is new.
    pub fn next_of(origin: impl Into<String>, number: u64) -> Position {
        Position { origin: origin.into(), from: number, until: number.saturating_add(1), gaps: Gaps::Refused }
    }
}

/// What it means that records begin behind what is stored of their origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// Nothing: there are no records in between (a compacted topic).
    Natural,
    /// Something was overtaken, and would be taken for a repetition later: nothing is stored.
    Refused,
}

/// What became of records with a position or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// They are stored now.
    New,
    /// They were stored before, all of them.
    Before,
    /// Nothing was stored: up to this position they were stored before. Leave those out and store the others.
    Partly(u64),
    /// Nothing was stored: the origin must first give what is at this position.
    Gap(u64),
}

/// What one block says about its origins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mark {
    /// Everything of the origin below this position is stored.
    Until(String, u64),
    /// What has this key is stored.
    Key(String),
}

/// What is remembered of the origins of one stream: what a segment of its log begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    /// By origin: the position, and the number of the change that gave it, to forget the oldest.
    positions: BTreeMap<String, (u64, u64)>,
    by_age: BTreeSet<(u64, String)>,
    changes: u64,
    keys: BTreeSet<String>,
    keys_by_age: VecDeque<String>,
}

impl Remembered {
    pub(crate) fn add(&mut self, mark: Mark) {
        match mark {
            Mark::Until(origin, until) => {
                self.changes += 1;
                let known = self.positions.get(&origin).copied();
                if let Some((_, changed)) = known {
                    self.by_age.remove(&(changed, origin.clone()));
                }
                let until = known.map_or(until, |(known, _)| known.max(until));
                self.by_age.insert((self.changes, origin.clone()));
                self.positions.insert(origin, (until, self.changes));
                if self.positions.len() > ORIGINS_MAX
                    && let Some((_, oldest)) = self.by_age.pop_first()
                {
                    self.positions.remove(&oldest);
                }
            }
            Mark::Key(key) => {
                if self.keys.insert(key.clone()) {
                    self.keys_by_age.push_back(key);
                }
                if self.keys.len() > KEYS_MAX
                    && let Some(oldest) = self.keys_by_age.pop_front()
                {
                    self.keys.remove(&oldest);
                }
            }
        }
    }

    /// All of it, the oldest first: adding these again gives the same.
    pub(crate) fn marks(&self) -> impl Iterator<Item = Mark> {
        let until = |(_, origin): &(u64, String)| {
            Mark::Until(origin.clone(), self.positions.get(origin).map_or(0, |(until, _)| *until))
        };
        self.by_age.iter().map(until).chain(self.keys_by_age.iter().cloned().map(Mark::Key))
    }

    fn position(&self, origin: &str) -> Option<u64> {
        self.positions.get(origin).map(|(until, _)| *until)
    }

    /// Origins whose names begin with `prefix`, with their positions.
    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (String, u64)> + 'a {
        let from = self.positions.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(origin, _)| origin.starts_with(prefix))
            .map(|(origin, (until, _))| (origin.clone(), *until))
    }
}

/// Waits until all that a stream was given so far is stored.
pub(crate) type Barrier = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// The marks of all streams of a job. Copies are the same.
#[derive(Clone, Default)]
pub struct Marks {
    streams: Arc<Mutex<Vec<Member>>>,
}

struct Member {
    remembered: Remembered,
    barrier: Barrier,
}

/// What is to be stored, seen by what was stored before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    New,
    /// Known by the stream of this number, where it may still be on its way.
    Before(usize),
    /// What comes before it was given to the stream of this number, and must be stored first; it ends at this position.
    Behind(usize, u64),
    Partly(u64),
    Gap(u64),
}

impl Marks {
    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream with what its log remembers; gives its number.
    pub(crate) fn join(&self, remembered: Remembered, barrier: Barrier) -> usize {
        let mut streams = self.lock();
        streams.push(Member { remembered, barrier });
        streams.len() - 1
    }

    /// What waits for the stream of this number.
    pub(crate) fn barrier(&self, stream: usize) -> Barrier {
        self.lock()[stream].barrier.clone()
    }

    /// The position up to which all of `origin` is stored, or on its way.
    pub(crate) fn position(&self, origin: &str) -> Option<u64> {
        self.lock().iter().filter_map(|stream| stream.remembered.position(origin)).max()
    }

    /// The origins whose names begin with `prefix`, and up to where each is stored, or on its way.
    pub(crate) fn positions_below(&self, prefix: &str) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        for (origin, until) in self.lock().iter().flat_map(|stream| stream.remembered.below(prefix)) {
            let known = all.entry(origin).or_default();
            *known = until.max(*known);
        }
        all
    }

    /// Whether `position` was stored before; if not, it counts as stored from now on. What ends at `settled` is known to be
    /// stored, in whatever stream.
    pub(crate) fn take_position(&self, stream: usize, position: &Position, settled: Option<u64>) -> Seen {
        let mut streams = self.lock();
        #[cfg(feature = "sabotage")]
        if crate::sabotage::forget_origins() {
            return Seen::New;
        }
        let known = streams.iter().enumerate();
        let known =
            known.filter_map(|(number, it)| Some((it.remembered.position(&position.origin)?, number))).max();
        match known {
            Some((until, number)) if until >= position.until => return Seen::Before(number),
            Some((until, _)) if until > position.from => return Seen::Partly(until),
            Some((until, _)) if until < position.from && position.gaps == Gaps::Refused => {
                return Seen::Gap(until);
            }
            Some((until, number)) if number != stream && settled != Some(until) => {
                return Seen::Behind(number, until);
            }
            _ => {}
        }
        streams[stream].remembered.add(Mark::Until(position.origin.clone(), position.until));
        Seen::New
    }

    /// Whether `key` was stored before; if not, it counts as stored from now on.
    pub(crate) fn take_key(&self, stream: usize, key: &str) -> Seen {
        let mut streams = self.lock();
        if let Some(number) = streams.iter().position(|it| it.remembered.keys.contains(key)) {
            return Seen::Before(number);
        }
        streams[stream].remembered.add(Mark::Key(key.to_owned()));
        Seen::New
    }
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "marks of {} streams", self.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(marks: &Marks) -> usize {
        marks.join(Remembered::default(), Arc::new(|| Ok(())))
    }

    #[test]
    fn a_position_is_taken_once_over_all_streams() {
        let marks = Marks::default();
        let (a, b) = (join(&marks), join(&marks));
        assert_eq!(marks.take_position(a, &Position::new("x", 0, 10), None), Seen::New);
        assert_eq!(marks.take_position(b, &Position::new("x", 0, 10), None), Seen::Before(a));
        assert_eq!(marks.take_position(b, &Position::new("x", 5, 15), None), Seen::Partly(10));
        let next = Position::new("x", 12, 15);
        assert_eq!(
            marks.take_position(b, &next, None),
            Seen::Behind(a, 10),
            "another stream may still be at it"
        );
        assert_eq!(marks.take_position(b, &next, Some(10)), Seen::New, "a natural gap");
        assert_eq!((marks.position("x"), marks.position("y")), (Some(15), None));
        assert_eq!(marks.take_position(a, &Position::new("x/1", 0, 3), None), Seen::New);
        assert_eq!(marks.take_position(a, &Position::new("y", 0, 4), None), Seen::New);
        let below = |prefix: &str| marks.positions_below(prefix).into_iter().collect::<Vec<_>>();
        assert_eq!(below("x"), [("x".to_owned(), 15), ("x/1".to_owned(), 3)]);
        assert_eq!((below("x/"), below("z")), (vec![("x/1".to_owned(), 3)], vec![]));
    }

    #[test]
    fn an_origin_that_numbers_what_it_sends_must_leave_nothing_out() {
        let marks = Marks::default();
        let a = join(&marks);
        assert_eq!(marks.take_position(a, &Position::next_of("p", 7), None), Seen::New, "it is new");
        assert_eq!(marks.take_position(a, &Position::next_of("p", 9), None), Seen::Gap(8));
        assert_eq!(marks.take_position(a, &Position::next_of("p", 8), None), Seen::New);
        assert_eq!(marks.take_position(a, &Position::next_of("p", 7), None), Seen::Before(a));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let mut remembered = Remembered::default();
        for number in 0..=KEYS_MAX {
            remembered.add(Mark::Key(number.to_string()));
            remembered.add(Mark::Until(number.to_string(), 1));
            remembered.add(Mark::Until("busy".to_owned(), number as u64));
        }
        let mut again = Remembered::default();
        remembered.marks().for_each(|mark| again.add(mark));
        assert!(again.marks().eq(remembered.marks()), "what a log says of it is all of it");
        assert!(!remembered.keys.contains("0") && remembered.keys.contains("1"));
        assert_eq!((remembered.keys.len(), remembered.keys_by_age.len()), (KEYS_MAX, KEYS_MAX));
        assert_eq!((remembered.position("0"), remembered.position("busy")), (None, Some(KEYS_MAX as u64)));
        assert_eq!((remembered.positions.len(), remembered.by_age.len()), (ORIGINS_MAX, ORIGINS_MAX));
    }
}
