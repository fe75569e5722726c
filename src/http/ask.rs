//! The parameters of a resolve request: query string and JSON body, one reading.
//!
//! Both are turned into the same list of pairs, so that GET and POST can never understand a parameter differently. Unknown names
//! are refused: a mistyped filter that is silently ignored gives an answer to another question.

use std::fmt::Write as _;
use std::time::Duration;

use aop_proto::error::{Kind, Problem, did_you_mean};
use serde_json::Value;

use crate::{
    answers::Show,
    clock::parse_duration,
    handle::{Ask, Mode},
};

/// Results of one answer when `n` is not given, and the most that can be asked for.
const RESULTS: (usize, usize) = (10, 1_000);
/// Longest query; a name is at most 253, a question a few sentences.
const QUERY_BYTES_MAX: usize = 2_000;
/// Queries of one batch.
const QUERIES_MAX: usize = 100;
/// Longest time a caller may wait for an answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

const NAMES: [&str; 15] = [
    "q",
    "queries",
    "n",
    "zone",
    "scope",
    "mode",
    "tag",
    "capability",
    "trace",
    "schema",
    "max_stale",
    "no_cache",
    "no_recurse",
    "timeout",
    "limit",
];

/// A resolve request, understood.
#[derive(Debug)]
pub(super) struct Asked {
    /// What is asked, in the order given; one where it is no batch.
    pub(super) queries: Vec<String>,
    /// How each of them is asked.
    pub(super) how: Ask,
    /// The same as a part of a cache's key: all parameters but the queries, with the length of each, as they came.
    pub(super) how_key: String,
    /// Whether `queries` was used: the answer is then a batch, even of one.
    pub(super) batch: bool,
    pub(super) show: Show,
}

impl Asked {
    /// One of the queries, asked as they all are.
    pub(super) fn ask(&self, query: &str) -> Ask {
        Ask { query: query.to_owned(), ..self.how.clone() }
    }
}

/// Reads the pairs of a query string.
pub(super) fn from_pairs<N: AsRef<str>>(pairs: Vec<(N, String)>) -> Result<Asked, Problem> {
    let mut queries = Vec::new();
    let mut batch = false;
    let mut show = Show::default();
    let mut ask = Ask { limit: RESULTS.0, ..Ask::default() };
    let mut how_key = String::new();
    for (name, value) in pairs {
        let name = name.as_ref();
        if matches!(name, "q" | "queries") {
            batch |= name == "queries";
            queries.push(value);
            continue;
        }
        // Infallible: a text grows.
        let _ = write!(how_key, "{name}={}:{value}&", value.len());
        match name {
            "n" | "limit" => ask.limit = number(name, &value, RESULTS.1)?,
            "zone" => ask.zone = Some(value),
            "scope" => ask.local_only = choice(name, &value, &[("local", true), ("all", false)])?,
            "mode" => {
                let modes = [("auto", Mode::Auto), ("exact", Mode::Exact), ("search", Mode::Search)];
                ask.mode = choice(name, &value, &modes)?;
            }
            "tag" => ask.tags.push(value),
            "capability" => ask.capabilities.push(value),
            "trace" => show.trace = flag(name, &value)?,
            "schema" => show.schema = flag(name, &value)?,
            "max_stale" => ask.max_stale = Some(duration(name, &value)?),
            "no_cache" => ask.no_cache = flag(name, &value)?,
            "no_recurse" => ask.no_recurse = flag(name, &value)?,
            "timeout" => ask.timeout = Some(duration(name, &value)?.min(TIMEOUT_MAX)),
            // As answers call it.
            "query" => {
                let meant = ["q", "queries"].map(str::to_owned).to_vec();
                return Err(usage("no parameter is called `query`").did_you_mean(meant));
            }
            _ => return Err(unknown(name, &NAMES)),
        }
    }
    check_queries(&queries, batch)?;
    Ok(Asked { queries, how: ask, how_key, batch, show })
}

/// Reads a JSON body with the same names; lists stand for repeated parameters.
pub(super) fn from_body(mut body: Value) -> Result<Asked, Problem> {
    let Value::Object(members) = &mut body else {
        return Err(usage("the body has to be a JSON object"));
    };
    let mut pairs = Vec::new();
    for (name, value) in members {
        match value.take() {
            Value::Null => {}
            Value::Array(values) => {
                for value in values {
                    pairs.push((name, scalar(name, value)?));
                }
            }
            value => pairs.push((name, scalar(name, value)?)),
        }
    }
    from_pairs(pairs)
}

/// The pairs of a query string, decoded, in order.
pub(super) fn pairs(uri: &axum::http::Uri) -> Result<Vec<(String, String)>, Problem> {
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map(|query| query.0)
        .map_err(|error| usage(format!("the query string cannot be read: {error}")))
}

/// A whole number from 1 to `max`.
pub(super) fn number(name: &str, value: &str, max: usize) -> Result<usize, Problem> {
    match value.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(usage(format!("`{name}` has to be a number from 1 to {max}, not `{value}`"))),
    }
}

/// Refuses a parameter that is none of these, naming the one that was probably meant.
pub(super) fn unknown(name: &str, names: &[&str]) -> Problem {
    usage(format!("no parameter is called `{name}`")).did_you_mean(did_you_mean(name, names.iter().copied()))
}

pub(super) fn usage(message: impl Into<String>) -> Problem {
    Problem::new(Kind::Usage, message)
}

