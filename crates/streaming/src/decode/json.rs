//! Records in JSON.

use super::{DecodeError, Decoder};
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;

/// Decodes a record that is one JSON value into `T`.
///
/// An error names line and column, and never a text of the record (numbers and names of fields it may). White space around the
/// value is taken; anything else behind it is an error, and so is nesting deeper than 128.
///
/// ```
/// use serde::Deserialize;
/// use tidegate::{BadRecords, DStream, JsonDecoder, testkit::run};
///
/// #[derive(Clone, Debug, PartialEq, Deserialize)]
/// struct Order {
///     item: String,
///     pieces: u32,
/// }
///
/// let orders = run(
///     |lines: DStream<String>| lines.decode(JsonDecoder::<Order>::new(), BadRecords::Fail),
///     [vec![r#"{"item": "anchor", "pieces": 2}"#]],
/// );
/// assert_eq!(orders, [vec![Order { item: "anchor".to_owned(), pieces: 2 }]]);
/// ```
pub struct JsonDecoder<T>(PhantomData<fn() -> T>);

impl<T> JsonDecoder<T> {
    /// A decoder of JSON.
    pub fn new() -> JsonDecoder<T> {
        JsonDecoder(PhantomData)
    }
}

impl<T> Default for JsonDecoder<T> {
    fn default() -> Self {
        JsonDecoder::new()
    }
}

impl<T> Clone for JsonDecoder<T> {
    fn clone(&self) -> Self {
        JsonDecoder::new()
    }
}

impl<T> fmt::Debug for JsonDecoder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonDecoder<{}>", std::any::type_name::<T>())
    }
}

impl<T: DeserializeOwned + 'static> Decoder<T> for JsonDecoder<T> {
    fn decode(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        serde_json::from_slice(bytes).map_err(|error| DecodeError::new(without_text(&error.to_string())))
    }
}

/// `invalid type: string "the record's", expected u64` without what the record says there.
fn without_text(error: &str) -> String {
    let shown = || {
        let begin = error.find("string \"")? + "string".len();
        let end = error.rfind("\", expected ")? + 1;
        (begin < end).then(|| format!("{}{}", &error[..begin], &error[end..]))
    };
    shown().unwrap_or_else(|| error.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_expected_and_where_and_nothing_of_what_was_there() {
        let table = [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{\"a\":\n tru}", "expected ident at line 2 column 5"),
            (r#"{"a": "pass\"word\", expected "}"#, "invalid type: string, expected u32 at line 1 column 31"),
            (r#"{"b": 1}"#, "missing field `a` at line 1 column 8"),
            (r#"{"a": 1} {"a": 2}"#, "trailing characters at line 1 column 10"),
        ];
        #[derive(Debug, serde::Deserialize)]
        struct A {
            #[expect(dead_code, reason = "it is only read into")]
            a: u32,
        }
        for (text, told) in table {
            let error = JsonDecoder::<A>::new().decode(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), told, "{text}");
        }
    }

    #[test]
    fn nesting_without_an_end_is_an_error() {
        let error =
            JsonDecoder::<serde_json::Value>::new().decode("[".repeat(1 << 20).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "recursion limit exceeded at line 1 column 128");
    }
}
