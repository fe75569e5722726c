//! A small English stemmer: plurals, `-ing`, `-ed` and the silent `e`, nothing else.
//!
//! It is not Porter's, which is five times as long and hardly found more (figures in `benches/README.md`). A stem is indexed
//! beside the word itself, never instead of it: among tools `list` and `lists`, `get` and `getting` are often different things.

/// Appends the stem of a lower-case word; words that are not plain ASCII letters stay as they are.
pub(super) fn push_stem(word: &str, out: &mut String) {
    let start = out.len();
    push_singular(word, out);
    if !out[start..].bytes().all(|b| b.is_ascii_lowercase()) || out.len() < start + 4 {
        return;
    }
    if out.len() >= start + 5 {
        for suffix in ["ing", "ed"] {
            let Some(root) = out[start..].strip_suffix(suffix) else { continue };
            if root.len() >= 3 && root.bytes().any(|b| b"aeiouy".contains(&b)) {
                out.truncate(start + root.len());
                undouble(start, out);
                break;
            }
        }
    }
    if out.len() >= start + 5 && out.ends_with("ie") {
        // Its plural has become `movy`.
        out.truncate(out.len() - 2);
        out.push('y');
    } else if out.len() >= start + 4 && out.ends_with('e') {
        out.pop();
    }
}

fn push_singular(word: &str, out: &mut String) {
    let plural = word.len() >= 4 && word.ends_with('s') && word.is_ascii();
    let (kept, end) = if !plural {
        (word.len(), "")
    } else if word.len() > 4 && word.ends_with("ies") {
        (word.len() - 3, "y")
    } else if ["sses", "xes", "ches", "shes"].iter().any(|end| word.ends_with(end)) {
        (word.len() - 2, "")
    } else if ["ss", "us", "is"].iter().any(|end| word.ends_with(end)) {
        (word.len(), "")
    } else {
        (word.len() - 1, "")
    };
    out.push_str(&word[..kept]);
    out.push_str(end);
}

/// `running` is left as `runn`: one of the twins goes, except where words end in both (`call`, `pass`, `buzz`).
fn undouble(start: usize, out: &mut String) {
    if let &[_, _, .., a, b] = &out.as_bytes()[start..]
        && a == b
        && !b"lsz".contains(&b)
    {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stem(word: &str) -> String {
        let mut out = String::from("~");
        push_stem(word, &mut out);
        out.split_off(1)
    }

    #[test]
    fn forms_of_one_word_meet() {
        for forms in [
            &["create", "creates", "created", "creating"][..],
            &["query", "queries"],
            &["movie", "movies"],
            &["run", "running", "runs"],
            &["search", "searches", "searched", "searching"],
            &["list", "lists", "listing"],
            &["box", "boxes"],
            &["call", "calls", "calling"],
        ] {
            for form in forms {
                assert_eq!(stem(form), stem(forms[0]), "{form}");
            }
        }
    }

    #[test]
    fn short_and_foreign_words_stay() {
        for word in ["as", "gas", "news1", "größen", "搜索", "", "s", "ing", "class", "status", "analysis"] {
            assert_eq!(stem(word), if word == "gas" { "gas" } else { word });
        }
    }
}
