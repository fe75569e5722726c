//! Precedence, unknown keys and what does not go together, with files and variables made up here.

use super::*;

fn no_env(_: &str) -> Option<String> {
    None
}

fn home(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/somebody".to_owned())
}

fn with_file(text: &str, flags: NodeFlags) -> Result<NodeConfig, ConfigError> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("node.toml");
    std::fs::write(&path, text).expect("written");
    load(NodeFlags { config: Some(path), ..flags }, &home)
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let config = load(NodeFlags::default(), &home).expect("defaults work");
    assert_eq!((config.zone.as_str(), config.listen.to_string().as_str()), ("local", "127.0.0.1:7400"));
    assert_eq!(config.data_dir, Some("/home/somebody/.local/share/aop/local-7400".into()));
    assert_eq!(config.origin("zone"), &Origin::Default);
    let error = load(NodeFlags::default(), &no_env).expect_err("no home");
    assert_eq!(error.hint.as_deref(), Some("aop-node --data-dir /var/lib/aop"));
}

#[test]
fn folders_never_collide_and_port_zero_keeps_nothing() {
    let dir = |zone: &str, listen: &str| {
        let flags = NodeFlags { zone: Some(zone.into()), listen: Some(listen.into()), ..NodeFlags::default() };
        load(flags, &home).expect("fits").data_dir
    };
    assert_eq!(dir(".", "127.0.0.1:7400"), Some("/home/somebody/.local/share/aop/_-7400".into()));
    assert_eq!(dir("Research", "127.0.0.1:7401"), Some("/home/somebody/.local/share/aop/research-7401".into()));
    assert_eq!(dir("research", "127.0.0.1:0"), None);
}

