//! Tools that an operator defines, each a plain HTTP request to an endpoint: what is said of them, what is sent and what comes of it.
//!
//! ```text
//!  {"city":"Oslo","days":3}   GET /forecast/{city}  ─▶  GET  url/forecast/Oslo?days=3
//!                             POST /forecast/{city} ─▶  POST url/forecast/Oslo    {"days":3}
//! ```
//!
//! What must hold: an argument fills one segment of the path and leads nowhere else, and an argument that cannot be sent is refused before
//! anything is.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::bridge::{Behind, LOOK_BYTES_MAX, LOOK_TIMEOUT, Speaks};
use super::exchange::{Exchange, Request};
use super::failure::UpstreamError;
use super::spec::{URL_BYTES_MAX, check_schema, check_tags};

/// Tools that one server defines.
const TOOLS_MAX: usize = 1_000;
/// What asks whether somebody is there, and does nothing. Source: RFC 9110 §9.3.7.
const LOOK: Method = Method::OPTIONS;
/// Of a tool whose definition says no other.
const METHOD: &str = "POST";
/// What a tool may be called with; the arguments of the first two travel in the address.
const METHODS: [&str; 5] = ["GET", "DELETE", "POST", "PUT", "PATCH"];
/// Members of `annotations` that are true or false. Source: MCP, `ToolAnnotations`.
const HINTS: [&str; 4] = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"];
/// What has no meaning in an address and stands there as it is. Source: RFC 3986 §2.3.
const UNRESERVED: &[u8] = b"-._~";

/// A tool as its operator defines it: a tool of MCP, and the request that calls it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiTool {
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// An object's JSON schema; without it anything goes.
    #[serde(rename = "inputSchema", alias = "input_schema", default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// Of the JSON object that the endpoint answers.
    #[serde(rename = "outputSchema", alias = "output_schema", default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// As MCP has them; believed, as the operator wrote them himself.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String, Value>,
    /// As MCP has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icons: Option<Value>,
    /// Likewise.
    #[serde(rename = "_meta", default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What it can do, to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// What it may be asked for, to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
    /// `GET`, `DELETE`, `POST`, `PUT` or `PATCH`.
    #[serde(default = "method", skip_serializing_if = "is_usual")]
    pub method: String,
    /// Below the server's address, percent-encoded; `{argument}` stands for the value of one. A query may follow.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

fn method() -> String {
    METHOD.to_owned()
}

fn is_usual(method: &str) -> bool {
    method == METHOD
}

impl ApiTool {
    pub(crate) fn hint(&self, name: &str) -> bool {
        self.annotations.get(name) == Some(&Value::Bool(true))
    }

    /// As MCP lists it.
    fn definition(&self) -> Value {
        let usual = || json!({"type": "object"});
        let mut tool = json!({"name": self.name, "inputSchema": self.input_schema.clone().unwrap_or_else(usual)});
        let object = |members: &Map<String, Value>| (!members.is_empty()).then(|| Value::Object(members.clone()));
        for (key, value) in [
            ("title", self.title.clone().map(Value::from)),
            ("description", self.description.clone().map(Value::from)),
            ("outputSchema", self.output_schema.clone()),
            ("annotations", object(&self.annotations)),
            ("icons", self.icons.clone()),
            ("_meta", object(&self.meta)),
        ] {
            if let Some(value) = value {
                tool[key] = value;
            }
        }
        tool
    }

    /// What is sent when it is called.
    ///
    /// # Errors
    /// In words, what does not fit.
    /// Whether a request to an endpoint below `url` can be made of those arguments.
    ///
    /// # Errors
    /// In words, why not.
    pub(super) fn try_request(&self, url: &str, arguments: &[u8]) -> Result<(), String> {
        let base = url.parse::<Url>().map_err(|error| error.to_string())?;
        self.route()?.request(&base, arguments).map(drop)
    }

