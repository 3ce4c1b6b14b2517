//! What a mapping takes in any case: documents of which that can be told need not be tried out.
//!
//! A field is known if its type and all that is set of it are among those below, and a value is vouched for if Elasticsearch takes it
//! whatever else the documents hold. Whatever is not known here is left to the server: it costs a second indexing, and no error.

use crate::index::Looked;
use crate::staging;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// What a mapping may have at its top beside its fields. None of it changes what becomes of a field that is there.
const AT_THE_TOP: [&str; 8] = [
    "properties",
    "dynamic",
    "dynamic_templates",
    "dynamic_date_formats",
    "date_detection",
    "numeric_detection",
    "runtime",
    "_meta",
];
/// What may be set of an object.
const OF_AN_OBJECT: [&str; 3] = ["type", "properties", "dynamic"];
/// What may be set of a field with a value.
const OF_A_VALUE: [&str; 10] = [
    "type",
    "fields",
    "index",
    "doc_values",
    "store",
    "norms",
    "index_options",
    "ignore_above",
    "ignore_malformed",
    "coerce",
];
/// Settings that make it another kind of index: their beginnings. Those that decide what any index takes are known to `staging`.
const OF_ANOTHER_KIND: [&str; 3] = ["index.mode", "index.routing_path", "index.time_series."];
/// Of those that decide, one that is about fields which are not there yet.
const TOTAL_FIELDS: &str = "index.mapping.total_fields.limit";
/// Lucene takes no longer term.
const TERM_BYTES_MAX: usize = 32_766;
/// The last millisecond of the year 9999.
const LAST_MS: u64 = 253_402_300_799_999;

/// The fields of an index, those that are known.
#[derive(Debug)]
pub(crate) struct Mapping(Field);

#[derive(Debug)]
enum Field {
    /// By name.
    Object(Vec<(String, Field)>),
    /// The types that a value goes to: that of the field, and those of the fields below it.
    Value(Vec<Kind>),
    Unknown,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Keyword and text alike.
    Text,
    /// A whole number, from the first to the second.
    Whole(i64, i64),
    Double,
    Float,
    Boolean,
    Date,
}

impl Mapping {
    /// None if something is set of the whole index that is not known here.
    pub(crate) fn of(index: &Looked) -> Option<Mapping> {
        let decides = |name: &String| {
            let is_of_another_kind = OF_ANOTHER_KIND.iter().any(|start| name.starts_with(start));
            is_of_another_kind || name != TOTAL_FIELDS && staging::decides(name)
        };
        let mapping = index.mappings.as_object()?;
        if index.settings.keys().any(decides) || !has_only(mapping, &AT_THE_TOP) {
            return None;
        }
        Some(Mapping(object(mapping)))
    }

    /// Whether the index takes a document with this JSON, whatever else it holds.
    pub(crate) fn vouches_for(&self, source: &str) -> bool {
        let mut json = serde_json::Deserializer::from_str(source);
        Fits(&self.0).deserialize(&mut json).is_ok() && json.end().is_ok()
    }
}

fn has_only(set: &Map<String, Value>, known: &[&str]) -> bool {
    set.keys().all(|name| known.contains(&name.as_str()))
}

fn object(mapping: &Map<String, Value>) -> Field {
    let fields = mapping.get("properties").and_then(Value::as_object);
    let mut fields: Vec<_> =
        fields.into_iter().flatten().map(|(name, set)| (name.clone(), field(set))).collect();
    fields.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Field::Object(fields)
}

fn field(set: &Value) -> Field {
    let Some(set) = set.as_object() else { return Field::Unknown };
    if set.contains_key("properties") {
        let is_plain = set.get("type").is_none_or(|of| of == "object") && has_only(set, &OF_AN_OBJECT);
        return if is_plain { object(set) } else { Field::Unknown };
    }
    let mut kinds = Vec::new();
    match kinds_of(set, &mut kinds) {
        Some(()) => Field::Value(kinds),
        None => Field::Unknown,
    }
}

