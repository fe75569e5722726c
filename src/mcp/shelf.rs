//! Large parts of results, put aside for whoever called, who is told where to read them: whole, or a range at a time.
//!
//! A result of up to 256 KiB goes out as it came. Of a larger one every text, picture, sound and embedded resource beyond 16 KiB becomes a
//! `resource_link`, a text after its first words. `structuredContent` stays what it is: a tool that has an output schema has promised it.
//! What must always hold: what is kept is bounded, in bytes and in time; only whoever made the call reads it; names cannot be guessed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aop_proto::access::Caller;
use aop_proto::error::{Kind, Problem};
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::envelope::Answer;
use super::raw::{self, Members};

/// What goes out as it came, bytes of the whole result.
const INLINE_BYTES: usize = 256 * 1024;
/// Of a larger one, a part that stays where it is, bytes.
const PART_BYTES: usize = 16 * 1024;
/// Of a text that is put aside, what is shown of it, characters.
const SHOWN_CHARS: usize = 2_000;
/// Everything that is kept, bytes; the oldest makes room.
const KEPT_BYTES: usize = 64 << 20;
/// The share of one caller.
const KEPT_BYTES_OWN: usize = KEPT_BYTES / 2;
/// How long it is kept.
const KEPT: Duration = Duration::from_secs(600);
/// What the names of everything kept begin with.
const PREFIX: &str = "aop://result/";

/// What is put aside at this node's doors.
#[derive(Default)]
pub(super) struct Shelf(Mutex<Parts>);

#[derive(Default)]
struct Parts {
    /// By when they came.
    parts: BTreeMap<u64, Part>,
    by_name: HashMap<String, u64>,
    next: u64,
    bytes: usize,
}

struct Part {
    name: String,
    owner: String,
    media: String,
    body: Body,
    expires: Instant,
}

/// As it stands in JSON: a text, or base64.
enum Body {
    Text(String),
    Base64(String),
}

impl Body {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Base64(text) => text.len(),
        }
    }

    /// Bytes of what it stands for.
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Base64(text) => text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count(),
        }
    }
}

impl Shelf {
    /// The result as `by` is given it.
    pub(super) fn shorten(&self, result: Bytes, by: &Caller) -> Bytes {
        if result.len() <= INLINE_BYTES {
            return result;
        }
        let owner = by.principal.to_string();
        self.shortened(&result, &owner).map_or(result, Bytes::from)
    }

    /// Nothing where it has no parts that could be put aside.
    fn shortened(&self, result: &[u8], owner: &str) -> Option<String> {
        let text = std::str::from_utf8(result).ok()?;
        let content = Members::read(text).ok()?.get("content")?;
        let blocks: Vec<&RawValue> = serde_json::from_str(content.get()).ok()?;
        let mut shown: Vec<String> = Vec::new();
        let mut is_shorter = false;
        for block in blocks {
            let put_aside = (block.get().len() > PART_BYTES).then(|| taken_from(block.get())).flatten();
            match put_aside {
                None => shown.push(block.get().to_owned()),
                Some((media, body)) => {
                    is_shorter = true;
                    shown.extend(self.put(owner, media, body));
                }
            }
        }
        if !is_shorter {
            return None;
        }
        raw::with_member(text, "content", &format!("[{}]", shown.join(",")))
    }

    /// Keeps it; the blocks that stand in its place.
    fn put(&self, owner: &str, media: String, body: Body) -> Vec<String> {
        let name = format!("{PREFIX}{:032x}", chance());
        let (size, mut blocks) = (body.size(), Vec::new());
        if let Body::Text(text) = &body {
            let shown: String = text.chars().take(SHOWN_CHARS).collect();
            let more = format!(
                "{shown}…\n[the first of {size} bytes; all of them, or some with ?offset=0&length=65536, can be read for {} minutes at {name}]",
                KEPT.as_secs() / 60
            );
            blocks.push(json!({"type": "text", "text": more}).to_string());
        }
        let link = json!({"type": "resource_link", "uri": name, "name": "result", "mimeType": media, "size": size});
        blocks.push(link.to_string());
        let expires = Instant::now() + KEPT;
        self.lock().put(Part { name, owner: owner.to_owned(), media, body, expires });
        blocks
    }

