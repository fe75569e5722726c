//! `[view]`: finding a tool in what readers see of a zone, beside a map of the standard library behind the same kind of pointer.
//!
//! In this process, on one thread and on two at once. Times are of the thread's own processor, so that somebody else on it does not
//! count; lookups a second are not, and two threads need two processors for themselves. Both sides are asked for names as text, drawn by
//! Zipf's law; that a name has to be read first is shown apart.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aop_proto::name::FullName;
use aop_proto::zone::Tool;
use arc_swap::ArcSwap;

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::catalogue;
use crate::library;
use crate::rounds::{Contestant, play};
use crate::sheet::{Bound, Column, Sample, Sheet};
use crate::table::count;
use crate::trace::Zipf;

const TOOLS: usize = 100_000;
const ZONE: &str = "research";
/// Lookups between two looks at the clock.
const STRETCH: usize = 1 << 16;

const NS: &str = "ns";
const ONE: &str = "million_one_thread";
const TWO: &str = "million_two_threads";
const GAIN: &str = "two_by_one";

/// Rows, in their order.
const MAP: usize = 0;
const TEXT: usize = 2;
const READ: usize = 3;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("view: filling a zone");
    let view = ArcSwap::from_pointee(library::node(ZONE, TOOLS)?.view());
    let names: Vec<String> = (0..TOOLS).map(|number| catalogue::full_name(number, ZONE)).collect();
    // Which name is asked for how often has nothing to do with when it was written.
    let mut zipf = Zipf::new(TOOLS, 7);
    let places: Vec<usize> = (0..STRETCH).map(|_| zipf.draw() * 7_919 % TOOLS).collect();
    let texts: Vec<&str> = places.iter().map(|place| names[*place].as_str()).collect();
    let read: Vec<FullName> = texts.iter().map(|text| FullName::parse(text)).collect::<std::result::Result<_, _>>()?;
    let map = |names: &[String]| -> ArcSwap<HashMap<String, Arc<str>>> {
        ArcSwap::from_pointee(names.iter().map(|name| (name.clone(), Arc::from(name.as_str()))).collect())
    };
    let (map, again) = (map(&names), map(&names));

    let in_map = |map: &ArcSwap<HashMap<String, Arc<str>>>| {
        texts.iter().filter(|text| map.load().get(**text).is_some_and(|found| black_box(found.len()) > 0)).count()
    };
    let by_text = || texts.iter().filter(|text| is_there(view.load().tools.find_text(text))).count();
    let by_name = || read.iter().filter(|name| is_there(view.load().tools.find(name))).count();
    let slice = arguments.slice;
    let contestants = vec![
        Contestant::new("HashMap<String, Arc<…>> behind arc-swap", || visit(slice, || in_map(&map))),
        Contestant::new("another of the same (A/A)", || visit(slice, || in_map(&again))),
        Contestant::new("View, a name as text", || visit(slice, by_text)),
        Contestant::new("View, a name read before", || visit(slice, by_name)),
    ];
    let column = |key, title, digits, compared| Column { key, title, digits, compared };
    let tools = count(TOOLS);
    let mut sheet = Sheet {
        about: format!("a tool by its full name in the published view, {tools} tools, names by Zipf's law"),
        columns: vec![
            column(NS, "ns", 1, true),
            column(ONE, "M/s, 1 thread", 2, false),
            column(TWO, "2 threads", 2, false),
            column(GAIN, "2 ÷ 1", 2, false),
        ],
        rows: play("view", arguments, contestants),
        ..Sheet::default()
    };
    for (row, what) in [(TEXT, "a name as text"), (READ, "a name read before")] {
        let ns = sheet.ratio(row, MAP, NS);
        sheet.aim(&format!("{what}, ns ÷ map"), ns, Bound::AtMost(3.0), Some(Bound::AtMost(1.5)));
        let gain = sheet.median(row, GAIN);
        sheet.aim(&format!("{what}, two threads ÷ one"), gain, Bound::AtLeast(1.7), Some(Bound::AtLeast(1.9)));
    }
    Ok(sheet)
}

fn is_there(tool: Option<&Tool>) -> bool {
    tool.is_some_and(|tool| black_box(tool.instances().len()) > 0)
}

/// `look` looks for [`STRETCH`] names and says how many it found.
fn visit(slice: Duration, look: impl Fn() -> usize + Sync) -> Result<Sample> {
    let (alone, ns) = look_for(slice / 2, &look)?;
    let both = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| look_for(slice / 2, &look)));
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread failed")?).collect::<Result<Vec<_>>>()
    })?;
    let both: f64 = both.iter().map(|(rate, _)| rate).sum();
    Ok(Sample::from([(NS, ns), (ONE, alone / 1e6), (TWO, both / 1e6), (GAIN, both / alone)]))
}

/// Lookups a second, and processor time of one in ns.
fn look_for(slice: Duration, look: impl Fn() -> usize) -> Result<(f64, f64)> {
    let (began, used, mut looked) = (Instant::now(), own_time()?, 0);
    while began.elapsed() < slice {
        let found = look();
        if found != STRETCH {
            return Err(format!("{found} of {STRETCH} names are found").into());
        }
        looked += found;
    }
    let (took, used) = (began.elapsed(), own_time()? - used);
    Ok((looked as f64 / took.as_secs_f64(), used.as_secs_f64() * 1e9 / looked as f64))
}

/// Processor time of this thread, see [`crate::process`].
fn own_time() -> Result<Duration> {
    // A thread that gives way is counted up to here.
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let used = text.split(' ').next().and_then(|field| field.parse().ok()).ok_or("schedstat says no time")?;
    Ok(Duration::from_nanos(used))
}