#[test]
fn flags_beat_variables_beat_the_file() {
    let file = "zone = \"file\"\nlisten = \"127.0.0.1:7001\"\nparents = [\"a:1\", \"b:2\"]\n[resolve]\nlimit = 20\ndeadline = \"3s\"\n";
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("node.toml");
    std::fs::write(&path, file).expect("written");
    let env = |name: &str| match name {
        "AOP_CONFIG" => path.to_str().map(str::to_owned),
        "AOP_ZONE" => Some("variable".to_owned()),
        "AOP_LISTEN" => Some("127.0.0.1:7002".to_owned()),
        "AOP_JOIN" => Some("c:3, d:4".to_owned()),
        "AOP_LOG_LEVEL" => Some(String::new()),
        other => home(other),
    };
    let config = load(NodeFlags { zone: Some("flag".into()), ..NodeFlags::default() }, &env).expect("fits");
    assert_eq!((config.zone.as_str(), config.origin("zone")), ("flag", &Origin::Flag("--zone")));
    assert_eq!((config.listen.port(), config.origin("listen")), (7002, &Origin::Env("AOP_LISTEN")));
    assert_eq!(config.parents.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:1", "b:2"]);
    assert_eq!(config.origin("parents"), &Origin::File(path.clone(), 3));
    assert_eq!(config.join.len(), 2);
    assert_eq!(config.origin("log_level"), &Origin::Default, "an empty variable is not set");
    assert_eq!(config.resolve, ResolveConfig { limit: 20, deadline: Duration::from_secs(3) });
    let row = config.settings().into_iter().find(|(key, ..)| *key == "resolve.deadline").expect("listed");
    assert_eq!((row.1.as_str(), row.2), ("3s", format!("{}:6", path.display())));
}

#[test]
fn an_unknown_key_is_drawn_and_the_nearest_is_named() {
    let error = with_file("zone = \"a\"\nlisten_addr = \"x\"\n", NodeFlags::default()).expect_err("unknown");
    assert!(error.message.ends_with("node.toml:2:1: there is no key `listen_addr`"), "{}", error.message);
    let error = with_file("lisen = \"127.0.0.1:1\"\n", NodeFlags::default()).expect_err("unknown");
    assert_eq!(error.did_you_mean, ["listen"]);
    assert_eq!(error.excerpt.as_deref(), Some(" 1 | lisen = \"127.0.0.1:1\"\n   | ^^^^^"));
    let error = with_file("[resolve]\nlimits = 3\n", NodeFlags::default()).expect_err("unknown");
    assert_eq!(error.did_you_mean, ["limit"]);
    assert!(with_file("zone = [1]\n", NodeFlags::default()).is_err());
    assert!(with_file("zone = \n", NodeFlags::default()).is_err());
}

#[test]
fn a_bad_value_names_its_place() {
    let error = with_file("# first\nzone = \"my zone\"\n", NodeFlags::default()).expect_err("a blank");
    assert!(error.message.contains("node.toml:2: zone `my zone` has ` `"), "{}", error.message);
    assert_eq!(error.excerpt.as_deref(), Some(" 2 | zone = \"my zone\"\n   |        ^^^^^^^^^"));
    for file in [
        "[resolve]\nlimit = 0\n",
        "[resolve]\ndeadline = \"1h\"\n",
        "[resolve]\ndeadline = 30\n",
        "log_level = \"loud\"\n",
        "import = [\"nowhere\"]\n",
    ] {
        assert!(with_file(file, NodeFlags::default()).is_err(), "{file}");
    }
}

#[test]
fn servers_are_one_thing_or_the_other() {
    let config = with_file(
        "[[server]]\nname = \"arxiv\"\nurl = \"http://h/mcp\"\nheaders = { A = { env = \"T\" } }\nreplica = true\nallow_private = true\n\
         [[server]]\nname = \"fs\"\ncommand = [\"./serve\", \"/srv\"]\nenv = { K = \"v\", T = { file = \"token\" } }\n",
        NodeFlags::default(),
    )
    .expect("fits");
    let base = config.file.as_ref().and_then(|file| file.parent()).expect("a folder");
    assert!(config.servers[0].replica && config.servers[0].allow_private && !config.servers[1].allow_private);
    let Transport::Stdio { command, env, .. } = &config.servers[1].transport else { panic!("a command") };
    assert_eq!(command[0], base.join("serve").display().to_string());
    assert_eq!(env["T"], Secret::File { file: base.join("token") });
    assert!(!config.to_json().to_string().contains("\"v\""), "a literal secret is not shown");
    for wrong in [
        "name = \"a\"",
        "name = \"a\"\nurl = \"http://h\"\ncommand = [\"x\"]",
        "name = \"a\"\nurl = \"h\"",
        "name = \"a.b\"\nurl = \"http://h\"",
        "name = \"a\"\ncommand = []",
        "name = \"a\"\ncommand = [\"x\"]\nheaders = {}",
        "name = \"a\"\ncommand = [\"x\"]\nallow_private = true",
        "name = \"a\"\nurl = \"http://h\"\ntypo = 1",
        "url = \"http://h\"",
    ] {
        assert!(with_file(&format!("[[server]]\n{wrong}\n"), NodeFlags::default()).is_err(), "{wrong}");
    }
}

#[test]
fn an_agent_s_schemas_stand_in_the_file_or_beside_it() {
    let beside = |text: &str| {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("answers.json"), r#"{"type":"object"}"#).expect("written");
        std::fs::write(dir.path().join("wrong.json"), "{").expect("written");
        let path = dir.path().join("node.toml");
        std::fs::write(&path, format!("[[server]]\nname = \"a\"\nagent = \"http://h\"\n{text}\n")).expect("written");
        load(NodeFlags { config: Some(path), ..NodeFlags::default() }, &home)
    };
    let takes = "input_schema = { type = \"object\", required = [\"text\"] }\noutput_schema = \"answers.json\"";
    let config = beside(takes).expect("fits");
    let Transport::Agent { input_schema, output_schema, .. } = &config.servers[0].transport else { panic!("an agent") };
    assert_eq!(input_schema, &Some(serde_json::json!({"type": "object", "required": ["text"]})));
    assert_eq!(output_schema, &Some(serde_json::json!({"type": "object"})));
    for (wrong, told) in [
        ("input_schema = { type = \"array\" }", "schema of an object"),
        ("output_schema = 7", "schema of an object"),
        ("output_schema = \"nowhere.json\"", "cannot be read"),
        ("output_schema = \"wrong.json\"", "is not JSON"),
        ("[[server]]\nname = \"b\"\nurl = \"http://h\"\ninput_schema = { type = \"object\" }", "are for an `agent`"),
    ] {
        let error = beside(wrong).expect_err(wrong);
        assert!(error.message.contains(told), "{wrong}: {}", error.message);
    }
}

#[test]
fn tools_of_an_api_are_defined_in_the_file() {
    let with = |text: &str| {
        let text = format!("[[server]]\nname = \"shop\"\n{text}\n");
        with_file(&text, NodeFlags::default())
    };
    let tool = "[[server.tools]]\nname = \"get\"\nmethod = \"GET\"\npath = \"/items\"\ntags = [\"own\"]";
    let config =
        with(&format!("api = \"https://h\"\ntags = [\"shop\"]\nheaders = {{ A = {{ env = \"T\" }} }}\n{tool}"));
    let config = config.expect("fits");
    let Transport::Api { url, headers, tools } = &config.servers[0].transport else { panic!("an API") };
    assert_eq!((url.as_str(), &headers["A"]), ("https://h", &Secret::Env { env: "T".into() }));
    assert_eq!(
        (tools[0].method.as_str(), &tools[0].tags, &config.servers[0].tags),
        ("GET", &vec!["own".to_owned()], &vec!["shop".to_owned()])
    );
    for (wrong, told) in [
        (format!("api = \"h\"\n{tool}"), "not http:// or https://"),
        ("api = \"https://h\"".to_owned(), "0 tools are defined"),
        (format!("api = \"https://h\"\nurl = \"https://h\"\n{tool}"), "alone"),
        (format!("url = \"https://h\"\n{tool}"), "are for an `api`"),
        (format!("api = \"https://h\"\n{tool}\nendpoint = \"/\""), "no key `endpoint`"),
        (format!("api = \"https://h\"\n{}", tool.replace("GET", "FETCH")), "`FETCH`"),
        (format!("api = \"https://h\"\n{tool}\ninputSchema = \"nowhere.json\""), "cannot be read"),
        ("url = \"https://h\"\ntags = [\" a\"]".to_owned(), "is no tag"),
    ] {
        let error = with(&wrong).expect_err(&wrong);
        assert!(error.message.contains(told), "{wrong}: {}", error.message);
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let dev = NodeFlags { dev: true, ..NodeFlags::default() };
    assert_eq!(load(dev.clone(), &home).expect("fits").data_dir, None);
    let error = load(NodeFlags { zone: Some("a".into()), ..dev.clone() }, &home).expect_err("--dev has its own zones");
    assert!(error.message.starts_with("--zone: `zone` does not go together with --dev"), "{}", error.message);
    assert!(load(NodeFlags { data_dir: Some("/x".into()), ..dev }, &home).is_err());
    let root = NodeFlags { zone: Some(".".into()), parent: vec!["h:1".into()], ..NodeFlags::default() };
    assert!(load(root, &home).is_err());
    let own = NodeFlags { parent: vec!["127.0.0.1:7400".into()], ..NodeFlags::default() };
    assert!(load(own, &home).expect_err("itself").message.contains("own address"));
}

/// Certificate and key in a directory of their own.
fn certificate() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["node.example".to_owned()]).expect("made");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    (dir, cert, key)
}