    fn route(&self) -> Result<Route, String> {
        if !METHODS.contains(&&*self.method) {
            return Err(format!("has the method `{}`, which is none of {}", self.method, METHODS.join(", ")));
        }
        let method = Method::from_bytes(self.method.as_bytes()).map_err(|error| error.to_string())?;
        check_schema("inputSchema", self.input_schema.as_ref())?;
        check_schema("outputSchema", self.output_schema.as_ref())?;
        if let Some(hint) =
            HINTS.iter().find(|hint| self.annotations.get(**hint).is_some_and(|said| !said.is_boolean()))
        {
            return Err(format!("has a `{hint}` that is neither true nor false"));
        }
        let in_address = matches!(method, Method::GET | Method::DELETE);
        let (path, query) = match self.path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (&*self.path, None),
        };
        let route =
            Route { method, in_address, path: pieces(path)?, query, tells_object: self.output_schema.is_some() };
        if route.query.as_ref().is_some_and(|query| query.contains(['{', '}'])) {
            return Err("has a place in its query, where an argument that stands in no path goes by itself".to_owned());
        }
        let filled = route.filled(|_| Ok("x".to_owned()))?;
        let whole = format!("http://h{}{filled}", if filled.starts_with('/') { "" } else { "/" });
        let fits = self.path.is_empty() || self.path.starts_with(['/', '?']);
        let parsed = whole.parse::<Url>().ok().filter(|url| fits && url.as_str() == whole);
        if parsed.is_none_or(|url| url.fragment().is_some()) {
            return Err(format!(
                "has the path `{}`, which is no path as it is sent: it begins with `/`, and is percent-encoded",
                self.path
            ));
        }
        self.check_places(&route)?;
        Ok(route)
    }

    /// An argument that stands in the address is one that the schema has, and is no list and no object.
    fn check_places(&self, route: &Route) -> Result<(), String> {
        let schema = self.input_schema.as_ref().unwrap_or(&Value::Null);
        let properties = schema["properties"].as_object();
        let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        let is_scalar = |schema: &Value| !matches!(schema["type"].as_str(), Some("array" | "object"));
        for place in route.places() {
            match properties.and_then(|properties| properties.get(place)) {
                None => return Err(format!("has `{{{place}}}` in its path, and no such property in its inputSchema")),
                Some(_) if !required(place) => {
                    return Err(format!(
                        "has `{{{place}}}` in its path, which its inputSchema does not name as `required`"
                    ));
                }
                Some(schema) if !is_scalar(schema) => {
                    return Err(format!(
                        "has `{{{place}}}` in its path, which is a list or an object in its inputSchema"
                    ));
                }
                Some(_) => {}
            }
        }
        let long = properties.into_iter().flatten().find(|(_, schema)| route.in_address && !is_scalar(schema));
        match long {
            Some((name, _)) => Err(format!(
                "sends `{name}` in the query of a {}, which takes no list and no object; POST, PUT and PATCH do",
                self.method
            )),
            None => Ok(()),
        }
    }
}

/// Refuses what could never be called.
///
/// # Errors
/// In words, which tool, and why.
pub fn check_tools(tools: &[ApiTool]) -> Result<(), String> {
    if tools.is_empty() || tools.len() > TOOLS_MAX {
        return Err(format!("{} tools are defined, and a server has 1 to {TOOLS_MAX}", tools.len()));
    }
    let mut names = BTreeSet::new();
    for tool in tools {
        if tool.name.trim().is_empty() {
            return Err("a tool has no name".to_owned());
        }
        if !names.insert(&tool.name) {
            return Err(format!("the tool `{}` is there twice", tool.name));
        }
        check_tags(&tool.tags).map_err(|why| format!("the tool `{}`: {why}", tool.name))?;
        tool.route().map_err(|why| format!("the tool `{}` {why}", tool.name))?;
    }
    Ok(())
}

/// Stands before the endpoints as an MCP server. Nobody is called for that; whether somebody is there is looked at.
///
/// # Errors
/// Nobody can be reached there.
pub(crate) async fn open(exchange: &Exchange, tools: &[ApiTool]) -> Result<Behind, UpstreamError> {
    // What it answers does not matter: it is there.
    let asked = exchange.ask(Request::bare(LOOK, exchange.below("")), LOOK_BYTES_MAX);
    if let Ok(Err(failure)) = tokio::time::timeout(LOOK_TIMEOUT, asked).await
        && failure.not_sent()
    {
        return Err(failure.as_dial());
    }
    let invalid = |reason| UpstreamError::Invalid { reason };
    let routes = tools.iter().map(|tool| Ok((tool.name.clone(), tool.route()?))).collect::<Result<_, String>>();
    let speaks = Speaks::Api(Api { routes: routes.map_err(invalid)? });
    let tools = tools.iter().map(ApiTool::definition).collect();
    Ok(Behind { name: exchange.host(), tools, speaks, look: LOOK })
}

