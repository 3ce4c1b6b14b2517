//! Records in CSV.

use super::{DecodeError, Decoder};
use csv::ByteRecord;
use csv_core::ReadFieldResult;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

/// Decodes a record that is one line of CSV into `T`: a struct by the names of its columns, or a tuple or struct by position.
///
/// A field may be quoted, and may then hold the delimiter, line breaks, and quotes as `""`. A line break at the end is taken; a
/// second line is an error, as is a quote that is not closed. White space is part of a field.
///
/// ```
/// use serde::Deserialize;
/// use tidegate::{BadRecords, CsvDecoder, DStream, testkit::run};
///
/// #[derive(Clone, Debug, PartialEq, Deserialize)]
/// struct Order {
///     item: String,
///     pieces: u32,
/// }
///
/// let decoder = CsvDecoder::<Order>::with_header(["pieces", "item"]).delimiter(b';');
/// let orders = run(
///     move |lines: DStream<String>| lines.decode(decoder.clone(), BadRecords::Fail),
///     [vec![r#"2;"anchor; large""#]],
/// );
/// assert_eq!(orders, [vec![Order { item: "anchor; large".to_owned(), pieces: 2 }]]);
/// ```
pub struct CsvDecoder<T> {
    header: Option<ByteRecord>,
    delimiter: u8,
    record: PhantomData<fn() -> T>,
}

impl<T> CsvDecoder<T> {
    /// A decoder by position: the first field of a record is the first of `T`. Fields after the last of `T` are left out.
    pub fn positional() -> CsvDecoder<T> {
        CsvDecoder { header: None, delimiter: b',', record: PhantomData }
    }

    /// A decoder by name: the fields of a record are the `columns`, in this order. A record with more or fewer is an error.
    pub fn with_header<C: AsRef<str>>(columns: impl IntoIterator<Item = C>) -> CsvDecoder<T> {
        let mut header = ByteRecord::new();
        columns.into_iter().for_each(|column| header.push_field(column.as_ref().as_bytes()));
        CsvDecoder { header: Some(header), ..CsvDecoder::positional() }
    }

    /// The same with another delimiter than the comma.
    ///
    /// # Panics
    /// When `delimiter` is the quote or a line break: no record could be told apart.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> CsvDecoder<T> {
        assert!(
            !matches!(delimiter, b'"' | b'\r' | b'\n'),
            "CSV can't be delimited by {:?}",
            char::from(delimiter)
        );
        self.delimiter = delimiter;
        self
    }

    fn column(&self, place: usize) -> String {
        let name = self.header.as_ref().and_then(|header| header.get(place)).map(String::from_utf8_lossy);
        name.map(|name| format!(" ({name})")).unwrap_or_default()
    }
}

thread_local! {
    /// The reader that this thread used last, and its delimiter: making one is dear, and a copy of one does not work.
    static READER: RefCell<Option<(u8, csv_core::Reader)>> = const { RefCell::new(None) };
}

/// Has a reader at its beginning read.
fn with_reader<R>(delimiter: u8, read: impl FnOnce(&mut csv_core::Reader) -> R) -> R {
    READER.with_borrow_mut(|kept| {
        let made = kept.take_if(|(of, _)| *of == delimiter).map(|(_, reader)| reader);
        let mut reader = made.unwrap_or_else(|| csv_core::ReaderBuilder::new().delimiter(delimiter).build());
        reader.reset();
        read(&mut kept.insert((delimiter, reader)).1)
    })
}

/// The fields of the one record that `bytes` hold, and where each begins.
fn fields(reader: &mut csv_core::Reader, bytes: &[u8]) -> Result<(ByteRecord, Vec<usize>), DecodeError> {
    if is_blank(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)) {
        return Err(DecodeError::new("no record: it is empty"));
    }
    let (mut record, mut begins) = (ByteRecord::with_capacity(bytes.len(), 16), Vec::new());
    // No field is longer than all bytes; a reader wants room for one more.
    let mut field = vec![0; bytes.len() + 1];
    let (mut at, mut begin, mut length) = (0, 0, 0);
    loop {
        // Where the bytes end, a line break ends the last field, unless it is quoted.
        let (rest, at_end) = match bytes.get(at..) {
            Some(rest) if !rest.is_empty() => (rest, false),
            _ => (b"\n".as_slice(), true),
        };
        let (result, taken, given) = reader.read_field(rest, &mut field[length..]);
        at += taken;
        length += given;
        match result {
            ReadFieldResult::Field { record_end } => {
                record.push_field(&field[..length]);
                begins.push(begin);
                (begin, length) = (at, 0);
                if record_end {
                    break;
                }
            }
            ReadFieldResult::InputEmpty if !at_end => {}
            ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull | ReadFieldResult::End => {
                let place = begins.len() + 1;
                return Err(DecodeError::new(format!(
                    "field {place} does not end: its quote at byte {begin}"
                )));
            }
        }
    }
    match bytes.get(at..) {
        Some(rest) if !is_blank(rest) => {
            Err(DecodeError::new(format!("more than one record: the second begins at byte {at}")))
        }
        _ => Ok((record, begins)),
    }
}

