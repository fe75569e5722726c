//! What can go wrong, as a person, a script and a model are told it.
//!
//! One `Problem` is rendered by each door in its own way (problem+json, `error.data`, one line on stderr), so that code, kind,
//! hint and exit status never differ between doors. It is not an error type for internal plumbing: every room has its own small
//! enum and turns it into a `Problem` only where somebody outside is told.

use std::time::Duration;

use serde_json::{Value, json};

/// The closed list of things that can be told to a caller. Codes are stable: added, never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A flag, parameter or body that cannot be understood.
    Usage,
    /// A configuration that cannot be used.
    Config,
    /// A body or record above its limit.
    TooLarge,
    /// A file that is no bundle of a zone, or not all of one.
    BundleDamaged,
    /// No token, or one this node does not know.
    AuthRequired,
    /// Known, and not allowed.
    Forbidden,
    /// `Host` or `Origin` is not one this node answers to.
    HostNotAllowed,
    /// No zone of that name, said by the zone's authority.
    ZoneNotFound,
    /// No tool of that name, said by the zone's authority.
    NameNotFound,
    /// No registered server of that name on this node.
    ServerNotFound,
    /// No route of that path.
    RouteNotFound,
    /// The deadline passed without an answer; it is not a "no".
    TimedOut,
    /// The name belongs to another server.
    NameTaken,
    /// A bundle of another zone, or of another zone's key; nothing was taken.
    BundleUnfit,
    /// Arguments that do not fit the tool's schema; nothing was sent.
    InvalidArguments,
    /// The definition is not the one the caller expected; nothing was sent.
    DefinitionChanged,
    /// The tool is listed but nothing serves it.
    NothingServes,
    /// The upstream is not connected; nothing was sent.
    UpstreamDown,
    /// The upstream failed, or may have failed, while the call ran.
    UpstreamFailed,
    /// The call ran out of time after it was sent.
    CallTimedOut,
    /// No live instance of the tool.
    InstanceDown,
    /// A queue is full; try again.
    Busy,
    /// The caller went away.
    Cancelled,
    /// The tool itself answered `isError`.
    ToolError,
    /// A call under that idempotency key may have run, and how it ended nobody knows; it is not run again.
    MayHaveRun,
    /// The idempotency key was used for another call.
    KeyReused,
    /// More requests than the caller may make in a second; try again a little later.
    RateLimited,
    /// The node cannot be reached (said by its clients).
    NodeUnreachable,
    /// The store refused or failed; nothing was acknowledged.
    StoreFailed,
    /// A defect of ours.
    Internal,
}

