//! Lines of text, as Spark's `saveAsTextFiles` writes them.

use super::{Part, PartFormat};
use crate::{Batch, PartitionId, Result};
use std::fmt::Write as _;

/// A row as a line of text.
///
/// It is for texts, numbers, `bool` and `char`, `Option`s, and tuples of up to six of these: `(ebb,2)`, `Some(1)`, `None`, as Spark writes
/// them. A number with a fraction is Rust's: `1.0`, `1e16`, `inf`. A row that holds a line break becomes two lines.
///
/// ```
/// use tidegate::TextRow;
///
/// struct Reading { station: String, level: f64 }
///
/// impl TextRow for Reading {
///     fn append_to(&self, line: &mut String) {
///         self.station.append_to(line);
///         line.push('\t');
///         self.level.append_to(line);
///     }
/// }
///
/// let mut line = String::new();
/// (7, Reading { station: "Cuxhaven".to_owned(), level: 1.5 }).append_to(&mut line);
/// assert_eq!(line, "(7,Cuxhaven\t1.5)");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be saved as a line of text",
    note = "implement `tidegate::TextRow` for it, or `map` it to a text before"
)]
pub trait TextRow {
    /// Appends the row, without a line break at its end.
    fn append_to(&self, line: &mut String);
}

macro_rules! as_displayed {
    ($format:literal: $($type:ty),*) => {$(
        impl TextRow for $type {
            fn append_to(&self, line: &mut String) {
                // Writing to a string can't fail.
                let _ = write!(line, $format, self);
            }
        }
    )*};
}

as_displayed!("{}": i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, bool, char);
// What is whole keeps its `.0`.
as_displayed!("{:?}": f32, f64);

impl TextRow for str {
    fn append_to(&self, line: &mut String) {
        line.push_str(self);
    }
}

impl TextRow for String {
    fn append_to(&self, line: &mut String) {
        line.push_str(self);
    }
}

impl<T: TextRow + ?Sized> TextRow for &T {
    fn append_to(&self, line: &mut String) {
        (**self).append_to(line);
    }
}

impl<T: TextRow> TextRow for Option<T> {
    fn append_to(&self, line: &mut String) {
        match self {
            None => line.push_str("None"),
            Some(value) => {
                line.push_str("Some(");
                value.append_to(line);
                line.push(')');
            }
        }
    }
}

macro_rules! tuples {
    ($(($($name:ident $place:tt),+))*) => {$(
        impl<$($name: TextRow),+> TextRow for ($($name,)+) {
            fn append_to(&self, line: &mut String) {
                let open = line.len();
                $(
                    line.push(',');
                    self.$place.append_to(line);
                )+
                line.replace_range(open..=open, "(");
                line.push(')');
            }
        }
    )*};
}

tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

/// A line of UTF-8 for each row, for [`save_as_text_files`](crate::DStream::save_as_text_files).
#[derive(Clone, Copy, Debug, Default)]
pub struct TextFormat;

impl<T: TextRow + 'static> PartFormat<T> for TextFormat {
    fn describe(&self) -> String {
        "text".to_owned()
    }

    fn part(&self, _: &Batch, _: PartitionId) -> Result<Box<dyn Part<T>>> {
        Ok(Box::new(TextPart(String::new())))
    }
}

struct TextPart(String);

impl<T: TextRow> Part<T> for TextPart {
    fn write(&mut self, row: T) -> Result<()> {
        row.append_to(&mut self.0);
        self.0.push('\n');
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self) -> Result<Vec<u8>> {
        let room = String::with_capacity(self.0.len());
        Ok(std::mem::replace(&mut self.0, room).into_bytes())
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>> {
        Ok(self.0.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(row: &dyn TextRow) -> String {
        let mut line = String::new();
        row.append_to(&mut line);
        line
    }

    #[test]
    fn rows_look_as_in_spark() {
        for (row, expected) in [
            (&("ebb".to_owned(), 2i64) as &dyn TextRow, "(ebb,2)"),
            (&"a b", "a b"),
            (&(1, true, 'x'), "(1,true,x)"),
            (&(("a", 1), (2.0, None::<i32>)), "((a,1),(2.0,None))"),
            (&Some(Some(3u8)), "Some(Some(3))"),
            (&(1, 2, 3, 4, 5, "six"), "(1,2,3,4,5,six)"),
            (&0.1f32, "0.1"),
            (&String::new(), ""),
        ] {
            assert_eq!(line(row), expected);
        }
    }
}
