//! SequenceFiles written and read back; their exact bytes; and what becomes of damaged ones.

use super::*;
use crate::writable::Writable;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Debug;
use tidegate_core::{ErrorKind, Result};

const SYNC: &[u8; 16] = b"0123456789abcdef";

fn all_compressions() -> Vec<Compression> {
    let codecs = [Codec::Default, Codec::Gzip];
    let packed = codecs.into_iter().flat_map(|codec| [Compression::Record(codec), Compression::Block(codec)]);
    [Compression::None].into_iter().chain(packed).collect()
}

fn header<K: Writable, V: Writable>(compression: Compression) -> Header {
    let metadata = [("b".to_owned(), "ä".to_owned()), ("a".to_owned(), String::new())].into();
    Header { key_class: K::CLASS.to_owned(), value_class: V::CLASS.to_owned(), compression, metadata }
}

fn written<K: Writable, V: Writable>(compression: Compression, pairs: &[(K, V)]) -> Vec<u8> {
    let mut file = SequenceWriter::new(&header::<K, V>(compression), *SYNC);
    pairs.iter().for_each(|(key, value)| file.append(key, value).unwrap());
    file.finish()
}

fn read<K: Writable, V: Writable>(bytes: &[u8]) -> Result<Vec<(K, V)>> {
    SequenceReader::new("a file", bytes)?.record_bytes_max(10_000_000).records()?.collect()
}

fn comes_back<K: Writable + PartialEq + Debug, V: Writable + PartialEq + Debug>(pairs: &[(K, V)]) {
    for compression in all_compressions() {
        let bytes = written(compression, pairs);
        let reader = SequenceReader::new("a file", bytes.as_slice()).unwrap();
        assert_eq!(*reader.header(), header::<K, V>(compression));
        assert!(read::<K, V>(&bytes).unwrap() == pairs, "{compression:?}");
    }
}

#[test]
fn pairs_of_all_types_come_back() {
    comes_back::<String, i64>(&[]);
    comes_back(&[("ebb".to_owned(), 2i64), (String::new(), i64::MIN), ("ä".to_owned(), 0)]);
    comes_back(&[(1i32, 1.5f64), (-1, f64::INFINITY)]);
    comes_back(&[(true, 0.5f32), (false, -0.0)]);
    comes_back(&[((), vec![0u8, 255]), ((), Vec::new())]);
    comes_back(&[(1i8, 2i16), (-1, i16::MIN)]);
    comes_back(&[((), ()), ((), ())]);
}

#[test]
fn files_of_many_records_have_markers_and_blocks_and_come_back() {
    let pairs: Vec<(String, i64)> =
        (0..40_000).map(|n| (format!("a key that is long, {}", n % 1_000), n)).collect();
    comes_back(&pairs);
    let plain = written(Compression::None, &pairs);
    let marks = plain.windows(20).filter(|bytes| bytes[..4] == [255; 4] && bytes[4..] == *SYNC).count();
    // Behind the first 100 KiB, and so on.
    assert_eq!(marks, plain.len() / (100 * 1024));
    let blocks = written(Compression::Block(Codec::Default), &pairs);
    let marks = blocks.windows(20).filter(|bytes| bytes[..4] == [255; 4] && bytes[4..] == *SYNC).count();
    assert_eq!(marks, 2, "some 1.3 MB of records are two blocks");
    assert!(blocks.len() * 5 < plain.len());
}

