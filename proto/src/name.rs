//! Names: labels, zones, full names of tools, and how any name is made to fit.
//!
//! `tool[.server].zone`, most specific label first, compared case-insensitively (RFC 4343). A name may have several labels inside
//! one zone; where a zone begins is decided by delegations, never by counting dots. What is *not* here: looking names up.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::params::{LABEL_CHARS_MAX, NAME_CHARS_MAX, WIRE_NAME_CHARS_MAX};

/// Text that is not a name. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters, or nothing between two dots.
    #[error("`{0}` has an empty label")]
    EmptyLabel(String),
    /// A label above [`LABEL_CHARS_MAX`].
    #[error("label `{0}` is longer than {LABEL_CHARS_MAX} characters")]
    LongLabel(String),
    /// A character outside `A-Z a-z 0-9 _ -`.
    #[error("`{0}` has `{1}`, only letters, digits, `_` and `-` may stand in a label")]
    Character(String, char),
    /// The whole is above [`NAME_CHARS_MAX`].
    #[error("a name may have at most {NAME_CHARS_MAX} characters")]
    TooLong,
}

/// Checks one label: 1 to 63 of `A-Za-z0-9_-` (DESIGN D1).
///
/// # Errors
/// [`NameError`] with what does not fit.
pub fn check_label(label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel(label.to_owned()));
    }
    if let Some(odd) = label.chars().find(|c| !is_label_char(*c)) {
        return Err(NameError::Character(label.to_owned(), odd));
    }
    if label.len() > LABEL_CHARS_MAX {
        return Err(NameError::LongLabel(label.to_owned()));
    }
    Ok(())
}

const fn is_label_char(c: char) -> bool {
    c.is_ascii() && is_label_byte(c as u8)
}

const fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// The same of every byte: names are read with every question.
const IS_LABEL_BYTE: [bool; 256] = {
    let mut fits = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        fits[byte] = is_label_byte(byte as u8);
        byte += 1;
    }
    fits
};

fn check_labels(text: &str) -> Result<(), NameError> {
    if text.len() > NAME_CHARS_MAX {
        return Err(NameError::TooLong);
    }
    if fits(text) {
        return Ok(());
    }
    text.split('.').try_for_each(|label| match check_label(label) {
        Err(NameError::EmptyLabel(_)) => Err(NameError::EmptyLabel(text.to_owned())),
        other => other,
    })
}

/// The same in one pass, without a reason.
fn fits(text: &str) -> bool {
    let mut length = 0;
    for byte in text.bytes() {
        match byte {
            b'.' if length > 0 => length = 0,
            _ if IS_LABEL_BYTE[usize::from(byte)] && length < LABEL_CHARS_MAX => length += 1,
            _ => return false,
        }
    }
    length > 0
}

/// Whether any letter is a capital. It looks at all of a text, many bytes at once: names are short.
pub(crate) fn has_capitals(text: &str) -> bool {
    text.bytes().fold(false, |any, byte| any | byte.is_ascii_uppercase())
}

/// The text in lower case.
fn lower(text: &str) -> Arc<str> {
    if has_capitals(text) { Arc::from(text.to_ascii_lowercase()) } else { Arc::from(text) }
}

/// The name of a zone, lower case; the root is `.`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneName(Arc<str>);

impl ZoneName {
    /// The root zone, `.`.
    pub fn root() -> Self {
        Self(Arc::from("."))
    }

    /// Reads a zone name; a trailing dot is accepted as in DNS, `.` and `_` alone are the root.
    ///
    /// # Errors
    /// [`NameError`] with what does not fit.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text == "." || text == "_" {
            return Ok(Self::root());
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        check_labels(text)?;
        Ok(Self(lower(text)))
    }

    /// Whether this is `.`.
    pub fn is_root(&self) -> bool {
        &*self.0 == "."
    }

    /// The text, `.` for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a tool of that name would lie in it or below it: the name ends in its labels, in whatever case, and has more.
    pub fn holds(&self, name: &str) -> bool {
        let rest = || name.len().checked_sub(self.0.len() + 1).filter(|rest| *rest > 0);
        self.is_root() || rest().is_some_and(|rest| ends_in(&name.as_bytes()[rest..], self.as_str()))
    }

    /// Number of labels, 0 for the root.
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { self.0.split('.').count() }
    }

    /// Labels at the end that both have.
    pub fn shared_labels(&self, other: &Self) -> usize {
        self.top_down().zip(other.top_down()).take_while(|(own, other)| own == other).count()
    }

    fn top_down(&self) -> impl Iterator<Item = &str> {
        self.0.rsplit('.').filter(|label| !label.is_empty())
    }

    /// Whether this zone is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self == other || self.is_below(other)
    }

    /// Whether this zone lies below `other`.
    pub fn is_below(&self, other: &Self) -> bool {
        if other.is_root() {
            return !self.is_root();
        }
        strip_zone(&self.0, &other.0).is_some_and(|local| !local.is_empty())
    }

    /// The name `labels` has in this zone.
    pub fn join(&self, labels: &str) -> String {
        if self.is_root() { labels.to_owned() } else { format!("{labels}.{}", self.0) }
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `name` without the zone's labels, when it ends in them; both lower case. Empty when they are equal.
fn strip_zone<'a>(name: &'a str, zone: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(zone)?;
    if rest.is_empty() { Some("") } else { rest.strip_suffix('.') }
}