#[test]
fn beyond_loopback_a_node_is_protected_or_was_told_not_to_be() {
    let listen = |listen: &str| NodeFlags { listen: Some(listen.into()), ..NodeFlags::default() };
    for address in ["0.0.0.0:7400", "[::]:7400", "192.0.2.7:7400"] {
        let error = load(listen(address), &home).expect_err("not protected");
        assert!(error.message.starts_with(&format!("--listen: {address} can be reached")), "{}", error.message);
        for line in ["tls_cert = \"cert.pem\"", "tls_key = \"key.pem\"", "--insecure-no-auth"] {
            assert!(error.message.contains(line), "{}", error.message);
        }
        let hint = format!("aop-node --listen {address} --tls-cert cert.pem --tls-key key.pem");
        assert_eq!(error.hint, Some(hint));
    }
    let (_dir, cert, key) = certificate();
    let tls = NodeFlags { tls_cert: Some(cert.clone()), tls_key: Some(key.clone()), ..listen("0.0.0.0:7400") };
    let config = load(tls.clone(), &home).expect("protected").admission;
    assert!(!config.terms.policy.is_open && !config.insecure_no_auth);
    let rate = |rate: Option<std::num::NonZeroU32>| rate.map(std::num::NonZeroU32::get);
    assert_eq!((rate(config.port.rate), rate(config.port.stranger_rate)), (Some(1_000), Some(20)));
    assert_eq!((config.port.connections_per_address, rate(config.port.connection_rate)), (Some(64), Some(100)));
    let open = NodeFlags { insecure_no_auth: true, ..listen("0.0.0.0:7400") };
    let open = load(open, &home).expect("told").admission;
    assert!(open.terms.policy.is_open && open.insecure_no_auth && open.port.tls.is_none());
    let local = load(NodeFlags::default(), &home).expect("loopback").admission;
    assert_eq!(local, Admission::default());
    let asked = with_file("[auth]\nrequired = true\n", NodeFlags::default()).expect("loopback");
    assert!(!asked.admission.terms.policy.is_open);
    let both = with_file("insecure_no_auth = true\n[auth]\nrequired = true\n", NodeFlags::default());
    assert!(both.expect_err("either or").message.contains("lets everybody in"));
    let dev = NodeFlags { dev: true, ..tls.clone() };
    assert!(load(dev, &home).expect_err("--dev is local").message.contains("--dev"));
    for alone in [NodeFlags { tls_key: None, ..tls.clone() }, NodeFlags { tls_cert: None, ..tls.clone() }] {
        assert!(load(alone, &home).expect_err("half").message.contains("needs its"));
    }
    let missing = NodeFlags { tls_key: Some("/nowhere/key.pem".into()), ..tls.clone() };
    let error = load(missing.clone(), &home).expect_err("no such file");
    assert!(error.message.starts_with("--tls-key: /nowhere/key.pem cannot be read"), "{error}");
    let (shown, told) = load_to_show(missing, &home).expect("it is only looked at");
    assert_eq!((told, shown.admission.port.tls.map(|tls| tls.key)), (vec![error], Some("/nowhere/key.pem".into())));
    assert!(load_to_show(tls.clone(), &home).expect("fits").1.is_empty());
    assert!(load_to_show(listen("0.0.0.0:7400"), &home).is_err(), "what is said is checked as ever");
    let swapped = NodeFlags { tls_cert: Some(key), tls_key: Some(cert), ..tls };
    let error = load(swapped, &home).expect_err("swapped");
    assert!(
        error.message.contains("--tls-cert") && error.message.contains("holds no certificate"),
        "{}",
        error.message
    );
}

