//! Object files written and read back, by the same type and by a later one.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use tidegate::testkit::batch_at;
use tidegate_core::ErrorKind;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Calm,
    Storm { force: u8, gusts: Vec<f32> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    station: String,
    level: Option<f64>,
    kind: Kind,
    tags: BTreeMap<String, u64>,
    big: i128,
}

fn reading(n: u64) -> Reading {
    let kind = if n.is_multiple_of(2) { Kind::Calm } else { Kind::Storm { force: 9, gusts: vec![1.5, 2.5] } };
    Reading {
        station: format!("station {n}"),
        level: (!n.is_multiple_of(3)).then_some(n as f64 / 3.0),
        kind,
        tags: [("n".to_owned(), n)].into(),
        big: -(i128::from(n) << 70),
    }
}

fn written<T: Serialize + DeserializeOwned + 'static>(
    format: ObjectFormat,
    objects: impl IntoIterator<Item = T>,
) -> Result<Vec<u8>> {
    let mut part = format.part(&batch_at(1000), PartitionId(2))?;
    objects.into_iter().try_for_each(|object| part.write(object))?;
    part.finish()
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>> {
    ObjectReader::new("a file", bytes)?.collect()
}

#[test]
fn objects_come_back_ten_in_a_record() {
    for compression in [Compression::None, Compression::Block(crate::Codec::Gzip)] {
        for count in [0, 1, 9, 10, 11, 35] {
            let objects: Vec<Reading> = (0..count).map(reading).collect();
            let bytes = written(ObjectFormat::compressed(compression), objects.clone()).unwrap();
            assert_eq!(read::<Reading>(&bytes).unwrap(), objects);
            let records =
                SequenceReader::new("a file", bytes.as_slice()).unwrap().records::<(), Vec<u8>>().unwrap();
            assert_eq!(records.count() as u64, count.div_ceil(10));
        }
    }
}

#[test]
fn a_part_has_the_same_bytes_each_time() {
    let once = || written(ObjectFormat::default(), (0..35).map(reading)).unwrap();
    assert_eq!(once(), once());
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let bytes =
        written(ObjectFormat::default(), [("ebb".to_owned(), 2u8), ("flow".to_owned(), 200)]).unwrap();
    let reader = SequenceReader::new("a file", bytes.as_slice()).unwrap();
    assert_eq!(reader.header().metadata["tidegate.format"], "objects 1");
    assert!(reader.header().metadata["tidegate.type"].contains("String, u8"));
    let records: Vec<_> = reader.records::<(), Vec<u8>>().unwrap().collect::<Result<_>>().unwrap();
    let objects = b"\x92\x92\xa3ebb\x02\x92\xa4flow\xcc\xc8";
    assert_eq!(records, [((), [MAGIC.as_slice(), objects].concat())]);
}

#[test]
fn a_later_type_reads_by_the_names_of_fields() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Later {
        #[serde(default)]
        added: u32,
        #[serde(alias = "station")]
        place: String,
    }
    let bytes = written(ObjectFormat::default(), [reading(1)]).unwrap();
    assert_eq!(read::<Later>(&bytes).unwrap(), [Later { added: 0, place: "station 1".to_owned() }]);

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it can't be read")]
    struct Other {
        missing: u32,
    }
    let error = read::<Other>(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    for expected in ["a file: record 1", "written as `", "Reading`", "Other`", "serde(default)", "missing"] {
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn some_of_nothing_is_refused_and_not_lost() {
    for refused in [
        written(ObjectFormat::default(), [Some(None::<u8>)]),
        written(ObjectFormat::default(), [Some(())]),
        written(ObjectFormat::default(), [vec![None, Some(Some(1u8)), Some(None)]]),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UserCode);
        assert!(error.to_string().contains("`Some` of nothing"), "{error}");
    }
    type Map = HashMap<u32, Option<Option<u32>>>;
    let many: Map = (0..100).map(|n| (n, (n % 2 == 0).then_some(Some(n)))).collect();
    let bytes = written(ObjectFormat::default(), [many.clone()]).unwrap();
    assert_eq!(read::<Map>(&bytes).unwrap(), [many]);
}

#[test]
fn what_has_no_objects_of_ours_is_refused() {
    let header = |metadata: &[(&str, &str)]| Header {
        key_class: <()>::CLASS.to_owned(),
        value_class: Vec::<u8>::CLASS.to_owned(),
        compression: Compression::None,
        metadata: metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    let file = |metadata: &[(&str, &str)], value: &[u8]| {
        let mut file = SequenceWriter::new(&header(metadata), [7; 16]);
        file.append(&(), &value.to_vec()).unwrap();
        file.finish()
    };
    let ours = &[("tidegate.format", "objects 1")];
    for (bytes, expected) in [
        (file(&[], b"\xac\xed"), "has no objects of Tidegate"),
        (file(&[("tidegate.format", "objects 2")], b""), "a later version wrote it"),
        (file(ours, b"\xac\xed\x00\x05"), "record 1 has no objects"),
        (file(ours, b"TGo\x01\x91\x01\x01"), "record 1 has more than its objects"),
        (file(ours, b"TGo\x01\xdd\xff\xff\xff\xff"), "can't be read as `u8`"),
    ] {
        let error = read::<u8>(&bytes).unwrap_err();
        assert!(error.to_string().starts_with("a file: ") && error.to_string().contains(expected), "{error}");
    }
}

proptest! {
    #[test]
    fn any_objects_come_back(objects: Vec<(String, Option<i64>, Vec<u8>, bool)>) {
        prop_assert_eq!(read::<(String, Option<i64>, Vec<u8>, bool)>(&written(ObjectFormat::default(), objects.clone()).unwrap()).unwrap(), objects);
    }

    #[test]
    fn any_bytes_are_objects_or_an_error(value: Vec<u8>) {
        let header = Header {
            key_class: <()>::CLASS.to_owned(),
            value_class: Vec::<u8>::CLASS.to_owned(),
            compression: Compression::None,
            metadata: [("tidegate.format".to_owned(), "objects 1".to_owned())].into(),
        };
        let mut file = SequenceWriter::new(&header, [7; 16]);
        file.append(&(), &[MAGIC.as_slice(), &value].concat()).unwrap();
        let _ = read::<Reading>(&file.finish());
    }
}
