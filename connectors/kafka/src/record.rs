//! A record as librdkafka fetched it, handed on without a copy.
#![allow(unsafe_code)]

use crate::native::PartitionQueue;
use rdkafka::bindings as sys;
use rdkafka::types::RDKafkaMessage;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use tidegate::{Origin, Payload};
use tidegate_core::{Error, Result};

/// One record of a topic.
///
/// Its bytes lie where librdkafka fetched them: nothing is copied, and the whole response they came in (up to
/// `fetch.message.max.bytes`) stays in memory as long as one record of it. To keep single records for long, keep a
/// clone: cloning copies the bytes out once, and clones of the clone share them.
pub struct KafkaRecord(Held);

enum Held {
    Fetched(Fetched),
    Owned(Arc<OwnedRecord>),
}

/// A message that belongs to us.
struct Fetched {
    message: NonNull<RDKafkaMessage>,
    /// Keeps partition, topic and client alive: librdkafka wants messages destroyed before them.
    from: Arc<PartitionQueue>,
}

// SAFETY: the message belongs to this value alone and may be read and destroyed on any thread (its buffer is counted
// atomically). Not Sync: reading headers parses them in place.
unsafe impl Send for Fetched {}

impl Drop for Fetched {
    fn drop(&mut self) {
        // SAFETY: made in `KafkaRecord::fetched`, destroyed once, while `from` keeps the client alive.
        unsafe { sys::rd_kafka_message_destroy(self.message.as_ptr()) }
    }
}

impl Fetched {
    fn message(&self) -> &RDKafkaMessage {
        // SAFETY: valid until `drop`.
        unsafe { self.message.as_ref() }
    }
}

/// A record of its own, without a client: what a test gives to a function that takes [`KafkaRecord`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The topic.
    pub topic: String,
    /// Number of the partition within the topic.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: u64,
    /// When it was made or appended, milliseconds since 1970 UTC.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The payload. `None` is a tombstone, not an empty payload.
    pub value: Option<Vec<u8>>,
    /// Headers, in order; names may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl From<OwnedRecord> for KafkaRecord {
    fn from(record: OwnedRecord) -> Self {
        KafkaRecord(Held::Owned(Arc::new(record)))
    }
}

impl KafkaRecord {
    /// A record that holds `value` alone, for tests.
    pub fn of_value(value: impl Into<Vec<u8>>) -> Self {
        OwnedRecord { value: Some(value.into()), ..OwnedRecord::default() }.into()
    }

    /// # Safety
    /// `message` came out of the queue `from`, carries no error, and nobody else has it.
    pub(crate) unsafe fn fetched(message: NonNull<RDKafkaMessage>, from: Arc<PartitionQueue>) -> Self {
        KafkaRecord(Held::Fetched(Fetched { message, from }))
    }

    /// The payload; `None` for a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        match &self.0 {
            // SAFETY: librdkafka's payload is `len` bytes that live as long as the message.
            Held::Fetched(it) => unsafe { bytes(it.message().payload, it.message().len) },
            Held::Owned(it) => it.value.as_deref(),
        }
    }

    /// The key; `None` when the record has none.
    pub fn key(&self) -> Option<&[u8]> {
        match &self.0 {
            // SAFETY: as the payload.
            Held::Fetched(it) => unsafe { bytes(it.message().key, it.message().key_len) },
            Held::Owned(it) => it.key.as_deref(),
        }
    }

    /// The payload as text; a tombstone gives the empty text. UTF-8 is checked at each call: call it once a record.
    ///
    /// # Errors
    /// The payload is not UTF-8: names topic, partition, offset and where the bad byte is.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(self.value().unwrap_or_default()).map_err(|error| {
            Error::user_code(format!(
                "record {} of {}-{} is not UTF-8: bad byte at position {} of its value; read it with `value()`",
                self.offset(),
                self.topic(),
                self.partition(),
                error.valid_up_to()
            ))
        })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        match &self.0 {
            Held::Fetched(it) => &it.from.name().topic,
            Held::Owned(it) => &it.topic,
        }
    }

    /// Number of the partition within the topic.
    pub fn partition(&self) -> i32 {
        match &self.0 {
            Held::Fetched(it) => it.from.name().partition,
            Held::Owned(it) => it.partition,
        }
    }

    /// Offset within the partition.
    pub fn offset(&self) -> u64 {
        match &self.0 {
            Held::Fetched(it) => {
                u64::try_from(it.message().offset).expect("a record's offset is not negative")
            }
            Held::Owned(it) => it.offset,
        }
    }

    /// When the record was made (or appended, as the topic is configured): milliseconds since 1970 UTC.
    pub fn timestamp_ms(&self) -> Option<i64> {
        match &self.0 {
            Held::Fetched(it) => {
                // SAFETY: the message is valid; a null place for the type is allowed.
                let time =
                    unsafe { sys::rd_kafka_message_timestamp(it.message.as_ptr(), std::ptr::null_mut()) };
                (time >= 0).then_some(time)
            }
            Held::Owned(it) => it.timestamp_ms,
        }
    }

    /// Headers, in order; names may repeat.
    pub fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        match &self.0 {
            Held::Fetched(it) => fetched_headers(it),
            Held::Owned(it) => {
                it.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
            }
        }
    }

    /// A copy that shares nothing with the client.
    pub fn to_owned_record(&self) -> OwnedRecord {
        OwnedRecord {
            topic: self.topic().to_owned(),
            partition: self.partition(),
            offset: self.offset(),
            timestamp_ms: self.timestamp_ms(),
            key: self.key().map(<[u8]>::to_vec),
            value: self.value().map(<[u8]>::to_vec),
            headers: self
                .headers()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}

impl Payload for KafkaRecord {
    /// The payload; a tombstone has no bytes, which is neither JSON nor CSV: filter tombstones out before.
    fn bytes(&self) -> &[u8] {
        self.value().unwrap_or_default()
    }

    fn origin(&self) -> Origin {
        Origin {
            source: Some(self.topic().to_owned()),
            partition: u32::try_from(self.partition()).ok(),
            offset: Some(self.offset()),
        }
    }
}

/// # Safety
/// `start` is null or `len` bytes that live as long as `'a`.
unsafe fn bytes<'a>(start: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by the contract above.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
}

