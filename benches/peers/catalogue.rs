//! The tools that nodes are measured with: the same ones every time, of about the size of real ones, all of different words.

use std::fmt::Write as _;
use std::path::Path;

use crate::Result;

const VERBS: [&str; 12] = [
    "search",
    "fetch",
    "list",
    "create",
    "update",
    "delete",
    "convert",
    "summarize",
    "send",
    "merge",
    "compare",
    "plot",
];
const NOUNS: [&str; 16] = [
    "papers",
    "invoices",
    "calendars",
    "branches",
    "orders",
    "photos",
    "contacts",
    "routes",
    "tickets",
    "sensors",
    "recipes",
    "contracts",
    "payments",
    "forecasts",
    "datasets",
    "playlists",
];
const WHERE: [&str; 8] = [
    "in the archive of a library",
    "of one customer",
    "between two dates",
    "near a place",
    "of the whole team",
    "that nobody has read yet",
    "with their history",
    "as a spreadsheet",
];
/// Tools of one server.
const SERVER_TOOLS: usize = 20;

/// Writes so many tools to a file, one a line, as nodes import them.
pub(crate) fn write(file: &Path, tools: usize) -> Result<()> {
    let mut text = String::new();
    for number in 0..tools {
        let _ = writeln!(text, "{}", line(number));
    }
    Ok(std::fs::write(file, text)?)
}

/// One tool as a line of a catalogue.
pub(crate) fn line(number: usize) -> String {
    let (verb, noun, place) = words(number);
    let (name, server) = (name(number), server(number));
    serde_json::json!({
        "name": name,
        "server": server,
        "title": format!("{verb} {noun} {number}"),
        "description": format!("Lets you {verb} {noun} {place}. Returns at most a page, newest first, each with its \
            identifier, a title and who changed it last; ask for the next page with the cursor of the last answer. \
            Needs no account for what is public. Kept by desk {number}."),
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": format!("What the {noun} have to be about")},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "description": "How many at most"},
                "since": {"type": "string", "format": "date-time", "description": "Only what is newer"},
                "order": {"type": "string", "enum": ["newest", "oldest", "best"], "description": "What comes first"},
            },
            "required": ["query"],
            "additionalProperties": false,
        },
    })
    .to_string()
}

fn words(number: usize) -> (&'static str, &'static str, &'static str) {
    (VERBS[number % VERBS.len()], NOUNS[number / 3 % NOUNS.len()], WHERE[number / 7 % WHERE.len()])
}

fn name(number: usize) -> String {
    let (verb, noun, _) = words(number);
    format!("{verb}_{noun}_{number}")
}

fn server(number: usize) -> String {
    format!("desk{}", number / SERVER_TOOLS)
}

/// The full name of a tool in a zone.
pub(crate) fn full_name(number: usize, zone: &str) -> String {
    format!("{}.{}.{zone}", name(number), server(number))
}

/// `many` full names of `tools`, evenly spread.
pub(crate) fn full_names(tools: usize, many: usize, zone: &str) -> Vec<String> {
    (0..many).map(|at| full_name(at * tools / many, zone)).collect()
}
