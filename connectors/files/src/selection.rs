//! Which of the files of a folder are meant, by their names. Pure.

use glob::{MatchOptions, Pattern};
use std::sync::Arc;
use tidegate_core::UserFile;

/// Endings of files that are being written: by copying tools of Hadoop, and by everybody.
const UNFINISHED: [&str; 2] = [".tmp", "._COPYING_"];

/// What a user decides about a file.
pub(crate) type Filter = Arc<dyn Fn(&UserFile) -> bool + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Selection {
    pub(crate) globs: Vec<Pattern>,
    pub(crate) filter: Option<Filter>,
    pub(crate) hidden: bool,
}

impl Selection {
    /// Whether the stream takes `file`. One without a byte holds no record, and may be one that is about to be written.
    pub(crate) fn takes(&self, file: &UserFile) -> bool {
        file.bytes > 0
            && (self.hidden || !is_hidden(&file.path))
            && (self.globs.is_empty() || self.globs.iter().any(|glob| matches(glob, &file.path)))
            && self.filter.as_ref().is_none_or(|filter| filter(file))
    }
}

/// A pattern without a slash is about the name, one with a slash about the path.
fn matches(glob: &Pattern, path: &str) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    let name = path.rsplit('/').next().unwrap_or(path);
    glob.matches_with(if glob.as_str().contains('/') { path } else { name }, options)
}

/// Whether the file, or a folder that it is in, has a name that by convention nobody reads.
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|name| name.starts_with(['.', '_']))
        || UNFINISHED.iter().any(|ending| path.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: u64) -> UserFile {
        UserFile { path: path.to_owned(), bytes, modified_ms: 0, identity: String::new() }
    }

    #[test]
    fn what_is_being_written_or_hidden_or_empty_is_not_taken() {
        let taken = |path| Selection::default().takes(&file(path, 1));
        for path in ["a", "a.txt", "sub/a", "a._COPYING", "tmp", "a.b_c"] {
            assert!(taken(path), "{path}");
        }
        for path in [".a", "_SUCCESS", "_temporary/0/part-0", "sub/.a", "a.tmp", "a.txt._COPYING_"] {
            assert!(!taken(path), "{path}");
            assert!(Selection { hidden: true, ..Selection::default() }.takes(&file(path, 1)), "{path}");
        }
        assert!(!Selection::default().takes(&file("a", 0)));
    }

    #[test]
    fn a_pattern_is_about_the_name_or_with_a_slash_about_the_path() {
        let taken = |glob: &str, path| {
            let globs = vec![Pattern::new(glob).unwrap()];
            Selection { globs, ..Selection::default() }.takes(&file(path, 1))
        };
        for (glob, path, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "sub/a.csv", true),
            ("*.csv", "a.json", false),
            ("day=*/*.csv", "day=3/a.csv", true),
            ("day=*/*.csv", "day=3/more/a.csv", false),
            ("**/x", "a/b/x", true),
        ] {
            assert_eq!(taken(glob, path), expected, "{glob} {path}");
        }
    }

    #[test]
    fn a_filter_comes_on_top_of_the_rest() {
        let filter: Filter = Arc::new(|file| file.bytes < 10);
        let selection = Selection { filter: Some(filter), ..Selection::default() };
        assert!(selection.takes(&file("a", 9)));
        assert!(!selection.takes(&file("a", 10)));
        assert!(!selection.takes(&file(".a", 9)));
    }
}