#[test]
fn rules_tokens_and_issuers_are_read_and_printed_without_secrets() {
    let hash = format!("sha256:{}", "ab".repeat(32));
    let text = format!(
        r#"
        [http]
        hosts = ["Node.Example", "::1"]
        origins = ["https://Console.example:8443"]
        rate = 5
        [auth]
        required = true
        resource = "https://node.example/"
        rules = [{{ principal = "zone:*.partner", action = "call", tool = "search_*" }}, {{ principal = "*", tool = "delete_*", deny = true }}]
        [[auth.tokens]]
        name = "ci"
        hash = "{hash}"
        role = "caller"
        zone = "lab"
        expires = 2027-01-31T12:00:00+01:00
        [[auth.issuers]]
        issuer = "https://id.example"
        algorithms = ["ES384"]
        "#
    );
    let config = with_file(&text, NodeFlags::default()).expect("fits");
    let Admission { terms, port, .. } = &config.admission;
    assert_eq!((port.hosts.as_slice(), port.connections), (&["node.example".to_owned(), "::1".to_owned()][..], 1_024));
    assert_eq!((port.rate.map(std::num::NonZeroU32::get), port.stranger_rate), (Some(5), None));
    assert_eq!((terms.resource.as_str(), terms.policy.rules.len()), ("https://node.example", 2));
    assert_eq!(terms.tokens[0].expires_ms, Some(1_801_393_200_000));
    assert_eq!(terms.issuers[0].algorithms, [crate::auth::Algorithm::ES384]);
    let shown = config.to_json().to_string();
    for line in [
        "zone:*.partner may call search_*",
        "* may not do anything delete_*",
        "caller * in lab until 2027-01-31T11:00:00Z",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!shown.contains("abababab"), "not even the hash");
}

