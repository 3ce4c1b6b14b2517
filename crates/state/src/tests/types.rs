//! Every kind of type comes back from a file as it went in, and has the columns that it should have.

use super::reading::rows_of;
use crate::{KeyedState, Row, StateFormat, StateKey, StateValue, Stores};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use tidegate_core::PartitionId;
use tidegate_storage::MemoryStorage;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Total {
    total: i64,
    mean: Option<f64>,
    tags: Vec<String>,
    inner: Inner,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Inner {
    a: u8,
    b: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Colour {
    Red,
    Green,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Circle(f64),
    Boxes { sides: HashMap<(u8, u8), f64> },
    Maybe(Option<Option<u8>>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Counts { by: BTreeMap<u32, u64> },
    Name { name: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "of")]
enum Adjacent {
    Count(u32),
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skipping {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    list: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maybe: Option<u8>,
    last: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Fork(Box<Tree>, Box<Tree>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

/// Writes each value and a removal, reads them back, and compares; then the same from a state.
fn check<V: StateValue + Debug + PartialEq>(columns: &[&str], values: Vec<V>) {
    check_both::<String, V>(columns, |at| format!("key {at:03}"), values);
}

fn check_both<K: StateKey + Debug, V: StateValue + Debug + PartialEq>(
    columns: &[&str],
    key: impl Fn(usize) -> K,
    values: Vec<V>,
) {
    let format = StateFormat::<K, V>::of();
    let found = format.columns();
    let found: Vec<&str> = found.iter().map(String::as_str).filter(|line| *line != "key: Utf8").collect();
    assert_eq!(found, columns);

    let mut rows: Vec<Row<K, V>> = Vec::new();
    for (at, value) in values.into_iter().enumerate() {
        rows.push(Row { key: key(at), value: Some(value), updated_ms: at as u64 });
    }
    rows.push(Row { key: key(rows.len()), value: None, updated_ms: u64::MAX });
    let storage = MemoryStorage::default();
    let written = rows.iter().cloned().map(Ok);
    let files = format.write(&storage, "state/x", PartitionId(3), written).unwrap();
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), rows.len() as u64);
    assert_eq!(files.iter().map(|file| file.newest_ms).max(), Some(u64::MAX));
    assert!(files.iter().all(|file| file.partition == PartitionId(3)));
    assert_eq!(rows_of(&format, &storage, &files).unwrap(), rows);

    let mut state = KeyedState::<K, V>::open(&Stores::Memory, "x-3").unwrap();
    for row in &rows {
        state.restore(row.clone()).unwrap();
    }
    for row in &rows {
        let expected = row.value.clone().map(|value| (value, row.updated_ms));
        assert_eq!(state.get(&row.key).unwrap(), expected);
    }
}

#[test]
fn plain_values_are_typed_columns() {
    check(&["value: Int64"], vec![i64::MIN, 0, i64::MAX]);
    check(&["value: UInt64"], vec![0, u64::MAX]);
    check(&["value: Int8"], vec![i8::MIN, i8::MAX]);
    check(&["value: UInt32"], vec![7_u32]);
    check(&["value: Float64"], vec![0.1, -0.0, f64::INFINITY, f64::MIN_POSITIVE]);
    check(&["value: Float32"], vec![0.1_f32, f32::MAX]);
    check(&["value: Boolean"], vec![true, false]);
    check(&["value: Utf8"], vec![String::new(), "ä\0\n".to_owned()]);
    check(&["value: Utf8"], vec![CompactString::from("inline"), CompactString::from("x".repeat(100))]);
    check(&["value: UInt32"], vec!['a', '\u{10FFFF}']);
    check(&["value: Enum"], vec![Colour::Red, Colour::Green, Colour::Red]);
}

#[test]
fn nested_values_are_nested_columns() {
    check(&["value.0: Int32", "value.1: Utf8"], vec![(1, "a".to_owned()), (-1, String::new())]);
    check(&["value[]: UInt8"], vec![vec![], vec![1_u8, 2]]);
    check(&["value[][]: Int64?"], vec![vec![vec![Some(1_i64), None], vec![]], vec![]]);
    check(
        &["value{key}: Utf8", "value{value}: Int64"],
        vec![HashMap::from([("a".to_owned(), 1_i64), ("b".to_owned(), 2)]), HashMap::new()],
    );
    check(
        &["value{key}.0: UInt8", "value{key}.1: UInt8", "value{value}: Float64?"],
        vec![HashMap::from([((1_u8, 2_u8), Some(f64::INFINITY)), ((2, 1), None)])],
    );
    let total =
        Total { total: -5, mean: None, tags: vec!["a".to_owned()], inner: Inner { a: 1, b: Some(false) } };
    check(
        &[
            "value.total: Int64",
            "value.mean: Float64?",
            "value.tags[]: Utf8",
            "value.inner.a: UInt8",
            "value.inner.b: Boolean?",
        ],
        vec![total.clone(), Total { mean: Some(2.5), tags: vec![], ..total }],
    );
    check(
        &["value: Struct?", "value.a: UInt8", "value.b: Boolean?"],
        vec![None, Some(Inner { a: 0, b: None })],
    );
    check(
        &["value: List?", "value[]: Enum?"],
        vec![None, Some(vec![]), Some(vec![Some(Colour::Green), None])],
    );
}

#[test]
fn a_value_that_may_be_nothing_is_not_taken_for_a_removed_key() {
    check(&["value: Int64?"], vec![None, Some(0_i64)]);
    check(&["value: Json"], vec![()]);
    check(&["value: Json"], vec![Marker]);
    check(&["value: Json"], vec![None, Some(())]);
    check(&["value: Int64?"], vec![None, Some(None), Some(Some(1_i64))]);
    check(&["value[]: Int64?"], vec![vec![Some(None), None, Some(Some(1_i64))]]);
}

#[test]
fn what_parquet_has_no_form_for_is_json_and_comes_back_exactly() {
    check(&["value: Json"], vec![u128::MAX, 0]);
    check(&["value: Json"], vec![i128::MIN, 0]);
    let sides = HashMap::from([((1, 2), f64::NEG_INFINITY), ((3, 4), 0.1 + 0.2)]);
    check(
        &["value: Json"],
        vec![
            Shape::Nothing,
            Shape::Circle(f64::INFINITY),
            Shape::Boxes { sides },
            Shape::Maybe(Some(None)),
            Shape::Maybe(None),
        ],
    );
    check(&["value: Json"], vec![Untagged::Number(1), Untagged::Text("1".to_owned())]);
    check(
        &["value: Json"],
        vec![Tagged::Counts { by: BTreeMap::from([(1, 2)]) }, Tagged::Name { name: "n".to_owned() }],
    );
    check(&["value: Json"], vec![Flat { id: 1, rest: BTreeMap::from([("a".to_owned(), 1)]) }]);
    check(&["value: Json"], vec![Tree::Fork(Box::new(Tree::Leaf), Box::new(Tree::Leaf))]);
    check(&["value: Json"], vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    check(&["value: Json"], vec![std::num::NonZeroU8::MAX]);
}

#[test]
fn a_number_that_is_none_comes_back() {
    let values = [f64::NAN, 1.0];
    let storage = MemoryStorage::default();
    let typed = StateFormat::<u8, f64>::of();
    let rows = values.iter().zip(0..).map(|(value, key)| Ok(Row { key, value: Some(*value), updated_ms: 0 }));
    let files = typed.write(&storage, "a", PartitionId(0), rows).unwrap();
    assert!(rows_of(&typed, &storage, &files).unwrap()[0].value.unwrap().is_nan());
    let json = StateFormat::<u8, Shape>::of();
    let rows = [Ok(Row { key: 0, value: Some(Shape::Circle(f64::NAN)), updated_ms: 0 })];
    let files = json.write(&storage, "b", PartitionId(0), rows.into_iter()).unwrap();
    let Some(Shape::Circle(back)) = rows_of(&json, &storage, &files).unwrap()[0].value else { panic!() };
    assert!(back.is_nan());
}

#[test]
fn fields_that_are_left_out_and_odd_tags_come_back() {
    check(
        &["value.list[]: UInt8", "value.maybe: UInt8?", "value.last: UInt8"],
        vec![
            Skipping { list: vec![], maybe: None, last: 1 },
            Skipping { list: vec![1], maybe: Some(1), last: 2 },
            Skipping { list: vec![1], maybe: None, last: 3 },
        ],
    );
    let format = StateFormat::<String, Adjacent>::of();
    let columns = format.columns();
    let columns: Vec<&str> = columns[1..].iter().map(String::as_str).collect();
    check(&columns, vec![Adjacent::Count(1), Adjacent::Name("n".to_owned()), Adjacent::Count(2)]);
}

#[test]
fn keys_may_be_of_any_kind_too() {
    check_both(&["key: Int64", "value: Int32"], |at| at as i64, vec![1, 2, 3]);
    check_both(&["key.0: Utf8", "key.1: UInt32", "value: Int32"], |at| (at.to_string(), 'x'), vec![1, 2]);
    check_both(
        &["key.a: UInt8", "key.b: Boolean?", "value: Int32"],
        |at| Inner { a: at as u8, b: None },
        vec![1],
    );
    check_both(&["key: Enum", "value: Int32"], |at| [Colour::Red, Colour::Green][at], vec![1]);
    check_both(&["key: Json", "value: Int32"], |at| at as u128, vec![1, 2]);
    check_both(&["key: Json", "value: Json"], |_| (), Vec::<()>::new());
    check_both(&["key: UInt8?", "value: Int32"], |at| [None, Some(None), Some(Some(1_u8))][at], vec![1, 2]);
}

#[test]
fn a_type_that_changed_without_changing_its_columns_is_named() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Fewer {
        Red,
    }
    let storage = MemoryStorage::default();
    let rows = [Ok(Row { key: 1_u8, value: Some(Colour::Green), updated_ms: 0 })];
    let files = StateFormat::of().write(&storage, "a", PartitionId(0), rows.into_iter()).unwrap();
    let error = rows_of(&StateFormat::<u8, Fewer>::of(), &storage, &files).unwrap_err();
    assert_eq!(error.kind(), tidegate_core::ErrorKind::Reconfigure);
    assert!(error.to_string().contains("Fewer") && error.to_string().contains("a-0.parquet"), "{error}");
}
