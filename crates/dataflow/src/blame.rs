//! Which operator was at work when a function of the job panicked.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;
use tidegate_core::Error;

thread_local! {
    static BLAMED: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Runs `function`; if it panics, `operator` is blamed unless one further down already was. Costs nothing else.
#[inline]
pub(crate) fn blaming<R>(operator: &Arc<str>, function: impl FnOnce() -> R) -> R {
    struct Blame<'a>(&'a Arc<str>);
    impl Drop for Blame<'_> {
        fn drop(&mut self) {
            BLAMED.with_borrow_mut(|blamed| {
                blamed.get_or_insert_with(|| self.0.clone());
            });
        }
    }
    let blame = Blame(operator);
    let result = function();
    std::mem::forget(blame);
    result
}

/// Ends the function of an operator with `error`: the batch fails, and the job stops with it. For functions that return a
/// result; nothing is printed, unlike with a panic.
pub fn raise(error: Error) -> ! {
    std::panic::resume_unwind(Box::new(error))
}

/// What a function of the job unwound with: an error it gave, or a panic.
pub(crate) fn unwound(payload: Box<dyn Any + Send>) -> Error {
    let (operator, text) = panic_text(&*payload);
    let at = operator.map_or_else(|| "an operator".to_owned(), |name| format!("the function of {name}"));
    match payload.downcast::<Error>() {
        Ok(error) => error.context(format!("{at} failed")),
        Err(_) => Error::user_code(format!("{at} panicked: {text}")),
    }
}

/// The text of a panic, with the operator that was blamed on this thread.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> (Option<Arc<str>>, String) {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    (BLAMED.with_borrow_mut(Option::take), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn the_innermost_operator_is_blamed() {
        let (outer, inner): (Arc<str>, Arc<str>) = ("flat_map".into(), "map".into());
        let run = || blaming(&outer, || blaming(&inner, || panic!("no such word")));
        let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(panic_text(&*payload), (Some(inner), "no such word".to_owned()));
    }

    #[test]
    fn a_function_that_returns_is_not_blamed() {
        let (first, second): (Arc<str>, Arc<str>) = ("map".into(), "filter".into());
        blaming(&first, || ());
        let payload = catch_unwind(AssertUnwindSafe(|| blaming(&second, || panic!("x")))).unwrap_err();
        assert_eq!(panic_text(&*payload).0, Some(second));
    }
}