/// Adds the types of a field and of those below it; none if one is not known.
fn kinds_of(set: &Map<String, Value>, kinds: &mut Vec<Kind>) -> Option<()> {
    if !has_only(set, &OF_A_VALUE) {
        return None;
    }
    kinds.push(match set.get("type")?.as_str()? {
        "keyword" | "text" => Kind::Text,
        "long" => Kind::Whole(i64::MIN, i64::MAX),
        "integer" => Kind::Whole(i32::MIN.into(), i32::MAX.into()),
        "short" => Kind::Whole(i16::MIN.into(), i16::MAX.into()),
        "byte" => Kind::Whole(i8::MIN.into(), i8::MAX.into()),
        "double" => Kind::Double,
        "float" => Kind::Float,
        "boolean" => Kind::Boolean,
        "date" => Kind::Date,
        _ => return None,
    });
    let below = set.get("fields").and_then(Value::as_object);
    below.into_iter().flatten().try_for_each(|(_, field)| kinds_of(field.as_object()?, kinds))
}

/// Reads a value, and fails unless the field takes it in any case.
#[derive(Clone, Copy)]
struct Fits<'f>(&'f Field);

impl Fits<'_> {
    fn check<E: serde::de::Error>(self, takes: impl Fn(Kind) -> bool) -> Result<(), E> {
        match self.0 {
            Field::Value(kinds) if kinds.iter().all(|kind| takes(*kind)) => Ok(()),
            _ => Err(E::custom("it may be refused")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Fits<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fits<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that the field takes")
    }

    /// No value at all.
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.check(|_| true)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.check(|kind| matches!(kind, Kind::Boolean))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.check(|kind| match kind {
            Kind::Whole(first, last) => (first..=last).contains(&number),
            Kind::Double | Kind::Float => true,
            Kind::Date => u64::try_from(number).is_ok_and(|number| number <= LAST_MS),
            Kind::Text | Kind::Boolean => false,
        })
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        let number = i64::try_from(number).map_err(|_| E::custom("it may be refused"))?;
        self.visit_i64(number)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        self.check(|kind| match kind {
            Kind::Double => number.is_finite(),
            Kind::Float => (number as f32).is_finite(),
            _ => false,
        })
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.check(|kind| match kind {
            Kind::Text => text.len() <= TERM_BYTES_MAX,
            Kind::Date => is_time(text),
            _ => false,
        })
    }

    /// Each of several values of one field.
    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        if matches!(self.0, Field::Object(_)) {
            return Err(A::Error::custom("it may be refused"));
        }
        while values.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Field::Object(fields) = self.0 else { return Err(A::Error::custom("it may be refused")) };
        let mut seen = vec![false; fields.len()];
        while let Some(name) = entries.next_key::<String>()? {
            let place = fields.binary_search_by(|(known, _)| known.as_str().cmp(&name));
            let place = place.map_err(|_| A::Error::custom("it is not in the mapping"))?;
            // Elasticsearch refuses a name that comes twice.
            if std::mem::replace(&mut seen[place], true) {
                return Err(A::Error::custom("it comes twice"));
            }
            entries.next_value_seed(Fits(&fields[place].1))?;
        }
        Ok(())
    }
}