#[test]
fn a_file_that_is_taken_in_pieces_is_the_same() {
    let pairs: Vec<(String, i64)> =
        (0..20_000).map(|n| (format!("key {}", n % 1_000).repeat(9), n)).collect();
    for compression in all_compressions() {
        let mut file = SequenceWriter::new(&header::<String, i64>(compression), *SYNC);
        let mut pieces = Vec::new();
        for (place, (key, value)) in pairs.iter().enumerate() {
            file.append(key, value).unwrap();
            if place % 700 == 0 {
                pieces.extend(file.take());
            }
        }
        pieces.extend(file.finish());
        assert!(pieces == written(compression, &pairs), "{compression:?}");
    }
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let mut expected = b"SEQ\x06".to_vec();
    expected.extend(b"\x19org.apache.hadoop.io.Text\x21org.apache.hadoop.io.LongWritable\x00\x00");
    expected.extend([0, 0, 0, 2, 1, b'a', 0, 1, b'b', 2, 0xc3, 0xa4]);
    expected.extend(SYNC);
    expected.extend([0, 0, 0, 12, 0, 0, 0, 4, 3, b'e', b'b', b'b', 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(written(Compression::None, &[("ebb".to_owned(), 2i64)]), expected);

    // A zlib stream of nothing.
    let nothing = [0x78, 0x9c, 3, 0, 0, 0, 0, 1];
    let mut expected = b"SEQ\x06".to_vec();
    expected.extend(b"\x21org.apache.hadoop.io.NullWritable\x21org.apache.hadoop.io.NullWritable\x01\x00");
    expected.extend(b"\x2aorg.apache.hadoop.io.compress.DefaultCodec");
    expected.extend([0, 0, 0, 2, 1, b'a', 0, 1, b'b', 2, 0xc3, 0xa4]);
    expected.extend(SYNC);
    let head = expected.len();
    expected.extend([0, 0, 0, 8, 0, 0, 0, 0]);
    expected.extend(nothing);
    assert_eq!(written(Compression::Record(Codec::Default), &[((), ())]), expected);

    expected.truncate(head);
    let last = expected.iter().rposition(|byte| *byte == 1).unwrap();
    let flags = expected.windows(2).position(|bytes| bytes == [1, 0]).unwrap();
    assert!(flags < last);
    expected[flags + 1] = 1;
    expected.extend([255; 4]);
    expected.extend(SYNC);
    expected.push(1);
    let block = written(Compression::Block(Codec::Default), &[((), ())]);
    assert_eq!(block[..expected.len()], expected);
    // Lengths of keys (one 0), keys, lengths of values, values; each behind its own length.
    let parts = &block[expected.len()..];
    let lengths = usize::from(parts[0]);
    assert_eq!(parts[1 + lengths..][..9], [&[8][..], &nothing].concat());
    assert_eq!(parts.len(), 2 * (1 + lengths) + 2 * 9);
}

#[test]
fn a_file_of_other_types_or_another_kind_is_refused_by_name() {
    let bytes = written(Compression::None, &[(1i32, 2i64)]);
    let error = read::<i32, i32>(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(
        error.to_string().contains("a file: its values are \"org.apache.hadoop.io.LongWritable\""),
        "{error}"
    );

    for (change, expected) in [
        (
            &(|bytes: &mut Vec<u8>| bytes[0] = b'X') as &dyn Fn(&mut Vec<u8>),
            "byte 0: it does not begin with \"SEQ\"",
        ),
        (&|bytes| bytes[3] = 5, "is a SequenceFile of version 5"),
        (&|bytes| bytes.truncate(50), "byte 50: it ends"),
        (&|bytes| bytes[4] = 0x88, "class of the keys has no length that can be"),
        (&|bytes| bytes.push(0), "it ends 3 bytes early"),
        (&|bytes| bytes.extend([255, 255, 255, 254]), "a record is -2"),
        (&|bytes| bytes.extend([127, 255, 255, 255]), "a record is 2147483647, where at most 10000000"),
        (&|bytes| bytes.extend([0, 0, 0, 4, 0, 0, 0, 5]), "a key of 5 bytes in a record of 4"),
        (&|bytes| bytes.extend([255; 20]), "another sync marker than in the header"),
        (
            &|bytes| bytes.extend([0, 0, 0, 13, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9]),
            "1 bytes are left behind",
        ),
    ] {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let error = read::<i32, i64>(&bytes).unwrap_err();
        assert!(error.to_string().starts_with("a file: ") && error.to_string().contains(expected), "{error}");
    }

    let mut snappy = written(Compression::Record(Codec::Default), &[(1i32, 2i64)]);
    let at = snappy.windows(12).position(|bytes| bytes == b"DefaultCodec").unwrap();
    snappy[at..at + 12].copy_from_slice(b"Snappy_Codec");
    let error = read::<i32, i64>(&snappy).unwrap_err();
    assert!(error.to_string().contains("Snappy_Codec\", which can't be read here"), "{error}");
}

#[test]
fn what_expands_beyond_the_limit_is_refused() {
    for compression in all_compressions() {
        let bytes = written(compression, &[((), vec![0u8; 1_000_000])]);
        let reader = SequenceReader::new("a file", bytes.as_slice()).unwrap().record_bytes_max(500_000);
        let error = reader.records::<(), Vec<u8>>().unwrap().next().unwrap().unwrap_err();
        let text = error.to_string();
        // Of a block the lengths, which are before the values, count too.
        assert!(
            text.contains("500000") || text.contains("more than 499995 bytes"),
            "{compression:?}: {text}"
        );
    }
}

#[test]
fn an_iterator_ends_after_its_error() {
    let mut bytes = written(Compression::None, &[(1i32, 2i64), (3, 4)]);
    bytes.pop();
    let mut records = SequenceReader::new("a file", bytes.as_slice()).unwrap().records::<i32, i64>().unwrap();
    assert_eq!(records.next().unwrap().unwrap(), (1, 2));
    assert!(records.next().unwrap().is_err());
    assert!(records.next().is_none());
}

/// Reads to the end or an error, whatever the bytes are.
fn must_not_panic(bytes: &[u8]) {
    let Ok(mut reader) =
        SequenceReader::new("a file", bytes).map(|reader| reader.record_bytes_max(1_000_000))
    else {
        return;
    };
    let mut records = 0;
    while let Ok(Some(_)) = reader.next_bytes() {
        records += 1;
        assert!(records <= 1_000_000, "more records than bytes can be");
    }
    let _ = read::<String, i64>(bytes);
}

proptest! {
    #[test]
    fn any_pairs_come_back(pairs: Vec<(String, Vec<u8>)>) {
        for compression in all_compressions() {
            prop_assert_eq!(&read::<String, Vec<u8>>(&written(compression, &pairs)).unwrap(), &pairs);
        }
    }

    #[test]
    fn any_bytes_behind_a_header_are_records_or_an_error(bytes: Vec<u8>, which in 0usize..5) {
        let mut file = written::<String, i64>(all_compressions()[which], &[]);
        file.extend(bytes);
        must_not_panic(&file);
    }

    #[test]
    fn any_changed_byte_gives_records_or_an_error(at: prop::sample::Index, to: u8, which in 0usize..5, cut: prop::sample::Index) {
        let pairs: Vec<_> = (0..50).map(|n| (format!("key {n}"), n)).collect();
        let mut file = written::<String, i64>(all_compressions()[which], &pairs);
        let at = at.index(file.len());
        file[at] = to;
        must_not_panic(&file);
        must_not_panic(&file[..cut.index(file.len())]);
    }

    #[test]
    fn any_header_is_one_or_an_error(bytes: Vec<u8>) {
        must_not_panic(&[b"SEQ\x06", bytes.as_slice()].concat());
        must_not_panic(&bytes);
    }
}

#[test]
fn metadata_comes_back_in_the_order_of_its_keys() {
    let metadata: BTreeMap<String, String> = (0..200).map(|n| (format!("key {n}"), "x".repeat(n))).collect();
    let header = Header { metadata, ..header::<(), ()>(Compression::None) };
    let bytes = SequenceWriter::new(&header, *SYNC).finish();
    assert_eq!(*SequenceReader::new("a file", bytes.as_slice()).unwrap().header(), header);
}
