//! Jobs over a folder of this machine: what is taken, once, whatever happens to the job and to the files.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use support::{Job, counted, put};
use tidegate::testkit::MemoryOutput;
use tidegate::{ErrorKind, Stop};
use tidegate_core::Storage;
use tidegate_files::{Compression, CsvRows, FileOptions, OnMissing};
use tidegate_storage::MemoryStorage;

struct Folder {
    _root: tempfile::TempDir,
    path: PathBuf,
}

fn folder() -> Folder {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("incoming");
    fs::create_dir(&path).unwrap();
    Folder { _root: root, path }
}

impl Folder {
    fn url(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

fn quick<T>(options: FileOptions<T>) -> FileOptions<T> {
    options.poll_interval(Duration::from_millis(1))
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

/// The records of a folder that holds `files`, sorted.
fn rows_of<T: tidegate::ExchangeData + Sync + Ord>(
    options: FileOptions<T>,
    files: &[(&str, Vec<u8>)],
    count: usize,
) -> Vec<T> {
    let folder = folder();
    files.iter().for_each(|(name, bytes)| put(&folder.path, name, bytes));
    let mut job = Job::start(folder.url(), quick(options), None, &MemoryOutput::new()).unwrap();
    job.until(count).unwrap();
    let mut rows = job.output.rows();
    job.stop();
    rows.sort();
    rows
}

/// What the job ends with that reads a file with `bytes`.
fn refusal<T: tidegate::ExchangeData + Sync>(options: FileOptions<T>, name: &str, bytes: &[u8]) -> String {
    let folder = folder();
    put(&folder.path, name, bytes);
    let mut job = Job::start(folder.url(), quick(options), None, &MemoryOutput::new()).unwrap();
    let error = job.until(usize::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLost, "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("{}/{name}", folder.url())), "{text} does not name the file");
    text
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Reading {
    station: String,
    level: i64,
    note: Option<String>,
}

fn reading(station: &str, level: i64, note: Option<&str>) -> Reading {
    Reading { station: station.to_owned(), level, note: note.map(str::to_owned) }
}

#[test]
fn lines_are_read_packed_or_not() {
    let two = [gzip(b"c\n"), gzip(b"d\n")].concat();
    let files = [
        ("a.txt", b"a\r\nb".to_vec()),
        ("two members.gz", two),
        ("e.zst", zstd::encode_all(&b"e\nf\n"[..], 0).unwrap()),
        ("g.log", b"\ng".to_vec()),
    ];
    assert_eq!(rows_of(FileOptions::text(), &files, 8), ["", "a", "b", "c", "d", "e", "f", "g"]);
    let plain = FileOptions::text().compression(Compression::None);
    assert_eq!(rows_of(plain, &[("a.gz", b"not packed".to_vec())], 1), ["not packed"]);
}

#[test]
fn a_file_longer_than_any_buffer_is_read_whole_and_in_order() {
    let text: String = (0..200_000).map(|line| format!("line {line}\n")).collect();
    let folder = folder();
    put(&folder.path, "long.gz", gzip(text.as_bytes()));
    put(&folder.path, "long", &text);
    let mut job = Job::start(folder.url(), quick(FileOptions::text()), None, &MemoryOutput::new()).unwrap();
    job.until(400_000).unwrap();
    let expected: Vec<String> = text.lines().map(str::to_owned).collect();
    let rows = job.output.rows();
    assert!(rows[..200_000] == expected && rows[200_000..] == expected);
    job.stop();
}

#[test]
fn records_of_one_length_are_read() {
    let options = FileOptions::binary_records(3).unwrap();
    let files = [("a", b"aaabbb".to_vec()), ("b.gz", gzip(b"ccc"))];
    assert_eq!(rows_of(options, &files, 3), [b"aaa".to_vec(), b"bbb".to_vec(), b"ccc".to_vec()]);
    assert!(FileOptions::binary_records(0).is_err());
}

#[test]
fn json_and_csv_are_read_as_the_type_of_the_stream() {
    let expected = [reading("Kiel", -3, None), reading("Wismar", 12, Some("calm, clear"))];
    let json = b"{\"station\":\"Kiel\",\"level\":-3}\n\n{\"level\":12,\"station\":\"Wismar\",\"note\":\"calm, clear\"}";
    assert_eq!(rows_of(FileOptions::<Reading>::json_lines(), &[("a.json", json.to_vec())], 2), expected);
    let csv = "level,station,note\n-3,Kiel,\n12,Wismar,\"calm, clear\"\n";
    assert_eq!(rows_of(FileOptions::<Reading>::csv(), &[("a.csv.gz", gzip(csv.as_bytes()))], 2), expected);
    let other = FileOptions::of(CsvRows::new().header(false).delimiter(b';').trim(true));
    let rows: Vec<(String, i64)> = rows_of(other, &[("a", b"Kiel; -3\nWismar; 12".to_vec())], 2);
    assert_eq!(rows, [("Kiel".to_owned(), -3), ("Wismar".to_owned(), 12)]);
}

#[cfg(feature = "parquet")]
mod parquet_files {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression as Codec, ZstdLevel};
    use parquet::file::properties::WriterProperties;

    fn parquet(rows: usize, codec: Codec) -> Vec<u8> {
        let stations: ArrayRef =
            Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("s{row}"))));
        let levels: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        let notes: ArrayRef =
            Arc::new((0..rows).map(|row| (row % 2 == 0).then_some("even")).collect::<StringArray>());
        let more = levels.clone();
        let batch = RecordBatch::try_from_iter([
            ("more", more),
            ("station", stations),
            ("note", notes),
            ("level", levels),
        ]);
        let batch = batch.unwrap();
        let properties = WriterProperties::builder()
            .set_compression(codec)
            .set_max_row_group_row_count(Some(1000))
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    #[test]
    fn parquet_is_read_as_the_type_of_the_stream() {
        for codec in [Codec::SNAPPY, Codec::ZSTD(ZstdLevel::default()), Codec::UNCOMPRESSED] {
            let files = [("a.parquet", parquet(2500, codec))];
            let mut rows = rows_of(FileOptions::<Reading>::parquet(), &files, 2500);
            rows.sort_by_key(|row| row.level);
            for (row, is) in rows.iter().enumerate() {
                let note = (row % 2 == 0).then_some("even");
                assert_eq!(*is, reading(&format!("s{row}"), row as i64, note), "{codec:?}");
            }
        }
    }

    #[test]
    fn what_is_no_parquet_or_other_rows_ends_the_job() {
        let text = refusal(FileOptions::<Reading>::parquet(), "a.parquet", b"level,station\n1,Kiel\n");
        assert!(text.contains("is no Parquet that can be read"), "{text}");
        let text =
            refusal(FileOptions::<(bool, Reading)>::parquet(), "a.parquet", &parquet(3, Codec::SNAPPY));
        assert!(text.contains("rows 1 to 3 do not fit"), "{text}");
        assert!(text.contains("its columns are more, station, note, level"), "{text}");
    }
}

#[test]
fn a_bad_record_ends_the_job_with_its_file_and_line() {
    for (text, expected) in [
        (refusal(FileOptions::text(), "a.txt", b"good\n\xff\xfe\n"), "a.txt, line 2: is not UTF-8"),
        (refusal(FileOptions::text(), "a.gz", &gzip(b"a\nb\nc\n")[..20]), "can't be unpacked or read"),
        (refusal(FileOptions::text(), "a.zst", b"no zstd"), "can't be unpacked or read"),
        (
            refusal(FileOptions::binary_records(4).unwrap(), "a", b"12345"),
            "record 2 has 1 bytes instead of 4",
        ),
        (
            refusal(
                FileOptions::<Reading>::json_lines(),
                "a",
                b"{\"station\":\"x\",\"level\":1}\n{\"station\":7}\n",
            ),
            "line 2: invalid type: integer `7`, expected a string",
        ),
        (
            refusal(FileOptions::<Reading>::csv(), "a", b"station,level,note\nx,1,\ny,high,\n"),
            "line 3: field 1: invalid digit found in string",
        ),
    ] {
        assert!(text.contains(expected), "{text}: not {expected}");
    }
}

#[test]
fn a_record_of_more_than_16_mib_ends_the_job_with_its_file_its_place_and_what_to_do() {
    let most = 16 * 1024 * 1024;
    let longest = [b"first\n".to_vec(), vec![b'x'; most], b"\nlast".to_vec()].concat();
    let rows = rows_of(FileOptions::text(), &[("a", longest)], 3);
    assert_eq!(rows.iter().map(String::len).collect::<Vec<_>>(), [5, 4, most]);

    let long = [b"first\n".to_vec(), vec![b'x'; most + 1], b"\nlast".to_vec()].concat();
    let open_quote = [b"station,level,note\nKiel,3,\"".to_vec(), vec![b'\n'; 2 * most]].concat();
    for (text, place) in [
        (refusal(FileOptions::text(), "a.txt", &long), "a.txt, line 2: what begins at its byte 6 has"),
        (refusal(FileOptions::text(), "a.gz", &gzip(&long)), "a.gz, line 2: what begins at its byte 6 has"),
        (
            refusal(FileOptions::<Reading>::csv(), "a.csv", &open_quote),
            "a.csv, line 2: what begins at its byte 19 has",
        ),
    ] {
        assert!(text.contains(&format!("{place} more than {most} bytes")), "{text}: not {place}");
        assert!(text.contains("read such files by a FileFormat of your own"), "{text}");
    }
}

#[test]
fn files_below_and_those_that_match_are_taken_and_no_others() {
    let folder = folder();
    fs::create_dir_all(folder.path.join("day=1/deep")).unwrap();
    fs::create_dir_all(folder.path.join("_temporary")).unwrap();
    for name in [
        "a.txt",
        "b.csv",
        "day=1/c.txt",
        "day=1/deep/d.txt",
        "_temporary/e.txt",
        ".f.txt",
        "g.txt.tmp",
        "h.txt",
    ] {
        put(&folder.path, name, name);
    }
    let options = FileOptions::text().depth(2).glob("*.txt").unwrap().filter(|file| file.path != "h.txt");
    let mut job = Job::start(folder.url(), quick(options), None, &MemoryOutput::new()).unwrap();
    job.until(2).unwrap();
    put(&folder.path, "last.txt", "last");
    job.until(3).unwrap();
    let mut rows = job.output.rows();
    rows.sort();
    assert_eq!(rows, ["a.txt", "day=1/c.txt", "last"]);
    job.stop();
}

#[test]
fn each_file_is_taken_once_over_a_stop_and_a_kill() {
    let (folder, storage, output) = (folder(), memory(), MemoryOutput::new());
    let mut expected = 0;
    for (round, how) in [Stop::Gracefully, Stop::Now, Stop::Now, Stop::Gracefully].into_iter().enumerate() {
        for number in 0..20 {
            put(&folder.path, &format!("{round}-{number}"), format!("{round} {number}\n"));
        }
        expected += 20;
        let options = quick(FileOptions::text()).max_files_per_batch(3);
        let mut job = Job::start(folder.url(), options, Some(storage.clone()), &output).unwrap();
        job.until(expected).unwrap();
        job.test.ssc.stop(how).unwrap();
    }
    let counts = counted(&output);
    assert_eq!((counts.len(), counts.values().max()), (expected, Some(&1)));
}

#[test]
fn a_ledger_that_is_summed_up_again_and_again_says_the_same() {
    let (folder, storage, output) = (folder(), memory(), MemoryOutput::new());
    for number in 0..300 {
        put(&folder.path, &number.to_string(), format!("{number}\n"));
    }
    let options = || quick(FileOptions::text()).max_files_per_batch(1).name("one by one");
    let mut job = Job::start(folder.url(), options(), Some(storage.clone()), &output).unwrap();
    job.until(300).unwrap();
    // Until it is summed up for the second time, which removes what the first summed up.
    let objects = || storage.list("inputs/one=20by=20one/ledger").unwrap();
    let snapshots = || objects().iter().filter(|object| object.path.ends_with("-snapshot.json")).count();
    job.until_it(|_| snapshots() > 0).unwrap();
    job.test.ssc.stop(Stop::Now).unwrap();
    drop(job);
    put(&folder.path, "last", "last\n");
    let mut job = Job::start(folder.url(), options(), Some(storage.clone()), &output).unwrap();
    job.until(301).unwrap();
    job.stop();
    let counts = counted(&output);
    assert_eq!((counts.len(), counts.values().max()), (301, Some(&1)));
}

#[test]
fn new_files_only_leaves_out_what_is_there_at_the_first_start_and_nothing_later() {
    let (folder, storage, output) = (folder(), memory(), MemoryOutput::new());
    put(&folder.path, "old", "old\n");
    let options = || quick(FileOptions::text()).new_files_only(true);
    let mut job = Job::start(folder.url(), options(), Some(storage.clone()), &output).unwrap();
    put(&folder.path, "first", "first\n");
    // Moved in, with a time of long ago.
    let moved = folder.path.with_file_name("moved");
    fs::write(&moved, "moved\n").unwrap();
    File::options().write(true).open(&moved).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::rename(&moved, folder.path.join("moved")).unwrap();
    job.until(2).unwrap();
    job.test.ssc.stop(Stop::Now).unwrap();
    drop(job);
    put(&folder.path, "while it was down", "while it was down\n");
    let mut job = Job::start(folder.url(), options(), Some(storage), &output).unwrap();
    job.until(3).unwrap();
    job.stop();
    assert_eq!(counted(&output).into_keys().collect::<Vec<_>>(), ["first", "moved", "while it was down"]);
}

#[test]
fn a_file_in_the_place_of_a_taken_one_is_taken_and_one_that_grew_is_not() {
    let (folder, storage, output) = (folder(), memory(), MemoryOutput::new());
    put(&folder.path, "replaced", "old\n");
    put(&folder.path, "grown", "as it was\n");
    let mut job = Job::start(folder.url(), quick(FileOptions::text()), Some(storage), &output).unwrap();
    job.until(2).unwrap();
    File::options().append(true).open(folder.path.join("grown")).unwrap().write_all(b"more\n").unwrap();
    put(&folder.path, "replaced", "new\n");
    job.until(3).unwrap();
    put(&folder.path, "last", "last\n");
    job.until(4).unwrap();
    job.stop();
    assert_eq!(counted(&output).into_keys().collect::<Vec<_>>(), ["as it was", "last", "new", "old"]);
}

/// A batch that was planned and not run, after whose end `harm` is done to its file.
fn harmed_before_it_is_run(on_missing: OnMissing, harm: impl FnOnce(&Path)) -> Result<Vec<String>, String> {
    let (folder, output) = (folder(), MemoryOutput::new());
    put(&folder.path, "harmed", "harmed\n");
    let storage = memory();
    let options = || quick(FileOptions::text()).on_missing(on_missing);
    // The first run plans the batch and can't commit it: the file is no text then.
    let bad = folder.path.join("harmed");
    let time = fs::metadata(&bad).unwrap().modified().unwrap();
    fs::write(&bad, b"\xffarmed\n").unwrap();
    File::options().write(true).open(&bad).unwrap().set_modified(time).unwrap();
    let mut job = Job::start(folder.url(), options(), Some(storage.clone()), &output).unwrap();
    let error = job.until(1).unwrap_err().to_string();
    assert!(error.contains("is not UTF-8"), "{error}");
    drop(job);
    harm(&bad);
    put(&folder.path, "other", "other\n");
    let mut job = Job::start(folder.url(), options(), Some(storage), &output).map_err(|e| e.to_string())?;
    job.until(1).map_err(|e| e.to_string())?;
    job.stop();
    Ok(output.rows())
}

#[test]
fn a_file_that_is_deleted_or_changed_before_its_batch_is_run_ends_the_job_or_is_skipped() {
    type Harm = fn(&Path);
    let harms: [(Harm, &str); 3] = [
        (|file| fs::remove_file(file).unwrap(), "was deleted"),
        (|file| fs::write(file, "harmed and longer\n").unwrap(), "was written to: it had 7 bytes and has 18"),
        (|file| put(file.parent().unwrap(), "harmed", "harmed\n"), "was replaced by another file"),
    ];
    for (harm, expected) in harms {
        let error = harmed_before_it_is_run(OnMissing::Fail, harm).unwrap_err();
        assert!(error.contains(&format!("incoming/harmed {expected}")), "{error}");
        assert!(error.contains("on_missing(OnMissing::Skip)"), "{error}");
        let rows = harmed_before_it_is_run(OnMissing::Skip, harm).unwrap();
        // What took its place is a file of its own.
        let may_be_there = |row: &String| row == "other" || row == "harmed" && expected.contains("replaced");
        assert!(!rows.is_empty() && rows.iter().all(may_be_there), "{rows:?}");
    }
}

#[test]
fn a_torn_ledger_is_made_up_for_by_the_newest_plan_and_else_refused() {
    let (folder, storage, output) = (folder(), memory(), MemoryOutput::new());
    let start = || Job::start(folder.url(), quick(FileOptions::text()), Some(storage.clone()), &output);
    let tear = || {
        let newest = storage.list("inputs").unwrap().pop().unwrap().path;
        let half = storage.get(&newest).unwrap().unwrap();
        storage.put(&newest, half[..half.len() / 2].to_vec()).unwrap();
        newest
    };
    put(&folder.path, "a", "a\n");
    let mut job = start().unwrap();
    job.until(1).unwrap();
    // The batch that took the file is the newest.
    job.test.ssc.stop(Stop::Now).unwrap();
    drop(job);
    let plan_of_a = output.batches().into_keys().max().unwrap();
    tear();
    let mut job = start().unwrap();
    put(&folder.path, "b", "b\n");
    job.until(2).unwrap();
    // Empty batches follow, so that the newest plan no longer has the file.
    while job.test.next_batch().unwrap().records > 0 {}
    job.test.ssc.stop(Stop::Now).unwrap();
    drop(job);
    assert_eq!(counted(&output), BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)]));
    assert!(output.batches().into_keys().max().unwrap() > plan_of_a);
    let newest = tear();
    let error = start().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLost);
    assert!(error.to_string().contains(&newest), "{error}");
}