    /// `resources/read` of `uri`, as `by` asks for it.
    pub(super) fn read(&self, uri: &str, by: &Caller, modern: bool) -> Answer {
        match self.content(uri, &by.principal.to_string()) {
            Ok(content) => {
                let mut result = json!({"contents": [content]});
                if modern {
                    result["resultType"] = "complete".into();
                    result["ttlMs"] = 0.into();
                    result["cacheScope"] = "private".into();
                }
                Answer::Result(result.to_string().into())
            }
            Err(problem) => Answer::refusal(&problem),
        }
    }

    fn content(&self, uri: &str, owner: &str) -> Result<Value, Problem> {
        let (name, range) = uri.split_once('?').map_or((uri, None), |(name, range)| (name, Some(range)));
        let range = range.map(|range| Range::read(range, uri)).transpose()?;
        let mut parts = self.lock();
        parts.forget(Instant::now());
        let part = parts.by_name.get(name).and_then(|at| parts.parts.get(at)).filter(|part| part.owner == owner);
        let part = part.ok_or_else(|| {
            let kept = KEPT.as_secs() / 60;
            Problem::new(
                Kind::NameNotFound,
                format!("nothing is kept as {name}: results are, for {kept} minutes at most"),
            )
            .hint("call the tool again")
        })?;
        let range = range.unwrap_or(Range { offset: 0, length: usize::MAX });
        let (member, said, next) = match &part.body {
            Body::Text(text) => {
                let (said, next) = range.of_text(text);
                ("text", said, next)
            }
            Body::Base64(text) => {
                let (said, next) = range.of_base64(text);
                ("blob", said, next)
            }
        };
        let size = part.body.size();
        let next = next.map(|offset| format!("{name}?offset={offset}&length={}", range.length));
        Ok(json!({"uri": uri, "mimeType": part.media, member: said, "_meta": {"aop/size": size, "aop/next": next}}))
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn put(&mut self, part: Part) {
        let bytes = part.body.bytes();
        self.forget(Instant::now());
        let own = |parts: &Self| {
            let own = parts.parts.iter().filter(|(_, kept)| kept.owner == part.owner);
            own.fold((0, None), |(sum, first), (at, kept)| (sum + kept.body.bytes(), first.or(Some(*at))))
        };
        while let (sum, Some(first)) = own(self)
            && sum + bytes > KEPT_BYTES_OWN
        {
            self.remove(first);
        }
        while self.bytes + bytes > KEPT_BYTES
            && let Some(first) = self.parts.keys().next().copied()
        {
            self.remove(first);
        }
        self.next += 1;
        self.bytes += bytes;
        self.by_name.insert(part.name.clone(), self.next);
        self.parts.insert(self.next, part);
    }

    fn forget(&mut self, now: Instant) {
        while let Some((first, part)) = self.parts.first_key_value()
            && part.expires <= now
        {
            let first = *first;
            self.remove(first);
        }
    }

    fn remove(&mut self, at: u64) {
        if let Some(part) = self.parts.remove(&at) {
            self.bytes -= part.body.bytes();
            self.by_name.remove(&part.name);
        }
    }
}

/// `offset` and `length`, in bytes of what is read.
#[derive(Clone, Copy)]
struct Range {
    offset: usize,
    length: usize,
}

impl Range {
    fn read(text: &str, uri: &str) -> Result<Self, Problem> {
        let mut range = Self { offset: 0, length: usize::MAX };
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.parse::<usize>().ok();
            match (name, value) {
                ("offset", Some(offset)) => range.offset = offset,
                ("length", Some(length)) if length > 0 => range.length = length,
                _ => {
                    let message = format!("the range of {uri} has an offset from 0 and a length from 1, in bytes");
                    return Err(Problem::new(Kind::Usage, message).hint("?offset=0&length=65536"));
                }
            }
        }
        Ok(range)
    }

