//! `/z/{zone}/mcp`: every tool of one zone under its own definition, in one page.
//!
//! A definition goes out as its server wrote it, byte for byte, but for `name`, which becomes the wire name (`server__tool`). The
//! list is written once for each state of the zone and kept; what is kept never outlives what the zone's answer promised.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aop_proto::access::Caller;
use aop_proto::error::{Kind, Problem, did_you_mean_spelled, nearest_names};
use aop_proto::name::ZoneName;
use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::Value;

use super::{
    door::ToolCall,
    envelope::{Answer, code},
    headers::check_params,
    menu::forward,
    raw,
    shelf::Shelf,
};
use crate::{
    answers::{Hit, Show},
    call::{CallRequest, Calls},
    handle::{Ask, Handle, Mode},
};

/// Tools of one list; a zone holds no more by configuration.
const TOOLS_MAX: usize = 1_000_000;
/// Near names of one that is none.
const NEAR_MAX: usize = 3;
/// Zones whose lists are kept at once; the oldest makes room.
const LISTS_MAX: usize = 16;
/// The most a client is told to keep a list: what changes has to be seen soon, also by clients that subscribe to nothing.
pub(super) const TTL_MAX: Duration = Duration::from_secs(10);

/// The written lists of the zones asked for lately.
#[derive(Default)]
pub(super) struct Lists(Mutex<HashMap<String, Arc<List>>>);

/// A list of tools, as of one state of this node's view.
pub(super) struct List {
    /// The raw JSON array.
    tools: Bytes,
    by_wire_name: BTreeMap<String, Listed>,
    /// Somebody is silent, and this is what he said before.
    is_stale: bool,
    /// Count of view changes when it was written.
    change: u64,
    expires: Instant,
}

struct Listed {
    full_name: String,
    /// Kept only where the tool wants arguments promoted to headers.
    schema: Option<Value>,
}

impl Lists {
    /// `tools/list` of `zone`, as far as `by` may see it.
    pub(super) async fn list(&self, handle: &Handle, by: &Caller, zone: &str, modern: bool) -> Answer {
        let list = match self.shown(handle, by, zone).await {
            Ok(list) => list,
            Err(problem) => return Answer::refusal(&problem),
        };
        list.answer(handle, b"", modern)
    }

    /// `tools/call` in `zone`, by wire name.
    pub(super) async fn call(
        &self,
        (calls, shelf): (&Calls, &Shelf),
        zone: &str,
        headers: &HeaderMap,
        call: ToolCall,
    ) -> Answer {
        let list = match self.shown(calls.handle(), &call.by, zone).await {
            Ok(list) => list,
            Err(problem) => return Answer::refusal(&problem),
        };
        match list.call((calls, shelf), headers, &call).await {
            Some(answer) => answer,
            None => Answer::refusal(&unknown(&call.name, zone, &list)),
        }
    }

    /// The whole list of `zone` as it is now; nothing where the zone does not say.
    pub(super) async fn written(&self, handle: &Handle, zone: &str) -> Option<Bytes> {
        Some(self.current(handle, zone).await.ok()?.tools())
    }

    /// What `by` may see of the list: the whole one, or what is written for him and kept for nobody.
    async fn shown(&self, handle: &Handle, by: &Caller, zone: &str) -> Result<Arc<List>, Problem> {
        if handle.sight(by).is_none() {
            return self.current(handle, zone).await;
        }
        let change = *handle.changes().borrow();
        Ok(Arc::new(List::of_zone(handle, by, zone, change).await?))
    }

    /// The whole list: the kept one while it is true, a new one otherwise.
    async fn current(&self, handle: &Handle, zone: &str) -> Result<Arc<List>, Problem> {
        let change = *handle.changes().borrow();
        let key = zone.to_ascii_lowercase();
        if let Some(list) = self.kept(&key).filter(|list| list.is_true(change, Instant::now())) {
            return Ok(list);
        }
        let list = Arc::new(List::of_zone(handle, &Caller::operator(), zone, change).await?);
        self.keep(key, Arc::clone(&list));
        Ok(list)
    }

