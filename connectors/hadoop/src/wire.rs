//! Numbers of variable length and texts, as Hadoop's `WritableUtils` and `Text` have them. For whoever writes a
//! [`Writable`](crate::Writable) of one's own.

use tidegate_core::{Error, Result};

/// Appends a number as `WritableUtils.writeVLong` does: one byte from -112 to 127, else a byte that tells sign and length, and
/// then up to eight, the highest first.
pub fn put_vlong(out: &mut Vec<u8>, value: i64) {
    if (-112..=127).contains(&value) {
        out.push(value as i8 as u8);
        return;
    }
    let magnitude = if value < 0 { !value } else { value };
    let bytes = magnitude.to_be_bytes();
    let used = 8 - magnitude.leading_zeros() as usize / 8;
    let first = if value < 0 { -120 } else { -112 } - used as i64;
    out.push(first as i8 as u8);
    out.extend_from_slice(&bytes[8 - used..]);
}

/// Takes what [`put_vlong`] appends from the front of `bytes`.
///
/// # Errors
/// `DataLost` when they end before.
pub fn take_vlong(bytes: &mut &[u8]) -> Result<i64> {
    let first = take(bytes, 1)?[0] as i8;
    let more = take(bytes, vlong_more(first))?;
    Ok(vlong(first, more))
}

/// How many bytes of a number follow its first.
pub(crate) fn vlong_more(first: i8) -> usize {
    match i64::from(first) {
        first @ -120..=-113 => (-112 - first) as usize,
        first @ -128..=-121 => (-120 - first) as usize,
        _ => 0,
    }
}

/// The number whose first byte is `first`, and whose others are `more`.
pub(crate) fn vlong(first: i8, more: &[u8]) -> i64 {
    if more.is_empty() {
        return i64::from(first);
    }
    let magnitude = more.iter().fold(0i64, |value, byte| (value << 8) | i64::from(*byte));
    if first < -120 { !magnitude } else { magnitude }
}

/// Appends a text as `Text.writeString` does: its length in bytes, and then UTF-8.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_vlong(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

/// Takes what [`put_text`] appends from the front of `bytes`.
///
/// # Errors
/// `DataLost` when they end before, or are no UTF-8.
pub fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str> {
    let length = take_vlong(bytes)?;
    let length = usize::try_from(length)
        .map_err(|_| Error::data_lost(format!("a text says that it has {length} bytes")))?;
    let text = take(bytes, length)?;
    std::str::from_utf8(text).map_err(|e| Error::data_lost("a text is no UTF-8").because(e))
}

/// Takes `length` bytes from the front of `bytes`.
///
/// # Errors
/// `DataLost` when there are fewer.
pub fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let Some((taken, rest)) = bytes.split_at_checked(length) else {
        return Err(Error::data_lost(format!("{length} bytes are wanted where {} are left", bytes.len())));
    };
    *bytes = rest;
    Ok(taken)
}

/// Takes `N` bytes from the front of `bytes`: a number of fixed length, the highest byte first.
///
/// # Errors
/// `DataLost` when there are fewer.
pub fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    Ok(take(bytes, N)?.try_into().expect("so many bytes were taken"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_hadoops_bytes() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (-112, &[0x90]),
            (128, &[0x8f, 0x80]),
            (-113, &[0x87, 0x70]),
            (255, &[0x8f, 0xff]),
            (256, &[0x8e, 1, 0]),
            (-257, &[0x86, 1, 0]),
            (i64::MAX, &[0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            (i64::MIN, &[0x80, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ] {
            let mut out = Vec::new();
            put_vlong(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: i64, shift in 0u32..64, text: String) {
            let (value, mut out) = (value >> shift, Vec::new());
            put_vlong(&mut out, value);
            put_text(&mut out, &text);
            let mut rest = out.as_slice();
            prop_assert_eq!(take_vlong(&mut rest).unwrap(), value);
            prop_assert_eq!(take_text(&mut rest).unwrap(), text);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_a_text_or_an_error(bytes: Vec<u8>) {
            let _ = take_text(&mut bytes.as_slice());
        }
    }
}
