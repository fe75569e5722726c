//! How text becomes words: the same way for a tool's definition and for a question.
//!
//! Names of tools are glued together in many ways (`searchPapers`, `search_papers`, `arxiv.search-papers`), so a word ends at
//! every character that is neither letter nor digit and at every hump of camel case; the glued whole is kept as a further word.
//! Latin letters lose their marks, as people leave them out when they ask. Scripts written without spaces are cut into overlapping
//! pairs, so that a part of a phrase finds the phrase.
//! It is not a language detector and knows no dictionary; the same bytes always give the same words.

use super::fold::{is_mark, push_folded};

/// Longer words are cut: they are encoded data, not language.
pub(super) const WORD_BYTES_MAX: usize = 64;

/// One word of a text, lower case, at most 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// A word as people write it.
    Plain(&'a str),
    /// The whole of which the preceding words are the parts: `readfile` after `read` and `file`.
    Whole(&'a str),
    /// Two characters of a script without spaces, or one that stands alone.
    Piece(&'a str),
}

impl Word<'_> {
    /// Whether it says nothing about what is sought.
    pub(super) fn is_stop(&self) -> bool {
        matches!(self, Self::Plain(word) if is_stop_word(word))
    }
}

/// Calls `emit` for every word of `text`, in order. `lower` is room for one of them.
pub(super) fn each_word(text: &str, lower: &mut String, mut emit: impl FnMut(Word<'_>)) {
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_alphanumeric() && !is_mark(c) || is_unspaced(c)) {
        rest = &rest[start..];
        // Nearly every word is written in small letters, and no letter follows it.
        let small = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        if small > 0 && rest.as_bytes().get(small).is_none_or(|next| next.is_ascii() && !next.is_ascii_alphanumeric()) {
            emit(Word::Plain(cut(&rest[..small])));
            rest = &rest[small..];
            continue;
        }
        let unspaced = rest.starts_with(is_unspaced);
        let same_run = |c: char| is_unspaced(c) == unspaced && (unspaced || c.is_alphanumeric() || is_mark(c));
        let (run, after) = rest.split_at(rest.find(|c| !same_run(c)).unwrap_or(rest.len()));
        if unspaced {
            each_pair(run, &mut emit);
        } else {
            each_part(run, lower, &mut emit);
        }
        rest = after;
    }
}

/// Whether the script of `c` does not separate words: kana, ideographs, hangul (its particles stick), Thai and its neighbours.
fn is_unspaced(c: char) -> bool {
    // Most text is below all of them.
    c >= '\u{e00}'
        && matches!(u32::from(c),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x31f0..=0x31ff | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff | 0xff66..=0xff9d | 0x2_0000..=0x3_ffff)
}

fn each_pair(run: &str, emit: &mut impl FnMut(Word<'_>)) {
    let mut ends = run.char_indices().map(|(start, c)| (start, start + c.len_utf8())).peekable();
    let mut alone = true;
    while let Some((start, end)) = ends.next() {
        match ends.peek() {
            Some(&(_, next_end)) => emit(Word::Piece(&run[start..next_end])),
            None if alone => emit(Word::Piece(&run[start..end])),
            None => {}
        }
        alone = false;
    }
}

/// Cuts a run of letters and digits at the humps of camel case: `HTTPServer2` is `http`, `server2`.
fn each_part(run: &str, whole: &mut String, emit: &mut impl FnMut(Word<'_>)) {
    whole.clear();
    let mut part_start = 0;
    let mut parts = 0;
    let mut before: Option<char> = None;
    let mut chars = run.chars().peekable();
    while let Some(c) = chars.next() {
        if is_mark(c) {
            continue;
        }
        let hump = c.is_uppercase()
            && before.is_some_and(|b| !b.is_uppercase() || chars.peek().is_some_and(|next| next.is_lowercase()));
        if hump {
            emit(Word::Plain(cut(&whole[part_start..])));
            part_start = whole.len();
            parts += 1;
        }
        match c {
            // Nearly all of them.
            '\0'..='\x7f' => whole.push(c.to_ascii_lowercase()),
            _ => c.to_lowercase().for_each(|c| push_folded(c, whole)),
        }
        before = Some(c);
    }
    emit(Word::Plain(cut(&whole[part_start..])));
    if parts > 0 {
        emit(Word::Whole(cut(whole)));
    }
}

fn cut(word: &str) -> &str {
    &word[..word.floor_char_boundary(WORD_BYTES_MAX)]
}

/// English function words, and what people say around a request. Numbers are found faster than text.
fn is_stop_word(word: &str) -> bool {
    let letter = word.bytes().next().map(|byte| usize::from(byte.wrapping_sub(b'a')));
    let Some(letter) = letter.filter(|letter| *letter < LETTERS) else { return false };
    STOP_PREFIXES[STOP_WORDS_FROM[letter]..STOP_WORDS_FROM[letter + 1]].contains(&prefix(word))
}

/// The first sixteen bytes as a number that sorts as they do.
pub(super) const fn prefix(word: &str) -> u128 {
    let bytes = word.as_bytes();
    (number(bytes, 0) as u128) << 64 | number(bytes, 8) as u128
}

/// Eight bytes from there on, or what there is of them, as a number.
pub(super) const fn number(bytes: &[u8], from: usize) -> u64 {
    let Some((_, rest)) = bytes.split_at_checked(from) else { return 0 };
    if let Some(eight) = rest.first_chunk() {
        return u64::from_be_bytes(*eight);
    }
    if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        // Four to seven: what both hold lies at the same place of both.
        return (u32::from_be_bytes(*first) as u64) << 32 | (u32::from_be_bytes(*last) as u64) << (64 - 8 * rest.len());
    }
    let (mut number, mut at) = (0, 0);
    while at < rest.len() {
        number |= (rest[at] as u64) << (56 - 8 * at);
        at += 1;
    }
    number
}

/// Whether a prefix holds the whole of its word. No word contains the byte 0.
const fn is_whole(prefix: u128) -> bool {
    prefix & 0xff == 0
}

/// Whether two words are one, by their prefixes; their texts are asked for only where these do not hold the whole of them.
pub(super) fn is_same<'a>(a: u128, b: u128, texts: impl FnOnce() -> [&'a str; 2]) -> bool {
    let by_text = || {
        let [a, b] = texts();
        a == b
    };
    a == b && (is_whole(a) || by_text())
}

