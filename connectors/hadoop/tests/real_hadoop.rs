//! Hadoop's own Java reads what is written here, and what it writes is read here.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use tidegate::testkit::{MemoryInput, TestJob};
use tidegate::{BatchDirectories, Conf, Stop};
use tidegate_hadoop::{
    Codec, Compression, Header, SaveAsObjectFiles, SequenceFormat, SequenceReader, SequenceWriter, Writable,
};
use tidegate_servers::hadoop_sequence_files;

/// The value of a number; `SequenceFiles.java` makes the same.
trait Numbered: Writable + PartialEq + Debug {
    fn of(n: i32) -> Self;
    /// As Java prints it.
    fn printed(&self) -> String;
}

macro_rules! numbered {
    ($($type:ty: $of:expr, $printed:expr;)*) => {$(
        impl Numbered for $type {
            fn of(n: i32) -> Self {
                let of: fn(i32) -> $type = $of;
                of(n)
            }

            fn printed(&self) -> String {
                let printed: fn(&$type) -> String = $printed;
                printed(self)
            }
        }
    )*};
}

numbered! {
    String: |n| format!("text ä {n}"), Clone::clone;
    i64: |n| (i64::from(n) << 40) * if n % 2 == 0 { 1 } else { -1 }, ToString::to_string;
    i32: |n| n * -7, ToString::to_string;
    f64: |n| f64::from(n) * 0.5, |n| format!("{n:?}");
    f32: |n| n as f32 * -0.25, |n| format!("{n:?}");
    bool: |n| n % 3 == 0, ToString::to_string;
    i8: |n| -n as i8, ToString::to_string;
    i16: |n| (n * 300) as i16, ToString::to_string;
    Vec<u8>: |n| vec![n as u8; (n % 5) as usize], |bytes| {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    };
    (): |_| (), |()| "(null)".to_owned();
}

/// One file and what Java is to print of it.
struct Case {
    file: String,
    expected: Vec<String>,
}