/// The full name of a tool, as written; compared and ordered in lower case.
#[derive(Clone)]
pub struct FullName {
    /// The name as written, and behind it, where that differs, in lower case.
    text: Arc<str>,
    /// Where the lower case begins.
    key_at: u8,
}

impl FullName {
    /// Reads a full name; a trailing dot is accepted as in DNS.
    ///
    /// # Errors
    /// [`NameError`] with what does not fit.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        check_labels(text)?;
        if !has_capitals(text) {
            return Ok(Self { text: Arc::from(text), key_at: 0 });
        }
        let key_at = u8::try_from(text.len()).map_err(|_| NameError::TooLong)?;
        Ok(Self { text: Arc::from([text, &text.to_ascii_lowercase()].concat()), key_at })
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        if self.key_at == 0 { &self.text } else { &self.text[..usize::from(self.key_at)] }
    }

    /// The lower-case form by which names are compared.
    pub fn key(&self) -> &str {
        &self.text[usize::from(self.key_at)..]
    }

    /// Whether this name would lie in `zone` or below it: it ends in the zone's labels and has more.
    pub fn is_in(&self, zone: &ZoneName) -> bool {
        zone.holds(self.key())
    }
}

impl PartialEq for FullName {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for FullName {}

impl PartialOrd for FullName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FullName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(other.key())
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether these bytes are a dot and a zone.
fn ends_in(end: &[u8], zone: &str) -> bool {
    end.split_first().is_some_and(|(dot, labels)| *dot == b'.' && labels.eq_ignore_ascii_case(zone.as_bytes()))
}

/// How two names follow each other, whatever their case: as [`FullName`]s do.
pub fn order_of_names(a: &str, b: &str) -> Ordering {
    let lower = |byte: u8| byte.to_ascii_lowercase();
    a.bytes().map(lower).cmp(b.bytes().map(lower))
}

/// Makes any text fit a label: other characters become `_`, what is too long is cut, and where anything was lost `-` and six hex
/// digits of the original's hash are appended, so that two originals stay two labels.
pub fn fit_label(original: &str) -> String {
    if check_label(original).is_ok() {
        return original.to_owned();
    }
    with_suffix(original, original, LABEL_CHARS_MAX)
}

/// The labels of one server's tools, in the order given. Names that differ only in case get the hash suffix, all of them, so that
/// the result does not depend on the order in which a server lists them.
pub fn fit_tool_labels<'a>(originals: impl Iterator<Item = &'a str>) -> Vec<String> {
    let fitted: Vec<(&str, String)> = originals.map(|original| (original, fit_label(original))).collect();
    let mut distinct: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (original, label) in &fitted {
        let spellings = distinct.entry(label.to_ascii_lowercase()).or_default();
        if !spellings.contains(original) {
            spellings.push(original);
        }
    }
    fitted
        .iter()
        .map(|(original, label)| {
            if distinct[&label.to_ascii_lowercase()].len() > 1 {
                with_suffix(label, original, LABEL_CHARS_MAX)
            } else {
                label.clone()
            }
        })
        .collect()
}

/// The name of a tool on the MCP wire: `server__tool`, `^[a-zA-Z0-9_-]{1,64}$`, cut with a hash suffix above 64.
pub fn wire_name(server: &str, tool_label: &str) -> String {
    let whole = [server, "__", tool_label].concat();
    if whole.len() <= WIRE_NAME_CHARS_MAX && whole.chars().all(is_label_char) {
        return whole;
    }
    with_suffix(&whole, &whole, WIRE_NAME_CHARS_MAX)
}

