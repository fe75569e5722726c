//! Tools that a file defines, each a plain HTTP request to an endpoint: registered by every door, found, called, refused, started again.

mod support;

use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::raw::message;
use support::{Fixture, Node, PATIENT, World, eventually, names};

/// An API of somebody: it writes down what it is asked, and answers by the path.
#[derive(Clone, Default)]
struct Shop {
    /// Head and body of every request that is no look.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    /// Answers of `/unsteady` that are cut off from now on.
    cuts: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
}

impl Shop {
    fn open(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shop = self.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shop.gone.load(Ordering::Relaxed) {
                    return;
                }
                let shop = shop.clone();
                std::thread::spawn(move || shop.serve(client));
            }
        });
        port
    }

    fn serve(&self, mut client: TcpStream) -> Option<()> {
        while let Some(request) = message(&mut client).filter(|_| !self.gone.load(Ordering::Relaxed)) {
            let text = String::from_utf8_lossy(&request).into_owned();
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            if !head.starts_with("OPTIONS ") {
                self.asked.lock().expect("nobody panics with it").push((head.to_owned(), body.to_owned()));
            }
            let (status, answer) = match target.split('?').next().unwrap_or_default() {
                "/unsteady"
                    if self
                        .cuts
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                        .is_ok() =>
                {
                    return client.shutdown(Shutdown::Both).ok();
                }
                "/busy" => ("503 Busy\r\nRetry-After: 7", "later".to_owned()),
                "/crowded" => ("429 Too Many Requests\r\nRetry-After: 9", String::new()),
                "/secret" => ("404 Not Found", format!("nothing for {}", header(head, "x-key"))),
                "/text" => ("200 OK", "plain words".to_owned()),
                "/list" => ("200 OK", "[1,2]".to_owned()),
                "/none" => ("204 No Content", String::new()),
                "/away" => ("302 Found\r\nLocation: /text", String::new()),
                _ => ("200 OK", json!({"at": target, "said": body}).to_string()),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
            client.write_all(format!("{head}{answer}").as_bytes()).ok()?;
        }
        Some(())
    }

    fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.asked.lock().expect("nobody panics with it"))
    }
}

fn header(head: &str, name: &str) -> String {
    let found = head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    found.unwrap_or_default()
}

/// Every tool of the shop, as a file has them.
fn tools(port: u16) -> String {
    let tool = |name: &str, method: &str, path: &str, more: &str| {
        format!(
            "[[tools]]\nserver = \"shop\"\nname = \"{name}\"\nmethod = \"{method}\"\nendpoint = \"http://127.0.0.1:{port}{path}\"\n{more}\n"
        )
    };
    let item = "inputSchema = { type = \"object\", required = [\"id\"], properties = { id = { type = \"string\" }, n = { type = \"integer\" } } }";
    let described = "description = \"Looks an item of the shop up\"\ntags = [\"catalogue\"]\nexamples = [\"which teapot is that\"]\nheaders = { X-Key = \"env:SHOP_KEY\" }\n";
    [
        tool(
            "get_item",
            "GET",
            "/items/{id}?full=1",
            &format!("{described}{item}\nannotations = {{ readOnlyHint = true }}"),
        ),
        tool("put_item", "PUT", "/items/{id}", item),
        tool("order", "POST", "/orders", "outputSchema = \"order.json\""),
        tool("unsteady", "POST", "/unsteady", ""),
        tool("steady", "POST", "/unsteady", "annotations = { idempotentHint = true }"),
        tool("busy", "GET", "/busy", ""),
        tool("crowded", "GET", "/crowded", ""),
        tool("secret", "GET", "/secret", ""),
        tool("text", "GET", "/text", ""),
        tool("list", "GET", "/list", ""),
        tool("strict", "GET", "/list", "outputSchema = { type = \"object\" }"),
        tool("none", "DELETE", "/none", ""),
        tool("away", "GET", "/away", ""),
    ]
    .concat()
}

const SECRET: &str = "hunter2-hunter2";

