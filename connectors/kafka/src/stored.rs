//! A record as bytes: in a block of a receiver, and across a shuffle. Seven fields, in this order: topic, partition, offset,
//! time, key, value, headers.

use crate::record::{KafkaRecord, OwnedRecord};
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes as bytes, not as a sequence of numbers: copied at once.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for KafkaRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let headers = self.headers();
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.map(Bytes))).collect();
        let mut fields = serializer.serialize_struct("KafkaRecord", 7)?;
        fields.serialize_field("topic", self.topic())?;
        fields.serialize_field("partition", &self.partition())?;
        fields.serialize_field("offset", &self.offset())?;
        fields.serialize_field("timestamp_ms", &self.timestamp_ms())?;
        fields.serialize_field("key", &self.key().map(Bytes))?;
        fields.serialize_field("value", &self.value().map(Bytes))?;
        fields.serialize_field("headers", &headers)?;
        fields.end()
    }
}

struct ByteBuf(Vec<u8>);

impl<'de> Deserialize<'de> for ByteBuf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = ByteBuf;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<ByteBuf, E> {
                Ok(ByteBuf(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<ByteBuf, E> {
                Ok(ByteBuf(bytes))
            }

            /// Formats without bytes, such as JSON, have numbers.
            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<ByteBuf, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = numbers.next_element()? {
                    bytes.push(byte);
                }
                Ok(ByteBuf(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Read)
    }
}

#[derive(Deserialize)]
#[serde(rename = "KafkaRecord")]
struct Stored {
    topic: String,
    partition: i32,
    offset: u64,
    timestamp_ms: Option<i64>,
    key: Option<ByteBuf>,
    value: Option<ByteBuf>,
    headers: Vec<(String, Option<ByteBuf>)>,
}

impl<'de> Deserialize<'de> for KafkaRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { topic, partition, offset, timestamp_ms, key, value, headers } =
            Stored::deserialize(deserializer)?;
        let bytes = |bytes: Option<ByteBuf>| bytes.map(|bytes| bytes.0);
        Ok(KafkaRecord::from(OwnedRecord {
            topic,
            partition,
            offset,
            timestamp_ms,
            key: bytes(key),
            value: bytes(value),
            headers: headers.into_iter().map(|(name, value)| (name, bytes(value))).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_from_its_bytes() {
        let whole = OwnedRecord {
            topic: "lines".into(),
            partition: 3,
            offset: 1 << 40,
            timestamp_ms: Some(-5),
            key: Some(vec![0, 255]),
            value: Some(b"text".to_vec()),
            headers: vec![("a".into(), Some(vec![1])), ("a".into(), None)],
        };
        let tombstone = OwnedRecord { value: None, key: Some(Vec::new()), ..whole.clone() };
        for record in [whole, tombstone, OwnedRecord::default()].map(KafkaRecord::from) {
            let bytes = postcard::to_stdvec(&record).unwrap();
            assert_eq!(postcard::from_bytes::<KafkaRecord>(&bytes).unwrap(), record);
            let json = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<KafkaRecord>(&json).unwrap(), record);
        }
    }

    /// Blocks of an earlier version are read by later ones.
    #[test]
    fn the_bytes_of_a_record_stay_as_they_are() {
        let record = KafkaRecord::from(OwnedRecord {
            topic: "t".into(),
            partition: 1,
            offset: 300,
            timestamp_ms: Some(1),
            value: Some(b"xy".to_vec()),
            headers: vec![("h".into(), None)],
            key: None,
        });
        let bytes = [1, b't', 2, 0xAC, 2, 1, 2, 0, 1, 2, b'x', b'y', 1, 1, b'h', 0];
        assert_eq!(postcard::to_stdvec(&record).unwrap(), bytes);
    }
}