/// The endpoints of one server.
#[derive(Default)]
pub(crate) struct Api {
    routes: BTreeMap<String, Route>,
}

impl Api {
    /// The request that calls that tool.
    ///
    /// # Errors
    /// There is no such tool, or an argument of it cannot be sent. Nothing is.
    pub(crate) fn request(&self, exchange: &Exchange, tool: &str, arguments: &[u8]) -> Result<Request, UpstreamError> {
        let unfit = |reason: String| UpstreamError::Invalid { reason };
        let route = self.routes.get(tool).ok_or_else(|| unfit(format!("there is no tool `{tool}`")))?;
        route.request(exchange.base(), arguments).map_err(unfit)
    }

    /// What came of it, as a result of MCP.
    ///
    /// # Errors
    /// In words, why it is none.
    pub(crate) fn result(&self, tool: &str, body: &[u8]) -> Result<Value, String> {
        let text = std::str::from_utf8(body).map_err(|_| "it answers neither JSON nor text".to_owned())?;
        let object = serde_json::from_str::<Map<String, Value>>(text).ok();
        let tells_object = self.routes.get(tool).is_some_and(|route| route.tells_object);
        let content = match text.is_empty() {
            true => json!([]),
            false => json!([{"type": "text", "text": text}]),
        };
        let mut result = json!({"content": content, "isError": false});
        match object {
            Some(object) => result["structuredContent"] = Value::Object(object),
            None if tells_object => return Err("it answers no JSON object, as its outputSchema has it".to_owned()),
            None => {}
        }
        Ok(result)
    }
}

/// What is sent for one tool.
#[derive(Debug)]
struct Route {
    method: Method,
    /// Arguments travel in the query, not in a body.
    in_address: bool,
    path: Vec<Piece>,
    query: Option<String>,
    /// See [`ApiTool::output_schema`].
    tells_object: bool,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Place(String),
}

/// A path, cut where arguments stand in it.
fn pieces(path: &str) -> Result<Vec<Piece>, String> {
    let odd = || format!("has the path `{path}`, where a brace is without its other or nothing is between both");
    let (mut pieces, mut rest) = (Vec::new(), path);
    while let Some((text, more)) = rest.split_once('{') {
        let (place, more) = more.split_once('}').ok_or_else(odd)?;
        if place.is_empty() || place.contains('{') || text.contains('}') {
            return Err(odd());
        }
        pieces.extend([Piece::Text(text.to_owned()), Piece::Place(place.to_owned())]);
        rest = more;
    }
    if rest.contains('}') {
        return Err(odd());
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

impl Route {
    fn places(&self) -> impl Iterator<Item = &str> {
        self.path.iter().filter_map(|piece| match piece {
            Piece::Place(place) => Some(&**place),
            Piece::Text(_) => None,
        })
    }

    fn filled(&self, value: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
        let mut filled = String::new();
        for piece in &self.path {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Place(place) => filled.push_str(&value(place)?),
            }
        }
        if let Some(query) = &self.query {
            filled.push('?');
            filled.push_str(query);
        }
        Ok(filled)
    }

    fn request(&self, base: &Url, arguments: &[u8]) -> Result<Request, String> {
        let arguments: &[u8] = if arguments.is_empty() { b"{}" } else { arguments };
        let mut given: BTreeMap<String, &RawValue> =
            serde_json::from_slice(arguments).map_err(|error| format!("the arguments are no JSON object: {error}"))?;
        let value = |place: &str| {
            let said = given.get(place).and_then(|raw| scalar(raw)).filter(|said| !said.is_empty());
            let said = said.ok_or_else(|| {
                format!("`{place}` stands in the path: it has to be text that is not empty, a number, true or false")
            })?;
            Ok(encoded(&said))
        };
        let filled = self.filled(value)?;
        let mut url = below(base, &filled)?;
        let places: BTreeSet<&str> = self.places().collect();
        given.retain(|name, _| !places.contains(&**name));
        if self.in_address {
            let pairs = given.iter().filter(|(_, raw)| raw.get() != "null").map(|(name, raw)| match scalar(raw) {
                Some(said) => Ok((&**name, said)),
                None => Err(format!("`{name}` goes into the query: it has to be text, a number, true or false")),
            });
            let pairs: Vec<(&str, String)> = pairs.collect::<Result<_, String>>()?;
            if !pairs.is_empty() {
                url.query_pairs_mut().extend_pairs(pairs);
            }
        }
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(format!("the arguments make an address of more than {URL_BYTES_MAX} bytes"));
        }
        let body = match (self.in_address, places.is_empty()) {
            (true, _) => None,
            (false, true) => Some(arguments.to_vec()),
            (false, false) => Some(serde_json::to_vec(&given).map_err(|error| error.to_string())?),
        };
        Ok(Request { method: self.method.clone(), url, body })
    }
}

