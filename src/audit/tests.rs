//! The audit over crashes, rotations, failing disks and editors.

use std::fs;
use std::path::Path;

use aop_proto::access::{Glob, Principal};
use tempfile::TempDir;

use super::files::FILE;
use super::ring::RING_MAX;
use super::*;

const SMALL: Settings = Settings { file_bytes_max: 2_000, keep: 3, calls: true };

fn open(dir: &Path, settings: Settings) -> Audit {
    Audit::open(dir, settings, Clock::start()).unwrap()
}

fn called(name: impl std::fmt::Display) -> Entry {
    Entry::by(&Principal::Anonymous, Event::Called).name(name)
}

fn all() -> Query {
    Query { limit: ENTRIES_MAX, ..Query::default() }
}

/// One member of every line.
fn member(page: &Page, key: &str) -> Vec<String> {
    let value = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()[key].to_string();
    page.lines.iter().map(value).collect()
}

fn text(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

/// An audit with some entries in one file, closed.
async fn written(entries: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), Settings::default());
    for at in 0..entries {
        audit.record(called(at)).await;
    }
    audit.close();
    dir
}

/// What a verification says is wrong with files that were changed while no node ran: where, and why.
async fn broken(dir: &TempDir) -> Option<(String, u64)> {
    let audit = open(dir.path(), Settings::default());
    audit.record(called("later")).await;
    let found = audit.verify().await.unwrap();
    assert_eq!(found.intact, found.broken.is_none());
    found.broken.map(|broken| (broken.file, broken.line))
}

#[tokio::test]
async fn what_is_recorded_is_read_back_over_restarts_and_the_chain_goes_on() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    for run in 0..3 {
        let audit = open(dir.path(), Settings::default());
        audit.record_durable(Entry::own(Event::Started)).await.unwrap();
        audit.record(called(run)).await;
        // Nothing is read before it is written.
        assert_eq!(audit.read(all()).await.unwrap().lines.len(), 2 * run + 2);
        audit.close();
        assert_eq!(audit.record_durable(called("late")).await, Err(AuditError::Closed));
    }
    let audit = open(dir.path(), Settings::default());
    let page = audit.read(all()).await.unwrap();
    assert_eq!(member(&page, "seq"), ["1", "2", "3", "4", "5", "6"]);
    let found = audit.verify().await.unwrap();
    let wanted = Verified { intact: true, entries: 6, first: Some(1), last: Some(6), missing: 0, broken: None };
    assert_eq!(found, wanted);
    assert_eq!(fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn full_files_are_put_aside_and_the_oldest_end() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), SMALL);
    for at in 0..100 {
        audit.record(called(at)).await;
    }
    let page = audit.read(all()).await.unwrap();
    let sequence: Vec<u64> = member(&page, "seq").iter().map(|seq| seq.parse().unwrap()).collect();
    assert_eq!(sequence.last(), Some(&100));
    assert!(sequence.len() < 100 && sequence.is_sorted_by(|a, b| a + 1 == *b), "{sequence:?}");
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [FILE, "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.3"]);
    for name in &names {
        assert!(fs::metadata(dir.path().join(name)).unwrap().len() <= SMALL.file_bytes_max);
    }
    let found = audit.verify().await.unwrap();
    assert_eq!((found.intact, found.first, found.last), (true, Some(sequence[0]), Some(100)));
    audit.close();
    // Fewer are kept from the next rotation on.
    let audit = open(dir.path(), Settings { keep: 1, ..SMALL });
    for at in 0..40 {
        audit.record(called(at)).await;
    }
    assert!(audit.verify().await.unwrap().intact);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_wherever_it_was_torn() {
    let whole = written(3).await;
    let lines = text(whole.path(), FILE);
    let last = lines.trim_end().rfind('\n').unwrap() + 1;
    for end in last..lines.len() {
        for garbage in ["", "\0\0\0"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FILE), format!("{}{garbage}", &lines[..end])).unwrap();
            let audit = open(dir.path(), Settings::default());
            assert_eq!(text(dir.path(), FILE), lines[..last], "{end}");
            audit.record(called("later")).await;
            let found = audit.verify().await.unwrap();
            assert_eq!((found.intact, found.entries, found.last), (true, 3, Some(3)), "{end}");
        }
    }
    fs::write(whole.path().join(FILE), "half a line").unwrap();
    assert_eq!(broken(&whole).await, None, "nothing but a torn line is an empty file");
}