/// Whether a text is a time in the form `2026-11-26T07:30:00Z`, with milliseconds or without, of a day that each month has.
fn is_time(text: &str) -> bool {
    let Some(text) = text.strip_suffix('Z') else { return false };
    let (time, millis) = text.split_at_checked(19).unwrap_or((text, ""));
    let fits = |range: std::ops::Range<usize>, first: u32, last: u32| {
        let part = time.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        part.and_then(|part| part.parse().ok()).is_some_and(|number| (first..=last).contains(&number))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let has_marks =
        time.len() == 19 && marks.iter().all(|(place, mark)| time.as_bytes().get(*place) == Some(mark));
    let is_fraction = |text: &str| {
        text.len() == 4 && text.starts_with('.') && text[1..].bytes().all(|byte| byte.is_ascii_digit())
    };
    has_marks
        && fits(0..4, 1970, 9999)
        && fits(5..7, 1, 12)
        && fits(8..10, 1, 28)
        && fits(11..13, 0, 23)
        && fits(14..16, 0, 59)
        && fits(17..19, 0, 59)
        && (millis.is_empty() || is_fraction(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn looked(mappings: Value, settings: Value) -> Looked {
        Looked { mappings, settings: settings.as_object().unwrap().clone() }
    }

    fn mapping() -> Mapping {
        let mappings = json!({ "dynamic": "strict", "properties": {
            "word": { "type": "text", "fields": { "raw": { "type": "keyword", "ignore_above": 256 } } },
            "count": { "type": "long" }, "small": { "type": "byte" }, "level": { "type": "float" },
            "at": { "type": "date" }, "on": { "type": "date", "format": "yyyy" },
            "is": { "type": "boolean" }, "both": { "type": "long", "fields": { "raw": { "type": "keyword" } } },
            "place": { "properties": { "name": { "type": "keyword" } } },
            "point": { "type": "geo_point" }, "copied": { "type": "long", "copy_to": "count" },
            "parts": { "type": "nested", "properties": {} }
        } });
        Mapping::of(&looked(mappings, json!({ "index.uuid": "u", TOTAL_FIELDS: "9" }))).unwrap()
    }

    #[test]
    fn what_fits_in_any_case_is_vouched_for() {
        let mapping = mapping();
        for source in [
            r"{}",
            r#"{"word":"ebb","count":-1,"small":-128,"level":1e38,"is":true,"place":{"name":"pier"}}"#,
            r#"{"word":["ebb","flow"],"count":null,"level":2,"at":[0,"2026-02-28T23:59:59.999Z","2026-11-26T07:30:00Z"]}"#,
        ] {
            assert!(mapping.vouches_for(source), "{source}");
        }
        assert!(mapping.vouches_for(&json!({ "word": "x".repeat(TERM_BYTES_MAX) }).to_string()));
    }

    #[test]
    fn whatever_else_it_is_is_tried_out() {
        let mapping = mapping();
        for source in [
            r#"{"new":1}"#,
            r#"{"count":1,"count":2}"#,
            r#"{"count":1.5}"#,
            r#"{"count":"1"}"#,
            r#"{"count":9223372036854775808}"#,
            r#"{"count":{"n":1}}"#,
            r#"{"small":128}"#,
            r#"{"level":1e39}"#,
            r#"{"word":1}"#,
            r#"{"is":"true"}"#,
            r#"{"at":-1}"#,
            r#"{"at":"2026-02-29T00:00:00Z"}"#,
            r#"{"at":"2026-11-26"}"#,
            r#"{"at":"2026-11-26T07:30:00+01"}"#,
            r#"{"at":"2026-1-26T07:30:00.1Z"}"#,
            r#"{"on":"2026"}"#,
            r#"{"both":1}"#,
            r#"{"place":"pier"}"#,
            r#"{"place":[{"name":"pier"}]}"#,
            r#"{"place.name":"pier"}"#,
            r#"{"point":"1,2"}"#,
            r#"{"copied":1}"#,
            r#"{"parts":{}}"#,
            r"[]",
            r"1",
            r"{",
        ] {
            assert!(!mapping.vouches_for(source), "{source}");
        }
        assert!(!mapping.vouches_for(&json!({ "word": "x".repeat(TERM_BYTES_MAX + 1) }).to_string()));
    }

    #[test]
    fn an_index_with_more_to_it_is_left_to_the_server() {
        for setting in ["index.default_pipeline", "index.analysis.analyzer.default.type", "index.sort.field"]
        {
            assert!(Mapping::of(&looked(json!({}), json!({ setting: "x" }))).is_none(), "{setting}");
        }
        for mappings in [json!({ "_routing": { "required": true } }), json!({ "subobjects": false })] {
            assert!(Mapping::of(&looked(mappings, json!({}))).is_none());
        }
    }
}