/// The address below another one. What would be read as another path, as `..` is, is refused.
fn below(base: &Url, filled: &str) -> Result<Url, String> {
    let root = base.as_str().trim_end_matches('/');
    let whole = format!("{root}{filled}");
    let (path, _) = filled.split_once('?').unwrap_or((filled, ""));
    let wanted = format!("{}{path}", base.path().trim_end_matches('/'));
    let wanted = if wanted.is_empty() { "/" } else { &wanted };
    let url = whole.parse::<Url>().ok().filter(|url| url.origin() == base.origin() && url.path() == wanted);
    url.ok_or_else(|| "an argument would lead to another path".to_owned())
}

/// Text, a number, true or false, as it is written; nothing for the rest.
fn scalar(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(raw.get().to_owned()),
    }
}

/// For one segment of a path.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || UNRESERVED.contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(method: &str, path: &str) -> ApiTool {
        let schema =
            json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}, "days": {}}});
        let (name, method, path) = ("t".to_owned(), method.to_owned(), path.to_owned());
        ApiTool { name, method, path, input_schema: Some(schema), ..ApiTool::default() }
    }

    fn sent(tool: &ApiTool, base: &str, arguments: &Value) -> Result<(String, Option<String>), String> {
        let request = tool.route()?.request(&base.parse().expect("a URL"), arguments.to_string().as_bytes())?;
        Ok((request.url.to_string(), request.body.map(|body| String::from_utf8(body).expect("JSON"))))
    }

    #[test]
    fn arguments_are_a_body_or_stand_in_the_address() {
        let given = json!({"city": "Ås/Öl ?&", "days": 18_446_744_073_709_551_615_u64});
        let get = sent(&tool("GET", "/f/{city}.json?units=metric"), "http://h/v1/", &given);
        let path = "http://h/v1/f/%C3%85s%2F%C3%96l%20%3F%26.json";
        assert_eq!(get, Ok((format!("{path}?units=metric&days=18446744073709551615"), None)));
        let post = sent(&tool("POST", "/f/{city}.json"), "http://h/v1", &given);
        assert_eq!(post, Ok((path.to_owned(), Some(r#"{"days":18446744073709551615}"#.to_owned()))));
        let whole = sent(&tool("PUT", ""), "http://h", &given);
        assert_eq!(whole, Ok(("http://h/".to_owned(), Some(given.to_string()))));
        let none = json!({"city": "a b", "days": null, "on": true});
        assert_eq!(
            sent(&tool("DELETE", ""), "http://h/x", &none),
            Ok(("http://h/x?city=a+b&on=true".to_owned(), None))
        );
    }

    #[test]
    fn an_argument_leads_to_no_other_path_and_is_no_list() {
        for city in [json!(".."), json!("."), json!(""), json!(null), json!(["a"]), json!({})] {
            let said = sent(&tool("GET", "/f/{city}"), "http://h/v1", &json!({"city": city}));
            assert!(said.is_err(), "{city}: {said:?}");
        }
        assert!(sent(&tool("GET", "/f/{city}"), "http://h", &json!({})).is_err());
        let dots = sent(&tool("GET", "/f/x{city}"), "http://h", &json!({"city": "../.."}));
        assert_eq!(dots, Ok(("http://h/f/x..%2F..".to_owned(), None)));
        let list = sent(&tool("GET", ""), "http://h", &json!({"days": [1]}));
        assert_eq!(list, Err("`days` goes into the query: it has to be text, a number, true or false".to_owned()));
        let long = json!({"city": "x".repeat(URL_BYTES_MAX)});
        assert!(sent(&tool("GET", ""), "http://h", &long).is_err_and(|why| why.contains("bytes")));
    }

    #[test]
    fn what_could_never_be_called_is_refused_in_words() {
        for (wrong, why) in [
            (tool("FETCH", ""), "`FETCH`, which is none of GET"),
            (tool("get", ""), "`get`, which is none of GET"),
            (tool("GET", "/{town}"), "no such property"),
            (tool("GET", "/{days}"), "`required`"),
            (tool("GET", "/{city"), "brace"),
            (tool("GET", "/{}"), "brace"),
            (tool("GET", "/city}"), "brace"),
            (tool("GET", "x"), "begins with `/`"),
            (tool("GET", "/a?q={city}"), "in its query"),
            (tool("GET", "/a b"), "percent-encoded"),
            (tool("GET", "/a/../b"), "percent-encoded"),
            (tool("GET", "/a#b"), "percent-encoded"),
            (tool("GET", "@other.example/"), "begins with `/`"),
            (ApiTool { input_schema: Some(json!({"type": "array"})), ..tool("POST", "") }, "inputSchema"),
            (ApiTool { output_schema: Some(json!({})), ..tool("POST", "") }, "outputSchema"),
            (ApiTool { name: " ".to_owned(), ..tool("POST", "") }, "no name"),
        ] {
            let said = check_tools(std::slice::from_ref(&wrong)).expect_err(&wrong.path);
            assert!(said.contains(why), "{said}");
        }
        let list = json!({"type": "object", "properties": {"days": {"type": "array"}}});
        let long = ApiTool { input_schema: Some(list), ..tool("GET", "") };
        assert!(check_tools(std::slice::from_ref(&long)).is_err_and(|why| why.contains("`days`")));
        assert_eq!(check_tools(&[ApiTool { method: "POST".to_owned(), ..long }]), Ok(()));
        let hint = Map::from_iter([("readOnlyHint".to_owned(), json!("yes"))]);
        assert!(
            check_tools(&[ApiTool { annotations: hint, ..tool("GET", "") }])
                .is_err_and(|why| why.contains("readOnlyHint"))
        );
        assert!(
            check_tools(&[]).is_err()
                && check_tools(&[tool("GET", ""), tool("PUT", "")]).is_err_and(|why| why.contains("twice"))
        );
        assert_eq!(check_tools(&[tool("GET", "/f/{city}?q=1")]), Ok(()));
    }

    #[test]
    fn what_is_answered_is_text_and_of_an_object_its_structure() {
        let of = |tells_object: bool, body: &str| {
            let output_schema = tells_object.then(|| json!({"type": "object"}));
            let route = ApiTool { output_schema, ..tool("GET", "") }.route().expect("it fits");
            let api = Api { routes: BTreeMap::from([("t".to_owned(), route)]) };
            api.result("t", body.as_bytes())
        };
        let object = of(true, r#"{"warm": 1.50}"#).expect("a result");
        assert_eq!(object["structuredContent"], json!({"warm": 1.5}));
        assert_eq!(object["content"], json!([{"type": "text", "text": r#"{"warm": 1.50}"#}]));
        let list = of(false, "[1]").expect("a result");
        assert_eq!((list.get("structuredContent"), &list["content"][0]["text"]), (None, &json!("[1]")));
        assert_eq!(of(false, "").expect("a result"), json!({"content": [], "isError": false}));
        assert!(of(true, "[1]").is_err() && of(true, "").is_err());
    }
}