impl Kind {
    /// Code, name, HTTP status, exit status of `aop`, retryable: the one table.
    const fn row(self) -> (&'static str, &'static str, u16, u8, bool) {
        match self {
            Self::Usage => ("AOP0101", "usage", 400, 2, false),
            Self::Config => ("AOP0102", "config", 400, 2, false),
            Self::TooLarge => ("AOP0103", "too_large", 413, 2, false),
            Self::BundleDamaged => ("AOP0104", "bundle_damaged", 422, 1, false),
            Self::AuthRequired => ("AOP0201", "auth_required", 401, 3, false),
            Self::Forbidden => ("AOP0202", "forbidden", 403, 3, false),
            Self::HostNotAllowed => ("AOP0203", "host_not_allowed", 403, 3, false),
            Self::ZoneNotFound => ("AOP0301", "zone_not_found", 404, 6, false),
            Self::NameNotFound => ("AOP0302", "name_not_found", 404, 6, false),
            Self::ServerNotFound => ("AOP0303", "server_not_found", 404, 6, false),
            Self::RouteNotFound => ("AOP0304", "route_not_found", 404, 1, false),
            Self::TimedOut => ("AOP0305", "timed_out", 504, 8, true),
            Self::NameTaken => ("AOP0401", "name_taken", 409, 1, false),
            Self::BundleUnfit => ("AOP0402", "bundle_unfit", 409, 1, false),
            Self::InvalidArguments => ("AOP0412", "invalid_arguments", 422, 2, false),
            Self::DefinitionChanged => ("AOP0413", "definition_changed", 409, 1, false),
            Self::NothingServes => ("AOP0501", "nothing_serves", 503, 1, false),
            Self::UpstreamDown => ("AOP0502", "upstream_down", 503, 1, true),
            Self::UpstreamFailed => ("AOP0503", "upstream_failed", 502, 1, false),
            Self::CallTimedOut => ("AOP0504", "call_timed_out", 504, 8, false),
            Self::InstanceDown => ("AOP0505", "instance_down", 503, 1, true),
            Self::Busy => ("AOP0506", "busy", 503, 1, true),
            Self::Cancelled => ("AOP0507", "cancelled", 499, 1, false),
            Self::ToolError => ("AOP0508", "tool_error", 200, 5, false),
            Self::KeyReused => ("AOP0414", "key_reused", 422, 2, false),
            Self::MayHaveRun => ("AOP0510", "may_have_run", 502, 1, false),
            Self::RateLimited => ("AOP0509", "rate_limited", 429, 1, true),
            Self::NodeUnreachable => ("AOP0601", "node_unreachable", 503, 4, true),
            Self::StoreFailed => ("AOP0901", "store_failed", 500, 1, false),
            Self::Internal => ("AOP0902", "internal", 500, 1, false),
        }
    }

    /// All kinds, for lookups by name and for tests of the table.
    pub const ALL: [Self; 30] = [
        Self::Usage,
        Self::Config,
        Self::TooLarge,
        Self::BundleDamaged,
        Self::AuthRequired,
        Self::Forbidden,
        Self::HostNotAllowed,
        Self::ZoneNotFound,
        Self::NameNotFound,
        Self::ServerNotFound,
        Self::RouteNotFound,
        Self::TimedOut,
        Self::NameTaken,
        Self::BundleUnfit,
        Self::InvalidArguments,
        Self::DefinitionChanged,
        Self::NothingServes,
        Self::UpstreamDown,
        Self::UpstreamFailed,
        Self::CallTimedOut,
        Self::InstanceDown,
        Self::Busy,
        Self::Cancelled,
        Self::ToolError,
        Self::MayHaveRun,
        Self::KeyReused,
        Self::RateLimited,
        Self::NodeUnreachable,
        Self::StoreFailed,
        Self::Internal,
    ];

    /// Stable code, such as `AOP0302`.
    pub const fn code(self) -> &'static str {
        self.row().0
    }

    /// Stable snake-case name, such as `name_not_found`.
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// Status of the HTTP door.
    pub const fn http_status(self) -> u16 {
        self.row().2
    }

    /// Exit status of `aop`.
    pub const fn exit_code(self) -> u8 {
        self.row().3
    }

    /// Whether the same request may succeed later, unchanged.
    pub const fn retryable(self) -> bool {
        self.row().4
    }

    /// The kind of that name, as a client reads it back from JSON.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something a caller is told: what, why, and a command that helps.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Which of the known things went wrong.
    pub kind: Kind,
    /// A lowercase fragment that fits after "failed to …".
    pub message: String,
    /// A command that runs, or nothing.
    pub hint: Option<String>,
    /// Near names, best first, at most three.
    pub did_you_mean: Vec<String>,
    /// The trace this belongs to, where one is known.
    pub trace_id: Option<String>,
    /// What a program may need besides (a schema, a child's last words).
    pub detail: Option<Value>,
}

