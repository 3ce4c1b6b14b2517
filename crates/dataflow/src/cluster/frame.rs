//! Messages on a connection: four bytes of length, then JSON. A length never makes memory; only bytes that came do.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};

/// Bytes of a message at most. A plan of 100,000 ranges is about half of it.
pub(crate) const FRAME_BYTES_MAX: usize = 16 << 20;

/// The bytes of a message.
///
/// # Errors
/// It has more than [`FRAME_BYTES_MAX`].
pub(crate) fn encode<M: Serialize>(message: &M) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(too_long(length));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// Sends a message.
pub(crate) fn write<M: Serialize>(to: &mut impl Write, message: &M) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// The next message; `None` when the connection ends between two.
pub(crate) fn read<M: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = Vec::with_capacity(4);
    from.by_ref().take(4).read_to_end(&mut length)?;
    let length = match <[u8; 4]>::try_from(&length[..]) {
        Ok(length) => u32::from_be_bytes(length) as usize,
        Err(_) if length.is_empty() => return Ok(None),
        Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    if length > FRAME_BYTES_MAX {
        return Err(too_long(length));
    }
    let mut bytes = Vec::new();
    from.by_ref().take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&bytes)?))
}

fn too_long(length: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a message of {length} bytes; there may be {FRAME_BYTES_MAX}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::message::Order;
    use proptest::prelude::*;
    use tidegate_core::BatchId;

    #[test]
    fn messages_are_read_as_they_were_sent_up_to_the_end() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Order::Commit(BatchId(7))).unwrap();
        write(&mut bytes, &Order::Stop).unwrap();
        let mut from = &bytes[..];
        assert!(matches!(read(&mut from).unwrap(), Some(Order::Commit(BatchId(7)))));
        assert!(matches!(read(&mut from).unwrap(), Some(Order::Stop)));
        assert!(read::<Order>(&mut from).unwrap().is_none());
    }

    #[test]
    fn a_message_cut_short_anywhere_is_an_error() {
        let bytes = encode(&Order::Commit(BatchId(7))).unwrap();
        for end in 1..bytes.len() {
            let error = read::<Order>(&mut &bytes[..end]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {end}");
        }
    }

    #[test]
    fn a_length_over_the_bound_is_refused_before_anything_is_read() {
        let mut from = &[0xff; 12][..];
        assert_eq!(read::<Order>(&mut from).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(from.len(), 8);
        assert!(encode(&"x".repeat(FRAME_BYTES_MAX)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..64), length in 0u32..80) {
            let bytes = [&length.to_be_bytes()[..], &body].concat();
            let _ = read::<Order>(&mut &bytes[..]);
        }
    }
}
