//! Text as a person sees it: cleaned of what could deceive a terminal, and numbers in words one reads at a glance.
//!
//! Not a renderer of tables or JSON. What must hold: nothing that passes through [`clean`] or [`clean_block`] can move the cursor,
//! change colours, reverse the reading direction or hide characters, because names and descriptions were written by strangers.

use aop_proto::error::plain_lines;
pub(crate) use aop_proto::error::{is_deceptive, shell_word};

/// One line: controls and deceptive characters are gone, line breaks and runs of blanks become one blank.
pub(crate) fn clean(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let before = line.len();
        if before > 0 {
            line.push(' ');
        }
        line.extend(word.chars().filter(|c| !is_deceptive(*c)));
        if line.len() == before + usize::from(before > 0) {
            line.truncate(before);
        }
    }
    line
}

/// The same with line breaks and tabs kept, for text that is shown whole.
pub(crate) fn clean_block(text: &str) -> String {
    plain_lines(text)
}

/// At most `limit` characters, the last one an ellipsis when something was cut.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// A time taken: `0.4 ms`, `12 ms`, `1.2 s`.
pub(crate) fn took(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 1000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

/// A lifetime or an age in its largest unit: `59s`, `4m`, `3h`, `2d`.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 if ms > 0 => format!("{ms}ms"),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A size: `812 B`, `12.3 kB`, `4.0 MB`.
pub(crate) fn bytes(count: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let count_f = count as f64;
    match count {
        0..1000 => format!("{count} B"),
        1000..1_000_000 => format!("{:.1} kB", count_f / 1e3),
        _ => format!("{:.1} MB", count_f / 1e6),
    }
}

/// `1 tool`, `2 tools`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_a_terminal_is_gone() {
        assert_eq!(clean("a\u{1b}[31mred\u{202e}x\r\n  b\u{7f}\u{9b}c \u{e0041} d"), "a[31mredx bc d");
        assert_eq!(clean_block("one\n\ttwo\u{1b}]0;x\u{7}"), "one\n\ttwo]0;x");
        assert_eq!(clean("Поиск 搜索 🌤"), "Поиск 搜索 🌤");
        // What models read and people do not see: zero width, tags, a message in variation selectors, fillers.
        assert_eq!(clean("a\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}b\u{ad}c"), "abc");
        assert_eq!(clean("ok\u{e0069}\u{e0067}\u{e007f}\u{e0001}"), "ok");
        assert_eq!(clean("😀\u{fe0f}\u{fe00}\u{e0100}\u{e01ef}"), "😀");
        assert_eq!(clean("x\u{3164}\u{115f}\u{ffa0}\u{34f}\u{180e}y"), "xy");
        assert_eq!(clean_block("a\u{2066}b\u{2069}\u{61c}\n\u{85}c"), "ab\nc");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([took(0.42), took(12.3), took(1234.0)], ["0.4 ms", "12 ms", "1.2 s"]);
        assert_eq!([span(240_000), span(59_000), span(7_300_000), span(500)], ["4m", "59s", "2h", "500ms"]);
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
