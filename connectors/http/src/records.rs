//! From a body to records: text, each a line, a JSON value or a CSV record. All of a body is good, or it names the line that is not.

use serde::de::IgnoredAny;

/// How a body is cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Each line, empty ones too.
    Lines,
    /// Each line a JSON value; empty lines are none.
    JsonLines,
    /// All of it is one JSON value.
    Json,
    /// Records by RFC 4180, all of as many fields; a quoted field may have line ends. A header is checked and left out.
    Csv { header: bool },
}

/// The first line that is wrong, from 1, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: u64,
    pub(crate) why: String,
}

impl Format {
    /// By the value of a `Content-Type`; what is wrong with it else.
    pub(crate) fn of(content_type: Option<&str>) -> Result<Format, &'static str> {
        let mut parts = content_type.unwrap_or("text/plain").split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut header = false;
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "charset" if !value.eq_ignore_ascii_case("utf-8") => return Err("charset: must be utf-8"),
                "header" => header = value.eq_ignore_ascii_case("present"),
                _ => {}
            }
        }
        match kind.as_str() {
            "text/plain" => Ok(Format::Lines),
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/json-lines" => Ok(Format::JsonLines),
            "application/json" => Ok(Format::Json),
            "text/csv" => Ok(Format::Csv { header }),
            _ => Err(
                "Content-Type: must be text/plain (lines), application/x-ndjson, application/json (one value) or text/csv; \
                      with curl: -H 'Content-Type: text/plain' --data-binary @FILE",
            ),
        }
    }

    pub(crate) fn records(self, body: &[u8]) -> Result<Vec<String>, BadLine> {
        let text = std::str::from_utf8(body).map_err(|error| {
            let before = &body[..error.valid_up_to()];
            let line_begins = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
            let at = error.valid_up_to() - line_begins;
            BadLine { line, why: format!("not UTF-8 at its byte {at}") }
        })?;
        match self {
            Format::Lines => Ok(text.lines().map(str::to_owned).collect()),
            Format::JsonLines => json_lines(text),
            Format::Json => match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => Ok(vec![text.trim().to_owned()]),
                Err(error) => {
                    Err(BadLine { line: error.line().max(1) as u64, why: format!("no JSON: {error}") })
                }
            },
            Format::Csv { header } => csv_records(text, header),
        }
    }
}

fn json_lines(text: &str) -> Result<Vec<String>, BadLine> {
    let mut records = Vec::new();
    for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        serde_json::from_str::<IgnoredAny>(text)
            .map_err(|error| BadLine { line: line as u64 + 1, why: format!("no JSON: {error}") })?;
        records.push(text.to_owned());
    }
    Ok(records)
}

fn csv_records(text: &str, header: bool) -> Result<Vec<String>, BadLine> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let mut record = csv::ByteRecord::new();
    let mut records = Vec::new();
    loop {
        let from = reader.position().byte() as usize;
        let bad = |why: String| {
            // The reader steps over line ends before a record.
            let begins = text.len() - text[from..].trim_start_matches(['\r', '\n']).len();
            let line = 1 + text[..begins].bytes().filter(|byte| *byte == b'\n').count() as u64;
            Err(BadLine { line, why })
        };
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => match error.kind() {
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    return bad(format!("{len} fields, the first record has {expected_len}"));
                }
                _ => return bad(format!("no CSV: {error}")),
            },
        }
        let until = reader.position().byte() as usize;
        let raw = text[from..until].trim_matches(['\r', '\n']);
        // What is open at the end is closed for the reader.
        if !raw.bytes().filter(|byte| *byte == b'"').count().is_multiple_of(2) {
            return bad("a quoted field does not end".to_owned());
        }
        records.push(raw.to_owned());
    }
    if header && !records.is_empty() {
        records.remove(0);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(format: Format, body: &[u8]) -> (u64, String) {
        let BadLine { line, why } = format.records(body).unwrap_err();
        (line, why)
    }

    #[test]
    fn the_content_type_says_how_a_body_is_cut() {
        for (kind, format) in [
            (None, Format::Lines),
            (Some("text/plain; charset=UTF-8"), Format::Lines),
            (Some("Application/X-NDJSON"), Format::JsonLines),
            (Some("application/json"), Format::Json),
            (Some("text/csv"), Format::Csv { header: false }),
            (Some("text/csv; charset=\"utf-8\"; header=present"), Format::Csv { header: true }),
        ] {
            assert_eq!(Format::of(kind), Ok(format), "{kind:?}");
        }
        assert!(Format::of(Some("text/plain; charset=latin1")).unwrap_err().contains("utf-8"));
        assert!(Format::of(Some("application/x-www-form-urlencoded")).unwrap_err().contains("--data-binary"));
    }

    #[test]
    fn lines_and_json_values_are_records_as_they_came() {
        assert_eq!(Format::Lines.records(b"a\r\n\nb").unwrap(), ["a", "", "b"]);
        assert_eq!(Format::JsonLines.records(b"{\"a\": 1}\n\n [2]\n").unwrap(), ["{\"a\": 1}", " [2]"]);
        assert_eq!(Format::Json.records(b" {\n\"a\": 1}\n").unwrap(), ["{\n\"a\": 1}"]);
        assert!(
            [Format::Lines, Format::JsonLines].iter().all(|format| format.records(b"").unwrap().is_empty())
        );
    }

    #[test]
    fn a_csv_record_is_the_text_between_its_ends() {
        let csv = |header| Format::Csv { header };
        let body = b"id,name\n1,\"a \"\"b\"\"\r\nc\"\r\n\n2,d";
        assert_eq!(csv(false).records(body).unwrap(), ["id,name", "1,\"a \"\"b\"\"\r\nc\"", "2,d"]);
        assert_eq!(csv(true).records(body).unwrap(), ["1,\"a \"\"b\"\"\r\nc\"", "2,d"]);
        assert!(csv(true).records(b"").unwrap().is_empty());
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(bad(Format::Lines, b"ok\nb\xffd\n"), (2, "not UTF-8 at its byte 1".to_owned()));
        assert_eq!(bad(Format::JsonLines, b"{}\n\n{\n").0, 3);
        assert_eq!(bad(Format::Json, b"{\n1}").0, 2);
        let csv = Format::Csv { header: false };
        assert_eq!(bad(csv, b"a,b\nc,d\n\ne\n"), (4, "1 fields, the first record has 2".to_owned()));
        assert_eq!(bad(csv, b"a,b\nc,\"d\n"), (2, "a quoted field does not end".to_owned()));
    }
}