#[test]
fn without_a_checkpoint_directory_the_guarantee_says_what_a_restart_does() {
    use tidegate_core::Source;
    let source = tidegate_files::FileSource::new("/nowhere", FileOptions::text()).unwrap();
    let text = source.guarantee().to_string();
    assert!(text.contains("without a checkpoint directory a start takes the files again"), "{text}");
    assert_eq!(source.describe(), "files of /nowhere: lines of text");
}

#[test]
fn a_folder_that_is_not_there_keeps_the_job_from_starting_and_one_that_goes_away_does_not_end_it() {
    let (folder, storage, output) = (folder(), memory(), MemoryOutput::new());
    let start = || Job::start(folder.url(), quick(FileOptions::text()), Some(storage.clone()), &output);
    let away = folder.path.with_file_name("away");
    fs::rename(&folder.path, &away).unwrap();
    let error = start().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("incoming: can't be listed; make it"), "{error}");
    fs::rename(&away, &folder.path).unwrap();
    put(&folder.path, "a", "a\n");
    let mut job = start().unwrap();
    job.until(1).unwrap();
    fs::rename(&folder.path, &away).unwrap();
    job.test.next_batch().unwrap();
    fs::rename(&away, &folder.path).unwrap();
    put(&folder.path, "b", "b\n");
    job.until(2).unwrap();
    job.stop();
    assert_eq!(counted(&output), BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)]));
}
