//! A small English stemmer: plurals, `-ing`, `-ed` and the silent `e`, nothing else.
//!
//! It is not Porter's, which is five times as long and hardly found more (figures in `benches/README.md`). A stem is indexed
//! beside the word itself, never instead of it: among tools `list` and `lists`, `get` and `getting` are often different things.

/// The stem of a lower-case word; words that are not plain ASCII letters stay as they are.
pub(super) fn stem(word: &str) -> String {
    let mut stem = singular(word);
    if !stem.bytes().all(|b| b.is_ascii_lowercase()) || stem.len() < 4 {
        return stem;
    }
    if stem.len() >= 5 {
        for suffix in ["ing", "ed"] {
            let Some(root) = stem.strip_suffix(suffix) else { continue };
            if root.len() >= 3 && root.bytes().any(|b| b"aeiouy".contains(&b)) {
                stem.truncate(root.len());
                undouble(&mut stem);
                break;
            }
        }
    }
    if stem.len() >= 4 && stem.ends_with('e') {
        stem.pop();
    }
    stem
}

fn singular(word: &str) -> String {
    let keep = |bytes: usize| word[..word.len() - bytes].to_owned();
    if word.len() < 4 || !word.is_ascii() {
        word.to_owned()
    } else if word.len() > 4 && word.ends_with("ies") {
        keep(3) + "y"
    } else if ["sses", "xes", "ches", "shes"].iter().any(|end| word.ends_with(end)) {
        keep(2)
    } else if word.ends_with('s') && !["ss", "us", "is"].iter().any(|end| word.ends_with(end)) {
        keep(1)
    } else {
        word.to_owned()
    }
}

/// `running` is left as `runn`: one of the twins goes, except where words end in both (`call`, `pass`, `buzz`).
fn undouble(stem: &mut String) {
    if let &[.., a, b] = stem.as_bytes()
        && a == b
        && stem.len() > 3
        && !b"lsz".contains(&b)
    {
        stem.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_word_meet() {
        for forms in [
            &["create", "creates", "created", "creating"][..],
            &["query", "queries"],
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