#[tokio::test]
async fn an_edit_a_cut_and_another_order_are_seen() {
    type Change = fn(&mut Vec<String>);
    let changes: [(Change, u64); 6] = [
        (|lines| lines[4] = lines[4].replace("anonymous", "operator"), 6),
        (|lines| drop(lines.remove(4)), 5),
        (|lines| lines.swap(4, 5), 5),
        (|lines| lines.insert(4, lines[3].clone()), 5),
        (|lines| lines[4].push(' '), 6),
        (|lines| lines[4] = "not a line".to_owned(), 5),
    ];
    for (change, line) in changes {
        let dir = written(10).await;
        let mut lines: Vec<String> = text(dir.path(), FILE).lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(dir.path().join(FILE), lines.join("\n") + "\n").unwrap();
        assert_eq!(broken(&dir).await, Some((FILE.to_owned(), line)));
    }
    let dir = written(10).await;
    fs::write(dir.path().join(FILE), [text(dir.path(), FILE), "x".repeat(1 << 20), "\n".into()].concat()).unwrap();
    assert_eq!(broken(&dir).await, Some((FILE.to_owned(), 11)));
    assert_eq!(broken(&written(10).await).await, None);
}

#[tokio::test]
async fn under_a_running_node_even_the_first_and_the_last_line_cannot_be_changed_or_cut() {
    let changes: [fn(&str) -> String; 3] = [
        |text| text.replace("\"9\"", "\"x\""),
        |text| text[..text.len() - 100].to_owned(),
        |text| text.split_once('\n').unwrap().1.to_owned(),
    ];
    for change in changes {
        let dir = tempfile::tempdir().unwrap();
        let audit = open(dir.path(), Settings::default());
        for at in 0..10 {
            audit.record(called(at)).await;
        }
        assert!(audit.verify().await.unwrap().intact);
        fs::write(dir.path().join(FILE), change(&text(dir.path(), FILE))).unwrap();
        assert!(!audit.verify().await.unwrap().intact);
    }
}

#[tokio::test]
async fn a_lost_file_in_the_middle_is_seen_and_one_at_the_beginning_is_not_held_against_anybody() {
    for (lost, intact) in [("audit.jsonl.2", false), ("audit.jsonl.3", true)] {
        let dir = tempfile::tempdir().unwrap();
        let audit = open(dir.path(), SMALL);
        for at in 0..100 {
            audit.record(called(at)).await;
        }
        audit.close();
        fs::remove_file(dir.path().join(lost)).unwrap();
        assert_eq!(broken(&dir).await.is_none(), intact, "{lost}");
    }
}

#[tokio::test]
async fn while_writes_fail_nothing_is_acknowledged_and_what_was_lost_leaves_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), Settings { file_bytes_max: 200_000, keep: 100, calls: true });
    // Nothing can be put aside where a directory stands.
    let in_the_way = dir.path().join("audit.jsonl.1");
    fs::create_dir(&in_the_way).unwrap();
    let name = "x".repeat(256);
    // Nobody waits for a broken disk.
    for _ in 0..6_000 {
        audit.record(called(&name)).await;
    }
    let failed = audit.record_durable(called("more")).await.unwrap_err();
    assert!(matches!(failed, AuditError::Failed { .. }));
    assert_eq!(audit.health(), Err(failed));
    assert_eq!(audit.read(Query { limit: 1, ..all() }).await.unwrap().lines.len(), 1, "what is there can be read");
    assert!(audit.verify().await.is_err(), "nobody knows what is written");
    let errors = audit.errors();
    assert!(errors > 1_000, "failures and losses are counted: {errors}");
    fs::remove_dir(&in_the_way).unwrap();
    audit.record_durable(called("after")).await.unwrap();
    assert_eq!(audit.health(), Ok(()));
    let found = audit.verify().await.unwrap();
    assert!(found.intact && found.missing > 1_000 && found.missing <= errors, "{found:?}");
    assert_eq!((found.first, found.last), (Some(1), Some(6_002)));
    assert_eq!(found.entries + found.missing, 6_002);
}

