//! A file that is not what was written is refused, whatever is wrong with it.

use super::reading::rows_of;
use crate::{Row, StateFormat};
use tidegate_core::{ErrorKind, PartitionId, StateFile, Storage};
use tidegate_storage::MemoryStorage;

fn written() -> (MemoryStorage, StateFormat<String, i64>, StateFile) {
    let (storage, format) = (MemoryStorage::default(), StateFormat::of());
    let rows = ["a", "b"].map(|key| Ok(Row { key: key.to_owned(), value: Some(1), updated_ms: 5 }));
    let mut files = format.write(&storage, "state/x/000", PartitionId(0), rows.into_iter()).unwrap();
    (storage, format, files.pop().unwrap())
}

#[track_caller]
fn assert_refused(storage: &MemoryStorage, format: &StateFormat<String, i64>, file: &StateFile, why: &str) {
    let error = format.read(storage, file, &mut |_| panic!("{why}: a row was given")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DamagedCheckpoint, "{why}: {error}");
    assert!(error.to_string().contains("state/x/000-0.parquet"), "{why}: {error}");
}

#[test]
fn a_file_with_any_byte_changed_is_refused() {
    let (storage, format, file) = written();
    let whole = storage.get(&file.path).unwrap().unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        storage.put(&file.path, bytes).unwrap();
        assert_refused(&storage, &format, &file, &format!("byte {at}"));
    }
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    let (storage, format, file) = written();
    let whole = storage.get(&file.path).unwrap().unwrap();
    for length in 0..whole.len() {
        storage.put(&file.path, whole[..length].to_vec()).unwrap();
        assert_refused(&storage, &format, &file, &format!("length {length}"));
    }
    storage.put(&file.path, [whole, vec![0]].concat()).unwrap();
    assert_refused(&storage, &format, &file, "a byte more");
}

#[test]
fn a_file_that_is_missing_or_of_something_else_is_refused() {
    let (storage, format, file) = written();
    let described =
        |bytes: &[u8]| StateFile { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(bytes), ..file.clone() };
    for junk in [b"".as_slice(), b"PAR1", b"PAR1\0\0\0\0PAR1", b"not Parquet at all, but long enough to look"]
    {
        storage.put(&file.path, junk.to_vec()).unwrap();
        assert_refused(&storage, &format, &described(junk), "junk");
    }
    let rows = [Ok(Row { key: 1_i64, value: Some(1_i64), updated_ms: 5 })];
    let others = StateFormat::<i64, i64>::of();
    let files = others.write(&storage, "state/x/000", PartitionId(0), rows.into_iter()).unwrap();
    assert_refused(&storage, &format, &files[0], "other columns");
    storage.delete(&file.path).unwrap();
    assert_refused(&storage, &format, &file, "missing");
}

#[test]
fn a_file_with_another_number_of_rows_is_refused() {
    let (storage, format, file) = written();
    assert_refused(&storage, &format, &StateFile { rows: 3, ..file.clone() }, "rows");
    assert_eq!(rows_of(&format, &storage, &[file]).unwrap().len(), 2);
}
