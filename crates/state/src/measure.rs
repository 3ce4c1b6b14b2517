//! Walks a value without writing it: about how large it is, and whether it holds a `Some` that most formats can't tell from `None`.

use serde::Serialize;
use serde::de::value::Error;
use serde::ser::{self, Serializer};
use std::fmt::Display;

/// What a walk over a value found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    /// Length of its texts and bytes, and 8 for everything else.
    pub(crate) bytes: usize,
    /// Somewhere in it stands `Some` of nothing, as `Some(None)` or `Some(())`: as a null it would come back as `None`.
    pub(crate) some_of_nothing: bool,
}

/// Walks `value`.
///
/// # Errors
/// What its `Serialize` gives, which is the user's.
pub(crate) fn measure<T: Serialize + ?Sized>(value: &T) -> Result<Measure, Error> {
    let mut found = Measure::default();
    value.serialize(&mut found)?;
    Ok(found)
}

/// Whether what was just walked is nothing: what a format with nulls writes as one.
type IsNothing = bool;

impl Measure {
    fn scalar(&mut self) -> Result<IsNothing, Error> {
        self.sized(8)
    }

    fn sized(&mut self, bytes: usize) -> Result<IsNothing, Error> {
        self.bytes += bytes;
        Ok(false)
    }

    fn nothing(&mut self) -> Result<IsNothing, Error> {
        self.bytes += 1;
        Ok(true)
    }
}

macro_rules! scalars {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, _: $type) -> Result<IsNothing, Error> {
            self.scalar()
        })*
    };
}

impl<'a> Serializer for &'a mut Measure {
    type Ok = IsNothing;
    type Error = Error;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    scalars!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_f32: f32, serialize_f64: f64, serialize_char: char
    );

    fn serialize_str(self, text: &str) -> Result<IsNothing, Error> {
        self.sized(8 + text.len())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<IsNothing, Error> {
        self.sized(8 + bytes.len())
    }

    fn serialize_none(self) -> Result<IsNothing, Error> {
        self.nothing()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<IsNothing, Error> {
        if value.serialize(&mut *self)? {
            self.some_of_nothing = true;
        }
        Ok(false)
    }

    fn serialize_unit(self) -> Result<IsNothing, Error> {
        self.nothing()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<IsNothing, Error> {
        self.nothing()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<IsNothing, Error> {
        self.scalar()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<IsNothing, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<IsNothing, Error> {
        self.bytes += 8;
        value.serialize(self)?;
        Ok(false)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Error> {
        Ok(Parts(self))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Error> {
        Ok(Parts(self))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Error> {
        Ok(Parts(self))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Error> {
        Ok(Parts(self))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Error> {
        Ok(Parts(self))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Error> {
        Ok(Parts(self))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Error> {
        Ok(Parts(self))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<IsNothing, Error> {
        self.serialize_str(&value.to_string())
    }
}

/// Something made of parts; itself never nothing.
pub(crate) struct Parts<'a>(&'a mut Measure);

impl Parts<'_> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.0).map(|_| ())
    }

    fn ended(self) -> Result<IsNothing, Error> {
        self.0.sized(8)
    }
}

macro_rules! parts {
    ($($kind:ident: $method:ident),*) => {
        $(impl ser::$kind for Parts<'_> {
            type Ok = IsNothing;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.part(value)
            }

            fn end(self) -> Result<IsNothing, Error> {
                self.ended()
            }
        })*
    };
}

parts!(
    SerializeSeq: serialize_element, SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field
);

macro_rules! named_parts {
    ($($kind:ident),*) => {
        $(impl ser::$kind for Parts<'_> {
            type Ok = IsNothing;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Error> {
                self.part(value)
            }

            fn end(self) -> Result<IsNothing, Error> {
                self.ended()
            }
        })*
    };
}

named_parts!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Parts<'_> {
    type Ok = IsNothing;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.part(value)
    }

    fn end(self) -> Result<IsNothing, Error> {
        self.ended()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_nothing_is_found_wherever_it_stands() {
        let found = |measure: Result<Measure, Error>| measure.unwrap().some_of_nothing;
        assert!(found(measure(&Some(None::<u8>))));
        assert!(found(measure(&Some(()))));
        assert!(found(measure(&vec![(1, Some(None::<u8>))])));
        assert!(!found(measure(&Some(Some(1)))));
        assert!(!found(measure(&vec![None::<u8>])));
        assert!(!found(measure(&Some(vec![()]))));
    }

    #[test]
    fn the_size_follows_what_is_in_it() {
        let short = measure(&("a", 1_u8)).unwrap().bytes;
        let long = measure(&("a".repeat(1000), 1_u8)).unwrap().bytes;
        assert_eq!(long - short, 999);
    }
}
