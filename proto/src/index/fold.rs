//! Letters without their marks: `café` is `cafe`, however it is written.
//!
//! People leave marks out when they ask, and leave them in when they describe. It knows Latin letters only (where in other scripts a mark
//! makes another letter, it stays) and marks that stand by themselves (Unicode's U+0300 to U+036F). It is no transliteration.

/// U+00C0 to U+024F: the letter that is left of each by Unicode's compatibility decomposition, and of those with a stroke; a dot where
/// it stays as it is.
const LATIN: &[u8; 400] = b"\
    aaaaaa.ceeeeiiii.nooooo.ouuuuy..aaaaaa.ceeeeiiii.nooooo.ouuuuy.yaaaaaaccccccccdd\
    ddeeeeeeeeeegggggggghhhhiiiiiiiiii..jjkk.llllll..llnnnnnn...oooooo..rrrrrrssssss\
    ssttttttuuuuuuuuuuuuwwyyyzzzzzzs................................oo.............u\
    u............................aaiioouuuuuuuuuu.aaaa....ggkkoooo..j...gg..nnaa..oo\
    aaaaeeeeiiiioooorrrruuuusstt..hh......aaeeooooooooyy............................";

/// The same of U+1E00 to U+1EFF.
const LATIN_ADDITIONAL: &[u8; 256] = b"\
    aabbbbbbccddddddddddeeeeeeeeeeffgghhhhhhhhhhiiiikkkkkkllllllllmmmmmmnnnnnnnnoooo\
    oooopppprrrrrrrrssssssssssttttttttuuuuuuuuuuvvvvwwwwwwwwwwxxxxyyzzzzzzhtwy.s....\
    aaaaaaaaaaaaaaaaaaaaaaaaeeeeeeeeeeeeeeeeiiiioooooooooooooooooooooooouuuuuuuuuuuu\
    uuyyyyyyyy......";

/// Whether a character only marks the one before it.
pub(super) const fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

/// Appends a lower-case character without its mark; nothing of one that is a mark.
pub(super) fn push_folded(c: char, out: &mut String) {
    let place = |first: u32| (u32::from(c).checked_sub(first)).and_then(|place| usize::try_from(place).ok());
    let left = place(0xc0).and_then(|place| LATIN.get(place));
    match left.or_else(|| place(0x1e00).and_then(|place| LATIN_ADDITIONAL.get(place))) {
        Some(letter) if *letter != b'.' => out.push(char::from(*letter)),
        _ => match c {
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            c if is_mark(c) => {}
            c => out.push(c),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_and_letters_stay() {
        let folded = |text: &str| {
            let mut out = String::new();
            text.chars().for_each(|c| push_folded(c, &mut out));
            out
        };
        for (text, expected) in [
            ("café", "cafe"),
            ("cafe\u{301}", "cafe"),
            ("größe", "grosse"),
            ("señor", "senor"),
            ("łódź", "lodz"),
            ("điện thoại", "dien thoai"),
            ("smørrebrød", "smorrebrod"),
            ("œuvre", "oeuvre"),
            ("žluťoučký", "zlutoucky"),
            ("×÷þ", "×÷þ"),
            ("йё", "йё"),
            ("ά", "ά"),
            ("ÿ\u{24f}\u{1ef9}\u{1eff}", "y\u{24f}y\u{1eff}"),
        ] {
            assert_eq!(folded(text), expected);
        }
    }
}