fn with_suffix(text: &str, hashed: &str, chars_max: usize) -> String {
    const SUFFIX_CHARS: usize = 7;
    let mut label: String =
        text.chars().map(|c| if is_label_char(c) { c } else { '_' }).take(chars_max - SUFFIX_CHARS).collect();
    let hash = Sha256::digest(hashed.as_bytes());
    label.push('-');
    for byte in &hash[..3] {
        label.push_str(&format!("{byte:02x}"));
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(text: &str) -> ZoneName {
        ZoneName::parse(text).unwrap()
    }

    #[test]
    fn zones_lie_below_their_suffixes_at_label_borders_only() {
        assert!(zone("ml.research").is_below(&zone("research")));
        assert!(zone("Research").is_within(&zone("research.")));
        assert!(zone("research").is_below(&ZoneName::root()));
        assert!(!zone("research").is_below(&zone("search")));
        assert!(!ZoneName::root().is_below(&ZoneName::root()));
    }

    #[test]
    fn a_zone_holds_what_ends_in_its_labels_in_whatever_case() {
        let research = zone("ml.research");
        for (name, is_held) in [
            ("train.kit.ML.research", true),
            ("a.ml.research", true),
            ("ml.research", false),
            (".ml.research", false),
            ("aml.research", false),
            ("train.research", false),
            ("é.ml.research", true),
            ("", false),
        ] {
            assert_eq!((research.holds(name), ZoneName::root().holds(name)), (is_held, true), "{name}");
        }
        for (a, b) in [("b.z", "A.z"), ("a.z", "A.z"), ("a.z", "a.zz"), ("a_.z", "aZ.z"), ("a-.z", "a.z")] {
            let full = |text| FullName::parse(text).unwrap();
            assert_eq!(order_of_names(a, b), full(a).cmp(&full(b)), "{a} {b}");
        }
    }

    #[test]
    fn names_compare_without_case_and_keep_their_spelling() {
        let name = FullName::parse("getForecast.met.weather").unwrap();
        assert_eq!(name, FullName::parse("GETFORECAST.met.weather.").unwrap());
        assert_eq!(name.to_string(), "getForecast.met.weather");
        assert!(name.is_in(&zone("weather")) && name.is_in(&zone("met.weather")) && name.is_in(&ZoneName::root()));
        assert!(!name.is_in(&zone("getForecast.met.weather")));
    }

    #[test]
    fn bad_names_say_what_does_not_fit() {
        assert!(matches!(ZoneName::parse("a..b"), Err(NameError::EmptyLabel(_))));
        assert!(matches!(ZoneName::parse(""), Err(NameError::EmptyLabel(_))));
        assert!(matches!(FullName::parse("a b"), Err(NameError::Character(_, ' '))));
        for (text, fits) in
            [("a.b", true), (".a", false), ("a.", true), ("a..", false), ("é.a", false), ("A-_9.z", true)]
        {
            assert_eq!(FullName::parse(text).is_ok(), fits, "{text}");
        }
        let long = "x".repeat(63);
        assert!(FullName::parse(&format!("{long}.{long}")).is_ok());
        assert!(matches!(FullName::parse(&format!("a.{long}x")), Err(NameError::LongLabel(_))));
        assert!(ZoneName::parse(&"x".repeat(63)).is_ok());
        assert!(matches!(ZoneName::parse(&"x".repeat(64)), Err(NameError::LongLabel(_))));
        assert_eq!(ZoneName::parse(&["a"; 128].join(".")), Err(NameError::TooLong));
    }

    #[test]
    fn any_name_fits_and_different_names_stay_different() {
        assert_eq!(fit_label("get_forecast"), "get_forecast");
        let dotted = fit_label("svc.do thing");
        assert!(dotted.starts_with("svc_do_thing-") && check_label(&dotted).is_ok());
        assert_ne!(fit_label("svc.do"), fit_label("svc do"));
        assert!(check_label(&fit_label(&"long".repeat(40))).is_ok());
        assert!(check_label(&fit_label("")).is_ok());
        assert!(check_label(&fit_label("天気")).is_ok());
    }

    #[test]
    fn case_twins_of_one_server_are_told_apart_whatever_their_order() {
        let there = fit_tool_labels(["Get", "get", "other"].into_iter());
        let back = fit_tool_labels(["other", "get", "Get"].into_iter());
        assert_eq!((&there[0], &there[1], &there[2]), (&back[2], &back[1], &back[0]));
        assert!(!there[0].eq_ignore_ascii_case(&there[1]));
        assert_eq!(there[2], "other");
    }

    #[test]
    fn wire_names_fit_what_clients_accept() {
        assert_eq!(wire_name("arxiv", "search_papers"), "arxiv__search_papers");
        let long = wire_name("a-very-long-server-name-that-goes-on", "a_tool_name_that_goes_on_as_well_and_on");
        assert_eq!(long.len(), WIRE_NAME_CHARS_MAX);
    }
}