fn check_queries(queries: &[String], batch: bool) -> Result<(), Problem> {
    let most = if batch { QUERIES_MAX } else { 1 };
    if queries.is_empty() {
        return Err(usage("nothing is asked: `q` is missing").hint("aop resolve search papers"));
    }
    if queries.len() > most {
        return Err(usage(format!("{} queries are more than {most}", queries.len())));
    }
    if queries.iter().any(|query| query.trim().is_empty()) {
        return Err(usage("a query is empty").hint("aop ls"));
    }
    if queries.iter().any(|query| query.len() > QUERY_BYTES_MAX) {
        return Err(usage(format!("a query is longer than {QUERY_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn scalar(name: &str, value: Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(usage(format!("`{name}` has to be text, a number or a boolean"))),
    }
}

fn choice<T: Copy>(name: &str, value: &str, choices: &[(&str, T)]) -> Result<T, Problem> {
    let found = choices.iter().find(|(known, _)| *known == value).map(|(_, choice)| *choice);
    found.ok_or_else(|| {
        let known: Vec<_> = choices.iter().map(|(known, _)| *known).filter(|known| !known.is_empty()).collect();
        usage(format!("`{name}` is one of {}, not `{value}`", known.join(", ")))
            .did_you_mean(did_you_mean(value, known.into_iter()))
    })
}

pub(super) fn flag(name: &str, value: &str) -> Result<bool, Problem> {
    choice(name, value, &[("1", true), ("true", true), ("", true), ("0", false), ("false", false)])
}

/// As the configuration has them, `250ms`, `2s`, `1m30s`; a bare number is seconds.
pub(super) fn duration(name: &str, value: &str) -> Result<Duration, Problem> {
    let seconds = value.parse().map(Duration::from_secs);
    seconds
        .or_else(|_| parse_duration(value))
        .map_err(|_| usage(format!("`{name}` has to be a duration such as `30s` or `1m30s`, not `{value}`")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query(text: &str) -> Result<Asked, Problem> {
        let uri = format!("/v1/resolve?{text}").parse().expect("uri");
        from_pairs(pairs(&uri)?)
    }

    #[test]
    fn a_query_string_and_a_body_mean_the_same() {
        let uri = query("q=find+papers&n=3&tag=a&tag=b&trace=1&scope=local&max_stale=30s&timeout=2s&mode=search")
            .expect("query");
        let body = from_body(json!({"q": "find papers", "n": 3, "tag": ["a", "b"], "trace": true, "scope": "local",
            "max_stale": "30s", "timeout": "2s", "mode": "search", "zone": null}))
        .expect("body");
        let understood = |asked: &Asked| format!("{:?} {:?} {:?}", asked.queries, asked.how, asked.show);
        assert_eq!(understood(&uri), understood(&body));
        let ask = uri.ask(&uri.queries[0]);
        assert_eq!((ask.query.as_str(), ask.limit, ask.local_only, uri.show.trace), ("find papers", 3, true, true));
        assert_eq!((ask.max_stale, ask.timeout), (Some(Duration::from_secs(30)), Some(Duration::from_secs(2))));
    }

    #[test]
    fn several_queries_are_a_batch() {
        let asked = from_body(json!({"queries": ["a", "b"], "n": 2})).expect("body");
        assert!(asked.batch && asked.queries == ["a", "b"] && asked.ask("b").limit == 2);
        assert!(from_body(json!({"queries": ["a"]})).expect("body").batch);
    }

    /// Answers are kept under it: what is asked otherwise must never have the same one.
    #[test]
    fn no_parameter_can_look_like_two() {
        let key = |body: Value| from_body(body).expect("body").how_key;
        assert_eq!(key(json!({"queries": ["a"], "n": 2})), key(json!({"queries": ["b", "c"], "n": 2})));
        assert_ne!(key(json!({"q": "a", "tag": ["b", "c"]})), key(json!({"q": "a", "tag": "b&tag=1:c"})));
        assert_ne!(key(json!({"q": "a"})), key(json!({"q": "a", "n": 2})));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_nearest_name() {
        let problem = query("q=a&scop=local").expect_err("unknown");
        assert_eq!(problem.did_you_mean, ["scope"]);
        assert_eq!(query("query=a").expect_err("as answers call it").did_you_mean, ["q", "queries"]);
        let problem = query("q=a&trace=perhaps").expect_err("no flag");
        assert_eq!(problem.message, "`trace` is one of 1, true, 0, false, not `perhaps`");
        let problem = query("q=a&mode=serch").expect_err("unknown mode");
        assert_eq!(problem.did_you_mean, ["search"]);
        for bad in [
            "",
            "q=",
            "q=a&q=b",
            "q=a&n=0",
            "q=a&n=x",
            "q=a&timeout=2y",
            "q=a&timeout=9999999999999999h",
            "q=a&trace=perhaps",
        ] {
            assert!(query(bad).is_err(), "{bad}");
        }
        assert!(from_body(json!(["q"])).is_err() && from_body(json!({"q": {"a": 1}})).is_err());
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("2s", 2_000),
            ("2", 2_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1d1h", 90_000_000),
        ] {
            assert_eq!(duration("timeout", text).expect(text), Duration::from_millis(millis));
        }
        for bad in ["", "s", "-1s", "1.5s", "1 s", "1s30", "é"] {
            assert!(duration("timeout", bad).is_err(), "{bad}");
        }
    }
}
