//! A scenario as it is written: TOML with the zones and their replicas, the weather, a script of timed acts, and what must be true.
//!
//! ```toml
//! about = "A replica crashes and comes back."
//! calm = "20s"                        # faults stop, every host runs
//!
//! [[zone]]
//! name = "research"
//! replicas = 3                        # research/1, research/2, research/3
//!
//! [[act]]
//! at = "1s"
//! do = "write"
//! host = "research/1"
//! tools = ["arxiv/search_papers"]     # search_papers.arxiv.research
//!
//! [[act]]
//! at = "2s"
//! do = "crash"
//! hosts = "research/2"
//!
//! [[expect]]
//! that = "converged"
//! zone = "research"
//! within = "15s"
//! ```
//!
//! Nothing is guessed: an unknown key is an error that names the nearest known one.

use std::time::Duration;

use serde::Deserialize;

use crate::network::Weather;

/// Why a text is no scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioError(pub String);

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

/// A whole scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in a sentence.
    pub about: String,
    /// Time the zones have to find each other before the script begins.
    #[serde(default = "settle")]
    pub settle: Span,
    /// When faults stop, counted as the script counts.
    pub calm: Span,
    /// Zones and their hosts.
    pub zone: Vec<ZoneSpec>,
    /// How the network is unless an act changes it.
    #[serde(default)]
    pub weather: WeatherSpec,
    /// The script.
    #[serde(default)]
    pub act: Vec<Step<Act>>,
    /// What must be true: with a time then, without one after the faults, one after the other.
    #[serde(default)]
    pub expect: Vec<Step<Expect>>,
}

fn settle() -> Span {
    Span(Duration::from_secs(5))
}

/// One zone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneSpec {
    /// Its name, `.` for the root.
    pub name: String,
    /// Its hosts, from 1.
    #[serde(default = "one")]
    pub replicas: u32,
    /// How many of them run from the beginning; all unless said.
    pub running: Option<u32>,
    /// The zone above, if it is part of the scenario.
    pub parent: Option<String>,
    /// Whom each replica joins.
    #[serde(default)]
    pub join: Join,
}

const fn one() -> u32 {
    1
}

/// Whom a replica joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// The first replica.
    #[default]
    First,
    /// The one before it.
    Chain,
    /// All others.
    All,
    /// Nobody: its parent says who else is there.
    Nobody,
}

/// One or several hosts: `research/1`, `research/2..4`, `research`, `*`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Who {
    /// One pattern.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Default for Who {
    fn default() -> Self {
        Self::One("*".to_owned())
    }
}

/// Something that happens, or is looked at, at a time.
#[derive(Debug, Clone)]
pub struct Step<T> {
    /// When, counted from the end of the settling.
    pub at: Option<Duration>,
    /// How often, and how long after each other.
    pub repeat: u32,
    /// Pause between repetitions.
    pub every: Duration,
    /// What.
    pub what: T,
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Step<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut table = toml::Table::deserialize(from)?;
        let mut span = |key: &str| -> Result<Option<Duration>, D::Error> {
            let value = table.remove(key).map(Span::deserialize).transpose();
            Ok(value.map_err(|error| D::Error::custom(format!("`{key}`: {error}")))?.map(|span| span.0))
        };
        let (at, every) = (span("at")?, span("every")?.unwrap_or_default());
        let repeat = table.remove("repeat").map(u32::deserialize).transpose().map_err(D::Error::custom)?.unwrap_or(1);
        let what = T::deserialize(table).map_err(D::Error::custom)?;
        Ok(Self { at, repeat, every, what })
    }
}

