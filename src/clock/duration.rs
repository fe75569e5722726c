//! Durations as text: `250ms`, `30s`, `1m30s`, `2h`, `1d`.
//!
//! Not arithmetic and not rounding: what is printed reads back as the same value. A bare number is refused, because nobody
//! remembers whether it meant seconds.

use std::time::Duration;

/// Units from the largest to the smallest, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a duration.
///
/// # Errors
/// A fragment that says what was wrong and what to write.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let wrong = || format!("`{text}` is not a duration; write one such as `250ms`, `30s` or `1m30s`");
    if text.is_empty() {
        return Err(wrong());
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() && after.is_empty() && !number.is_empty() {
            return Err(format!(
                "`{text}` has no unit; write `{number}s` for seconds or `{number}ms` for milliseconds"
            ));
        }
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        total = number.checked_mul(*scale).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration so that [`parse_duration`] reads it back.
pub fn duration_text(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, scale) in UNITS {
        if left >= scale {
            text.push_str(&format!("{}{unit}", left / scale));
            left %= scale;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["250ms", "30s", "1m30s", "2h", "1d1ms", "0s"] {
            assert_eq!(duration_text(parse_duration(text).expect(text)), text);
        }
    }

    #[test]
    fn a_bare_number_and_nonsense_are_refused() {
        assert!(parse_duration("30").expect_err("no unit").contains("`30s` for seconds"));
        for text in ["", "s", "3 weeks", "-1s", "1.5s", "99999999999999999999s", "1s30"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
