//! The place of one key while a function looks at it and maybe changes it.

/// The place of one key in a state, there or not, for the time of one [`update`](crate::KeyedState::update).
///
/// What is called on it says what becomes of the key. When nothing but [`get`](Slot::get) was called the key stays as it is,
/// its time included, and no checkpoint has to write it.
#[derive(Debug)]
pub struct Slot<'a, V> {
    value: &'a mut Option<V>,
    updated_ms: Option<u64>,
    fate: Fate,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Untouched,
    /// Its time moves.
    Touched,
    /// Its value may be another, or it is gone, or it is new.
    Changed,
}

impl<'a, V> Slot<'a, V> {
    /// The place of a key with `value`, last updated at `updated_ms`.
    pub(crate) fn new(value: &'a mut Option<V>, updated_ms: Option<u64>) -> Self {
        Slot { value, updated_ms, fate: Fate::Untouched }
    }

    /// The value; `None` when the key has none.
    #[inline]
    pub fn get(&self) -> Option<&V> {
        self.value.as_ref()
    }

    /// When the key was last updated, in milliseconds since 1970 UTC.
    #[inline]
    pub fn updated_ms(&self) -> Option<u64> {
        self.updated_ms
    }

    /// The value, to change it. Having asked for it counts as a change.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut V> {
        if self.value.is_some() {
            self.fate = Fate::Changed;
        }
        self.value.as_mut()
    }

    /// Gives the key this value.
    #[inline]
    pub fn set(&mut self, value: V) {
        *self.value = Some(value);
        self.fate = Fate::Changed;
    }

    /// Removes the key and gives what it had.
    #[inline]
    pub fn remove(&mut self) -> Option<V> {
        if self.value.is_some() {
            self.fate = Fate::Changed;
        }
        self.value.take()
    }

    /// Moves the time of the key and leaves its value. A key without a value stays without one.
    #[inline]
    pub fn touch(&mut self) {
        if self.value.is_some() && self.fate == Fate::Untouched {
            self.fate = Fate::Touched;
        }
    }

    pub(crate) fn fate(&self) -> Fate {
        self.fate
    }
}
