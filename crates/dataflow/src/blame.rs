//! Which operator was at work when a function of the job failed, in which batch, and on what.
//!
//! The operator is known in any epoch at no cost. What a function was given is gone when it fails, so it is written down
//! before, and only in a *careful* epoch: the engine runs a batch in one to say on which record a function failed.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt::{self, Debug, Write as _};
use std::sync::Arc;
use tidegate_core::{BatchId, Error};

/// Characters of a record in a message at most.
const SAMPLE_CHARS_MAX: usize = 200;

thread_local! {
    static BLAMED: RefCell<Option<Blamed>> = const { RefCell::new(None) };
    static BATCH: Cell<Option<BatchId>> = const { Cell::new(None) };
}

/// Who failed, and on what where that is known.
struct Blamed {
    operator: Arc<str>,
    sample: Option<String>,
}

/// From now on this thread works on `batch`.
pub(crate) fn at_batch(batch: BatchId) {
    BATCH.set(Some(batch));
}

/// Calls the functions of one operator on one worker.
#[derive(Clone)]
pub(crate) struct Blame {
    operator: Arc<str>,
    careful: bool,
}

impl Blame {
    pub(crate) fn new(operator: Arc<str>, careful: bool) -> Blame {
        Blame { operator, careful }
    }

    /// Name of the operator.
    pub(crate) fn operator(&self) -> &Arc<str> {
        &self.operator
    }

    /// Gives `record` to `function`. If it panics, the operator is blamed unless one further down already was. Costs a
    /// branch in an epoch that is not careful.
    #[inline]
    pub(crate) fn call<T: Debug, R>(&self, record: T, function: impl FnOnce(T) -> R) -> R {
        if self.careful {
            return self.call_carefully("the record", record, function);
        }
        blaming(&self.operator, None, || function(record))
    }

    /// As [`call`](Blame::call), for a function that is given many records at once.
    pub(crate) fn call_with_all<T: Debug, R>(
        &self,
        records: Vec<T>,
        function: impl FnOnce(Vec<T>) -> R,
    ) -> R {
        if self.careful {
            return self.call_carefully("the records", records, function);
        }
        blaming(&self.operator, None, || function(records))
    }

    #[cold]
    #[inline(never)]
    fn call_carefully<T: Debug, R>(&self, what: &str, record: T, function: impl FnOnce(T) -> R) -> R {
        let sample = blaming(&self.operator, None, || format!("{what} {}", cut(&record)));
        blaming(&self.operator, Some(&sample), || function(record))
    }
}

/// Runs `function`; if it panics, `operator` is blamed unless one further down already was. Costs nothing else.
#[inline]
fn blaming<R>(operator: &Arc<str>, sample: Option<&str>, function: impl FnOnce() -> R) -> R {
    struct Guard<'a>(&'a Arc<str>, Option<&'a str>);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            BLAMED.with_borrow_mut(|blamed| {
                blamed.get_or_insert_with(|| Blamed {
                    operator: self.0.clone(),
                    sample: self.1.map(str::to_owned),
                });
            });
        }
    }
    let guard = Guard(operator, sample);
    let result = function();
    std::mem::forget(guard);
    result
}

/// A value as text, no longer than is useful in a message: what does not fit is not even formatted.
pub(crate) fn cut(value: &impl Debug) -> String {
    struct Cut {
        text: String,
        left: usize,
    }
    impl fmt::Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for char in text.chars() {
                self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
                self.text.push(char);
            }
            Ok(())
        }
    }
    let mut cut = Cut { text: String::new(), left: SAMPLE_CHARS_MAX };
    if write!(cut, "{value:?}").is_err() {
        cut.text.push_str("...");
    }
    cut.text
}

/// Ends the function of an operator with `error`: the batch fails, and the job stops with it. For functions that return a
/// result; nothing is printed, unlike with a panic.
pub fn raise(error: Error) -> ! {
    std::panic::resume_unwind(Box::new(error))
}

/// What a function of the job unwound with: an error it gave, or a panic.
pub(crate) fn unwound(payload: Box<dyn Any + Send>) -> Error {
    let blamed = BLAMED.with_borrow_mut(Option::take);
    let at = blamed
        .as_ref()
        .map_or_else(|| "an operator".to_owned(), |blamed| format!("the function of {}", blamed.operator));
    let on =
        blamed.and_then(|blamed| blamed.sample).map(|sample| format!(" on {sample}")).unwrap_or_default();
    match payload.downcast::<Error>() {
        Ok(error) => error.context(format!("{at} failed{}{on}", in_batch())),
        Err(panic) => Error::user_code(format!("{at} panicked{}{on}: {}", in_batch(), panic_text(&*panic))),
    }
}

/// ` in batch 7`, where this thread works on one.
pub(crate) fn in_batch() -> String {
    BATCH.get().map(|batch| format!(" in batch {batch}")).unwrap_or_default()
}

/// The text of a panic.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn failure_of(run: impl FnOnce()) -> String {
        unwound(catch_unwind(AssertUnwindSafe(run)).unwrap_err()).to_string()
    }

    fn blame(operator: &str, careful: bool) -> Blame {
        Blame::new(operator.into(), careful)
    }

    #[test]
    fn the_innermost_operator_is_blamed() {
        let run = || {
            blame("flat_map", false).call(1, |n| blame("map", false).call(n, |_| panic!("no such word")));
        };
        assert_eq!(failure_of(run), "the function of map panicked: no such word");
    }

    #[test]
    fn a_function_that_returns_is_not_blamed() {
        let run = || {
            blame("map", true).call(1, |_| ());
            blame("filter", true).call(2, |_| panic!("x"));
        };
        assert_eq!(failure_of(run), "the function of filter panicked on the record 2: x");
    }

    #[test]
    fn a_failure_names_the_batch_and_what_the_function_was_given() {
        at_batch(BatchId(7));
        let run = || blame("map #3", true).call(("the tide", 3), |_| raise(Error::user_code("no such word")));
        assert_eq!(
            failure_of(run),
            "the function of map #3 failed in batch 7 on the record (\"the tide\", 3): no such word"
        );
        BATCH.set(None);
    }

    #[test]
    fn a_long_record_is_cut_at_its_characters() {
        assert_eq!(cut(&"ebb"), "\"ebb\"");
        let long = "ü".repeat(300);
        assert_eq!(cut(&long), format!("\"{}...", "ü".repeat(SAMPLE_CHARS_MAX - 1)));
    }
}