fn fetched_headers(record: &Fetched) -> Vec<(&str, Option<&[u8]>)> {
    let mut found = Vec::new();
    let mut headers = std::ptr::null_mut();
    // SAFETY: the message is valid, and this value is not Sync: nobody else parses its headers now. Names end in NUL;
    // names and values live as long as the message.
    unsafe {
        let code = sys::rd_kafka_message_headers(record.message.as_ptr(), &mut headers);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return found;
        }
        loop {
            let (mut name, mut value, mut len) = (std::ptr::null(), std::ptr::null(), 0);
            let code = sys::rd_kafka_header_get_all(headers, found.len(), &mut name, &mut value, &mut len);
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return found;
            }
            // Kafka says that names are UTF-8; one that is not can't be asked for by name and shows as empty.
            let name = std::ffi::CStr::from_ptr(name).to_str().unwrap_or_default();
            found.push((name, bytes(value, len)));
        }
    }
}

impl Clone for KafkaRecord {
    /// Copies the bytes out of the client the first time; clones of clones share them.
    fn clone(&self) -> Self {
        match &self.0 {
            Held::Fetched(_) => self.to_owned_record().into(),
            Held::Owned(record) => KafkaRecord(Held::Owned(Arc::clone(record))),
        }
    }
}

impl PartialEq for KafkaRecord {
    fn eq(&self, other: &Self) -> bool {
        let place = |record: &Self| (record.offset(), record.partition(), record.timestamp_ms());
        place(self) == place(other)
            && self.topic() == other.topic()
            && self.key() == other.key()
            && self.value() == other.value()
            && self.headers() == other.headers()
    }
}

impl fmt::Debug for KafkaRecord {
    /// Where the record is and how long; never its bytes, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaRecord({}-{}@{}", self.topic(), self.partition(), self.offset())?;
        match self.value() {
            Some(value) => write!(f, ", {} bytes)", value.len()),
            None => f.write_str(", tombstone)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_byte_is_named_by_its_place() {
        let record: KafkaRecord = OwnedRecord {
            topic: "lines".into(),
            partition: 3,
            offset: 17,
            value: Some(b"ab\xffc".to_vec()),
            ..OwnedRecord::default()
        }
        .into();
        let error = record.text().unwrap_err().to_string();
        assert!(error.contains("record 17 of lines-3") && error.contains("position 2"), "{error}");
    }

    #[test]
    fn a_record_that_cannot_be_decoded_tells_topic_partition_and_offset() {
        let record =
            OwnedRecord { topic: "lines".into(), partition: 3, offset: 17, ..OwnedRecord::default() };
        let tombstone: KafkaRecord = record.clone().into();
        assert_eq!(
            (tombstone.bytes(), tombstone.origin().to_string().as_str()),
            (&b""[..], "record 17 of lines-3")
        );
        assert_eq!(KafkaRecord::from(OwnedRecord { value: Some(b"{}".to_vec()), ..record }).bytes(), b"{}");
    }

    #[test]
    fn a_tombstone_is_no_value_and_empty_text() {
        let record = KafkaRecord::from(OwnedRecord::default());
        assert_eq!((record.value(), record.text().unwrap()), (None, ""));
        assert_eq!(KafkaRecord::of_value("").value(), Some(&b""[..]));
    }

    #[test]
    fn a_record_may_change_threads_and_is_small() {
        fn send<T: Send + 'static>() {}
        send::<KafkaRecord>();
        assert!(std::mem::size_of::<KafkaRecord>() <= 16);
    }
}
