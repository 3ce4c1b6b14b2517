//! `docs/benchmarks.md`: text by hand, and one generated part a step, between comments that name it. A run replaces the parts
//! that it measured and leaves everything else alone, so that one noisy step can be repeated by itself.

/// `document` with `body` as its part `name`, put at the end if there was none.
pub(crate) fn with_part(document: &str, name: &str, body: &str) -> String {
    let (begin, end) = (format!("<!-- generated: {name} -->"), format!("<!-- end: {name} -->"));
    let part = format!("{begin}\n{}\n{end}", body.trim_end());
    let (before, after) = match document.split_once(&begin) {
        // Without its end nothing says where the part stops; what follows is then taken for text.
        Some((before, rest)) => (before, rest.split_once(&end).map_or(rest, |(_, after)| after)),
        None => (document, ""),
    };
    match before.trim_end() {
        "" => format!("{part}\n"),
        text if after.trim().is_empty() => format!("{text}\n\n{part}\n"),
        text => format!("{text}\n\n{part}{after}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_is_replaced_where_it_stands_or_put_at_the_end() {
        let one = with_part("# Text\n", "a", "1\n");
        assert_eq!(one, "# Text\n\n<!-- generated: a -->\n1\n<!-- end: a -->\n");
        let two = with_part(&one, "b", "2");
        let replaced = with_part(&two, "a", "3");
        assert_eq!(replaced, two.replace("\n1\n", "\n3\n"));
        assert_eq!(with_part(&replaced, "b", "2"), replaced);
    }
}
