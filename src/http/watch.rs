//! `/v1/watch`: what changes, as server-sent events, numbered so that nothing is missed unseen.
//!
//! ```text
//!  ready (where it begins) ─▶ added | changed | removed | server | child | members | zone … ─▶ resync (events are missing) ─▶ …
//! ```
//!
//! A client that comes back with the id of the last event it has read goes on from there, or is told to read the state anew. Who may
//! find only some tools hears of these.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_proto::access::Caller;
use aop_proto::error::{Kind, Problem};
use aop_proto::name::ZoneName;
use aop_proto::zone::{News, What};
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Doors, Shared, ask, reply::Reply};
use crate::handle::{Ask, Mode};
use crate::watch::{Event, Gap, Place, Told};

/// A line that says nothing, so that both ends see whether the connection still stands.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// Then the stream ends, and the client comes back with what it may do by then.
const LIFE: Duration = Duration::from_secs(15 * 60);

/// One client's stream.
struct Watching {
    doors: Arc<Doors>,
    caller: Caller,
    /// Only events of this zone and those below it.
    zone: Option<ZoneName>,
    place: Place,
    until: Instant,
    /// Said next, before anything else.
    first: Option<String>,
}

/// `GET /v1/watch?zone=…&after=ID`, or with the header `Last-Event-ID`.
pub(super) async fn events(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Reply {
    let usage = |message: String| Problem::new(Kind::Usage, message).hint("aop watch");
    let (mut zone, mut after) = (None, headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned));
    for (key, value) in ask::pairs(&uri)? {
        match &*key {
            "zone" => zone = Some(ZoneName::parse(&value).map_err(|error| usage(error.to_string()))?),
            "after" => after = Some(value),
            _ => return Err(usage(format!("`{key}` is not asked here; `zone` and `after` are")).into()),
        }
    }
    if let Some(zone) = zone.as_ref().filter(|zone| **zone != doors.handle.view().zone) {
        // Nothing is ever told of a zone that is not there.
        let ask = Ask { mode: Mode::List, limit: 1, zone: Some(zone.to_string()), ..Ask::default() };
        doors.handle.resolve(&caller, ask).await?;
    }
    let after = after.map(|id| id.parse::<Place>()).transpose().map_err(|error| usage(error.to_string()))?;
    let place = after.unwrap_or_else(|| doors.handle.events().now());
    let mut watching = Watching { doors, caller, zone, place, until: Instant::now() + LIFE, first: None };
    watching.first = Some(watching.state("ready", json!({})));
    let parts = stream::unfold(watching, |mut watching| async {
        let part = watching.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(part)), watching))
    });
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies hold back what they have until there is more of it.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Watching {
    /// What is sent next; nothing when the stream is over.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let events = self.doors.handle.events().clone();
        let quiet = Instant::now() + QUIET_MAX;
        loop {
            self.until.checked_duration_since(Instant::now())?;
            let left = quiet.min(self.until).saturating_duration_since(Instant::now());
            match timeout(left, events.after(self.place)).await {
                Err(_) => return Some(":\n\n".to_owned()),
                Ok(Ok(None)) => return None,
                Ok(Ok(Some((events, place)))) => {
                    self.place = place;
                    let told: String = events.iter().filter_map(|event| self.told(event)).collect();
                    // What this client may not see is passed over, and that there was something as well.
                    if !told.is_empty() {
                        return Some(told);
                    }
                }
                Ok(Err(Gap)) => {
                    self.place = events.now();
                    return Some(self.state("resync", json!({"reason": Gap.to_string()})));
                }
            }
        }
    }

    /// Where this client stands, with what it needs to read the state anew.
    fn state(&self, name: &str, mut data: Value) -> String {
        let view = self.doors.handle.view();
        data["zone"] = json!(view.zone.as_str());
        data["node"] = json!(view.node.to_string());
        // Of one who comes back, what was missed meanwhile was at smaller ones.
        if self.place == self.doors.handle.events().now() && self.sees_all_of(&view.zone) {
            data["serial"] = json!(view.serial);
        }
        part(&self.place.to_string(), name, &data)
    }

    /// Whether no tool of that zone is kept from this client: to others its serial would count what they may not see.
    fn sees_all_of(&self, zone: &ZoneName) -> bool {
        self.doors.handle.sight(&self.caller).is_none_or(|sight| sight.sees_all_of(zone))
    }

    fn told(&self, event: &Event) -> Option<String> {
        let own = self.doors.handle.view().zone.clone();
        let (name, data) = match &event.told {
            Told::Own(news) => self.own(&own, news)?,
            Told::Other(serial) => ("zone", json!({"zone": serial.zone, "tag": format!("{:016x}", serial.tag)})),
            Told::Lifecycle { server, stage } if self.sees_all_of(&own) => {
                let node = self.doors.handle.view().node.to_string();
                let lifecycle = stage.name();
                ("lifecycle", json!({"zone": own.as_str(), "node": node, "server": server, "lifecycle": lifecycle}))
            }
            Told::Breaker { service, node, circuit } => {
                let zone = ZoneName::parse(service.split_once('.').map_or(".", |(_, zone)| zone)).ok()?;
                let (node, breaker) = (node.to_string(), circuit.name());
                let data = json!({"zone": zone.as_str(), "node": node, "service": service, "breaker": breaker});
                // Which of its tools were called is not said: it is told to whoever may find them all.
                self.sees_all_of(&zone).then_some(("breaker", data))?
            }
            Told::Lifecycle { .. } => return None,
        };
        let zone = data["zone"].as_str().and_then(|zone| ZoneName::parse(zone).ok())?;
        let is_wanted = self.zone.as_ref().is_none_or(|wanted| zone.is_within(wanted));
        is_wanted.then(|| part(&self.doors.handle.events().id_of(event), name, &data))
    }

    fn own(&self, zone: &ZoneName, news: &News) -> Option<(&'static str, Value)> {
        let sight = self.doors.handle.sight(&self.caller);
        let sees_all = sight.as_ref().is_none_or(|sight| sight.sees_all_of(zone));
        let mut data = json!({"zone": zone.as_str()});
        if sees_all {
            data["serial"] = json!(news.serial);
        }
        let (event, tool) = match &news.what {
            What::Added(name) => ("added", Some(name)),
            What::Changed(name) => ("changed", Some(name)),
            What::Removed(name) => ("removed", Some(name)),
            What::Server { .. } if !sees_all => return None,
            What::Server { node, server, up } => {
                data["node"] = json!(node.to_string());
                data["server"] = json!(server);
                data["up"] = json!(up);
                ("server", None)
            }
            What::Child { zone, stands } => {
                data["child"] = json!(zone.as_str());
                data["stands"] = json!(stands);
                ("child", None)
            }
            What::Members => ("members", None),
        };
        if let Some(name) = tool {
            if sight.is_some_and(|sight| !sight.sees(zone, name.as_str())) {
                return None;
            }
            data["name"] = json!(name.as_str());
        }
        Some((event, data))
    }
}

