//! A record on its way into Kafka, as the job's function makes it. Plain data: nothing here talks to Kafka.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A record to be written to a topic: a value, and if wanted a key, headers, a partition, a time.
///
/// Key and value lie in one piece of memory. Without a value the record is a tombstone: compaction removes its key.
///
/// ```
/// use tidegate_kafka::ProducerRecord;
///
/// let record = ProducerRecord::new().key("ebb").value("3");
/// assert_eq!((record.key_bytes(), record.value_bytes()), (Some(&b"ebb"[..]), Some(&b"3"[..])));
/// assert_eq!(ProducerRecord::new().key("ebb").value_bytes(), None);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProducerRecord {
    /// The key, then the value.
    bytes: Vec<u8>,
    key_len: Option<u32>,
    has_value: bool,
    rare: Option<Box<Rare>>,
}

/// What few records have.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Rare {
    topic: Option<String>,
    partition: Option<i32>,
    timestamp_ms: Option<i64>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl ProducerRecord {
    /// A record for the topic of the output, with neither key nor value yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A record for another topic than the output's. It must exist.
    pub fn to(topic: impl Into<String>) -> Self {
        let mut record = Self::default();
        record.rare().topic = Some(topic.into());
        record
    }

    /// Sets the key: records of one key go to one partition, in their order.
    ///
    /// # Panics
    /// When it is longer than 4 GiB.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        let (key, old) = (key.as_ref(), self.value_begins());
        if old == self.bytes.len() {
            self.bytes.truncate(0);
            self.bytes.extend_from_slice(key);
        } else {
            self.bytes.splice(..old, key.iter().copied());
        }
        self.key_len = Some(u32::try_from(key.len()).expect("a key of 4 GiB at most"));
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn value(self, value: impl AsRef<[u8]>) -> Self {
        self.value_with(|bytes| bytes.extend_from_slice(value.as_ref()))
    }

    /// Sets the value to what `write` appends: no buffer between.
    ///
    /// ```
    /// use std::io::Write;
    /// use tidegate_kafka::ProducerRecord;
    ///
    /// let record = ProducerRecord::new().key("ebb").value_with(|bytes| write!(bytes, "{}", 3).unwrap());
    /// assert_eq!(record.value_bytes(), Some(&b"3"[..]));
    /// ```
    ///
    /// # Panics
    /// When `write` removes what was in the buffer.
    #[must_use]
    pub fn value_with(mut self, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let begins = self.value_begins();
        self.bytes.truncate(begins);
        write(&mut self.bytes);
        assert!(self.bytes.len() >= begins, "a value is appended to the buffer");
        self.has_value = true;
        self
    }

    /// Adds a header; a name may occur more than once.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.rare().headers.push((name.into(), Some(value.as_ref().to_vec())));
        self
    }

    /// Sets the partition of the topic. Without it the key decides, as it does for Java's producer.
    ///
    /// Records of different keys in one partition may change places: what keeps its order is a key.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.rare().partition = Some(partition);
        self
    }

    /// Sets the record's time, milliseconds since 1970 UTC. Without it that is when it is sent, so another one when the batch
    /// is run again.
    #[must_use]
    pub fn timestamp_ms(mut self, time_ms: i64) -> Self {
        self.rare().timestamp_ms = Some(time_ms);
        self
    }

    /// The key.
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.key_len.map(|_| &self.bytes[..self.value_begins()])
    }

    /// The value; none in a tombstone.
    pub fn value_bytes(&self) -> Option<&[u8]> {
        self.has_value.then(|| &self.bytes[self.value_begins()..])
    }

    /// The topic, if it is not the output's.
    pub fn topic_name(&self) -> Option<&str> {
        self.rare.as_ref()?.topic.as_deref()
    }

    /// The partition, if it was set.
    pub fn partition_number(&self) -> Option<i32> {
        self.rare.as_ref()?.partition
    }

    pub(crate) fn time(&self) -> Option<i64> {
        self.rare.as_ref()?.timestamp_ms
    }

    pub(crate) fn headers(&self) -> &[(String, Option<Vec<u8>>)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.headers)
    }

    /// Bytes of key, value and headers.
    pub(crate) fn size(&self) -> usize {
        let header =
            |(name, value): &(String, Option<Vec<u8>>)| name.len() + value.as_ref().map_or(0, Vec::len);
        self.bytes.len() + self.headers().iter().map(header).sum::<usize>()
    }

    fn value_begins(&self) -> usize {
        self.key_len.map_or(0, |len| len as usize)
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// Not the bytes: they may be long, and of users.
impl fmt::Debug for ProducerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerRecord")
            .field("topic", &self.topic_name())
            .field("key", &self.key_bytes().map(shown))
            .field("value_bytes", &self.value_bytes().map(<[u8]>::len))
            .finish_non_exhaustive()
    }
}

/// A key for a message: as text, cut short.
pub(crate) fn shown(key: &[u8]) -> String {
    const CHARS_MAX: usize = 40;
    let text = String::from_utf8_lossy(key);
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_value_are_set_in_any_order_and_again() {
        let record = ProducerRecord::new().value("value").key("key");
        assert_eq!(record, ProducerRecord::new().key("key").value("value"));
        let record = record.key("longer key").value("v").key("k").value("another");
        assert_eq!((record.key_bytes(), record.value_bytes()), (Some(&b"k"[..]), Some(&b"another"[..])));
    }

    #[test]
    fn an_empty_key_or_value_is_not_none() {
        let empty = ProducerRecord::new().key("").value("");
        assert_eq!((empty.key_bytes(), empty.value_bytes()), (Some(&b""[..]), Some(&b""[..])));
        let none = ProducerRecord::new();
        assert_eq!((none.key_bytes(), none.value_bytes()), (None, None));
    }

    #[test]
    fn a_record_comes_back_from_a_shuffle() {
        let record = ProducerRecord::to("other").key("k").header("h", "1").partition(2).timestamp_ms(-5);
        let bytes = postcard::to_stdvec(&record).unwrap();
        assert_eq!(postcard::from_bytes::<ProducerRecord>(&bytes).unwrap(), record);
    }

    #[test]
    fn a_text_for_logs_has_no_value_and_no_long_key() {
        let record = ProducerRecord::new().key("k".repeat(100)).value("secret");
        let text = format!("{record:?}");
        assert!(!text.contains("secret") && text.len() < 150, "{text}");
    }
}
