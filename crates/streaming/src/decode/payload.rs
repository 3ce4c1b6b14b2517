//! What can be decoded: bytes, and where they are from.

use std::fmt;
use std::sync::Arc;

/// A record that holds bytes for a decoder to read.
///
/// Texts and vectors of bytes are payloads that do not know where they are from; a record of a connector knows.
///
/// ```
/// use tidegate::{Origin, Payload};
///
/// #[derive(Clone, Debug)]
/// struct Row {
///     file: String,
///     line: u64,
///     text: String,
/// }
///
/// impl Payload for Row {
///     fn bytes(&self) -> &[u8] {
///         self.text.as_bytes()
///     }
///
///     fn origin(&self) -> Origin {
///         Origin { source: Some(self.file.clone()), partition: None, offset: Some(self.line) }
///     }
/// }
///
/// let row = Row { file: "orders.csv".to_owned(), line: 17, text: String::new() };
/// assert_eq!(row.origin().to_string(), "record 17 of orders.csv");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be decoded",
    note = "what is decoded are bytes: texts, `Vec<u8>`, records of Kafka, or a type with `impl Payload`"
)]
pub trait Payload {
    /// What a decoder reads.
    fn bytes(&self) -> &[u8];

    /// Where the record is from, as far as it knows. Asked for only when the record can't be decoded.
    fn origin(&self) -> Origin {
        Origin::default()
    }
}

/// Where a record is from: enough to find it again there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// What it was read of: a topic, a file.
    pub source: Option<String>,
    /// Number of its partition there.
    pub partition: Option<u32>,
    /// Its place in the partition.
    pub offset: Option<u64>,
}

impl fmt::Display for Origin {
    /// `record 17 of orders-3`, with what is known of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "record {offset}")?,
            None => f.write_str("a record")?,
        }
        match (&self.source, self.partition) {
            (Some(source), Some(partition)) => write!(f, " of {source}-{partition}"),
            (Some(source), None) => write!(f, " of {source}"),
            (None, Some(partition)) => write!(f, " of partition {partition}"),
            (None, None) => Ok(()),
        }
    }
}

macro_rules! payload {
    ($($type:ty, $self:ident => $bytes:expr;)*) => {$(
        impl Payload for $type {
            fn bytes(&$self) -> &[u8] {
                $bytes
            }
        }
    )*};
}

payload! {
    String, self => self.as_bytes();
    &'static str, self => self.as_bytes();
    Box<str>, self => self.as_bytes();
    Arc<str>, self => self.as_bytes();
    Vec<u8>, self => self;
    &'static [u8], self => self;
    Box<[u8]>, self => self;
    Arc<[u8]>, self => self;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_tells_what_it_knows() {
        let shown = |source: Option<&str>, partition, offset| {
            Origin { source: source.map(str::to_owned), partition, offset }.to_string()
        };
        assert_eq!(shown(Some("lines"), Some(3), Some(17)), "record 17 of lines-3");
        assert_eq!(shown(Some("lines"), None, None), "a record of lines");
        assert_eq!(shown(None, Some(3), Some(17)), "record 17 of partition 3");
        assert_eq!(shown(None, None, None), "a record");
    }

    #[test]
    fn texts_and_bytes_are_payloads() {
        let arc: Arc<str> = "ebb".into();
        let all: [&dyn Payload; 4] = [&"ebb", &"ebb".to_owned(), &b"ebb".to_vec(), &arc];
        assert!(all.iter().all(|payload| payload.bytes() == b"ebb" && payload.origin() == Origin::default()));
    }
}
