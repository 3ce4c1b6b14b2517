//! One frame of a log: head, checksum, payload; and how a torn tail is told from a corrupt middle.

use std::ops::Range;

/// Bytes before the payload of each frame.
pub const FRAME_HEAD_BYTES: usize = 20;

/// Largest payload of a frame. A length beyond it can't be real, so a reader never allocates for it.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

const MAGIC: [u8; 4] = *b"TGf1";

/// Appends the frame of `payload` to `out`.
///
/// # Panics
/// When the payload is longer than [`PAYLOAD_BYTES_MAX`].
pub fn encode(sequence: u64, payload: &[u8], out: &mut Vec<u8>) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a payload of {} bytes is beyond the limit", payload.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&checksum(sequence, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// CRC-32C over length, sequence number and payload: a frame moved to another place does not pass either.
fn checksum(sequence: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(&(payload.len() as u32).to_le_bytes());
    crc = crc32c::crc32c_append(crc, &sequence.to_le_bytes());
    crc32c::crc32c_append(crc, payload)
}

/// What stands at `at` in `bytes`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A whole frame; the next one begins at the end of the range.
    Frame {
        /// Its number in the log.
        sequence: u64,
        /// Where its payload is.
        payload: Range<usize>,
    },
    /// The end of the bytes.
    End,
    /// Something that is not a whole frame.
    Broken,
}

/// What stands at byte `at` of `bytes`, which must not lie behind their end.
pub(crate) fn decode(bytes: &[u8], at: usize) -> Found {
    let rest = &bytes[at..];
    if rest.is_empty() {
        return Found::End;
    }
    let Some((head, body)) = rest.split_at_checked(FRAME_HEAD_BYTES) else { return Found::Broken };
    let number = |range: Range<usize>| head[range].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let (length, sequence) = (number(4..8) as usize, number(8..16));
    if head[..4] != MAGIC || length > PAYLOAD_BYTES_MAX || body.len() < length {
        return Found::Broken;
    }
    if u64::from(checksum(sequence, &body[..length])) != number(16..20) {
        return Found::Broken;
    }
    let start = at + FRAME_HEAD_BYTES;
    Found::Frame { sequence, payload: start..start + length }
}

/// Whether a whole frame begins anywhere after `at`: then what stands at `at` was not lost by a crash while appending,
/// for nothing is appended behind a torn frame.
pub(crate) fn frame_after(bytes: &[u8], at: usize) -> Option<usize> {
    let from = (at + 1).min(bytes.len());
    memchr::memmem::find_iter(&bytes[from..], &MAGIC)
        .map(|offset| from + offset)
        .find(|candidate| matches!(decode(bytes, *candidate), Found::Frame { .. }))
}

/// Where the whole frames of a log end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholePart {
    /// The byte behind the last of them. What follows is the torn tail of a crash.
    pub end: usize,
    /// The number of the next frame; `None` when there is none.
    pub next_sequence: Option<u64>,
}

/// Gives the payload of each whole frame from byte `from` on to `each`, which says whether it can be right.
///
/// # Errors
/// The byte at which there is damage that no crash leaves: a frame out of order, one that `each` refuses, or something that is no
/// frame with whole frames behind it.
pub fn walk(
    bytes: &[u8],
    from: usize,
    mut each: impl FnMut(Range<usize>) -> bool,
) -> Result<WholePart, usize> {
    let mut part = WholePart { end: from, next_sequence: None };
    loop {
        match decode(bytes, part.end) {
            Found::Frame { sequence, payload } if part.next_sequence.is_none_or(|next| next == sequence) => {
                let end = payload.end;
                if !each(payload) {
                    return Err(part.end);
                }
                part = WholePart { end, next_sequence: Some(sequence + 1) };
            }
            Found::End => return Ok(part),
            Found::Broken if frame_after(bytes, part.end).is_none() => return Ok(part),
            Found::Broken | Found::Frame { .. } => return Err(part.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (sequence, payload) in payloads.iter().enumerate() {
            encode(sequence as u64, payload, &mut bytes);
        }
        bytes
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8)) {
            let bytes = frames(&payloads);
            let mut at = 0;
            for (sequence, expected) in payloads.iter().enumerate() {
                match decode(&bytes, at) {
                    Found::Frame { sequence: found, payload } => {
                        prop_assert_eq!(found, sequence as u64);
                        prop_assert_eq!(&bytes[payload.clone()], &expected[..]);
                        at = payload.end;
                    }
                    other => prop_assert!(false, "{:?} at {}", other, at),
                }
            }
            prop_assert_eq!(decode(&bytes, at), Found::End);
        }

        #[test]
        fn a_changed_byte_is_never_taken_for_a_frame(payload in prop::collection::vec(any::<u8>(), 1..100), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = frames(&[payload]);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(decode(&bytes, 0), Found::Broken);
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            let at = at.min(bytes.len());
            let _ = decode(&bytes, at);
            let _ = frame_after(&bytes, at);
        }
    }
}
