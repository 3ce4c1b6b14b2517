//! `decode` and `decode_or_dead_letter` on a stream.

use super::{DeadLetter, DecodeError, Decoder, Origin, Payload};
use crate::{DStream, Data, Error};
use std::fmt;
use tidegate_dataflow::{ops, raise};

/// What becomes of records that can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecords {
    /// The batch fails and the job stops: the error names the record's place and what is wrong with it. Nothing of the batch is
    /// seen; once program or record is mended, the job goes on with it.
    Fail,
    /// They are left out. [`BatchInfo::skipped`](crate::BatchInfo::skipped) counts them, and each batch that has some logs one
    /// warning with their number and the first one's place.
    Skip,
}

/// A record that can't be decoded, for a message.
struct Undecoded {
    origin: Origin,
    error: DecodeError,
}

impl fmt::Display for Undecoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} can't be decoded: {}", self.origin, self.error)
    }
}

impl<T: Data + Payload> DStream<T> {
    /// What `decoder` makes of each record; `bad` says what becomes of records of which it can't make anything.
    ///
    /// ```
    /// use tidegate::{BadRecords, CsvDecoder, DStream, testkit::run};
    ///
    /// let prices = run(
    ///     |lines: DStream<String>| lines.decode(CsvDecoder::<(String, f64)>::positional(), BadRecords::Skip),
    ///     [vec!["anchor,99.5", "chain", "rope,7"], vec!["buoy,12"]],
    /// );
    /// assert_eq!(prices[0], [("anchor".to_owned(), 99.5), ("rope".to_owned(), 7.0)]);
    /// assert_eq!(prices[1], [("buoy".to_owned(), 12.0)]);
    /// ```
    pub fn decode<U: Data>(&self, decoder: impl Decoder<U>, bad: BadRecords) -> DStream<U> {
        let decode = move |record: &T| {
            decoder.decode(record.bytes()).map_err(|error| Undecoded { origin: record.origin(), error })
        };
        match bad {
            BadRecords::Skip => self.below(ops::decode(self.node(), decode)),
            BadRecords::Fail => self.below(ops::decode(self.node(), move |record: &T| {
                decode(record).map_err(|undecoded| refuse(&undecoded))
            })),
        }
    }

    /// What `decoder` makes of each record, and the records of which it can't make anything, with the reason.
    ///
    /// Both streams are of the same batch, and all outputs of a batch are all-or-nothing: a dead letter is in its output once,
    /// together with the rest of its batch, however often the job is killed. If the dead letters lead to no output,
    /// [`start`](crate::StreamingContext::start) refuses the job, because they would be lost.
    ///
    /// ```
    /// use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob};
    /// use tidegate::{Conf, JsonDecoder};
    ///
    /// # fn main() -> tidegate::Result<()> {
    /// let (lines, numbers, dead) = (MemoryInput::<String>::new(1), MemoryOutput::new(), MemoryOutput::new());
    /// let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
    ///     let lines = ssc.input_stream("lines", lines.clone())?;
    ///     let (good, bad) = lines.decode_or_dead_letter(JsonDecoder::<u64>::new());
    ///     good.output("numbers", numbers.clone())?;
    ///     bad.output("dead", dead.clone())
    /// })?;
    /// lines.push(0, ["1".to_owned(), "two".to_owned(), "3".to_owned()]);
    /// job.next_batch()?;
    /// assert_eq!(numbers.rows(), [1, 3]);
    /// assert_eq!(dead.rows()[0].bytes, b"two");
    /// assert_eq!(dead.rows()[0].error, "expected ident at line 1 column 2");
    /// # Ok(()) }
    /// ```
    pub fn decode_or_dead_letter<U: Data>(
        &self,
        decoder: impl Decoder<U>,
    ) -> (DStream<U>, DStream<DeadLetter>) {
        let decode =
            move |record: &T| decoder.decode(record.bytes()).map_err(|error| DeadLetter::new(record, &error));
        let (good, bad) = ops::decode_or_give(self.node(), decode);
        (self.below(good), self.below(bad))
    }
}

/// Ends the batch.
fn refuse(undecoded: &Undecoded) -> Undecoded {
    raise(Error::user_code(format!(
        "{undecoded}. Mend it where it is from, or leave such records out with BadRecords::Skip, or keep them with \
         decode_or_dead_letter"
    )))
}
