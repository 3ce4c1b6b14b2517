//! The tables of docs/coming-from-spark-streaming.md, held to the source: every name of ours is there, and what is said to be not
//! there yet is not. It reads text, laid out by rustfmt; it does not parse Rust.

use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../../../docs/coming-from-spark-streaming.md");
const NOT_YET: &str = "not there yet";
/// What users import, as paths from the root.
const SOURCES: [&str; 9] = [
    "crates/streaming/src",
    "crates/core/src",
    "crates/engine/src/engine.rs",
    "crates/engine/src/info.rs",
    "crates/engine/src/listener.rs",
    "crates/dataflow/src/ops/map_with_state.rs",
    "crates/dataflow/src/partitioner.rs",
    "crates/receivers/src",
    "connectors",
];

/// A row of a table: what is in code in the first and second cell, and the second cell itself.
struct Row<'a> {
    spark: Vec<&'a str>,
    own: Vec<&'a str>,
    cell: &'a str,
}

fn rows(page: &str) -> impl Iterator<Item = Row<'_>> {
    let cells = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?, cells.next()?))
    });
    let rows = cells.filter(|(first, _)| *first != "Spark" && !first.starts_with('-'));
    rows.map(|(first, cell)| Row { spark: in_code(first), own: in_code(cell), cell })
}

fn in_code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// `StreamingContext.getOrCreate(path, f)` is `getOrCreate`.
fn last_name(code: &str) -> &str {
    let path = code.split(['(', ' ', '<']).next().unwrap_or_default();
    path.rsplit(['.', ':']).next().unwrap_or_default()
}

fn snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut snake, c| {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
        snake
    })
}

/// Whether `source` has something public of this name: a setting, a function, a field, a type or a variant.
fn has(source: &str, name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let after = |before: &str| {
        let whole = format!("{before}{name}");
        source.match_indices(&whole).any(|(at, found)| ends(&source[at + found.len()..]))
    };
    match name.chars().next() {
        _ if name.starts_with("tidegate.") || name.starts_with("spark.") => after("\""),
        Some('A'..='Z') => {
            let types = ["pub struct ", "pub enum ", "pub trait "];
            types.iter().any(|kind| after(kind)) || after("\n    ")
        }
        _ => after("pub fn ") || after("pub ") || is_in_trait(source, name),
    }
}

/// Whether a public trait has a function of this name.
fn is_in_trait(source: &str, name: &str) -> bool {
    let mut bodies = source.split("pub trait ").skip(1).filter_map(|rest| rest.split("\n}").next());
    bodies.any(|body| ["(", "<"].iter().any(|end| body.contains(&format!("    fn {name}{end}"))))
}

fn read(path: &Path, text: &mut String) {
    if path.is_dir() {
        let inside = fs::read_dir(path).expect("a directory can be read");
        inside.for_each(|entry| read(&entry.expect("an entry can be read").path(), text));
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        text.push_str(&fs::read_to_string(path).expect("a source file is text"));
    }
}

fn source() -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = String::new();
    SOURCES.iter().for_each(|path| read(&root.join(path), &mut text));
    text
}

#[test]
fn every_name_in_the_second_column_is_in_the_source() {
    let source = source();
    let missing: Vec<_> = rows(PAGE)
        .flat_map(|row| row.own)
        .map(|code| if code.starts_with("tidegate.") { code } else { last_name(code) })
        .filter(|name| !has(&source, name))
        .collect();
    assert!(missing.is_empty(), "the page names what is not there: {missing:?}");
}

#[test]
fn what_is_not_there_yet_is_not_there() {
    let source = source();
    let there: Vec<_> = rows(PAGE)
        .filter(|row| row.cell == NOT_YET)
        .flat_map(|row| row.spark)
        .map(last_name)
        .filter(|name| has(&source, &snake_case(name)))
        .collect();
    assert!(there.is_empty(), "the page says \"{NOT_YET}\" of what has come; give it a row: {there:?}");
}

#[test]
fn sparks_settings_of_the_page_are_taken() {
    let source = source();
    let settings = rows(PAGE).flat_map(|row| row.spark).filter(|code| code.starts_with("spark."));
    let unknown: Vec<_> = settings.filter(|key| !has(&source, key)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_page_is_read_as_it_is_meant() {
    let page = "| Spark | Tidegate | |\n| --- | --- | --- |\n| `A.getOrCreate(x)`, `b` | `x::get_or_create` | c |\n| `d` | no | |";
    let read: Vec<_> = rows(page).map(|row| (row.spark, row.own, row.cell)).collect();
    assert_eq!(read[0], (vec!["A.getOrCreate(x)", "b"], vec!["x::get_or_create"], "`x::get_or_create`"));
    assert_eq!(read[1], (vec!["d"], vec![], "no"));
    assert_eq!(snake_case(last_name("A.getOrCreate(x)")), "get_or_create");
    let source = "pub fn map_with(\npub struct Rdd<T>\n    Now,\npub trait L {\n    fn on_stop(\n}\n    fn own(\n(\"spark.master\",";
    let names = ["map_with", "map", "Rdd", "Now", "No", "on_stop", "own", "spark.master", "spark.mast"];
    let found: Vec<_> = names.into_iter().filter(|name| has(source, name)).collect();
    assert_eq!(found, ["map_with", "Rdd", "Now", "on_stop", "spark.master"]);
}