fn case<K: Numbered, V: Numbered>(folder: &Path, compression: Compression, records: i32) -> Case {
    let header = Header {
        key_class: K::CLASS.to_owned(),
        value_class: V::CLASS.to_owned(),
        compression,
        metadata: [("made.by", "Tidegate"), ("ä", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    };
    let mut file = SequenceWriter::new(&header, *b"sixteen bytes it");
    let kind = match compression {
        Compression::None => "NONE",
        Compression::Record(_) => "RECORD",
        Compression::Block(_) => "BLOCK",
    };
    let (codec, codec_name) = match compression {
        Compression::None => (None, "null".to_owned()),
        Compression::Record(codec) | Compression::Block(codec) => (Some(codec), codec.class().to_owned()),
    };
    let mut expected =
        vec![format!("file {} {} {kind} {codec_name} {{made.by=Tidegate, ä=}}", K::CLASS, V::CLASS)];
    for n in 0..records {
        let (key, value) = (K::of(n), V::of(n));
        file.append(&key, &value).unwrap();
        expected.push(format!("{}\t{}", key.printed(), value.printed()));
    }
    expected.push(format!("splits {records}"));
    let short = |class: &str| class.rsplit('.').next().unwrap().to_owned();
    let name = format!("{kind}-{codec:?}-{}-{}-{records}", short(K::CLASS), short(V::CLASS));
    let path = folder.join(name);
    fs::write(&path, file.finish()).unwrap();
    Case { file: path.to_str().unwrap().to_owned(), expected }
}

#[test]
fn hadoop_reads_what_is_written_here() {
    let folder = tempfile::tempdir().unwrap();
    let packed = |codec| [Compression::Record(codec), Compression::Block(codec)];
    let mut cases = Vec::new();
    for compression in
        [Compression::None].into_iter().chain(packed(Codec::Default)).chain(packed(Codec::Gzip))
    {
        cases.push(case::<String, i64>(folder.path(), compression, 20_000));
        cases.push(case::<i32, f64>(folder.path(), compression, 100));
        cases.push(case::<bool, f32>(folder.path(), compression, 100));
        cases.push(case::<(), Vec<u8>>(folder.path(), compression, 100));
        cases.push(case::<i8, i16>(folder.path(), compression, 100));
        cases.push(case::<(), ()>(folder.path(), compression, 3));
        cases.push(case::<String, i64>(folder.path(), compression, 0));
    }
    let mut arguments = vec!["read"];
    arguments.extend(cases.iter().map(|case| case.file.as_str()));
    let printed = hadoop_sequence_files(&arguments).unwrap();
    let mut printed = printed.as_slice();
    for case in &cases {
        let (read, rest) = printed.split_at_checked(case.expected.len()).unwrap();
        for (line, (read, expected)) in read.iter().zip(&case.expected).enumerate() {
            // The order of metadata is that of Hadoop's bytes; an object's codec is printed with where it is in memory.
            let read = read.split_once('@').map_or(read.clone(), |(before, after)| {
                format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
            });
            assert_eq!(read, *expected, "{}, line {line}", case.file);
        }
        printed = rest;
    }
    assert_eq!(printed, [""; 0]);
}

fn is_read<K: Numbered, V: Numbered>(folder: &Path, name: &str, records: i32) {
    for compression in
        [Compression::None, Compression::Record(Codec::Default), Compression::Block(Codec::Default)]
    {
        let kind = match compression {
            Compression::None => "NONE",
            Compression::Record(_) => "RECORD",
            Compression::Block(_) => "BLOCK",
        };
        let path = folder.join(format!("{kind}-{name}"));
        let file = BufReader::new(File::open(&path).unwrap());
        let reader = SequenceReader::new(path.to_str().unwrap(), file).unwrap();
        assert_eq!(reader.header().compression, compression);
        let read: Vec<(K, V)> = reader.records().unwrap().collect::<tidegate::Result<_>>().unwrap();
        let expected: Vec<(K, V)> = (0..records).map(|n| (K::of(n), V::of(n))).collect();
        assert!(
            read == expected,
            "{}: {} records are not those that Hadoop wrote",
            path.display(),
            read.len()
        );
    }
}

#[test]
fn what_hadoop_writes_is_read_here() {
    let folder = tempfile::tempdir().unwrap();
    hadoop_sequence_files(&["write", folder.path().to_str().unwrap()]).unwrap();
    is_read::<String, i64>(folder.path(), "texts", 20_000);
    is_read::<i32, f64>(folder.path(), "numbers", 100);
    is_read::<bool, f32>(folder.path(), "flags", 100);
    is_read::<(), Vec<u8>>(folder.path(), "bytes", 100);
    is_read::<i8, i16>(folder.path(), "small", 100);
    is_read::<String, ()>(folder.path(), "empty", 0);
}

#[test]
fn hadoop_reads_what_a_job_saves() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("counts");
    let prefix = prefix.to_str().unwrap();
    let input = MemoryInput::new(2);
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
        let words = ssc.input_stream("words", input.clone())?;
        words.save_as_object_files(prefix, "objects")?;
        let format = SequenceFormat::compressed(Compression::Block(Codec::Default));
        words.map(|word: String| (word, 1i64)).save_as_files(BatchDirectories::local(prefix, "seq")?, format)
    })
    .unwrap();
    input.push(1, ["ebb".to_owned(), "flow".to_owned()]);
    let time = job.next_batch().unwrap().time().0;
    job.ssc.stop(Stop::Gracefully).unwrap();
    let part = |suffix: &str, number: u32| format!("{prefix}-{time}.{suffix}/part-{number:05}");
    let files = [part("seq", 0), part("seq", 1), part("objects", 1)];
    let [empty, full, objects] = files.each_ref().map(String::as_str);
    let printed = hadoop_sequence_files(&["read", empty, full, objects]).unwrap();
    assert_eq!(printed[1], "splits 0");
    assert_eq!(printed[3..6], ["ebb\t1", "flow\t1", "splits 2"]);
    assert!(printed[6].contains("tidegate.format=objects 1, tidegate.type="), "{}", printed[6]);
    assert!(printed[7].starts_with("(null)\t54 47 6f 01 92 a3 65 62 62"), "{}", printed[7]);
}
