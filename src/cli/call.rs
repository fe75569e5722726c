//! `aop call`: run a tool and print what it answered.
//!
//! Arguments given as `key=value` are typed by the tool's schema, asked for first; the definition's hash then travels with the call,
//! so that a tool that changed in between is refused instead of called by mistake. What must hold: JSON given by the user reaches
//! the node as it was written.

mod objects;
mod once;
mod result;

use std::fmt;
use std::time::Duration;

use aop_proto::error::{Kind, Problem};
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::objects::Input;
use self::result::ToolResult;
use super::client::{Reply, Request};
use super::json::Members;
use super::output::{Exit, Format};
use super::{Context, arguments, show, text};

/// A tool gets this long unless `--timeout` says otherwise.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The node's own deadline comes first; the connection waits a little longer for its answer.
const GRACE: Duration = Duration::from_secs(2);

/// Calls of one request.
const CALLS_AT_ONCE: usize = 32;

const EXAMPLES: &str = "\
Examples:
  aop call get_forecast.met.weather city=Oslo days=3
  aop call search_papers.arxiv.research --args '{\"query\":\"raft\"}' --json
  cat requests.jsonl | aop call search_papers.arxiv.research -
  aop call pay.shop.research order=17 --idempotency-key order-17

Values are typed by the tool's schema: numbers, true/false, a,b,c for lists,
JSON for objects, opts.lang=en for members, key:=JSON to say it exactly.
With `-`, each object has a key of its own: KEY/1, KEY/2 and so on. Each has its
answer or its error on stdout, in their order (with --json one line each, with
its `index`); a broken one is told there too, and those after it are called.
The exit status is that of the first that failed.";

/// Call a tool
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Call {
    /// Full name, wire name or SERVER/TOOL
    name: String,
    /// Arguments as KEY=VALUE; `-` reads JSON objects from stdin, one call each; those that are there run at once
    #[arg(value_name = "KEY=VALUE | -")]
    arguments: Vec<String>,
    /// All arguments as one JSON object
    #[arg(long, value_name = "JSON", conflicts_with = "arguments")]
    args: Option<String>,
    /// A text of your own for this call: repeated under it, it is answered as before and never run again, for 24 hours, while the same
    /// nodes serve the tool
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Its turn among calls that wait: 0 to 9, the highest first
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Check the arguments against the schema, call nothing
    #[arg(long)]
    dry_run: bool,
}

