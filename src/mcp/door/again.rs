//! A call of the menu that came before, word for word but for its id: answered from what lies ready, before the routes and before its
//! parts are looked at.
//!
//! Not here: who may ask, which the port's entrance has found out by then. What must always hold: a request that was not answered by the
//! routes before, under the same headers, is not answered here, and neither is any to whom other rules hold by now.

use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bytes::Bytes;

use super::super::{
    envelope::{Answer, Envelope, json_response},
    headers::{check_media_types, read_standard},
};
use super::{MENU_PATH, McpDoor};
use crate::{auth::Standing, http::Repeats};

impl Repeats for McpDoor {
    fn reads(&self, path: &str, headers: &HeaderMap) -> bool {
        path == MENU_PATH && check_media_types(headers).is_ok()
    }

    fn repeat(&self, standing: &Standing, headers: &HeaderMap, body: &Bytes) -> Option<Response> {
        let envelope = Envelope::read(body).ok()?;
        let id = envelope.id()?;
        let key = repeated(standing, headers, body, &envelope)?;
        let said = self.inner.calls.handle().say(standing, &key)?;
        Some(json_response(StatusCode::OK, Answer::Result(said.body).message(&id)))
    }
}

/// All of a request of the menu on which its answer depends: the headers that are looked at, and every byte but those of its id. Whoever
/// sends the same may have the same answer, as its headers and its body were found good before.
pub(super) fn repeated(
    standing: &Standing,
    headers: &HeaderMap,
    body: &[u8],
    envelope: &Envelope<'_>,
) -> Option<String> {
    let (before, after) = envelope.around_id(std::str::from_utf8(body).ok()?)?;
    let [version, method, name] = read_standard(headers)?;
    // Neither a header nor JSON has a zero in it.
    let parts = ["mcp again", version, method, name, before, after, standing.sight_key()];
    let mut key = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for part in parts {
        key.push_str(part);
        key.push('\0');
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aop_proto::access::{Caller, Glob, Policy, Rule};
    use axum::{
        body::Body,
        http::{HeaderValue, Request, header},
    };
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::super::Scope;
    use super::*;
    use crate::{
        auth::Terms,
        http::{Doors, PortSettings},
    };

    const ECHO: &str = "echo.demo.research";

    fn body(id: &str, arguments: &Value, meta: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0",{id}"method":"tools/call","params":{{"name":"describe_tool","arguments":{arguments},"_meta":{{
            "io.modelcontextprotocol/protocolVersion":"2026-07-28",{meta}"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        )
    }

    fn echo(id: &str) -> String {
        body(id, &json!({"name": ECHO}), "")
    }

    fn headers() -> HeaderMap {
        let all = [
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "describe_tool"),
        ];
        all.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    /// A door with one tool behind it, and the way through the routes.
    struct Known {
        doors: Doors,
        door: McpDoor,
    }

    impl Known {
        async fn with_echo() -> Self {
            let doors = Doors::for_tests(&PortSettings::default());
            let door = McpDoor::new(doors.calls.clone(), Vec::new(), &CancellationToken::new());
            let mut changes = doors.handle.changes();
            let tool = json!({"server": "demo", "name": "echo", "description": "says it again"});
            doors.handle.register_tools(&Caller::operator(), vec![tool]).await.expect("registered");
            while doors.handle.view().tools.is_empty() {
                changes.changed().await.expect("a driver");
            }
            Self { doors, door }
        }

        async fn standing(&self) -> Arc<Standing> {
            self.doors.handle.auth().identify(None).await.expect("nobody")
        }

        async fn ask(&self, headers: &HeaderMap, body: &str) -> String {
            let standing = self.standing().await;
            let mut request = Request::new(Body::from(body.to_owned()));
            *request.headers_mut() = headers.clone();
            request.extensions_mut().insert(standing.caller().clone());
            request.extensions_mut().insert(standing);
            text(self.door.answer(Scope::Menu, request).await).await
        }

        async fn again(&self, headers: &HeaderMap, body: &str) -> Option<String> {
            let standing = self.standing().await;
            Some(text(self.door.repeat(&standing, headers, &Bytes::copy_from_slice(body.as_bytes()))?).await)
        }
    }

    async fn text(response: Response) -> String {
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn what_was_asked_before_word_for_word_is_answered_under_its_own_id() {
        let known = Known::with_echo().await;
        assert_eq!(known.again(&headers(), &echo(r#""id":1,"#)).await, None, "nothing was asked yet");
        let first = known.ask(&headers(), &echo(r#""id":1,"#)).await;
        assert!(first.contains(ECHO) && first.contains("\"isError\":false"), "{first}");
        assert_eq!(known.ask(&headers(), &echo(r#""id":1,"#)).await, first);
        for id in ["1", "-2", "3.0", r#""a\u0062""#] {
            let again = known.again(&headers(), &echo(&format!(r#""id":{id},"#))).await.expect(id);
            assert_eq!(again, first.replacen("\"id\":1", &format!("\"id\":{id}"), 1));
        }
        for id in ["", r#""id":null,"#, r#""id":{},"#, r#""id":1,"id":2,"#] {
            assert_eq!(known.again(&headers(), &echo(id)).await, None, "{id}");
        }
        let id = r#""id":1,"#;
        assert_eq!(known.again(&headers(), &echo(id).replace("2.0", "1.0")).await, None);
        assert_eq!(known.again(&headers(), &body(id, &json!({"name": "other.demo.research"}), "")).await, None);
        for (name, value) in [("mcp-name", "search_tools"), ("mcp-method", "tools/list"), ("mcp-protocol-version", "x")]
        {
            let mut other = headers();
            other.insert(name, HeaderValue::from_static(value));
            assert_eq!(known.again(&other, &echo(id)).await, None, "{name}");
            let mut twice = headers();
            twice.append(name, headers()[name].clone());
            assert_eq!(known.again(&twice, &echo(id)).await, None, "{name} twice");
            let mut empty = headers();
            empty.insert(name, HeaderValue::from_static(""));
            assert_eq!(known.again(&empty, &echo(id)).await, None, "{name} empty");
        }
        let traced = body(id, &json!({"name": ECHO}), r#""traceparent":"00-1","#);
        for _ in 0..3 {
            assert_eq!(known.ask(&headers(), &traced).await, first);
            assert_eq!(known.again(&headers(), &traced).await, None, "the next one says another trace");
        }
    }

    #[tokio::test]
    async fn what_lies_ready_ends_with_the_rules_and_with_the_tool() {
        let known = Known::with_echo().await;
        let asked = echo(r#""id":1,"#);
        for _ in 0..2 {
            known.ask(&headers(), &asked).await;
        }
        let before = known.standing().await;
        assert!(known.again(&headers(), &asked).await.is_some());
        let hidden =
            Rule { principal: Glob::new("anonymous"), action: None, zone: None, tool: Glob::new("echo.*"), deny: true };
        let policy = Policy { is_open: true, rules: vec![hidden] };
        known.doors.handle.auth().replace(Terms { policy, ..Terms::default() });
        assert_eq!(known.again(&headers(), &asked).await, None, "hidden from whoever comes now");
        let body = Bytes::from(asked.clone());
        assert!(known.door.repeat(&before, &headers(), &body).is_none(), "and from whoever came before");

        known.doors.handle.auth().replace(Terms { policy: Policy::open(), ..Terms::default() });
        for _ in 0..2 {
            known.ask(&headers(), &asked).await;
        }
        assert!(known.again(&headers(), &asked).await.is_some());
        let mut changes = known.doors.handle.changes();
        known.doors.handle.unregister(&Caller::operator(), "demo/echo").await.expect("unregistered");
        while !known.doors.handle.view().tools.is_empty() {
            changes.changed().await.expect("a driver");
        }
        assert_eq!(known.again(&headers(), &asked).await, None);
    }

    /// Over a socket, where everything else that may be wrong with a request is told as it is of one that was never asked.
    #[tokio::test]
    async fn what_lies_ready_goes_round_no_guard() {
        let Known { doors, door } = Known::with_echo().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("bound"));
        let (stop, resolves) = (CancellationToken::new(), doors.handle.clone());
        let done = tokio::spawn(crate::http::serve(listener, doors, door.at_port(), stop.clone()));
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let ask = |name: &'static str, value: &'static str| {
            let mut headers = headers();
            headers.insert(name, HeaderValue::from_static(value));
            let sent = client.post(&url).headers(headers).body(echo(r#""id":1,"#)).send();
            async move {
                let response = sent.await.expect("an answer");
                (response.status().as_u16(), response.headers().clone(), response.text().await.expect("text"))
            }
        };
        let count = || resolves.metrics_registry().resolve_json()["count"].clone();
        let (before, first) = (count(), ask("x-nothing", "1").await);
        for number in 1..4_u64 {
            let (status, headers, said) = ask("x-nothing", "1").await;
            assert_eq!((status, &said), (200, &first.2));
            let names = |headers: &HeaderMap| headers.keys().cloned().collect::<std::collections::HashSet<_>>();
            assert_eq!(names(&headers), names(&first.1));
            for same in [header::CONTENT_TYPE, header::CACHE_CONTROL, header::X_CONTENT_TYPE_OPTIONS] {
                assert_eq!(headers[&same], first.1[&same]);
            }
            assert_eq!(count().as_u64(), before.as_u64().map(|before| before + 1 + number), "each is counted");
        }
        for (name, value, status) in [
            ("host", "evil.example", 403),
            ("origin", "http://evil.example", 403),
            ("authorization", "Bearer wrong", 401),
            ("accept", "application/json", 406),
            ("content-type", "text/plain", 415),
            ("mcp-name", "search_tools", 400),
        ] {
            assert_eq!(ask(name, value).await.0, status, "{name}");
        }
        stop.cancel();
        done.await.expect("joined").expect("a drained port");
    }
}
