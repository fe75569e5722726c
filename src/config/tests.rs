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
    let flags = NodeFlags { listen: Some("0.0.0.0:7400".into()), ..NodeFlags::default() };
    let error = load(flags, &home).expect_err("not loopback");
    assert!(error.message.starts_with("--listen: 0.0.0.0:7400 can be reached"), "{}", error.message);
    assert_eq!(error.hint.as_deref(), Some("aop-node --listen 127.0.0.1:7400"));
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