/// One event as it is sent. Neither ids nor names have line ends, and JSON has none.
fn part(id: &str, name: &str, data: &Value) -> String {
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use aop_proto::access::{Glob, Grant, Policy, Principal, Role};
    use aop_proto::call::Circuit;
    use aop_proto::call::lifecycle::Stage;
    use aop_proto::name::FullName;
    use aop_proto::wire::message::Serial;

    use super::*;
    use crate::auth::Terms;
    use crate::http::PortSettings;

    #[tokio::test]
    async fn a_stream_ends_with_its_time_whatever_there_is_to_tell() {
        let doors = Arc::new(Doors::for_tests(&PortSettings::default()));
        let watching = |until: Instant| Watching {
            doors: doors.clone(),
            caller: Caller::operator(),
            zone: None,
            place: doors.handle.events().now(),
            until,
            first: Some("first".to_owned()),
        };
        let (mut over, mut open) = (watching(Instant::now()), watching(Instant::now() + LIFE));
        doors.handle.events().tell([Told::Lifecycle { server: "papers".to_owned(), stage: Stage::Error }]);
        assert_eq!((over.next().await, over.next().await), (Some("first".to_owned()), None));
        open.next().await;
        assert!(open.next().await.is_some_and(|told| told.contains("papers")));
    }

    #[tokio::test]
    async fn whoever_may_find_some_tools_hears_of_these_and_whoever_watches_one_zone_of_that() {
        let doors = Arc::new(Doors::for_tests(&PortSettings::default()));
        doors.handle.auth().replace(Terms { policy: Policy::default(), ..Terms::default() });
        let news = |what| Told::Own(News { serial: 7, what });
        let tool = |name: &str| FullName::parse(name).unwrap();
        let node = doors.handle.view().node;
        let all = [
            news(What::Added(tool("search.arxiv.research"))),
            news(What::Removed(tool("search.secret.research"))),
            news(What::Server { node, server: "secret".to_owned(), up: false }),
            news(What::Members),
            Told::Other(Serial { zone: "lab.acme".to_owned(), node, stamp: 1, tag: 2 }),
            Told::Lifecycle { server: "secret".to_owned(), stage: Stage::Error },
            Told::Breaker { service: "secret.research".to_owned(), node, circuit: Circuit::Open },
            Told::Breaker { service: "secret.lab.acme".to_owned(), node, circuit: Circuit::Open },
        ];
        let bounded = Grant { role: Role::Reader, zone: None, tool: Glob::new("*.arxiv.research") };
        for (grant, zone, heard) in [
            (Grant::of(Role::Reader), None, vec![0, 1, 2, 3, 4, 5, 6, 7]),
            (Grant::of(Role::Reader), Some("research"), vec![0, 1, 2, 3, 5, 6]),
            (Grant::of(Role::Reader), Some("acme"), vec![4, 7]),
            (bounded.clone(), None, vec![0, 3, 4]),
            (bounded, Some("lab.acme"), vec![4]),
        ] {
            let caller = Caller { principal: Principal::Token("ci".to_owned()), grants: vec![grant] };
            let zone = zone.map(|zone| ZoneName::parse(zone).unwrap());
            let place = doors.handle.events().now();
            let watching = Watching { doors: doors.clone(), caller, zone, place, until: Instant::now(), first: None };
            let said = |at: usize| watching.told(&Event { number: 1, told: all[at].clone() });
            let tells = |at: &usize| said(*at).is_some();
            // A number that counts what is hidden is told to nobody from whom something is.
            let is_bounded = heard.len() < 4 && heard[0] == 0;
            assert_eq!(said(0).is_some_and(|text| text.contains("serial")), heard[0] == 0 && !is_bounded);
            assert_eq!((0..all.len()).filter(tells).collect::<Vec<_>>(), heard);
        }
    }
}