impl Call {
    /// Makes one call, or one for each object on stdin.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        if let Some(json) = &self.args {
            let arguments =
                object(json).map_err(|why| Problem::new(Kind::Usage, format!("--args {why}")).hint(self.help()))?;
            self.each_once(&arguments)?;
            return self.once(arguments.get(), None, self.idempotency_key.as_deref(), context).await;
        }
        if self.arguments.iter().any(|word| word == "-") {
            if self.arguments.len() > 1 {
                return Err(
                    Problem::new(Kind::Usage, "`-` takes all arguments from stdin; no others may be given").into()
                );
            }
            return self.each_of_stdin(context).await;
        }
        if self.arguments.is_empty() {
            return self.once("{}", None, self.idempotency_key.as_deref(), context).await;
        }
        let card = context.client.send(&Request::get(&["tools", &self.name])).await?.value()?;
        let name = text::shell_word(&text::clean(card["name"].as_str().unwrap_or(&self.name)));
        let built = arguments::build(&name, show::input_schema(&card), &self.arguments)?;
        let (built, key) = (Value::Object(built).to_string(), self.idempotency_key.as_deref());
        self.once(&built, card["def_hash"].as_str(), key, context).await
    }

    /// One call for each JSON object; a failed one does not stop the others, and the first failure is the exit status. Objects that are
    /// there already go in one request, so that they run at once; a slow producer sees each answer before it writes the next object.
    /// Each has its place on stdout, whatever became of it.
    async fn each_of_stdin(&self, context: &mut Context) -> anyhow::Result<Exit> {
        let mut inputs = objects::of_stdin(CALLS_AT_ONCE);
        let (mut exit, mut first, mut failed, mut number) = (Exit::Complete, None, 0, 0);
        loop {
            let mut some = Vec::new();
            if inputs.recv_many(&mut some, CALLS_AT_ONCE).await == 0 {
                break;
            }
            let from = number + 1;
            number += some.len();
            for ended in self.at_once(from, some, context).await? {
                match ended {
                    Ok(Exit::Complete) => {}
                    Ok(other) if exit == Exit::Complete && first.is_none() => exit = other,
                    Ok(_) => {}
                    Err(problem) => {
                        failed += 1;
                        first.get_or_insert(problem);
                    }
                }
            }
        }
        if number == 0 {
            context.out.talk("nothing was called: there was no JSON object on stdin");
        }
        match first {
            None => Ok(exit),
            Some(_) if exit != Exit::Complete => Ok(exit),
            Some(problem) => {
                let message = format!("{failed} of {number} objects on stdin: the first is {}", problem.message);
                Err(Problem { message, ..problem }.into())
            }
        }
    }

    /// Makes some calls in one request and prints what became of each, in their order.
    async fn at_once(
        &self,
        from: usize,
        inputs: Vec<Input>,
        context: &Context,
    ) -> anyhow::Result<Vec<Result<Exit, Problem>>> {
        let (mut calls, mut ends) = (Vec::new(), Vec::new());
        for (number, Input { line, read }) in (from..).zip(inputs) {
            let arguments = read.and_then(|read| object(read.get())).map_err(|why| Problem::new(Kind::Usage, why));
            let arguments = arguments.and_then(|arguments| self.each_once(&arguments).map(|()| arguments));
            if let Ok(arguments) = &arguments {
                let key = self.idempotency_key.as_ref().map(|key| format!("{key}/{number}"));
                calls.push(format!(
                    "{{\"name\":{}{}}}",
                    Value::from(self.name.as_str()),
                    self.members(arguments.get(), None, key.as_deref())
                ));
            }
            ends.push((Place { number, line }, arguments));
        }
        let (mut answers, mut broken) = (Vec::new().into_iter(), None);
        if !calls.is_empty() {
            match self.answers(&calls, context).await {
                Ok(told) => answers = told.into_iter(),
                Err(error) => broken = Some(error),
            }
        }
        let missing = || match broken.as_ref().map(|error| (error, error.downcast_ref::<Problem>())) {
            Some((_, Some(problem))) => problem.clone(),
            Some((error, None)) => Problem::new(Kind::Internal, format!("{error:#}")),
            None => Problem::new(Kind::Internal, "the node's answer misses a call"),
        };
        let mut told = Vec::new();
        for (place, arguments) in ends {
            let ended = match &arguments {
                Ok(_) => answers.next().unwrap_or_else(|| Err(missing())),
                Err(problem) => Err(problem.clone()),
            };
            told.push(match ended {
                Ok(reply) => Ok(self.print(&reply.with("index", &place.number.to_string()), context)?),
                Err(problem) => {
                    let problem = self.told_whole(problem);
                    Err(self.failed_at(&place, arguments.as_deref().ok(), problem, context)?)
                }
            });
        }
        // Whoever cannot be asked now is not asked again and again for what follows.
        broken.map_or(Ok(told), Err)
    }

    /// Tells on stdout, where its answer would stand, that an object has none; the problem, which then names the object.
    fn failed_at(
        &self,
        place: &Place,
        arguments: Option<&RawValue>,
        problem: Problem,
        context: &Context,
    ) -> anyhow::Result<Problem> {
        let out = &context.out;
        if out.for_people() || out.format == Format::Name {
            let given = arguments.map(|arguments| format!(" {}", text::cut(&text::clean(arguments.get()), 200)));
            let code = problem.kind.code();
            let why = text::clean(&problem.message);
            out.data(&format!("{place}{}: error[{code}]: {why}\n", given.unwrap_or_default()))?;
        } else {
            let error = problem.to_json();
            let mut told =
                json!({"schema": "aop.call/1", "index": place.number, "line": place.line, "name": self.name});
            if let Some(arguments) = arguments {
                let text = || Value::from(arguments.get());
                told["arguments"] = serde_json::from_str(arguments.get()).unwrap_or_else(|_| text());
            }
            told["error"] = error;
            out.reply(&Reply::made(&told), None, "name")?;
        }
        Ok(Problem { message: format!("{place}: {}", problem.message), ..problem })
    }

    /// What became of each of these calls.
    async fn answers(&self, calls: &[String], context: &Context) -> anyhow::Result<Vec<Result<Reply, Problem>>> {
        let timeout = context.client.time(CALL_TIMEOUT);
        let dry_run = if self.dry_run { ",\"dry_run\":true" } else { "" };
        let body = format!("{{\"calls\":[{}],\"timeout_ms\":{}{dry_run}}}", calls.join(","), timeout.as_millis());
        let reply = context.client.send(&Request::post(&["calls"], body).exactly(timeout + GRACE)).await?;
        let answer: Answers<'_> = serde_json::from_slice(&reply.body).map_err(|_| unread())?;
        let ended = answer.results.into_iter().map(|one| {
            let members = Members::of(one.get().as_bytes()).ok_or_else(unread)?;
            let error = members.get("error").and_then(|error| serde_json::from_str(error.get()).ok());
            match Problem::from_json(&error.unwrap_or_default()) {
                Some(problem) => Err(problem),
                None => Ok(reply.part(one.get())),
            }
        });
        Ok(ended.collect())
    }

    async fn once(
        &self,
        arguments: &str,
        def_hash: Option<&str>,
        key: Option<&str>,
        context: &mut Context,
    ) -> anyhow::Result<Exit> {
        let timeout = context.client.time(CALL_TIMEOUT);
        let members = self.members(arguments, def_hash, key);
        let dry_run = if self.dry_run { ",\"dry_run\":true" } else { "" };
        let body = format!("{{\"timeout_ms\":{}{members}{dry_run}}}", timeout.as_millis());
        let request = Request::post(&["tools", &self.name, "call"], body).exactly(timeout + GRACE);
        let reply = context.client.send(&request).await.map_err(|problem| self.told_whole(problem))?;
        self.print(&reply, context)
    }

    /// A hint to call again with more time, with everything else that was said of this call: it runs as it stands.
    fn told_whole(&self, mut problem: Problem) -> Problem {
        let hint = problem.hint.take();
        let time =
            hint.as_ref().filter(|hint| hint.starts_with("aop call ")).and_then(|hint| hint.split_once(" --timeout "));
        let Some((_, time)) = time else { return Problem { hint, ..problem } };
        let mut words = vec!["aop".to_owned(), "call".to_owned(), text::shell_word(&self.name)];
        words.extend(self.arguments.iter().map(|word| text::shell_word(word)));
        let flags = [
            ("--args", self.args.clone()),
            ("--idempotency-key", self.idempotency_key.clone()),
            ("--priority", self.priority.map(|priority| priority.to_string())),
            ("--timeout", Some(time.to_owned())),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        words.extend(given.flat_map(|(flag, value)| [flag.to_owned(), text::shell_word(&value)]));
        problem.hint(words.join(" "))
    }

    /// What is said of one call beside its name, each member after a comma.
    fn members(&self, arguments: &str, def_hash: Option<&str>, key: Option<&str>) -> String {
        let mut members = format!(",\"arguments\":{arguments}");
        if let Some(hash) = def_hash {
            members.push_str(&format!(",\"def_hash\":{}", Value::from(hash)));
        }
        if let Some(key) = key {
            members.push_str(&format!(",\"idempotency_key\":{}", Value::from(key)));
        }
        if let Some(priority) = self.priority {
            members.push_str(&format!(",\"priority\":{priority}"));
        }
        members
    }

    fn print(&self, reply: &Reply, context: &Context) -> anyhow::Result<Exit> {
        let out = &context.out;
        let called = Called::of(reply)?;
        let about = &called.about;
        let result = ToolResult::of(&called.result);
        let name = about["name"].as_str().unwrap_or(&self.name);
        let unfinished = result.unfinished();
        if let Some(why) = about["unchecked"].as_str().filter(|_| out.for_people()) {
            out.talk(&format!("the arguments were not checked: {}", text::clean(why)));
        }
        if self.dry_run && out.for_people() {
            let fit = if about["valid"].is_null() { "" } else { "the arguments fit; " };
            out.data(&format!("{fit}nothing was called\n"))?;
        } else if out.for_people() || out.format == Format::Name {
            let shown = result.shown();
            out.data(&shown.text)?;
            if let Some(note) = shown.note {
                out.talk(note);
            }
            if !result.is_error() && unfinished.is_none() {
                out.talk(&summary(name, about));
            }
        } else {
            out.reply(reply, None, "name")?;
        }
        if let Some(why) = unfinished {
            out.problem(&Problem::new(Kind::UpstreamFailed, format!("`{name}` {why}")));
            return Ok(Exit::Unfinished);
        }
        if result.is_error() {
            out.tool_error(name);
            return Ok(Exit::ToolError);
        }
        Ok(Exit::Complete)
    }

    /// Refuses arguments that name one of them twice.
    fn each_once(&self, arguments: &RawValue) -> Result<(), Problem> {
        match once::given_twice(arguments.get()) {
            Some(key) => Err(arguments::twice(&text::shell_word(&self.name), &text::clean(&key))),
            None => Ok(()),
        }
    }

    fn help(&self) -> String {
        format!("aop show {}", text::shell_word(&self.name))
    }
}