    /// From the first character that begins in it to the last, one at least, and where the next range begins.
    fn of_text(self, text: &str) -> (&str, Option<usize>) {
        let start = text.ceil_char_boundary(self.offset.min(text.len()));
        let mut end = text.floor_char_boundary(start.saturating_add(self.length).min(text.len()));
        if end <= start && start < text.len() {
            end = text.ceil_char_boundary(start + 1);
        }
        (&text[start..end], (end < text.len()).then_some(end))
    }

    /// The same of what base64 stands for: three bytes at a time.
    fn of_base64(self, text: &str) -> (&str, Option<usize>) {
        let start = (self.offset / 3).saturating_mul(4).min(text.len());
        let end = start.saturating_add((self.length / 3).max(1).saturating_mul(4)).min(text.len());
        (text.get(start..end).unwrap_or_default(), (end < text.len()).then_some(end / 4 * 3))
    }
}

/// What can be put aside of a block, and what it is.
fn taken_from(block: &str) -> Option<(String, Body)> {
    let block = Members::read(block).ok()?;
    let media = |members: &Members<'_>, usual: &str| members.text("mimeType").map_or(usual.to_owned(), Into::into);
    let octets = "application/octet-stream";
    match block.text("type")?.as_ref() {
        "text" => Some(("text/plain".to_owned(), Body::Text(block.text("text")?.into()))),
        "image" | "audio" => Some((media(&block, octets), base64(block.text("data")?.into())?)),
        "resource" => {
            let inner = Members::read(block.get("resource")?.get()).ok()?;
            match (inner.text("text"), inner.text("blob")) {
                (Some(text), _) => Some((media(&inner, "text/plain"), Body::Text(text.into()))),
                (None, Some(blob)) => Some((media(&inner, octets), base64(blob.into())?)),
                (None, None) => None,
            }
        }
        _ => None,
    }
}

/// Base64 of whole groups, at most two of its characters at the end for nothing; what is written otherwise stays with its block.
fn base64(text: String) -> Option<Body> {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let said = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(&text);
    (text.len().is_multiple_of(4) && said.bytes().all(is_base64)).then_some(Body::Base64(text))
}

