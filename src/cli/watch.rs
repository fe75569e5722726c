//! `aop watch`: what changes in a zone, as it happens; after a lost connection it goes on where it was.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Part, Request};
use super::output::{Exit, Format};
use super::{Context, text, yaml};

const EXAMPLES: &str = "\
Examples:
  aop watch
  aop watch lab.acme
  aop watch -o jsonl | jq -r 'select(.event == \"added\").name'

Of the node's own zone every change is told, of another zone that it changed.
`resync` says that events are missing: what is known has to be read anew.";

/// Between two tries to come back.
const AGAIN: Duration = Duration::from_secs(1);

/// Show what changes, as it happens
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Watch {
    /// Only this zone and those below it
    zone: Option<String>,
    /// Go on after the event with this id
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

impl Watch {
    /// Prints events until somebody ends it, or the node cannot be reached at first.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let mut after = self.after.clone();
        let (mut is_on, mut is_lost) = (false, false);
        loop {
            let request =
                Request::get(&["watch"]).param_opt("zone", self.zone.clone()).param_opt("after", after.clone());
            let mut failed = None;
            let out = &context.out;
            let ended = context
                .client
                .follow(&request, |part| {
                    if let Some(id) = &part.id {
                        after = Some(id.clone());
                    }
                    let back = std::mem::replace(&mut is_on, true);
                    is_lost = false;
                    // Whoever came back has heard of that already.
                    if !(back && part.event == "ready") {
                        failed = show(&part, out).err();
                    }
                    failed.is_none()
                })
                .await;
            if let Some(error) = failed {
                return Err(error);
            }
            match ended {
                Err(problem) if !is_on => return Err(problem.into()),
                // Said once, however long it lasts.
                Err(problem) if !std::mem::replace(&mut is_lost, true) => {
                    out.talk(&format!("{}; trying again", problem.message));
                }
                Err(_) => {}
                // The node ends a stream now and then, so that its client's rights are looked at again.
                Ok(()) => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn show(part: &Part, out: &super::output::Output) -> anyhow::Result<()> {
    if let Some(text) = shown(part, out.format) {
        out.data(&text)?;
    }
    Ok(())
}

/// One event; nothing of one without a name where names are wanted.
fn shown(part: &Part, format: Format) -> Option<String> {
    let data: Value = serde_json::from_str(&part.data).unwrap_or_default();
    let word = |key: &str| data[key].as_str().map(text::clean);
    let line = match format {
        Format::Json | Format::Jsonl | Format::Yaml => {
            let mut object = json!({"schema": "aop.event/1", "id": part.id, "event": part.event});
            if let (Some(object), Value::Object(data)) = (object.as_object_mut(), data) {
                object.extend(data);
            }
            if format == Format::Yaml {
                return Some(yaml::one_of_many(&object));
            }
            object.to_string()
        }
        Format::Name => word("name")?,
        Format::Table | Format::Wide => {
            let about = match part.event.as_str() {
                "ready" => match data["serial"].as_u64() {
                    Some(serial) => format!("watching from here, serial {serial}"),
                    None => "watching from here".to_owned(),
                },
                "resync" => "events are missing: read what you know anew".to_owned(),
                "server" => {
                    let state = if data["up"] == true { "up" } else { "down" };
                    format!("{} is {state}", word("server").unwrap_or_default())
                }
                "child" => {
                    let state = if data["stands"] == true { "is delegated" } else { "is delegated no more" };
                    format!("{} {state}", word("child").unwrap_or_default())
                }
                "lifecycle" => {
                    format!("{} is {}", word("server").unwrap_or_default(), word("lifecycle").unwrap_or_default())
                }
                "breaker" => format!(
                    "{} at {}: breaker {}",
                    word("service").unwrap_or_default(),
                    text::cut(&word("node").unwrap_or_default(), 12),
                    word("breaker").unwrap_or_default()
                ),
                "members" => "other nodes are down, or there again".to_owned(),
                "zone" => "something changed there".to_owned(),
                _ => word("name").unwrap_or_default(),
            };
            format!("{:<9} {:<20} {about}", text::clean(&part.event), word("zone").unwrap_or_default())
        }
    };
    Some(format!("{line}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `-o yaml` it told lines of JSON.
    #[test]
    fn an_event_is_written_as_it_is_wanted() {
        let data = json!({"zone": "lab", "serial": 4, "name": "echo.s.lab"}).to_string();
        let event = |event: &str, data: &str| Part { id: Some("n1-4".into()), event: event.into(), data: data.into() };
        let added = event("added", &data);
        let yaml = "---\nschema: aop.event/1\nid: n1-4\nevent: added\nzone: lab\nserial: 4\nname: echo.s.lab\n";
        assert_eq!(shown(&added, Format::Yaml).as_deref(), Some(yaml));
        let line =
            r#"{"schema":"aop.event/1","id":"n1-4","event":"added","zone":"lab","serial":4,"name":"echo.s.lab"}"#;
        assert_eq!(shown(&added, Format::Jsonl), Some(format!("{line}\n")));
        assert_eq!(shown(&added, Format::Name).as_deref(), Some("echo.s.lab\n"));
        assert_eq!(shown(&event("members", "{}"), Format::Name), None);
    }
}
