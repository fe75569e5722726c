//! `aop call`: run a tool and print what it answered.
//!
//! Arguments given as `key=value` are typed by the tool's schema, asked for first; the definition's hash then travels with the call,
//! so that a tool that changed in between is refused instead of called by mistake. What must hold: JSON given by the user reaches
//! the node as it was written.

use std::io;
use std::time::Duration;

use aop_proto::error::{Kind, Problem};
use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Value, json};

use super::client::{Reply, Request};
use super::output::{Exit, Format};
use super::{Context, arguments, show, text};

/// A tool gets this long unless `--timeout` says otherwise.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The node's own deadline comes first; the connection waits a little longer for its answer.
const GRACE: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  aop call get_forecast.met.weather city=Oslo days=3
  aop call search_papers.arxiv.research --args '{\"query\":\"raft\"}' --json
  cat requests.jsonl | aop call search_papers.arxiv.research -
  aop call pay.shop.research order=17 --idempotency-key order-17

Values are typed by the tool's schema: numbers, true/false, a,b,c for lists,
JSON for objects, opts.lang=en for members, key:=JSON to say it exactly.
With `-`, each object has a key of its own: KEY/1, KEY/2 and so on.";

/// Call a tool
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Call {
    /// Full name, wire name or SERVER/TOOL
    name: String,
    /// Arguments as KEY=VALUE; `-` reads JSON objects from stdin, one call each
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

    /// One call for each JSON object; a failed one does not stop the others, and the first failure is the exit status.
    async fn each_of_stdin(&self, context: &mut Context) -> anyhow::Result<Exit> {
        let mut worst = Ok(Exit::Complete);
        // Read as they come, so that a slow producer sees each answer before it writes the next object.
        for (index, read) in
            Deserializer::from_reader(io::BufReader::new(io::stdin())).into_iter::<Box<RawValue>>().enumerate()
        {
            let number = index + 1;
            let read = read
                .map_err(|error| Problem::new(Kind::Usage, format!("object {number} on stdin is not JSON: {error}")))?;
            let key = self.idempotency_key.as_ref().map(|key| format!("{key}/{number}"));
            let ended = match object(read.get()) {
                Ok(arguments) => self.once(arguments.get(), None, key.as_deref(), context).await,
                Err(why) => Err(Problem::new(Kind::Usage, format!("value {number} on stdin {why}")).into()),
            };
            match ended {
                Ok(Exit::Complete) => {}
                Ok(exit) if matches!(worst, Ok(Exit::Complete)) => worst = Ok(exit),
                Ok(_) => {}
                Err(error) => match error.downcast::<Problem>() {
                    // Nobody is there: the remaining calls would only wait for the same answer.
                    Ok(problem) if matches!(problem.kind, Kind::NodeUnreachable | Kind::AuthRequired) => {
                        return Err(problem.into());
                    }
                    Ok(problem) if matches!(worst, Ok(Exit::Complete)) => worst = Err(problem),
                    Ok(problem) => context.out.problem(&problem),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(worst?)
    }

    async fn once(
        &self,
        arguments: &str,
        def_hash: Option<&str>,
        key: Option<&str>,
        context: &mut Context,
    ) -> anyhow::Result<Exit> {
        let timeout = context.client.time(CALL_TIMEOUT);
        let mut body = format!("{{\"arguments\":{arguments},\"timeout_ms\":{}", timeout.as_millis());
        if let Some(hash) = def_hash {
            body.push_str(&format!(",\"def_hash\":{}", Value::from(hash)));
        }
        if let Some(key) = key {
            body.push_str(&format!(",\"idempotency_key\":{}", Value::from(key)));
        }
        if let Some(priority) = self.priority {
            body.push_str(&format!(",\"priority\":{priority}"));
        }
        if self.dry_run {
            body.push_str(",\"dry_run\":true");
        }
        body.push('}');
        let request = Request::post(&["tools", &self.name, "call"], body).exactly(timeout + GRACE);
        let reply = context.client.send(&request).await?;
        self.print(&reply, context)
    }

    fn print(&self, reply: &Reply, context: &Context) -> anyhow::Result<Exit> {
        let out = &context.out;
        let value = reply.value()?;
        let failed = value["result"]["isError"].as_bool() == Some(true);
        let name = value["name"].as_str().unwrap_or(&self.name);
        if let Some(why) = value["unchecked"].as_str().filter(|_| out.for_people()) {
            out.talk(&format!("the arguments were not checked: {}", text::clean(why)));
        }
        if self.dry_run && out.for_people() {
            let fit = if value["valid"].is_null() { "" } else { "the arguments fit; " };
            out.data(&format!("{fit}nothing was called\n"))?;
        } else if out.for_people() || out.format == Format::Name {
            out.data(&content(&value["result"]))?;
            let hops =
                value["hops"].as_u64().map(|hops| format!(" · {}", text::count(hops, "hop"))).unwrap_or_default();
            let took = value["took_ms"].as_f64().map(|took| format!(" · {}", text::took(took))).unwrap_or_default();
            let by = value["served_by"]
                .as_str()
                .map(|node| format!(" · served by {}", text::clean(node)))
                .unwrap_or_default();
            if !failed {
                out.talk(&format!("{}{took}{by}{hops}", text::clean(name)));
            }
        } else {
            out.reply(reply, None, "name")?;
        }
        if failed {
            out.tool_error(name);
            return Ok(Exit::ToolError);
        }
        Ok(Exit::Complete)
    }

    fn help(&self) -> String {
        format!("aop show {}", text::shell_word(&self.name))
    }
}

/// A JSON object, kept as it was written.
fn object(text: &str) -> Result<Box<RawValue>, String> {
    let raw: Box<RawValue> = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    if raw.get().starts_with('{') { Ok(raw) } else { Err("is not a JSON object".to_owned()) }
}

/// A result as a person reads it: text as it is, anything else described, and the structured content where nothing else was said.
fn content(result: &Value) -> String {
    let mut lines = String::new();
    for block in result["content"].as_array().into_iter().flatten() {
        lines.push_str(&described(block));
        if !lines.ends_with('\n') {
            lines.push('\n');
        }
    }
    if lines.is_empty() {
        let structured = if result["structuredContent"].is_null() { result } else { &result["structuredContent"] };
        if *structured != json!({}) && *structured != json!({"content": []}) && !structured.is_null() {
            lines = super::json::pretty(&structured.to_string());
            lines.push('\n');
        }
    }
    lines
}

fn described(block: &Value) -> String {
    let word = |value: &Value| text::clean(value.as_str().unwrap_or("?"));
    // Three bytes in four characters of base64; padding is not worth a decoder here.
    let size = |value: &Value| text::bytes(value.as_str().unwrap_or_default().len() / 4 * 3);
    match block["type"].as_str().unwrap_or_default() {
        "text" => text::clean_block(block["text"].as_str().unwrap_or_default()),
        kind @ ("image" | "audio") => format!("[{kind} {}, {}]", word(&block["mimeType"]), size(&block["data"])),
        "resource_link" => format!("[link {}]", word(&block["uri"])),
        "resource" => match block["resource"]["text"].as_str() {
            Some(text) => text::clean_block(text),
            None => format!("[resource {}, {}]", word(&block["resource"]["uri"]), size(&block["resource"]["blob"])),
        },
        other => format!("[{}]", text::clean(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_printed_and_the_rest_is_described() {
        let result = json!({"content": [{"type": "text", "text": "a\n\u{1b}[1mb"}, {"type": "image", "mimeType": "image/png", "data": "AAAA".repeat(400)},
            {"type": "resource_link", "uri": "file:///x"}, {"type": "resource", "resource": {"uri": "u", "text": "inside"}}],
            "structuredContent": {"n": 1}});
        assert_eq!(content(&result), "a\n[1mb\n[image image/png, 1.2 kB]\n[link file:///x]\ninside\n");
        assert_eq!(content(&json!({"content": [], "structuredContent": {"n": 1}})), "{\n  \"n\": 1\n}\n");
        assert_eq!(content(&json!({"content": []})), "");
    }

    #[test]
    fn arguments_are_kept_as_written() {
        assert_eq!(
            object(r#"{"n":1.00,"s":"\u0041"}"#).map(|raw| raw.get().to_owned()),
            Ok(r#"{"n":1.00,"s":"\u0041"}"#.to_owned())
        );
        assert!(object("[1]").is_err() && object("{").is_err());
    }
}