#[tokio::test]
async fn a_rotation_that_fails_again_and_again_costs_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), SMALL);
    for at in 0..60 {
        audit.record_durable(called(at)).await.unwrap();
    }
    fs::rename(dir.path().join("audit.jsonl.1"), dir.path().join("kept")).unwrap();
    fs::create_dir(dir.path().join("audit.jsonl.1")).unwrap();
    let others = || ["audit.jsonl.2", "audit.jsonl.3"].map(|name| text(dir.path(), name));
    let before = others();
    let mut failures = 0;
    while failures < 5 {
        failures += u32::from(audit.record_durable(called("more")).await.is_err());
    }
    assert_eq!(others(), before);
}

#[tokio::test]
async fn a_query_filters_by_kind_principal_time_and_number() {
    let dir = tempfile::tempdir().unwrap();
    for audit in [open(dir.path(), Settings::default()), Audit::memory(Settings::default(), Clock::start())] {
        audit.record_durable(Entry::own(Event::Started)).await.unwrap();
        let token = Principal::Token("ci-deploy".to_owned());
        audit.record(Entry::by(&token, Event::Registered).name("papers")).await;
        audit.record(called("echo")).await;
        audit.record(called("echo").failed(aop_proto::error::Kind::NameNotFound)).await;
        let read = async |query: Query| member(&audit.read(query).await.unwrap(), "seq");
        assert_eq!(read(all()).await, ["1", "2", "3", "4"]);
        assert_eq!(read(Query { limit: 2, ..all() }).await, ["3", "4"]);
        assert_eq!(read(Query { limit: 0, ..all() }).await, [""; 0]);
        assert_eq!(read(Query { after: 3, ..all() }).await, ["4"]);
        assert_eq!(read(Query { events: vec![Event::Called], ..all() }).await, ["3", "4"]);
        assert_eq!(read(Query { events: vec![Event::Started, Event::Registered], ..all() }).await, ["1", "2"]);
        for (glob, seqs) in
            [("token:*", vec!["2"]), ("anonymous", vec!["3", "4"]), ("", vec!["1"]), ("operator", vec![])]
        {
            assert_eq!(read(Query { principal: Some(Glob::new(glob)), ..all() }).await, seqs, "{glob}");
        }
        assert_eq!(read(Query { since_ms: u64::MAX >> 20, ..all() }).await, [""; 0]);
        assert_eq!(read(Query { since_ms: Clock::start().now().wall_ms - 60_000, ..all() }).await.len(), 4);
        let page = audit.read(all()).await.unwrap();
        assert_eq!(member(&page, "outcome")[2..], ["\"ok\"", "\"AOP0302\""]);
    }
}

#[tokio::test]
async fn memory_keeps_the_last_events_and_no_more() {
    let audit = Audit::memory(Settings::default(), Clock::start());
    for at in 0..RING_MAX + 10 {
        audit.record(called(at)).await;
    }
    let page = audit.read(all()).await.unwrap();
    let sequence = member(&page, "seq");
    assert_eq!((sequence.len(), sequence[0].as_str()), (RING_MAX, "11"));
    let found = audit.verify().await.unwrap();
    assert_eq!((found.intact, found.first, found.entries), (true, Some(11), RING_MAX as u64));
}

#[tokio::test]
async fn calls_are_left_out_where_the_operator_says_so_and_what_is_recorded_is_counted() {
    let audit = Audit::memory(Settings { calls: false, ..Settings::default() }, Clock::start());
    audit.record(called("echo")).await;
    audit.record_durable(Entry::own(Event::Started)).await.unwrap();
    assert_eq!(member(&audit.read(all()).await.unwrap(), "event"), ["\"started\""]);
    let counted: Vec<_> = audit.counts().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("started", 1)]);
}

#[tokio::test]
async fn many_at_once_are_all_written_in_the_order_of_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), Settings::default());
    let recorders = (0..8).map(|_| {
        let audit = audit.clone();
        tokio::spawn(async move {
            for at in 0..5_000 {
                audit.record(called(at)).await;
            }
        })
    });
    for recorder in recorders.collect::<Vec<_>>() {
        recorder.await.unwrap();
    }
    let found = audit.verify().await.unwrap();
    assert_eq!((found.intact, found.entries, found.missing), (true, 40_000, 0));
}