fn chance() -> u128 {
    let mut bytes = [0; 16];
    // Without chance there is no name that could not be guessed; what is put aside then is read by its owner only all the same.
    let _ = getrandom::fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anybody() -> Caller {
        Caller::anonymous()
    }

    fn content(shelf: &Shelf, uri: &str) -> Value {
        let Answer::Result(result) = shelf.read(uri, &anybody(), true) else { panic!("{uri} is not kept") };
        serde_json::from_slice::<Value>(&result).expect("json")["contents"][0].clone()
    }

    fn shortened(shelf: &Shelf, result: &Value) -> Value {
        let short = shelf.shorten(result.to_string().into(), &anybody());
        assert!(short.len() < PART_BYTES, "{} bytes are left", short.len());
        serde_json::from_slice(&short).expect("json")
    }

    #[test]
    fn what_is_small_or_has_no_such_parts_goes_out_as_it_came() {
        let shelf = Shelf::default();
        for text in [
            json!({"content": [{"type": "text", "text": "x".repeat(INLINE_BYTES / 2)}]}).to_string(),
            json!({"content": [], "structuredContent": {"x": "x".repeat(INLINE_BYTES)}}).to_string(),
            json!({"content": [{"type": "hologram", "data": "x".repeat(INLINE_BYTES)}]}).to_string(),
            json!({"content": [{"type": "image", "data": "-".repeat(INLINE_BYTES)}]}).to_string(),
            json!({"content": [{"type": "image", "data": "=".repeat(INLINE_BYTES)}]}).to_string(),
            json!({"content": [{"type": "image", "data": format!("{}Q===", "QUJD".repeat(INLINE_BYTES / 4))}]})
                .to_string(),
            "x".repeat(INLINE_BYTES + 1),
        ] {
            assert_eq!(shelf.shorten(text.clone().into(), &anybody()), text);
        }
    }

    #[test]
    fn a_large_text_is_read_whole_or_range_by_range() {
        let shelf = Shelf::default();
        let text = "grün ".repeat(100_000);
        let short = shortened(&shelf, &json!({"content": [{"type": "text", "text": text}], "isError": false, "x": 1}));
        assert_eq!((&short["isError"], &short["x"]), (&json!(false), &json!(1)));
        let [shown, link] = short["content"].as_array().expect("blocks").as_slice() else { panic!("{short}") };
        assert!(shown["text"].as_str().is_some_and(|shown| shown.starts_with("grün grün ")));
        assert_eq!((&link["type"], &link["size"]), (&json!("resource_link"), &json!(text.len())));
        let uri = link["uri"].as_str().expect("a uri");
        assert_eq!(content(&shelf, uri)["text"], text);
        let (mut read, mut next) = (String::new(), Some(format!("{uri}?length=65536")));
        while let Some(uri) = next {
            let part = content(&shelf, &uri);
            assert_eq!(part["uri"], uri);
            read.push_str(part["text"].as_str().expect("text"));
            next = part["_meta"]["aop/next"].as_str().map(str::to_owned);
        }
        assert!(read == text);
        // Each character at least, however small the range and wherever it begins.
        assert_eq!(content(&shelf, &format!("{uri}?offset=2&length=1"))["text"], "ü");
        assert_eq!(content(&shelf, &format!("{uri}?offset=99999999"))["text"], "");
    }

    #[test]
    fn a_picture_is_read_in_whole_groups_of_base64() {
        let shelf = Shelf::default();
        let data = format!("{}QQ==", "QUJD".repeat(100_000));
        for block in [
            json!({"type": "image", "mimeType": "image/png", "data": data}),
            json!({"type": "resource", "resource": {"uri": "x:y", "mimeType": "image/png", "blob": data}}),
        ] {
            let short = shortened(&shelf, &json!({"content": [{"type": "text", "text": "seen"}, block]}));
            let link = &short["content"][1];
            assert_eq!((&link["mimeType"], &link["size"]), (&json!("image/png"), &json!(300_001)));
            let uri = link["uri"].as_str().expect("a uri");
            assert_eq!(content(&shelf, uri)["blob"], data);
            let part = content(&shelf, &format!("{uri}?offset=299997&length=4"));
            assert_eq!((&part["blob"], part["_meta"]["aop/next"].as_str().is_some()), (&json!("QUJD"), true));
            assert_eq!(content(&shelf, part["_meta"]["aop/next"].as_str().expect("more"))["blob"], "QQ==");
        }
    }

    #[test]
    fn only_whoever_called_reads_it_and_wrong_ranges_are_told() {
        let shelf = Shelf::default();
        let result = json!({"content": [{"type": "text", "text": "x".repeat(INLINE_BYTES)}]}).to_string();
        let short: Value = serde_json::from_slice(&shelf.shorten(result.into(), &Caller::operator())).expect("json");
        let uri = short["content"][1]["uri"].as_str().expect("a uri").to_owned();
        assert!(matches!(shelf.read(&uri, &Caller::operator(), false), Answer::Result(_)));
        assert!(matches!(shelf.read(&uri, &anybody(), false), Answer::Error { .. }));
        for bad in ["?", "?offset=-1", "?length=0", "?offset=x", "?from=1"] {
            assert!(
                matches!(shelf.read(&format!("{uri}{bad}"), &Caller::operator(), true), Answer::Error { .. }),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_oldest_makes_room_within_the_share_of_its_caller_and_what_is_old_goes() {
        let mut parts = Parts::default();
        let expires = Instant::now() + KEPT;
        let part = |name: &str, owner: &str, bytes: usize| Part {
            name: name.to_owned(),
            owner: owner.to_owned(),
            media: String::new(),
            body: Body::Text("x".repeat(bytes)),
            expires,
        };
        parts.put(part("other", "b", 1));
        for number in 0..4 {
            parts.put(part(&number.to_string(), "a", KEPT_BYTES_OWN / 2));
        }
        let mut names: Vec<&str> = parts.by_name.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!((names, parts.bytes), (vec!["2", "3", "other"], KEPT_BYTES_OWN + 1));
        parts.put(part("large", "c", KEPT_BYTES_OWN));
        assert!(!parts.by_name.contains_key("other") && parts.bytes <= KEPT_BYTES);
        parts.forget(expires);
        assert_eq!((parts.parts.len(), parts.by_name.len(), parts.bytes), (0, 0, 0));
    }
}