fn registered(world: &World, node: &Node, port: u16) {
    world.file("order.json", &json!({"type": "object", "required": ["at"]}).to_string());
    let file = world.file("tools.toml", &tools(port));
    let done = node.aop(["register", "file", &file.display().to_string(), "--json"]).ok().json();
    assert_eq!((&done["server"], &done["count"]), (&json!("shop"), &json!(13)), "{done}");
}

#[test]
fn a_tool_that_a_file_defines_is_the_request_that_it_says() {
    let world = World::new();
    let mut node = world.node("node").zone("research").env("SHOP_KEY", SECRET).start();
    let shop = Shop::default();
    let port = shop.open();
    registered(&world, &node, port);
    assert_eq!(shop.asked(), [], "nobody is called to be registered");
    let got = node.call("get_item.shop.research", &json!({"id": "a/b ?", "n": 3}));
    assert_eq!(got["structuredContent"]["at"], "/items/a%2Fb%20%3F?full=1&n=3", "{got}");
    let (head, body) = shop.asked().remove(0);
    assert!(head.starts_with("GET ") && body.is_empty(), "{head}");
    assert_eq!(header(&head, "x-key"), SECRET);
    let put = node.call("put_item.shop.research", &json!({"id": "7", "n": 3}));
    assert_eq!(put["structuredContent"], json!({"at": "/items/7", "said": "{\"n\":3}"}), "{put}");
    let (head, _) = shop.asked().remove(0);
    assert_eq!((head.starts_with("PUT "), &*header(&head, "content-type")), (true, "application/json"), "{head}");
    let order = node.call("order.shop.research", &json!({"items": [1, {"n": 2}]}));
    assert_eq!(order["structuredContent"]["said"], r#"{"items":[1,{"n":2}]}"#, "{order}");
    // Whatever is no object is text.
    assert_eq!(
        node.call("text.shop.research", &json!({}))["content"],
        json!([{"type": "text", "text": "plain words"}])
    );
    let list = node.call("list.shop.research", &json!({}));
    assert_eq!((list.get("structuredContent"), &list["content"][0]["text"]), (None, &json!("[1,2]")), "{list}");
    assert_eq!(node.call("none.shop.research", &json!({}))["content"], json!([]));
    let unfit = node.try_call("strict.shop.research", &json!({})).exits(1).problem();
    assert!(unfit["message"].as_str().is_some_and(|said| said.contains("no JSON object")), "{unfit}");
    let card = node.get("/v1/tools/get_item.shop.research?schema=1").is(200).json();
    assert_eq!((&card["tags"], &card["calls"]["read_only"]), (&json!(["catalogue"]), &json!(true)), "{card}");
    assert_eq!(node.get("/v1/tools/order.shop.research").is(200).json()["calls"]["read_only"], false);
    let found = node.try_resolve("look an item up", &["--tag", "catalogue"]).ok().json();
    assert_eq!(names(&support::results(&found)), ["get_item.shop.research"], "{found}");
    assert_eq!(names(&node.resolve("teapot"))[..1], ["get_item.shop.research"]);
    // No door shows the secret or where it is kept, and the definitions are there after a restart.
    let server = node.get("/v1/servers/shop").is(200).text();
    assert!(server.contains("\"api\"") && !server.contains(SECRET), "{server}");
    shop.asked();
    node.kill();
    node.start_again();
    eventually("it is called again", PATIENT, || {
        let ran = node.try_call("get_item.shop.research", &json!({"id": "x"})).wanted(0)?;
        if ran.out.contains("/items/x") { Ok(()) } else { Err(ran.to_string()) }
    });
    assert_eq!(header(&shop.asked()[0].0, "x-key"), SECRET);
}

#[test]
fn what_goes_wrong_at_an_endpoint_is_told_as_what_it_is_and_repeated_where_its_definition_allows() {
    let world = World::new();
    let node = world.node("node").zone("research").env("SHOP_KEY", SECRET).start();
    let shop = Shop::default();
    let port = shop.open();
    registered(&world, &node, port);
    let problem =
        |tool: &str, arguments: &Value| node.try_call(&format!("{tool}.shop.research"), arguments).exits(1).problem();
    // Arguments are checked before anything is sent.
    node.try_call("get_item.shop.research", &json!({"n": 1})).exits(2);
    let unfit =
        |tool: &str, arguments: &Value| node.try_call(&format!("{tool}.shop.research"), arguments).exits(2).problem();
    let odd = unfit("get_item", &json!({"id": ".."}));
    assert!(odd["message"].as_str().is_some_and(|said| said.contains("another path")), "{odd}");
    let list = unfit("text", &json!({"x": [1]}));
    assert!(list["message"].as_str().is_some_and(|said| said.contains("`x` goes into the query")), "{list}");
    // A dry run refuses what the call itself does.
    for (id, why) in [("..", "another path"), ("", "not empty")] {
        let arguments = json!({"id": id}).to_string();
        let tried = ["call", "get_item.shop.research", "--args", &arguments, "--dry-run", "--json"];
        let refused = node.aop(tried).exits(2).problem();
        assert_eq!(refused["kind"], "invalid_arguments", "{refused}");
        assert!(refused["message"].as_str().is_some_and(|said| said.contains(why)), "{refused}");
    }
    node.aop(["call", "get_item.shop.research", "id=7", "--dry-run"]).ok();
    assert_eq!(shop.asked(), []);
    // A status is told with when to come again, one that refuses with what it says, without the secret.
    let busy = problem("busy", &json!({}));
    assert_eq!((&busy["kind"], &busy["detail"]["retry_after_s"]), (&json!("upstream_failed"), &json!(7)), "{busy}");
    let crowded = problem("crowded", &json!({}));
    assert_eq!(
        (&crowded["detail"]["status"], &crowded["detail"]["retry_after_s"]),
        (&json!(429), &json!(9)),
        "{crowded}"
    );
    let secret = problem("secret", &json!({}));
    assert_eq!(secret["detail"]["rpc"]["data"]["status"], 404, "{secret}");
    assert!(secret["message"].as_str().is_some_and(|said| said.contains("nothing for [hidden]")), "{secret}");
    let away = problem("away", &json!({}));
    assert!(away["message"].as_str().is_some_and(|said| said.contains("302")), "{away}");
    assert_eq!(shop.asked().len(), 4, "none of it is repeated");
    // So many good ones that the breaker stays closed.
    for _ in 0..8 {
        node.call("text.shop.research", &json!({}));
    }
    shop.asked();
    // What may have run is tried again only where the definition says that it may.
    shop.cuts.store(1, Ordering::Relaxed);
    problem("unsteady", &json!({}));
    assert_eq!(shop.asked().len(), 1);
    shop.cuts.store(1, Ordering::Relaxed);
    node.call("steady.shop.research", &json!({}));
    assert_eq!(shop.asked().len(), 2);
    // An API that is gone was provably not called.
    shop.gone.store(true, Ordering::Relaxed);
    drop(TcpStream::connect(("127.0.0.1", port)));
    eventually("it is known to be gone", PATIENT, || {
        let ran = node.try_call("order.shop.research", &json!({})).wanted(1)?;
        if ran.problem()["kind"] == "upstream_down" { Ok(()) } else { Err(ran.to_string()) }
    });
    assert_eq!(shop.asked(), []);
}

#[test]
fn definitions_come_by_every_door_and_wrong_ones_by_none() {
    let world = World::new();
    let shop = Shop::default();
    let port = shop.open();
    let config = format!(
        "[[server]]\nname = \"configured\"\napi = \"http://127.0.0.1:{port}/v1\"\ntags = [\"shop\"]\n\
         [[server.tools]]\nname = \"find\"\nmethod = \"GET\"\npath = \"/find\"\n"
    );
    let config = world.file("node.toml", &config);
    let node = world.node("node").zone("research").args(["--config", &config.display().to_string()]).start();
    eventually("it is listed", PATIENT, || {
        let ran = node.try_call("find.configured.research", &json!({"q": "tea"})).wanted(0)?;
        if ran.out.contains("/v1/find?q=tea") { Ok(()) } else { Err(ran.to_string()) }
    });
    let sent = |more: Value| {
        let mut body = json!({"kind": "api", "as": "posted", "url": format!("http://127.0.0.1:{port}"), "tags": ["all"],
            "tools": [{"name": "find", "method": "GET", "path": "/find", "tags": ["one"]}, {"name": "add"}]});
        body.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        node.send("POST", "/v1/servers", &body)
    };
    sent(json!({})).is(201);
    assert_eq!(node.get("/v1/tools/find.posted.research").is(200).json()["tags"], json!(["all", "one"]));
    assert_eq!(node.get("/v1/tools/add.posted.research").is(200).json()["tags"], json!(["all"]));
    for wrong in [
        json!({"url": "ftp://h"}),
        json!({"url": "http://h/?key=1"}),
        json!({"tools": []}),
        json!({"tools": [{"name": "x", "method": "FETCH"}]}),
        json!({"tools": [{"name": "x", "path": "/{id}"}]}),
        json!({"tools": [{"name": "x", "endpoint": "http://h"}]}),
        json!({"tags": [""]}),
    ] {
        assert_eq!(sent(wrong.clone()).is(400).json()["kind"], "usage", "{wrong}");
    }
    // The endpoint of another machine's own network is nobody's without a grant.
    let egress = sent(json!({"url": "http://10.255.255.1:9"})).is(403).json();
    assert!(egress["hint"].as_str().is_some_and(|hint| hint.contains("allow_private")), "{egress}");
    let line = json!({"tools": [{"name": "x", "server": "s", "endpoint": "http://127.0.0.1:1/x"}]});
    let said = node.send("POST", "/v1/tools", &line).is(400).json();
    assert!(said["detail"].as_str().is_some_and(|said| said.contains("aop register file")), "{said}");
    // A file is all or nothing, and what is neither served nor asked for is listed beside it.
    world.file("order.json", &json!({"type": "object"}).to_string());
    let file = world.file("wrong.toml", &tools(port).replace("\"DELETE\"", "\"ERASE\""));
    let refused = node.aop(["register", "file", &file.display().to_string()]).exits(2);
    assert!(refused.err.contains("`none`") && refused.err.contains("ERASE"), "{refused}");
    let lines = [
        json!({"name": "listed", "server": "beside", "description": "Nobody serves it"}),
        json!({"name": "find", "server": "beside", "endpoint": format!("http://127.0.0.1:{port}/find"), "method": "GET"}),
    ];
    let file = world.file("both.jsonl", &lines.map(|line| line.to_string()).join("\n"));
    node.aop(["register", "file", &file.display().to_string()]).ok();
    node.call("find.beside.research", &json!({}));
    node.try_call("listed.beside.research", &json!({})).exits(1);
}

#[test]
fn all_tools_of_a_server_are_found_by_its_tags() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    let fixture = Fixture::new(&world, "papers");
    let command = fixture.command();
    let mut words = vec!["register", "stdio", "--as", "papers", "--tag", "science", "--tag", "team-a", "--"];
    words.extend(command.iter().map(String::as_str));
    node.aop(words).ok();
    let found = |tag: &str| names(&support::results(&node.try_resolve("echo", &["--tag", tag]).json()));
    assert!(found("science").contains(&"echo.papers.research".to_owned()), "{:?}", found("science"));
    assert_eq!(found("science"), found("team-a"));
    assert_eq!(found("history"), Vec::<String>::new());
    // A list that changes keeps them, and registered without them they are gone.
    fixture.list(&[json!({"name": "other", "inputSchema": {"type": "object"}})]);
    eventually("the new list is known", PATIENT, || {
        let ran = node.aop(["refresh", "papers", "--json"]).wanted(0)?;
        if ran.out.contains("other.papers") { Ok(()) } else { Err(ran.to_string()) }
    });
    assert_eq!(node.get("/v1/tools/other.papers.research").is(200).json()["tags"], json!(["science", "team-a"]));
    node.register("papers", &command);
    assert_eq!(node.get("/v1/tools/other.papers.research").is(200).json()["tags"], json!([]));
    node.aop(["register", "mcp", "http://127.0.0.1:9/mcp", "--tag", " "]).exits(2);
}