/// What a node says of one call.
struct Called {
    /// All but the result.
    about: Value,
    /// As the tool sent it.
    result: Box<RawValue>,
}

impl Called {
    fn of(reply: &Reply) -> Result<Self, Problem> {
        let Members(members) = Members::of(reply.folded().as_bytes()).ok_or_else(unread)?;
        let (mut about, mut result) = (json!({}), RawValue::NULL.to_owned());
        for (key, raw) in members {
            if key == "result" {
                result = raw;
            } else {
                about[key] = serde_json::from_str(raw.get()).unwrap_or_default();
            }
        }
        Ok(Self { about, result })
    }
}

/// The node said that the call ended well, and not in a way that is understood.
fn unread() -> Problem {
    Problem::new(Kind::MayHaveRun, "the node's answer cannot be read; the tool may have run")
}

/// `add.papers.research · 12 ms · served by n7f3a · 2 hops`.
fn summary(name: &str, about: &Value) -> String {
    let took = about["took_ms"].as_f64().map(text::took);
    let by = about["served_by"].as_str().map(|node| format!("served by {}", text::clean(node)));
    let hops = about["hops"].as_u64().map(|hops| text::count(hops, "hop"));
    [Some(text::clean(name)), took, by, hops].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// What a node says of several calls.
#[derive(Deserialize)]
struct Answers<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// Where an object stands on stdin.
struct Place {
    /// Of the objects, from 1.
    number: usize,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} in line {}", self.number, self.line)
    }
}

