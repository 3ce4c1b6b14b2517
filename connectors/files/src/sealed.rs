//! What every small object of this crate is: one JSON value with a checksum over its exact bytes, as `docs/formats.md` describes.
//! What the values mean must not be known here.

use serde::Serialize;
use serde::de::DeserializeOwned;

const FORMAT: u32 = 1;

/// What an object holds.
pub(crate) trait Record: Serialize + DeserializeOwned {
    const NAME: &str;
}

pub(crate) fn write<T: Record>(record: &T) -> Vec<u8> {
    let value = serde_json::to_string(record).expect("names and numbers make JSON");
    let crc = crc32c::crc32c(value.as_bytes());
    format!("{{\"format\":{FORMAT},\"crc32c\":\"{crc:08x}\",\"{}\":{value}}}", T::NAME).into_bytes()
}

/// What `bytes` hold, or what is wrong with them.
pub(crate) fn read<T: Record>(bytes: &[u8]) -> Result<T, String> {
    let torn = || "not whole".to_owned();
    let text = std::str::from_utf8(bytes).map_err(|_| torn())?;
    let rest = text.strip_prefix("{\"format\":").and_then(|rest| rest.split_once(',')).ok_or_else(torn)?;
    if rest.0 != FORMAT.to_string() {
        return Err(format!(
            "of format {}, and this version reads {FORMAT}: use the one that wrote it",
            rest.0
        ));
    }
    let rest =
        rest.1.strip_prefix("\"crc32c\":\"").and_then(|rest| rest.split_once("\",")).ok_or_else(torn)?;
    let value = rest.1.strip_prefix(&format!("\"{}\":", T::NAME)).and_then(|value| value.strip_suffix('}'));
    let value = value.ok_or_else(torn)?;
    if rest.0 != format!("{:08x}", crc32c::crc32c(value.as_bytes())) {
        return Err("changed: its checksum does not match".to_owned());
    }
    serde_json::from_str(value).map_err(|e| format!("no {}, though its checksum matches ({e})", T::NAME))
}