/// What happens to hosts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// A host registers tools, each `server/tool`.
    Write {
        /// Who.
        host: String,
        /// What.
        tools: Vec<String>,
    },
    /// Random hosts of these register one tool each.
    Writes {
        /// Who.
        #[serde(default)]
        hosts: Who,
        /// How many in all.
        count: u32,
        /// Pause between two.
        pause: Span,
    },
    /// A host takes a tool or a server back.
    Remove {
        /// Who.
        host: String,
        /// Full name, or label of the server.
        what: String,
    },
    /// A host asks for words; whatever the answer is, it is checked.
    Ask {
        /// Who.
        host: String,
        /// The words.
        words: String,
    },
    /// Power is lost.
    Crash {
        /// Where.
        hosts: Who,
    },
    /// Hosts start, those that do not run.
    Start {
        /// Which.
        hosts: Who,
    },
    /// Hosts say goodbye and stop.
    Leave {
        /// Which.
        hosts: Who,
    },
    /// A crash that takes the disk.
    Lose {
        /// Where.
        hosts: Who,
    },
    /// A crash that takes disk and keys.
    Replace {
        /// Where.
        hosts: Who,
    },
    /// The disk as it is now is kept.
    Backup {
        /// Whose.
        hosts: Who,
    },
    /// A crash, and a start on the disk that was kept.
    Restore {
        /// Whose.
        hosts: Who,
    },
    /// Hosts stand still.
    Pause {
        /// Which.
        hosts: Who,
        /// How long.
        time: Span,
    },
    /// Nothing goes between the sides.
    Partition {
        /// Two or more.
        sides: Vec<Who>,
    },
    /// Nothing goes from some to others; the other way all goes on.
    Cut {
        /// Whose messages are lost.
        from: Who,
        /// To whom.
        to: Who,
    },
    /// Each reaches its two neighbours only.
    Ring {
        /// Who, in the order of the ring.
        hosts: Who,
    },
    /// No cuts any more.
    Heal {},
    /// The links between two groups are lost, with what was in flight.
    Disconnect {
        /// Some.
        between: Who,
        /// The others.
        and: Who,
    },
    /// The ways between two groups take so long.
    Slow {
        /// Some.
        between: Who,
        /// The others.
        and: Who,
        /// Least and most.
        latency: (Span, Span),
    },
    /// Hosts send so many bytes a second and no more.
    Cap {
        /// Which.
        hosts: Who,
        /// How many.
        bytes_per_second: u64,
    },
    /// Wall clocks step.
    Clock {
        /// Whose.
        hosts: Who,
        /// By how much they are ahead from now on, or behind: `-10m`.
        ahead: Offset,
    },
    /// Wall clocks gain or lose.
    Drift {
        /// Whose.
        hosts: Who,
        /// Millionths.
        ppm: i64,
    },
    /// The weather changes; what is not said is as it was at the beginning.
    Weather(WeatherSpec),
}

/// What must be true.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "that", rename_all = "snake_case", deny_unknown_fields)]
pub enum Expect {
    /// All hosts of a zone run, know each other and hold the same.
    Converged {
        /// The zone.
        zone: String,
        /// In which time.
        within: Span,
    },
    /// The same of some hosts.
    Equal {
        /// Which.
        hosts: Who,
        /// In which time.
        within: Span,
    },
    /// Hosts find a tool by its full name.
    Found {
        /// The name.
        tool: String,
        /// Who asks.
        #[serde(default)]
        from: Who,
        /// In which time.
        #[serde(default)]
        within: Span,
    },
    /// Hosts are told that there is no such tool.
    NotFound {
        /// The name.
        tool: String,
        /// Who asks.
        #[serde(default)]
        from: Who,
        /// In which time.
        #[serde(default)]
        within: Span,
    },
    /// Hosts believe that so many others of their zone are alive.
    Alive {
        /// Who.
        hosts: Who,
        /// How many others.
        members: usize,
        /// In which time.
        within: Span,
    },
}

/// A length of time: `250us`, `10ms`, `5s`, `2m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number = text[..digits].parse::<u32>().ok();
        let micros = match &text[digits..] {
            "us" => Some(1),
            "ms" => Some(1_000),
            "s" => Some(1_000_000),
            "m" => Some(60_000_000),
            "h" => Some(3_600_000_000),
            _ => None,
        };
        let (Some(number), Some(micros)) = (number, micros) else {
            return Err(format!("`{text}` is no time; write `250us`, `10ms`, `5s`, `2m` or `1h`"));
        };
        Ok(Self(Duration::from_micros(u64::from(number) * micros)))
    }
}

/// A [`Span`], ahead or with a minus behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Offset {
    /// Milliseconds ahead.
    pub ms: i64,
}

impl TryFrom<String> for Offset {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (sign, span) = text.strip_prefix('-').map_or((1, text.as_str()), |span| (-1, span));
        let span = Span::try_from(span.to_owned())?;
        Ok(Self { ms: sign * i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX) })
    }
}

/// A share of 1, kept per mille.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(u64);

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(share: f64) -> Result<Self, String> {
        match (0.0..=1.0).contains(&share) {
            true => Ok(Self((share * 1000.0).round() as u64)),
            false => Err(format!("{share} is no share; write 0.0 to 1.0")),
        }
    }
}

/// A [`Weather`], of which only what differs is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeatherSpec {
    /// Least and most time of one way.
    pub latency: Option<(Span, Span)>,
    /// Share of packets lost.
    pub loss: Option<Share>,
    /// Share of datagrams that come twice.
    pub duplicate: Option<Share>,
    /// Share of datagrams that others overtake.
    pub reorder: Option<Share>,
    /// Share of messages that vanish.
    pub drop: Option<Share>,
    /// Share of messages that arrive with a byte changed.
    pub noise: Option<Share>,
    /// Time until a lost link is noticed.
    pub silence: Option<Span>,
    /// Least and most time of a write to the disk.
    pub sync: Option<(Span, Span)>,
}

