//! A connection that is cut at each request of each call, before the server has the request or before the client has the answer.

use std::fmt;
use tidegate_core::{ErrorKind, Result, Storage};
use tidegate_servers::wire::{Lost, Wire};

/// Whether a request is the `n`th that is begun, counted from 1.
pub(crate) fn nth(n: usize) -> impl FnMut(&[u8]) -> bool + Send + 'static {
    let (mut begun, mut before) = (0, Vec::new());
    move |request: &[u8]| {
        let goes_on = request.len() > before.len() && request.starts_with(&before) && !before.is_empty();
        before = request.to_vec();
        begun += usize::from(!goes_on);
        !goes_on && begun == n
    }
}

const OLD: &[u8] = b"old";
const NEW: &[u8] = b"the new one";

/// What is done to the objects `a/from` and `b/to`.
struct Call {
    name: &'static str,
    /// What is there before.
    from: Option<&'static [u8]>,
    to: Option<&'static [u8]>,
    call: fn(&dyn Storage) -> Result<bool>,
    /// What is there afterwards.
    then: (Option<&'static [u8]>, Option<&'static [u8]>),
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const CALLS: [Call; 9] = [
    Call {
        name: "a put",
        from: None,
        to: None,
        call: |storage| storage.put("b/to", NEW.to_vec()).map(|()| true),
        then: (None, Some(NEW)),
    },
    Call {
        name: "a put over an object",
        from: None,
        to: Some(OLD),
        call: |storage| storage.put("b/to", NEW.to_vec()).map(|()| true),
        then: (None, Some(NEW)),
    },
    Call {
        name: "a put piece by piece",
        from: None,
        to: Some(OLD),
        call: |storage| {
            let Some(mut staged) = storage.stage("b/to")? else {
                return storage.put("b/to", NEW.to_vec()).map(|()| true);
            };
            staged.write(NEW)?;
            staged.close()?;
            staged.publish().map(|()| true)
        },
        then: (None, Some(NEW)),
    },
    Call {
        name: "a put of what is new",
        from: None,
        to: None,
        call: |storage| storage.put_new("b/to", NEW.to_vec()),
        then: (None, Some(NEW)),
    },
    Call {
        name: "a delete",
        from: None,
        to: Some(OLD),
        call: |storage| storage.delete("b/to").map(|()| true),
        then: (None, None),
    },
    Call {
        name: "a rename",
        from: Some(NEW),
        to: None,
        call: |storage| storage.rename("a/from", "b/to").map(|()| true),
        then: (None, Some(NEW)),
    },
    Call {
        name: "a rename over an object",
        from: Some(NEW),
        to: Some(OLD),
        call: |storage| storage.rename("a/from", "b/to").map(|()| true),
        then: (None, Some(NEW)),
    },
    Call {
        name: "a get",
        from: None,
        to: Some(NEW),
        call: |storage| storage.get("b/to").map(|object| object.as_deref() == Some(NEW)),
        then: (None, Some(NEW)),
    },
    Call {
        name: "a listing",
        from: None,
        to: Some(NEW),
        call: |storage| Ok(storage.list("b")?.iter().map(|object| object.path.as_str()).eq(["b/to"])),
        then: (None, Some(NEW)),
    },
];

/// Cuts the connection of `through` at each request of each call, once with the request lost and once with the answer. The call is done, or
/// a `Retry` and as good as done or not begun; asked for again it is done. What is there `direct` says, and `is_clean` looks at the store
/// without the code under test when a call is done.
pub(crate) fn is_done_or_not_wherever_it_is_cut(
    through: &dyn Storage,
    direct: &dyn Storage,
    wire: &Wire,
    is_clean: impl Fn(&str),
) {
    for call in &CALLS {
        for lost in [Lost::Request, Lost::Answer(|answer| !answer.is_empty())] {
            for request in 1.. {
                let case = format!("{call:?}, cut at request {request}, {lost:?}");
                set(direct, "a/from", call.from);
                set(direct, "b/to", call.to);
                let before = wire.cuts();
                wire.cut_at(nth(request), lost, 0);
                let result = (call.call)(through);
                wire.open();
                let was_cut = wire.cuts() > before;
                match result {
                    Ok(done) => {
                        assert!(done, "{case}: it is not what it was asked for");
                        is_there(direct, call.then, &case);
                    }
                    Err(error) => {
                        assert!(was_cut, "{case}: {error}");
                        assert_eq!(error.kind(), ErrorKind::Retry, "{case}: {error}");
                        assert!(error.to_string().contains(&through.describe()), "{case}: {error}");
                        is_old_or_new(direct, call, &case);
                        let again = (call.call)(through);
                        assert!(again.is_ok(), "{case}, and again: {again:?}");
                    }
                }
                is_there(direct, call.then, &case);
                is_clean(&case);
                if !was_cut {
                    assert!(request > 1, "{case}: nothing was asked");
                    break;
                }
            }
        }
    }
}

fn set(storage: &dyn Storage, path: &str, bytes: Option<&[u8]>) {
    storage.delete(path).unwrap();
    bytes.into_iter().for_each(|bytes| storage.put(path, bytes.to_vec()).unwrap());
}

fn is_there(storage: &dyn Storage, expected: (Option<&[u8]>, Option<&[u8]>), case: &str) {
    let (from, to) = (storage.get("a/from").unwrap(), storage.get("b/to").unwrap());
    assert_eq!((from.as_deref(), to.as_deref()), expected, "{case}");
}

fn is_old_or_new(storage: &dyn Storage, call: &Call, case: &str) {
    let (from, to) = (storage.get("a/from").unwrap(), storage.get("b/to").unwrap());
    assert!([call.from, call.then.0].contains(&from.as_deref()), "{case}: {from:?}");
    assert!([call.to, call.then.1].contains(&to.as_deref()), "{case}: {to:?}");
    assert!(
        from.is_some()
            || to.is_some()
            || call.then == (None, None)
            || call.from.is_none() && call.to.is_none(),
        "{case}: both are gone"
    );
}
