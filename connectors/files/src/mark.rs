//! A file in a plan: its path is the partition, its length the range, and the mark has the rest of what it is known by.

use tidegate_core::{SourceRange, UserFile};

/// The range that takes all of `file`. `again`: another file of the same path was taken before.
pub(crate) fn range_of(file: &UserFile, again: bool) -> SourceRange {
    let mut range = SourceRange::new(file.path.clone(), 0, file.bytes);
    range.begins_anew = again;
    range.mark = Some(format!("{} {}", file.modified_ms, file.identity));
    range
}

/// The file that `range` takes; none if the range is no whole file.
pub(crate) fn file_of(range: &SourceRange) -> Option<UserFile> {
    let (modified_ms, identity) = range.mark.as_deref()?.split_once(' ')?;
    (range.from == 0).then_some(())?;
    Some(UserFile {
        path: range.partition.clone(),
        bytes: range.until,
        modified_ms: modified_ms.parse().ok()?,
        identity: identity.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_gives_back_its_file() {
        let file = UserFile {
            path: "a b/c".to_owned(),
            bytes: 7,
            modified_ms: 1_700,
            identity: "12-34 5".to_owned(),
        };
        let range = range_of(&file, true);
        assert!(range.begins_anew);
        assert_eq!((range.to_string(), file_of(&range)), ("a b/c [0, 7)".to_owned(), Some(file)));
        assert_eq!(file_of(&SourceRange::new("lines-0", 0, 7)), None);
    }
}