impl Problem {
    /// A problem with a message and nothing else.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, did_you_mean: Vec::new(), trace_id: None, detail: None }
    }

    /// The same with a command that helps.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with near names.
    #[must_use]
    pub fn did_you_mean(mut self, names: Vec<String>) -> Self {
        self.did_you_mean = names;
        self
    }

    /// The same with details for programs.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }

    /// The object of the error line: `{"code","kind","message","hint","did_you_mean","retryable","trace_id"[,"detail"]}`.
    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "code": self.kind.code(),
            "kind": self.kind.name(),
            "message": self.message,
            "hint": self.hint,
            "did_you_mean": self.did_you_mean,
            "retryable": self.kind.retryable(),
            "trace_id": self.trace_id,
        });
        if let Some(detail) = &self.detail {
            object["detail"] = detail.clone();
        }
        object
    }

    /// Reads what [`Problem::to_json`] wrote, as a client or a peer received it; `None` when it is not one.
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            kind: Kind::from_name(value.get("kind")?.as_str()?)?,
            message: text("message")?,
            hint: text("hint"),
            did_you_mean: value
                .get("did_you_mean")
                .and_then(Value::as_array)
                .map(|names| names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect())
                .unwrap_or_default(),
            trace_id: text("trace_id"),
            detail: value.get("detail").cloned(),
        })
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for Problem {}

/// A word as a POSIX shell takes it, quoted only when it must be, so that a printed command runs as it stands.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The nearest of `names` to what was typed, best first, at most three, within a third of its length.
pub fn did_you_mean<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    did_you_mean_spelled(typed, names.map(|name| (name, name)))
}

/// The same of names that are spelled in several ways: pairs of a spelling and the name that is meant by it.
pub fn did_you_mean_spelled<'a>(typed: &str, spelled: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    nearest(typed, (typed.chars().count() / 3).max(1), spelled)
}

/// The nearest three of `names`, however far they are.
pub fn nearest_names<'a>(typed: &str, spelled: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    nearest(typed, usize::MAX, spelled)
}

fn nearest<'a>(typed: &str, limit: usize, spelled: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let typed = typed.to_ascii_lowercase();
    let letters = letters_of(&typed);
    let mut near: Vec<(usize, &str)> = spelled
        .filter(|(spelling, _)| spelling.len().abs_diff(typed.len()) <= limit)
        // Of many names few are worth the distance, which takes as long as their lengths multiplied.
        .filter(|(spelling, _)| {
            let bytes = if typed.is_ascii() && spelling.is_ascii() { 1 } else { CHARACTER_BYTES_MAX };
            other_letters(&letters, &letters_of(spelling)) / bytes <= limit
        })
        .filter_map(|(spelling, name)| {
            let distance = edit_distance(&typed, &spelling.to_ascii_lowercase());
            (distance <= limit).then_some((distance, name))
        })
        .collect();
    near.sort_unstable();
    let mut seen = std::collections::BTreeSet::new();
    near.into_iter().filter(|(_, name)| seen.insert(*name)).take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Bytes of one character in UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

/// How often each byte occurs, cases and some others thrown together.
fn letters_of(text: &str) -> [u8; 32] {
    let mut letters = [0_u8; 32];
    for byte in text.bytes() {
        let count = &mut letters[usize::from(byte & 31)];
        *count = count.saturating_add(1);
    }
    letters
}

/// Changes of a byte, more or fewer bytes that it takes at least to make one of the other.
fn other_letters(one: &[u8; 32], other: &[u8; 32]) -> usize {
    let (more, less) = one.iter().zip(other).fold((0, 0), |(more, less), (one, other)| {
        (more + usize::from(one.saturating_sub(*other)), less + usize::from(other.saturating_sub(*one)))
    });
    usize::max(more, less)
}

/// Optimal string alignment distance in characters: a swap of neighbours is one mistake, as it is at a keyboard.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substitute = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substitute.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Characters that no text of a stranger is shown with: controls (C0, DEL, C1), which move cursors; bidirectional ones, which turn
/// words around; and all that is invisible, in which models read what people do not see (zero width, tags, variation selectors,
/// fillers). An emoji loses its colour or its family by it, which is the price.
/// Source: `Default_Ignorable_Code_Point` of Unicode 16, and UTR 36; CVE-2021-42574 for the bidirectional ones.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// What somebody else wrote, with its line breaks and tabs and nothing else that deceives the eye.
pub fn plain_lines(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_deceptive(*c)).collect()
}

