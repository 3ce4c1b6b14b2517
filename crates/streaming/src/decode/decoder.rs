//! What a decoder is, and how it says that it could not.

use std::fmt::{self, Display};

/// Characters of a [`DecodeError`] at most: a decoder may quote what it was given, which has no bound.
const ERROR_CHARS_MAX: usize = 500;

/// Makes a value of the bytes of one record.
///
/// It must give the same for the same bytes, because a batch may be run again, and must not panic whatever they are: bytes that
/// it can't read are an error. [`JsonDecoder`](crate::JsonDecoder) and [`CsvDecoder`](crate::CsvDecoder) are decoders, and so is
/// a function from bytes to a `Result` whose error can be shown.
///
/// ```
/// use tidegate::{BadRecords, DStream, testkit::run};
///
/// let number = |bytes: &[u8]| std::str::from_utf8(bytes).map_err(|e| e.to_string())?.parse::<u64>().map_err(|e| e.to_string());
/// let numbers = run(move |texts: DStream<String>| texts.decode(number, BadRecords::Skip), [vec!["7", "seven", "8"]]);
/// assert_eq!(numbers, [vec![7, 8]]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not decode bytes into `{T}`",
    note = "a decoder is a `JsonDecoder`, a `CsvDecoder`, a type with `impl Decoder`, or a function `|bytes: &[u8]| -> Result<_, _>`"
)]
pub trait Decoder<T>: Send + Sync + 'static {
    /// The value that `bytes` hold.
    ///
    /// # Errors
    /// What is wrong with them, and where.
    fn decode(&self, bytes: &[u8]) -> Result<T, DecodeError>;
}

impl<T, E, F> Decoder<T> for F
where
    E: Display,
    F: Fn(&[u8]) -> Result<T, E> + Send + Sync + 'static,
{
    fn decode(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        self(bytes).map_err(|error| DecodeError::new(error))
    }
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(String);

impl DecodeError {
    /// An error that says `what` is wrong, and where: `expected a number, at byte 17`. Cut after 500 characters.
    ///
    /// The text goes to logs and beside dead letters. Name the field rather than the value in it, which may be secret.
    pub fn new(what: impl Display) -> DecodeError {
        let mut text = what.to_string();
        if let Some((end, _)) = text.char_indices().nth(ERROR_CHARS_MAX) {
            text.truncate(end);
            text.push_str("...");
        }
        DecodeError(text)
    }
}

impl Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_an_end_is_cut_between_two_characters() {
        let error = DecodeError::new("ü".repeat(5_000)).to_string();
        assert_eq!(error, format!("{}...", "ü".repeat(ERROR_CHARS_MAX)));
        assert_eq!(DecodeError::new("short").to_string(), "short");
    }
}