/// Some programs begin a text with it; it is no part of the first field.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

impl<T> Clone for CsvDecoder<T> {
    fn clone(&self) -> Self {
        CsvDecoder { header: self.header.clone(), delimiter: self.delimiter, record: PhantomData }
    }
}

impl<T> fmt::Debug for CsvDecoder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvDecoder")
            .field("header", &self.header)
            .field("delimiter", &char::from(self.delimiter))
            .finish()
    }
}

impl<T: DeserializeOwned + 'static> Decoder<T> for CsvDecoder<T> {
    fn decode(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        let (record, begins) = with_reader(self.delimiter, |reader| fields(reader, bytes))?;
        if let Some(header) = self.header.as_ref().filter(|header| header.len() != record.len()) {
            return Err(DecodeError::new(format!(
                "the record has {} fields, the header {}",
                record.len(),
                header.len()
            )));
        }
        record.deserialize(self.header.as_ref()).map_err(|error| {
            let csv::ErrorKind::Deserialize { err, .. } = error.kind() else {
                return DecodeError::new(error);
            };
            let Some(place) = err.field().map(|place| place as usize) else {
                return DecodeError::new(err.kind());
            };
            let at = begins.get(place).map(|begin| format!(", at byte {begin}")).unwrap_or_default();
            DecodeError::new(format!("field {}{}: {}{at}", place + 1, self.column(place), err.kind()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair = (String, u32);

    fn pair(text: &str) -> Result<Pair, String> {
        CsvDecoder::<Pair>::positional().decode(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn one_record_is_read_with_or_without_a_line_break_behind_it() {
        let table = [
            ("ebb,1", "ebb", 1),
            ("ebb,1\n", "ebb", 1),
            ("ebb,1\r\n\n", "ebb", 1),
            ("\n\nebb,1", "ebb", 1),
            ("\u{feff}ebb,1", "ebb", 1),
            ("\"ebb, and \"\"flow\"\"\nand\",1", "ebb, and \"flow\"\nand", 1),
            (" ebb ,1", " ebb ", 1),
            (",1", "", 1),
            ("ebb,\"1\"", "ebb", 1),
            ("ebb,1,more", "ebb", 1),
        ];
        for (text, word, number) in table {
            assert_eq!(pair(text), Ok((word.to_owned(), number)), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_record_is_told_with_its_place() {
        let table = [
            ("", "no record: it is empty"),
            ("\r\n", "no record: it is empty"),
            ("\u{feff}\n", "no record: it is empty"),
            ("ebb,1\nflow,2", "more than one record: the second begins at byte 6"),
            ("ebb,\"1", "field 2 does not end: its quote at byte 4"),
            ("ebb,one", "field 2: invalid digit found in string, at byte 4"),
            ("ebb", "invalid length 1, expected a tuple of size 2"),
        ];
        for (text, told) in table {
            assert_eq!(pair(text), Err(told.to_owned()), "{text:?}");
        }
        let latin = CsvDecoder::<Pair>::positional().decode(b"\xFCber,1").unwrap_err().to_string();
        assert!(latin.starts_with("field 1: ") && latin.ends_with(", at byte 0"), "{latin}");
    }

    #[test]
    fn a_header_names_the_fields_and_their_number() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Row {
            word: String,
            number: Option<u32>,
        }
        let decoder = CsvDecoder::<Row>::with_header(["number", "word"]).delimiter(b'\t');
        let row = |text: &str| decoder.clone().decode(text.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(row("1\tebb,flow"), Ok(Row { word: "ebb,flow".to_owned(), number: Some(1) }));
        assert_eq!(row("\tebb"), Ok(Row { word: "ebb".to_owned(), number: None }));
        assert_eq!(
            row("one\tebb"),
            Err("field 1 (number): invalid digit found in string, at byte 0".to_owned())
        );
        for (text, fields) in [("1", 1), ("1\tebb\tflow", 3)] {
            assert_eq!(row(text), Err(format!("the record has {fields} fields, the header 2")));
        }
    }

    #[test]
    #[should_panic(expected = "CSV can't be delimited by '\\n'")]
    fn a_line_break_is_no_delimiter() {
        let _ = CsvDecoder::<Pair>::positional().delimiter(b'\n');
    }
}
