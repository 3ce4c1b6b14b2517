//! The bytes of one key or value: what files are sorted by, what the store on disk holds, and what a column of exact values has.
//!
//! Equal values of one type have equal bytes, in every version; different ones have different bytes. Described in
//! `docs/formats.md`.

use crate::measure::measure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::type_name;
use tidegate_core::{Error, Result};

/// MessagePack with the names of fields: takes what skips fields, what is flattened and what is untagged.
const NAMED: u8 = 0;
/// Postcard: the only one of the two that can tell `Some(None)` from `None`, and used for nothing else.
const POSITIONAL: u8 = 1;

/// Puts the bytes of `value` in the place of what is in `into`.
///
/// # Errors
/// `UserCode` when its type can't be serialised.
pub(crate) fn encode<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<()> {
    into.clear();
    append(value, into)
}

/// Puts the bytes of `value` behind what is in `into`.
///
/// # Errors
/// `UserCode` when its type can't be serialised.
pub(crate) fn append<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<()> {
    let found = measure(value).map_err(|error| cannot::<T>("be serialised", error))?;
    if found.some_of_nothing {
        into.push(POSITIONAL);
        let bytes = postcard::to_stdvec(value).map_err(|error| cannot::<T>("be serialised", error))?;
        into.extend_from_slice(&bytes);
        return Ok(());
    }
    into.push(NAMED);
    let mut serializer = rmp_serde::Serializer::new(into).with_struct_map();
    value.serialize(&mut serializer).map_err(|error| cannot::<T>("be serialised", error))
}

/// The bytes of `value`.
///
/// # Errors
/// `UserCode` when its type can't be serialised.
pub(crate) fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    append(value, &mut bytes)?;
    Ok(bytes)
}

/// The value that `bytes` are of.
///
/// # Errors
/// `UserCode` when they are not those of a `T`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((&NAMED, rest)) => {
            rmp_serde::from_slice(rest).map_err(|error| cannot::<T>("be read back", error))
        }
        Some((&POSITIONAL, rest)) => {
            postcard::from_bytes(rest).map_err(|error| cannot::<T>("be read back", error))
        }
        _ => Err(Error::bug(format!("bytes of a `{}` begin with no known mark", type_name::<T>()))),
    }
}

fn cannot<T>(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::user_code(format!(
        "a `{}` in a state can't {what}; its `Serialize` and `Deserialize` must fit each other",
        type_name::<T>()
    ))
    .because(error)
}