#[test]
fn a_mistake_in_a_rule_or_a_token_is_told_with_its_line() {
    let hash = format!("sha256:{}", "ab".repeat(32));
    let token = |fields: &str| format!("[[auth.tokens]]\nname = \"ci\"\n{fields}\n");
    let good = format!("hash = \"{hash}\"\nrole = \"reader\"");
    let wrong = [
        ("[auth]\nrule = []\n".to_owned(), "rules"),
        ("[auth]\nrules = [{ principal = \"*\", action = \"cal\" }]\n".to_owned(), "call"),
        (token(&format!("hash = \"{hash}\"\nrole = \"calller\"")), "caller"),
        ("[[auth.issuers]]\nissuer = \"https://id.example\"\nalgorithms = [\"ES265\"]\n".to_owned(), "ES256"),
        ("[http]\nhost = []\n".to_owned(), "hosts"),
    ];
    for (text, meant) in wrong {
        let error = with_file(&text, NodeFlags::default()).expect_err(&text);
        assert!(error.did_you_mean.iter().any(|near| near == meant), "{text}: {error:?}");
        assert!(error.message.contains("node.toml:") && error.excerpt.is_some(), "{}", error.message);
    }
    for text in [
        "[auth]\nrules = [{ principal = \"\" }]\n".to_owned(),
        "[auth]\nrules = [{ principal = \"*\", tool = \"\" }]\n".to_owned(),
        "[auth]\nrules = [{ principal = \"*\", action = \"admin\", tool = \"a*\" }]\n".to_owned(),
        "[auth]\nrules = [{ principal = \"*\", zone = \"a..b\" }]\n".to_owned(),
        token("hash = \"hunter2\"\nrole = \"reader\""),
        token(&format!("hash = \"{hash}\"\nrole = \"peer\"")),
        token(&format!("{good}\nexpires = \"tomorrow\"")),
        token(&format!("{good}\nexpires = 2027-01-31")),
        token(&good) + &token(&good),
        "[[auth.issuers]]\nissuer = \"http://id.example\"\n".to_owned(),
        "[[auth.issuers]]\nissuer = \"https://id.example\"\nalgorithms = [\"HS256\"]\n".to_owned(),
        "[[auth.issuers]]\nissuer = \"https://id.example\"\nalgorithms = []\n".to_owned(),
        "[http]\nhosts = [\"a b\"]\n".to_owned(),
        "[http]\norigins = [\"*\"]\n".to_owned(),
        "[http]\norigins = [\"https://a/b\"]\n".to_owned(),
        "[http]\nrate = 0\n".to_owned(),
        "[auth]\nresource = \"node.example\"\n".to_owned(),
    ] {
        let error = with_file(&text, NodeFlags::default()).expect_err(&text);
        assert!(!error.message.contains("hunter2"), "what may be a secret is not repeated");
    }
}