/// A JSON object, kept as it was written.
fn object(text: &str) -> Result<Box<RawValue>, String> {
    let raw: Box<RawValue> = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    if raw.get().starts_with('{') { Ok(raw) } else { Err("is not a JSON object".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_kept_as_written() {
        assert_eq!(
            object(r#"{"n":1.00,"s":"\u0041"}"#).map(|raw| raw.get().to_owned()),
            Ok(r#"{"n":1.00,"s":"\u0041"}"#.to_owned())
        );
        assert!(object("[1]").is_err() && object("{").is_err());
    }

    /// It was named without its arguments, and with an ellipsis.
    #[test]
    fn a_hint_to_call_again_runs_as_it_stands() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            call: Call,
        }
        let hint = |line: &[&str], hint: &str| {
            let call = <Line as clap::Parser>::parse_from(line).call;
            call.told_whole(Problem::new(Kind::CallTimedOut, "late").hint(hint)).hint.unwrap_or_default()
        };
        let longer = "aop call a.b.c --timeout 2m";
        assert_eq!(hint(&["aop", "a.b.c", "t=two words"], longer), "aop call a.b.c 't=two words' --timeout 2m");
        assert_eq!(hint(&["aop", "a.b.c", "-"], longer), "aop call a.b.c - --timeout 2m");
        let given = ["aop", "a.b.c", "--args", "{\"n\":1}", "--idempotency-key", "k", "--priority", "7"];
        assert_eq!(
            hint(&given, longer),
            "aop call a.b.c --args '{\"n\":1}' --idempotency-key k --priority 7 --timeout 2m"
        );
        assert_eq!(hint(&["aop", "a.b.c", "-"], "aop show a.b.c"), "aop show a.b.c");
    }

    #[test]
    fn the_exit_status_of_an_answer_is_that_of_its_result() {
        let of = |result: &str| {
            let reply = Reply::made(&json!({"name": "a.b.c"})).with("result", result);
            let called = Called::of(&reply).expect("an answer");
            let result = ToolResult::of(&called.result);
            (called.about["name"].clone(), result.is_error(), result.unfinished().is_some())
        };
        assert_eq!(of("{\"content\":[],\"n\":1e400}"), (json!("a.b.c"), false, false));
        assert_eq!(of("{\"isError\":true}"), (json!("a.b.c"), true, false));
        assert_eq!(of("{\"resultType\":\"input_required\"}"), (json!("a.b.c"), false, true));
    }
}
