//! Files are read by a reader that knows neither serde nor this crate: Parquet's own, by the file's own schema.

use crate::{Row, StateFormat};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde::{Deserialize, Serialize};
use tidegate_core::{PartitionId, Storage};
use tidegate_storage::MemoryStorage;

#[derive(Clone, Serialize, Deserialize)]
struct Visits {
    count: u64,
    last_page: Option<String>,
    minutes: Vec<u32>,
}

#[derive(Clone, Serialize, Deserialize)]
enum Session {
    Open { since: u64 },
    Closed,
}

/// The columns and the rows of the one file that `rows` make, as text.
fn read<K: crate::StateKey, V: crate::StateValue>(rows: Vec<Row<K, V>>) -> (Vec<String>, Vec<String>) {
    let storage = MemoryStorage::default();
    let format = StateFormat::<K, V>::of();
    let files = format.write(&storage, "s", PartitionId(0), rows.into_iter().map(Ok)).unwrap();
    let bytes = bytes::Bytes::from(storage.get(&files[0].path).unwrap().unwrap());
    let reader = SerializedFileReader::new(bytes).unwrap();
    let columns = reader.metadata().file_metadata().schema_descr().columns().iter();
    let columns = columns.map(|column| column.path().string()).collect();
    (columns, reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect())
}

#[test]
fn another_reader_sees_keys_and_values_as_columns() {
    let visits = Visits { count: 3, last_page: None, minutes: vec![5, 8] };
    let (columns, rows) = read(vec![
        Row { key: ("ann".to_owned(), 7_i32), value: Some(visits), updated_ms: 1000 },
        Row { key: ("bob".to_owned(), -7), value: None, updated_ms: 900 },
    ]);
    assert_eq!(
        columns,
        [
            "key.0",
            "key.1",
            "value.count",
            "value.last_page",
            "value.minutes.list.element",
            "updated_ms",
            "removed"
        ]
    );
    assert_eq!(
        rows,
        [
            r#"{key: {0: "ann", 1: 7}, value: {count: 3, last_page: null, minutes: [5, 8]}, updated_ms: 1000, removed: false}"#,
            r#"{key: {0: "bob", 1: -7}, value: null, updated_ms: 900, removed: true}"#,
        ]
    );
}

#[test]
fn another_reader_sees_what_has_no_column_as_json() {
    let (columns, rows) = read(vec![
        Row { key: 1_u64, value: Some(Session::Open { since: 5 }), updated_ms: 0 },
        Row { key: 2, value: Some(Session::Closed), updated_ms: 0 },
    ]);
    assert_eq!(columns, ["key", "value", "updated_ms", "removed", "value_exact"]);
    assert!(rows[0].starts_with(r#"{key: 1, value: "{"Open":{"since":5}}", updated_ms: 0"#), "{}", rows[0]);
    assert!(rows[1].starts_with(r#"{key: 2, value: ""Closed"", updated_ms: 0"#), "{}", rows[1]);
}