/// Sorts by words. Equal ones stay in their order. Numbers are compared, and texts only where prefixes do not hold the whole of them;
/// runs that are sorted already cost little.
pub(super) fn sort_by_word<'a, T>(items: &mut [T], prefix: impl Fn(&T) -> u128, text: impl Fn(&T) -> &'a str) {
    items.sort_by_key(&prefix);
    for run in items.chunk_by_mut(|a, b| prefix(a) == prefix(b)) {
        if !is_whole(prefix(&run[0])) {
            run.sort_by_key(&text);
        }
    }
}

const LETTERS: usize = 26;

/// Where the stop words of each letter begin, and the last ones end.
const STOP_WORDS_FROM: [usize; LETTERS + 1] = {
    let mut from = [0; LETTERS + 1];
    let (mut letter, mut at) = (0, 0);
    while letter < LETTERS {
        from[letter] = at;
        while at < STOP_WORDS.len() && STOP_WORDS[at].as_bytes()[0] as usize == b'a' as usize + letter {
            at += 1;
        }
        letter += 1;
    }
    assert!(at == STOP_WORDS.len(), "they are sorted");
    from[LETTERS] = at;
    from
};

const STOP_PREFIXES: [u128; STOP_WORDS.len()] = {
    let mut prefixes = [0; STOP_WORDS.len()];
    let mut at = 0;
    while at < STOP_WORDS.len() {
        assert!(STOP_WORDS[at].len() < 16, "its prefix is no other word's");
        prefixes[at] = prefix(STOP_WORDS[at]);
        at += 1;
    }
    prefixes
};

