//! All records of a dataset as one.

use super::gather::aggregate;
use crate::graph::Node;
use crate::push::ExchangeData;
use std::sync::Arc;

/// The records of each dataset reduced by `f`, in the order of partitions and positions; nothing for an empty one.
pub fn reduce<T: ExchangeData>(parent: &Node<T>, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> Node<T> {
    reduce_as(parent, "reduce", f)
}

/// The same by another name.
pub fn reduce_as<T: ExchangeData>(
    parent: &Node<T>,
    kind: &str,
    f: impl Fn(T, T) -> T + Send + Sync + 'static,
) -> Node<T> {
    let f = Arc::new(f);
    let merge = f.clone();
    let add = move |total: &mut Option<T>, record: T| {
        *total = Some(match total.take() {
            None => record,
            Some(before) => f(before, record),
        });
    };
    aggregate(
        parent,
        kind,
        || None,
        add,
        move |_, totals: Vec<Option<T>>| totals.into_iter().flatten().reduce(&*merge),
    )
}
