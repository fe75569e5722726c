//! What happened, in the words of the audit. Texts of strangers are cut here, before they wait anywhere.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aop_proto::access::Principal;
use aop_proto::error::{Kind, Problem, did_you_mean};
use serde::{Serialize, Serializer};

/// Bytes of one text, before it is escaped.
pub(super) const TEXT_BYTES_MAX: usize = 256;

/// What kinds of events there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// A server or a tool was registered, or a server's list has a new tool.
    Registered,
    /// A server or a tool was ended, or a server's list misses one.
    Unregistered,
    /// The definition of a tool is another one.
    Changed,
    /// A person said that a definition is right.
    Approved,
    /// A tool was called.
    Called,
    /// A node was admitted.
    Joined,
    /// A node went, or was put out.
    Left,
    /// Somebody was invited.
    Invited,
    /// A node's certificate was taken back.
    Revoked,
    /// A zone below was delegated.
    Delegated,
    /// It no longer is.
    Undelegated,
    /// The zone has another key.
    Rotated,
    /// The zone was given out as a file.
    Exported,
    /// A file of the zone was taken in.
    Imported,
    /// A token was made.
    TokenCreated,
    /// A token was taken back.
    TokenRevoked,
    /// An operator stopped or cleared a queue, or let things go on.
    Queue,
    /// Somebody was not allowed what he wanted.
    Refused,
    /// The node started.
    Started,
    /// The node stopped as it was told to.
    Stopped,
}

impl Event {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 20] = [
        ("registered", Self::Registered),
        ("unregistered", Self::Unregistered),
        ("changed", Self::Changed),
        ("approved", Self::Approved),
        ("called", Self::Called),
        ("joined", Self::Joined),
        ("left", Self::Left),
        ("invited", Self::Invited),
        ("revoked", Self::Revoked),
        ("delegated", Self::Delegated),
        ("undelegated", Self::Undelegated),
        ("rotated", Self::Rotated),
        ("exported", Self::Exported),
        ("imported", Self::Imported),
        ("token_created", Self::TokenCreated),
        ("token_revoked", Self::TokenRevoked),
        ("queue", Self::Queue),
        ("refused", Self::Refused),
        ("started", Self::Started),
        ("stopped", Self::Stopped),
    ];

    /// As it stands in the file.
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

impl FromStr for Event {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, event)| *event);
        found.ok_or_else(|| {
            let near = did_you_mean(text, Self::ALL.iter().map(|(name, _)| *name));
            Problem::new(Kind::Usage, "there is no event of that name").hint("aop audit --help").did_you_mean(near)
        })
    }
}

/// One event, to be recorded. What is not known is left out.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    event: Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    def_hash: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    def_hash_before: Option<Text>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<f64>,
}

impl Entry {
    /// What somebody did.
    pub fn by(principal: &Principal, event: Event) -> Self {
        Self { principal: Some(Text::of(principal)), ..Self::own(event) }
    }

    /// What nobody asked for: the node did it, or saw it.
    pub const fn own(event: Event) -> Self {
        let outcome = "ok";
        Self {
            event,
            principal: None,
            zone: None,
            name: None,
            tools: None,
            def_hash: None,
            def_hash_before: None,
            outcome,
            node: None,
            reason: None,
            took_ms: None,
        }
    }

    pub(super) const fn event(&self) -> Event {
        self.event
    }

    /// In which zone.
    #[must_use]
    pub fn zone(mut self, zone: impl fmt::Display) -> Self {
        self.zone = Some(Text::of(zone));
        self
    }

    /// Which tool, server, node or token.
    #[must_use]
    pub fn name(mut self, name: impl fmt::Display) -> Self {
        self.name = Some(Text::of(name));
        self
    }

    /// How many tools it was about.
    #[must_use]
    pub const fn tools(mut self, tools: usize) -> Self {
        self.tools = Some(tools);
        self
    }

    /// The definition, as `sha256:…`; an empty one is none.
    #[must_use]
    pub fn def_hash(mut self, hash: &str) -> Self {
        self.def_hash = Some(hash).filter(|hash| !hash.is_empty()).map(Text::of);
        self
    }

    /// The definition that stood before.
    #[must_use]
    pub fn def_hash_before(mut self, hash: &str) -> Self {
        self.def_hash_before = Some(Text::of(hash));
        self
    }

    /// At which node, or by which.
    #[must_use]
    pub fn node(mut self, node: impl fmt::Display) -> Self {
        self.node = Some(Text::of(node));
        self
    }

    /// Why, in the words of whoever did it or refused it; an empty one is none.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = Some(reason).filter(|reason| !reason.is_empty()).map(Text::of);
        self
    }

    /// It failed with such a problem.
    #[must_use]
    pub const fn failed(mut self, kind: Kind) -> Self {
        self.outcome = kind.code();
        self
    }

    /// How it ended.
    #[must_use]
    pub fn ended<T>(self, ended: &Result<T, Problem>) -> Self {
        match ended {
            Ok(_) => self,
            Err(problem) => self.failed(problem.kind),
        }
    }

    /// How long it took.
    #[must_use]
    pub fn took(mut self, took: Duration) -> Self {
        self.took_ms = Some((took.as_secs_f64() * 1e6).round() / 1e3);
        self
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A text of at most [`TEXT_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Serialize)]
struct Text(String);

impl Text {
    fn of(text: impl fmt::Display) -> Self {
        use fmt::Write as _;
        let mut cut = Cut(String::new());
        // It fails where the text is cut.
        let _ = write!(cut, "{text}");
        Self(cut.0)
    }
}

/// Takes what fits and refuses the rest, so that a long text is never written out only to be cut.
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_BYTES_MAX - self.0.len();
        let end = text.floor_char_boundary(room);
        self.0.push_str(&text[..end]);
        if end == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_stands_at_its_place_and_is_found_by_its_name() {
        for (at, (name, event)) in Event::ALL.into_iter().enumerate() {
            assert_eq!((event as usize, event.name()), (at, name));
            assert_eq!(name.parse::<Event>(), Ok(event));
        }
        let problem = "registred".parse::<Event>().unwrap_err();
        assert_eq!((problem.kind, problem.did_you_mean[0].as_str()), (Kind::Usage, "registered"));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(Text::of("short").0, "short");
        assert_eq!(Text::of("x".repeat(1000)).0.len(), TEXT_BYTES_MAX);
        assert_eq!(Text::of("é".repeat(127) + "x€").0, "é".repeat(127) + "x", "the last one would not fit whole");
    }
}
