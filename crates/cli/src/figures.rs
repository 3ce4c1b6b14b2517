//! Numbers as people read them.

/// The number with a comma between each three digits: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let comma_before = |place: usize| place > 0 && (digits.len() - place).is_multiple_of(3);
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (place, digit) in digits.chars().enumerate() {
        if comma_before(place) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn a_comma_stands_between_three_digits() {
        let texts = [0, 7, 100, 1000, 12_345, 100_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "7", "100", "1,000", "12,345", "100,000", "1,234,567"]);
    }
}
