//! One JSON value in a file of its own, with its format and a checksum over its exact bytes:
//! `{"format":1,"crc32c":"0a1b2c3d","NAME":{...}}`, byte for byte as it is written here. What was torn or changed is never taken for what was written.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The file that holds `value` as `name`.
pub(crate) fn seal(name: &str, format: u32, value: &impl Serialize) -> Vec<u8> {
    let value = serde_json::to_string(value).expect("what is sealed has string keys only");
    let crc = crc32c::crc32c(value.as_bytes());
    format!("{{\"format\":{format},\"crc32c\":\"{crc:08x}\",\"{name}\":{value}}}").into_bytes()
}

/// The value that is in `bytes` as `name`, or what is wrong with them. Only `format` is read.
pub(crate) fn unseal<T: DeserializeOwned>(name: &str, format: u32, bytes: &[u8]) -> Result<T, String> {
    let torn = || "not whole".to_owned();
    let text = std::str::from_utf8(bytes).map_err(|_| torn())?;
    let (found, rest) =
        text.strip_prefix("{\"format\":").and_then(|rest| rest.split_once(',')).ok_or_else(torn)?;
    if found != format.to_string() {
        return Err(format!(
            "written in format {found}, this version reads format {format}; use the version that wrote it"
        ));
    }
    let (crc, rest) =
        rest.strip_prefix("\"crc32c\":\"").and_then(|rest| rest.split_once("\",")).ok_or_else(torn)?;
    let value = rest.strip_prefix(&format!("\"{name}\":")).and_then(|rest| rest.strip_suffix('}'));
    let value = value.ok_or_else(torn)?;
    if crc != format!("{:08x}", crc32c::crc32c(value.as_bytes())) {
        return Err("its checksum does not match".to_owned());
    }
    serde_json::from_str(value).map_err(|e| format!("its checksum matches, but it is no {name} ({e})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_again_and_a_file_cut_or_changed_anywhere_is_refused() {
        let sealed = seal("pair", 1, &("späte", 7));
        assert_eq!(
            String::from_utf8_lossy(&sealed),
            r#"{"format":1,"crc32c":"cd56465d","pair":["späte",7]}"#
        );
        assert_eq!(unseal::<(String, u8)>("pair", 1, &sealed), Ok(("späte".to_owned(), 7)));
        for length in 0..sealed.len() {
            assert!(unseal::<(String, u8)>("pair", 1, &sealed[..length]).is_err(), "cut at {length}");
        }
        for (at, bit) in (0..sealed.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            assert!(unseal::<(String, u8)>("pair", 1, &changed).is_err(), "bit {bit} of byte {at}");
        }
    }

    #[test]
    fn a_later_format_is_refused_with_the_way_out() {
        let refusal = unseal::<u8>("pair", 1, &seal("pair", 2, &7)).unwrap_err();
        assert_eq!(
            refusal,
            "written in format 2, this version reads format 1; use the version that wrote it"
        );
    }
}