impl WeatherSpec {
    /// Over that weather.
    pub fn over(&self, base: &Weather) -> Weather {
        let pair = |pair: Option<(Span, Span)>, base| pair.map_or(base, |(least, most)| (least.0, most.0));
        let share = |share: Option<Share>, base| share.map_or(base, |share| share.0);
        Weather {
            latency: pair(self.latency, base.latency),
            loss: share(self.loss, base.loss),
            duplicate: share(self.duplicate, base.duplicate),
            reorder: share(self.reorder, base.reorder),
            drop: share(self.drop, base.drop),
            noise: share(self.noise, base.noise),
            silence: self.silence.map_or(base.silence, |silence| silence.0),
            patience: base.patience,
            sync: pair(self.sync, base.sync),
        }
    }
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// In words, with the place and, for an unknown key, the nearest one that is known.
    pub fn read(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| {
            let text = error.to_string();
            let hint = nearest(&text).map_or_else(String::new, |hint| format!("did you mean `{hint}`?"));
            ScenarioError(format!("{}\n{hint}", text.trim_end()).trim_end().to_owned())
        })?;
        scenario.check().map_err(ScenarioError)?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        for (at, zone) in self.zone.iter().enumerate() {
            let above = &self.zone[..at];
            if above.iter().any(|other| other.name == zone.name) {
                return Err(format!("zone {} is there twice", zone.name));
            }
            if zone.replicas == 0 || zone.running.is_some_and(|running| running > zone.replicas) {
                return Err(format!("zone {} has {} replicas", zone.name, zone.replicas));
            }
            if let Some(parent) = &zone.parent
                && !above.iter().any(|other| other.name == *parent)
            {
                return Err(format!("zone {} has parent {parent}, which stands nowhere above it", zone.name));
            }
        }
        if self.zone.is_empty() {
            return Err("there is no zone; write [[zone]]".to_owned());
        }
        let late = |at: Option<Duration>| at.is_some_and(|at| at > self.calm.0);
        if self.act.iter().any(|act| act.at.is_none() || late(act.at)) {
            return Err("every [[act]] has an `at`, and none is after `calm`".to_owned());
        }
        if self.expect.iter().any(|expect| late(expect.at)) {
            return Err("an [[expect]] with an `at` after `calm` comes in its turn anyway; leave `at` out".to_owned());
        }
        Ok(())
    }
}

/// Of an error that names what is unknown and what is known, the nearest that is known.
fn nearest(error: &str) -> Option<String> {
    let line = error.lines().find(|line| line.contains("unknown field") || line.contains("unknown variant"))?;
    let mut quoted = line.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let known = quoted.map(|known| (distance(unknown, known), known)).min()?;
    (known.0 <= unknown.len().div_ceil(2)).then(|| known.1.to_owned())
}

/// Letters to add, drop or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, d) in b.iter().enumerate() {
            let change = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "about = \"x\"\ncalm = \"9s\"\n[[zone]]\nname = \"z\"\n";

    fn error(text: &str) -> String {
        Scenario::read(&format!("{HEAD}{text}")).expect_err("it is none").0
    }

    #[test]
    fn an_unknown_key_is_an_error_with_the_nearest_known_one() {
        assert!(error("replica = 3").contains("did you mean `replicas`?"), "{}", error("replica = 3"));
        let act = |rest: &str| error(&format!("[[act]]\nat = \"1s\"\n{rest}"));
        assert!(act("do = \"partiton\"").contains("did you mean `partition`?"), "{}", act("do = \"partiton\""));
        let crash = act("do = \"crash\"\nhost = \"z/1\"");
        assert!(crash.contains("did you mean `hosts`?"), "{crash}");
        assert!(
            act("do = \"heal\"\nhosts = \"z/1\"").contains("unknown field"),
            "{}",
            act("do = \"heal\"\nhosts = \"z/1\"")
        );
        let soon = error("[[act]]\nat = \"soon\"\ndo = \"heal\"");
        assert!(soon.contains("`soon` is no time"), "{soon}");
    }

    #[test]
    fn what_contradicts_itself_is_an_error() {
        assert!(error("[[zone]]\nname = \"z\"").contains("twice"));
        assert!(error("parent = \".\"").contains("nowhere above"));
        assert!(error("[[act]]\nat = \"10s\"\ndo = \"heal\"").contains("after `calm`"));
    }

    #[test]
    fn times_and_shares_are_read_as_they_are_written() {
        let span = |text: &str| Span::try_from(text.to_owned()).map(|span| span.0);
        assert_eq!(span("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(span("2m"), Ok(Duration::from_secs(120)));
        assert!(span("2").is_err() && span("m").is_err() && span("-2s").is_err() && span("").is_err());
        assert_eq!(Offset::try_from("-10m".to_owned()), Ok(Offset { ms: -600_000 }));
        assert_eq!((Share::try_from(0.05), Share::try_from(1.5).is_err()), (Ok(Share(50)), true));
    }
}