#[rustfmt::skip]
const STOP_WORDS: &[&str] = &[
    "a", "about", "again", "against", "ain", "all", "almost", "along", "already", "also", "although", "always", "am",
    "among", "an", "and", "another", "any", "anybody", "anyone", "anything", "are", "aren", "around", "as", "at", "be",
    "because", "been", "being", "beside", "besides", "both", "but", "by", "can", "cannot", "could", "couldn", "d", "did",
    "didn", "do", "does", "doesn", "doing", "don", "each", "either", "else", "even", "ever", "every", "everybody",
    "everyone", "everything", "few", "find", "for", "from", "get", "give", "had", "hadn", "has", "hasn", "have", "haven",
    "he", "hello", "help", "hence", "her", "here", "hers", "herself", "hey", "hi", "himself", "his", "how", "however", "i",
    "if", "in", "instead", "interested", "into", "is", "isn", "it", "itself", "just", "kindly", "know", "let", "like", "ll",
    "looking", "lot", "lots", "m", "may", "maybe", "me", "might", "more", "must", "my", "myself", "need", "neither",
    "never", "nor", "not", "nothing", "of", "often", "okay", "on", "onto", "or", "other", "others", "our", "ours",
    "ourselves", "out", "own", "perhaps", "please", "provide", "quite", "rather", "re", "really", "s", "same", "shall",
    "she", "should", "shouldn", "show", "so", "some", "someone", "something", "sometimes", "still", "such", "t", "tell",
    "than", "thank", "thanks", "that", "the", "their", "theirs", "them", "themselves", "then", "there", "these", "they",
    "this", "though", "through", "throughout", "thus", "to", "too", "toward", "towards", "unless", "up", "upon", "us",
    "use", "used", "using", "usually", "ve", "very", "via", "want", "was", "wasn", "we", "were", "weren", "what", "when",
    "where", "whether", "which", "while", "who", "whom", "whose", "why", "will", "with", "won", "would", "wouldn", "yes",
    "yet", "you", "your", "yours", "yourself",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, &mut String::new(), |word| {
            words.push(match word {
                Word::Plain(w) => w.to_owned(),
                Word::Whole(w) => format!("={w}"),
                Word::Piece(w) => format!("+{w}"),
            });
        });
        words
    }

    #[test]
    fn glued_names_are_taken_apart_and_kept_whole() {
        assert_eq!(words("arxiv.search-papers_v2/read"), ["arxiv", "search", "papers", "v2", "read"]);
        assert_eq!(words("getHTTPResponse"), ["get", "http", "response", "=gethttpresponse"]);
        assert_eq!(words("S3Bucket"), ["s3", "bucket", "=s3bucket"]);
        assert_eq!(words("  ,;  "), [""; 0]);
    }

    #[test]
    fn scripts_without_spaces_become_pairs() {
        assert_eq!(words("搜索关键词"), ["+搜索", "+索关", "+关键", "+键词"]);
        assert_eq!(words("用Bing搜"), ["+用", "bing", "+搜"]);
        assert_eq!(words("Größe naïve"), ["grosse", "naive"]);
    }

    #[test]
    fn long_words_are_cut_at_a_character() {
        let long = "ж".repeat(100);
        assert_eq!(words(&long), ["ж".repeat(32)]);
    }

    #[test]
    fn marks_end_no_word_and_are_not_sought() {
        assert_eq!(words("CAFÉ cafe\u{301}s Ne\u{301}eL"), ["cafe", "cafes", "nee", "l", "=neel"]);
        assert_eq!(words("\u{301}İzmir \u{345} \u{36f}"), ["izmir"]);
    }

    #[test]
    fn stop_words_are_found_and_nothing_else_is() {
        assert!(STOP_WORDS.iter().all(|word| is_stop_word(word)));
        assert!(["weather", "", "ab", "zoo", "The", "~the", "über"].iter().all(|word| !is_stop_word(word)));
    }

    #[test]
    fn words_sort_by_their_prefixes() {
        let words = [
            "",
            "a",
            "ab",
            "b",
            "~a",
            "é",
            "fifteen-bytes-a",
            "sixteen-bytes-ab",
            "sixteen-bytes-abc",
            "seventeen-bytes-b",
        ];
        let mut sorted: Vec<&str> = words.iter().rev().copied().collect();
        sort_by_word(&mut sorted, |word| prefix(word), |word| word);
        assert!(sorted.is_sorted(), "{sorted:?}");
        let mut numbered: Vec<(usize, &str)> = sorted.into_iter().rev().chain(words).enumerate().collect();
        sort_by_word(&mut numbered, |(_, word)| prefix(word), |(_, word)| word);
        assert!(numbered.is_sorted_by_key(|(number, word)| (*word, *number)), "equal ones stay in order: {numbered:?}");
        for (a, b) in words.iter().flat_map(|a| words.iter().map(move |b| (*a, *b))) {
            assert_eq!(is_same(prefix(a), prefix(b), || [a, b]), a == b, "{a:?} {b:?}");
        }
        assert_eq!(prefix("sixteen-bytes-ab"), prefix("sixteen-bytes-abc"));
    }
}