/// A time to the nearest millisecond, as it is told in words.
pub fn to_ms(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from((time.as_micros() + 500) / 1000).unwrap_or(u64::MAX))
}

/// What somebody else wrote, in one line of at most so many characters and with nothing in it that deceives the eye.
pub fn plain(text: &str, most: usize) -> String {
    let kept: String =
        text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !is_deceptive(*c)).collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_commands_run_as_they_stand() {
        assert_eq!(shell_word("city=Oslo"), "city=Oslo");
        assert_eq!(shell_word("it's two words"), r"'it'\''s two words'");
    }

    #[test]
    fn codes_and_names_are_unique_and_read_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(Kind::ALL.into_iter().filter(|other| other.code() == kind.code()).count(), 1);
        }
    }

    /// What is left out for its letters would have been left out for its distance.
    #[test]
    fn letters_never_differ_by_more_than_the_distance() {
        let words =
            ["", "get-sum", "gets-um", "GET_SUM", "add.a.z", "café", "cafe", "天気予報", "天気", "aaaa", "\u{10ffff}a"];
        for one in words.map(str::to_lowercase) {
            for other in words {
                let bytes = if one.is_ascii() && other.is_ascii() { 1 } else { CHARACTER_BYTES_MAX };
                let least = other_letters(&letters_of(&one), &letters_of(other)) / bytes;
                assert!(least <= edit_distance(&one, &other.to_ascii_lowercase()), "{one} {other}");
            }
        }
    }

    #[test]
    fn a_name_is_found_by_each_of_its_spellings_and_offered_once() {
        let spelled = [
            ("get-sum.a.z", "get-sum.a.z"),
            ("get-sum", "get-sum.a.z"),
            ("get-sum", "get-sum.b.z"),
            ("add", "add.a.z"),
        ];
        assert_eq!(did_you_mean_spelled("get-summ", spelled.into_iter()), ["get-sum.a.z", "get-sum.b.z"]);
        assert_eq!(nearest_names("nosuch", spelled.into_iter()).len(), 3);
        assert_eq!(did_you_mean_spelled("nosuch", spelled.into_iter()), [""; 0]);
    }

    #[test]
    fn times_are_told_in_whole_milliseconds() {
        let told = |nanos| format!("{:?}", to_ms(Duration::from_nanos(nanos)));
        assert_eq!([told(999_849_217), told(29_999_867_704), told(1_500_000)], ["1s", "30s", "2ms"]);
    }

    #[test]
    fn a_problem_reads_back_what_it_wrote() {
        let problem = Problem::new(Kind::ZoneNotFound, "no zone `reserch`")
            .hint("aop zones --tree")
            .did_you_mean(vec!["research".into()]);
        assert_eq!(Problem::from_json(&problem.to_json()), Some(problem));
    }

    #[test]
    fn near_names_come_first_and_far_ones_not_at_all() {
        let zones = ["research", "writing", "search"];
        assert_eq!(did_you_mean("reserch", zones.into_iter()), ["research"]);
        assert_eq!(did_you_mean("zoen", ["zone", "join"].into_iter()), ["zone"]);
        assert!(did_you_mean("weather", zones.into_iter()).is_empty());
    }

    #[test]
    fn what_others_wrote_is_one_plain_line() {
        assert_eq!(
            plain("late)\n\r\t 1. transfer.evil:\u{202e} use\u{200b} this\u{7}", 100),
            "late) 1. transfer.evil: use this"
        );
        assert_eq!(plain(&"ä".repeat(300), 200).chars().count(), 200);
    }
}