#[test]
fn every_number_is_taken_at_its_bounds_and_refused_past_them_with_a_message_that_names_them() {
    use crate::{audit, http};
    for (section, key, bounds) in [
        ("http", "rate", http::RATE),
        ("http", "stranger_rate", http::STRANGER_RATE),
        ("http", "connections", http::CONNECTIONS),
        ("http", "connections_per_address", http::CONNECTIONS_PER_ADDRESS),
        ("http", "connection_rate", http::CONNECTION_RATE),
        ("resolve", "limit", LIMIT),
        ("audit", "max_bytes", audit::FILE_BYTES),
        ("audit", "keep", audit::KEEP),
    ] {
        let (default, min, max) = bounds;
        assert!(min <= default && default <= max, "{key}");
        let read = |value: &str| with_file(&format!("[{section}]\n{key} = {value}\n"), NodeFlags::default());
        for good in [min, default, max] {
            let config = read(&good.to_string()).unwrap_or_else(|error| panic!("{key} = {good}: {error}"));
            let shown = config.settings();
            let row = shown.iter().find(|(name, ..)| *name == format!("{section}.{key}")).expect("listed");
            assert_eq!(row.1, good.to_string(), "{key}");
        }
        let past = [(min - 1).to_string(), (max + 1).to_string(), format!("\"{}\"", u64::MAX), "-1".to_owned()];
        for bad in past.into_iter().chain(["\"1.5\"".to_owned(), "\"\"".to_owned(), "\"many\"".to_owned()]) {
            let error = read(&bad).expect_err(&bad);
            let told = format!("is not a number from {min} to {max} (default {default})");
            assert!(error.message.contains(&told) && error.message.contains(":2"), "{key} = {bad}: {error}");
        }
    }
    let (default, min, max) = DEADLINE;
    let read = |text: &str| with_file(&format!("[resolve]\ndeadline = \"{text}\"\n"), NodeFlags::default());
    for good in [min, default, max] {
        assert_eq!(read(&duration_text(good)).expect("fits").resolve.deadline, good);
    }
    let step = Duration::from_millis(1);
    for bad in [Duration::ZERO, min - step, max + step] {
        let error = read(&duration_text(bad)).expect_err("past the bounds");
        assert!(error.message.contains("is not between 10ms and 1m (default 2s)"), "{error}");
    }
}

#[test]
fn so_many_tokens_rules_and_issuers_are_taken_and_one_more_is_not() {
    use super::admission::ISSUERS_MAX;
    use crate::auth::{RULES_MAX, TOKENS_MAX};
    let hash = format!("sha256:{}", "ab".repeat(32));
    let tokens = |count: usize| -> String {
        let token = |number| format!("[[auth.tokens]]\nname = \"t{number}\"\nhash = \"{hash}\"\nrole = \"reader\"\n");
        (0..count).map(token).collect()
    };
    let rules = |count: usize| -> String { "[[auth.rules]]\nprincipal = \"*\"\ndeny = true\n".repeat(count) };
    let issuers = |count: usize| -> String { "[[auth.issuers]]\nissuer = \"https://id.example\"\n".repeat(count) };
    let terms = |text: String| with_file(&text, NodeFlags::default()).map(|config| config.admission.terms);
    assert_eq!(terms(tokens(TOKENS_MAX)).expect("fits").tokens.len(), TOKENS_MAX);
    assert_eq!(terms(rules(RULES_MAX)).expect("fits").policy.rules.len(), RULES_MAX);
    assert_eq!(terms(issuers(ISSUERS_MAX)).expect("fits").issuers.len(), ISSUERS_MAX);
    for (what, most, text) in [
        ("tokens", TOKENS_MAX, tokens(TOKENS_MAX + 1)),
        ("rules", RULES_MAX, rules(RULES_MAX + 1)),
        ("issuers", ISSUERS_MAX, issuers(ISSUERS_MAX + 1)),
    ] {
        let error = terms(text).expect_err(what);
        assert!(error.message.contains(&format!("auth.{what}: more than {most}")), "{error}");
        assert!(error.message.contains("node.toml:") && error.excerpt.is_some(), "{error}");
    }
}