    fn kept(&self, zone: &str) -> Option<Arc<List>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(zone).cloned()
    }

    fn keep(&self, zone: String, list: Arc<List>) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= LISTS_MAX && !lists.contains_key(&zone) {
            let oldest = lists.iter().min_by_key(|(_, list)| list.expires).map(|(zone, _)| zone.clone());
            oldest.and_then(|oldest| lists.remove(&oldest));
        }
        lists.insert(zone, list);
    }
}

fn whole(zone: &str) -> Ask {
    Ask { mode: Mode::List, limit: TOOLS_MAX, zone: Some(zone.to_owned()), ..Ask::default() }
}

impl List {
    /// What the zone itself has: those below it have lists of their own, in which a wire name may be another tool's.
    ///
    /// # Errors
    /// `TimedOut` when the zone is silent and nothing is kept of it: that it has no tools would be a lie. Others as [`Handle::resolve`].
    async fn of_zone(handle: &Handle, by: &Caller, zone: &str, change: u64) -> Result<Self, Problem> {
        let resolution = handle.resolve(by, whole(zone)).await?;
        let own = ZoneName::parse(zone).map_err(|error| Problem::new(Kind::Usage, error.to_string()))?;
        if resolution.partial && !resolution.hears(&own) {
            let silent = resolution.silent_in_words();
            let message = format!("nobody could say which tools zone `{own}` has: silent were {silent}");
            return Err(Problem::new(Kind::TimedOut, message).hint("aop zones --tree"));
        }
        // By name, so that the order never depends on how the answer was put together.
        let mut hits: Vec<&Hit> = resolution.hits.iter().filter(|hit| hit.zone == own.as_str()).collect();
        hits.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self::of(hits.into_iter(), resolution.ttl.min(TTL_MAX), change))
    }

    /// The list of these, in this order, for that long.
    pub(super) fn of<'h>(hits: impl Iterator<Item = &'h Hit>, ttl: Duration, change: u64) -> Self {
        let mut tools = String::from("[");
        let mut by_wire_name = BTreeMap::new();
        let mut is_stale = false;
        for hit in hits {
            let Some(definition) =
                renamed(&hit.definition, &hit.wire_name).filter(|_| !by_wire_name.contains_key(&hit.wire_name))
            else {
                continue;
            };
            is_stale |= hit.stale;
            // It is known by its name all the same: whoever calls it is told what is down.
            if !is_down(hit) {
                if tools.len() > 1 {
                    tools.push(',');
                }
                tools.push_str(&definition);
            }
            by_wire_name.insert(
                hit.wire_name.clone(),
                Listed { full_name: hit.name.clone(), schema: header_schema(&hit.definition) },
            );
        }
        tools.push(']');
        Self { tools: tools.into(), by_wire_name, is_stale, change, expires: Instant::now() + ttl }
    }

    /// Whether it says what there is, at that count of view changes.
    pub(super) fn is_true(&self, change: u64, now: Instant) -> bool {
        self.change == change && self.expires > now
    }

    /// The raw JSON array.
    pub(super) fn tools(&self) -> Bytes {
        self.tools.clone()
    }

    /// As the answer to `tools/list`, after those of `first`, a raw JSON array too, or nothing.
    pub(super) fn answer(&self, handle: &Handle, first: &[u8], modern: bool) -> Answer {
        let mut result = Vec::with_capacity(first.len() + self.tools.len() + 80);
        result.extend_from_slice(if modern { br#"{"resultType":"complete","tools":"# } else { br#"{"tools":"# });
        match first.strip_suffix(b"]") {
            Some(first) if self.tools.len() > 2 => {
                result.extend_from_slice(first);
                result.push(b',');
                result.extend_from_slice(&self.tools[1..]);
            }
            Some(_) => result.extend_from_slice(first),
            None => result.extend_from_slice(&self.tools),
        }
        if modern {
            // The remaining lifetime, not a fresh one each time it is asked for.
            let left = self.expires.saturating_duration_since(Instant::now()).as_millis();
            let ttl = if self.is_stale { 0 } else { left };
            // Nobody in between may hand on what was shown to somebody.
            let is_for_all = handle.auth().is_open() && handle.sight(&Caller::anonymous()).is_none();
            let scope = if is_for_all { "public" } else { "private" };
            result.extend_from_slice(format!(r#","ttlMs":{ttl},"cacheScope":"{scope}""#).as_bytes());
        }
        if self.is_stale {
            result.extend_from_slice(br#","_meta":{"aop/freshness":"stale"}"#);
        }
        result.push(b'}');
        Answer::Result(result.into())
    }

    /// Calls one of its tools, by wire name; nothing where it has none of that name.
    pub(super) async fn call(
        &self,
        (calls, shelf): (&Calls, &Shelf),
        headers: &HeaderMap,
        call: &ToolCall,
    ) -> Option<Answer> {
        let tool = self.by_wire_name.get(&call.name)?;
        if call.caller.modern
            && let Some(schema) = &tool.schema
        {
            let arguments = serde_json::from_slice(&call.arguments).unwrap_or_default();
            if let Err(why) = check_params(headers, schema, &arguments) {
                return Some(Answer::error(code::HEADER_MISMATCH, &why, None));
            }
        }
        let request = CallRequest {
            caller: call.by.clone(),
            name: tool.full_name.clone(),
            arguments: call.arguments.clone(),
            extra: call.extra.clone(),
            timeout: None,
            key: None,
            priority: None,
            def_hash: None,
            dry_run: false,
            progress: call.progress.clone(),
        };
        Some(forward(calls, shelf, request, call).await)
    }
}

/// A tool of a node that is down cannot be called; it stays findable, but a plain list of tools would only mislead.
fn is_down(hit: &Hit) -> bool {
    hit.to_json(Show::default()).pointer("/health/state").and_then(Value::as_str) == Some("down")
}

/// The definition under its wire name, and with a schema that clients take; nothing, when the bytes are no tool.
fn renamed(definition: &[u8], wire_name: &str) -> Option<String> {
    let definition = std::str::from_utf8(definition).ok()?;
    let renamed = raw::with_member(definition, "name", &Value::from(wire_name).to_string())?;
    match of_an_object(definition) {
        None => Some(renamed),
        Some(schema) => raw::with_member(&renamed, "inputSchema", &schema),
    }
}

/// The input schema as one of an object, where it is none: of one such tool a client would drop the whole list. Source: MCP `Tool`.
fn of_an_object(definition: &str) -> Option<String> {
    let schema = raw::Members::read(definition).ok()?.get("inputSchema").map_or("", |schema| schema.get());
    match raw::Members::read(schema) {
        Ok(members) if members.text("type").as_deref() == Some("object") => None,
        Ok(_) => raw::with_member(schema, "type", "\"object\""),
        Err(_) => Some(r#"{"type":"object"}"#.to_owned()),
    }
}

/// The input schema of a tool that wants some of its arguments as headers too.
pub(super) fn header_schema(definition: &[u8]) -> Option<Value> {
    let definition = std::str::from_utf8(definition).ok()?;
    if !definition.contains("x-mcp-header") {
        return None;
    }
    let members = raw::Members::read(definition).ok()?;
    serde_json::from_str(members.get("inputSchema")?.get()).ok()
}

fn unknown(name: &str, zone: &str, list: &List) -> Problem {
    let spelled = list.by_wire_name.iter().flat_map(|(wire, tool)| {
        let label = tool.full_name.split('.').next().unwrap_or_default();
        [(wire.as_str(), wire.as_str()), (label, wire), (&tool.full_name, wire)]
    });
    let mut near = did_you_mean_spelled(name, spelled);
    // What else the server has that was meant, nearest first, as everywhere.
    if let Some((server, label)) = name.split_once("__") {
        let beside = list.by_wire_name.keys().filter_map(|wire| {
            let (other, beside) = wire.split_once("__")?;
            (other == server).then_some((beside, wire.as_str()))
        });
        let beside = nearest_names(label, beside);
        near.extend(beside.into_iter().filter(|wire| !near.contains(wire)).collect::<Vec<_>>());
        near.truncate(NEAR_MAX);
    }
    Problem::new(Kind::NameNotFound, format!("Unknown tool: {name}")).hint(format!("aop ls {zone}")).did_you_mean(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_goes_out_as_written_but_for_its_name() {
        let definition = "{\"execution\": {\"taskSupport\":\"optional\"},\n\"name\":\"echo\",\"x\":1.50, \"inputSchema\":{ \"type\":\"object\"}}";
        let renamed = renamed(definition.as_bytes(), "demo__echo").expect("a tool");
        assert_eq!(renamed, definition.replace("\"echo\"", "\"demo__echo\""));
        assert!(super::renamed(b"[]", "a").is_none() && super::renamed(b"\xff", "a").is_none());
    }

    #[test]
    fn a_tool_without_a_schema_of_an_object_is_listed_with_one() {
        let listed = |schema: &str| {
            let listed = renamed(format!(r#"{{"name":"a"{schema}}}"#).as_bytes(), "s__a").expect("a tool");
            serde_json::from_str::<Value>(&listed).expect("json")["inputSchema"].clone()
        };
        let plain = serde_json::json!({"type": "object"});
        for bad in ["", r#","inputSchema":null"#, r#","inputSchema":[1]"#, r#","inputSchema":{"type":"string"}"#] {
            assert_eq!(listed(bad), plain, "{bad}");
        }
        let kept = listed(r#","inputSchema":{"properties":{"x":{}}}"#);
        assert_eq!(kept, serde_json::json!({"type": "object", "properties": {"x": {}}}));
    }

    #[test]
    fn a_schema_is_kept_only_where_headers_depend_on_it() {
        assert_eq!(header_schema(br#"{"name":"a","inputSchema":{"type":"object"}}"#), None);
        let wants = br#"{"name":"a","inputSchema":{"properties":{"r":{"x-mcp-header":"R"}}}}"#;
        assert_eq!(header_schema(wants).expect("kept")["properties"]["r"]["x-mcp-header"], "R");
    }

    /// A list of what was kept of a silent zone looked as any other.
    #[tokio::test]
    async fn a_list_of_what_was_kept_says_so_and_does_not_live() {
        let handle = Handle::for_tests();
        let listed = |stale: bool, modern: bool| {
            let definition = Bytes::from_static(br#"{"name":"echo","inputSchema":{"type":"object"}}"#);
            let hit = Hit { wire_name: "s__echo".to_owned(), definition, stale, ..Hit::default() };
            let list =
                List::of([Hit { stale: false, wire_name: "s__a".to_owned(), ..hit.clone() }, hit].iter(), TTL_MAX, 0);
            let Answer::Result(bytes) = list.answer(&handle, b"", modern) else { panic!("a list") };
            serde_json::from_slice::<Value>(&bytes).expect("json")
        };
        for modern in [false, true] {
            let (fresh, stale) = (listed(false, modern), listed(true, modern));
            assert_eq!(
                (fresh.get("_meta"), &stale["_meta"]["aop/freshness"]),
                (None, &Value::from("stale")),
                "{stale}"
            );
            assert_eq!(stale["tools"].as_array().map(Vec::len), Some(2));
            assert_eq!(stale.get("ttlMs"), modern.then(|| Value::from(0)).as_ref());
        }
    }

    #[test]
    fn the_lists_kept_are_bounded_and_the_one_that_ends_first_makes_room() {
        let lists = Lists::default();
        let now = Instant::now();
        for n in 0..=LISTS_MAX as u64 {
            let expires = now + Duration::from_secs(n);
            let list = List { tools: Bytes::new(), by_wire_name: BTreeMap::new(), is_stale: false, change: 0, expires };
            lists.keep(format!("z{n}"), Arc::new(list));
        }
        assert!(lists.kept("z0").is_none() && lists.kept("z1").is_some());
        assert_eq!(lists.0.lock().expect("lock").len(), LISTS_MAX);
    }
}
