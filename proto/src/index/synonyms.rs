//! Words that people use for one another when they speak of tools: a question that says one may mean a tool that says another.
//!
//! It is a table by hand, of common words of computing and of daily life, and no dictionary: a line says that any of its words may stand
//! for any other. A tool that has the very word of the question always counts for more than one that has another of the line
//! ([`Scorer`](super::Scorer)), so that a wrong line costs little.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::stem::push_stem;
use super::terms::STEM_MARK;

/// Stems that may stand for this one, all with their mark; sorted.
pub(super) fn others(stem: &str) -> &'static [Box<str>] {
    static TABLE: LazyLock<Table> = LazyLock::new(table);
    TABLE.get(stem).map_or(&[], |others| others)
}

/// By stem.
type Table = BTreeMap<Box<str>, Box<[Box<str>]>>;

fn table() -> Table {
    let stem = |word: &str| {
        let mut stem = String::from(STEM_MARK);
        push_stem(word, &mut stem);
        stem.into_boxed_str()
    };
    let mut pairs: BTreeMap<Box<str>, Vec<Box<str>>> = BTreeMap::new();
    for line in LINES {
        let stems: Vec<Box<str>> = line.split(' ').map(stem).collect();
        for one in &stems {
            pairs.entry(one.clone()).or_default().extend(stems.iter().filter(|other| *other != one).cloned());
        }
    }
    let sorted = |(stem, mut others): (Box<str>, Vec<Box<str>>)| {
        others.sort();
        others.dedup();
        (stem, others.into())
    };
    pairs.into_iter().map(sorted).collect()
}

#[rustfmt::skip]
const LINES: &[&str] = &[
    // Verbs of tools.
    "get fetch retrieve obtain read",
    "list enumerate",
    "delete remove erase drop",
    "create add new make insert",
    "update edit modify change alter",
    "search find lookup query",
    "send deliver",
    "show display view",
    "start launch run begin",
    "stop terminate end halt",
    "execute run",
    "generate create produce",
    "build create construct",
    "compute calculate",
    "convert transform",
    "compare comparison versus",
    "analyze analysis examine",
    "check verify validate",
    "summarize summary digest",
    "translate translation",
    "recommend suggest recommendation suggestion",
    "download save",
    "upload import",
    "explain describe",
    "schedule plan",
    "book reserve reservation booking",
    "buy purchase shop shopping",
    "cancel revoke",
    "rename move",
    "copy clone duplicate",
    "merge combine join",
    "split divide",
    "monitor track tracking watch",
    "configure setup setting",
    "publish release post",
    "write compose draft",
    "discover explore",
    "browse visit surf",
    "play game",
    "draw paint sketch",
    "speak talk speech",
    "learn study course education lesson",
    "teach tutor train",
    "hire recruit",
    "invest investment investing",
    "estimate predict forecast prediction",
    "count number",
    "sort order rank",
    // Travel and places.
    "trip travel journey vacation holiday tour itinerary",
    "hotel accommodation lodging stay",
    "flight airline plane airfare aviation",
    "airport flight",
    "train railway rail subway metro",
    "bus transit transport",
    "taxi cab ride uber",
    "car vehicle automobile auto",
    "route direction navigation directions navigate",
    "map location geographic",
    "address location geocode",
    "nearby near local around",
    "place location venue",
    "distance far",
    "city town",
    "country nation",
    "park parking garage",
    "tourist attraction sightseeing tourism",
    "electric ev charging charger",
    "gas fuel petrol",
    // Food.
    "restaurant dining cafe eatery",
    "food meal dish cuisine",
    "recipe cook cooking ingredient bake",
    "dinner meal lunch breakfast restaurant",
    "drink beverage cocktail wine",
    "diet calorie nutrition",
    "grocery supermarket",
    // Weather, earth, space.
    "weather temperature rain forecast climate",
    "rain weather snow",
    "sunny weather humidity wind",
    "pollution air quality",
    "earthquake seismic",
    "space astronomy nasa planet",
    "moon lunar",
    // Money.
    "stock share equity ticker",
    "price cost",
    "money finance financial",
    "currency exchange",
    "crypto cryptocurrency bitcoin coin",
    "bank banking account",
    "loan mortgage credit",
    "tax taxation",
    "invoice bill payment",
    "pay payment",
    "portfolio investment asset",
    "market trading trade",
    "salary wage pay",
    "discount coupon deal promo",
    "cheap discount deal affordable",
    "product item",
    "donate charity nonprofit donation",
    "gift present",
    // Work, law, home.
    "job career employment occupation vacancy",
    "resume cv",
    "interview career",
    "company business firm corporation organization",
    "employee staff worker",
    "lawyer attorney legal law",
    "legal law",
    "contract agreement",
    "house home property housing",
    "apartment rent rental flat",
    "estate property",
    "furniture home",
    "clothes fashion outfit wear clothing apparel",
    "beauty cosmetic makeup skincare",
    // Health.
    "health medical",
    "doctor physician medical",
    "disease illness condition",
    "medicine drug medication",
    "symptom diagnosis disease",
    "hospital clinic",
    "workout exercise fitness gym training",
    "patient clinical",
    "trial clinical",
    "covid coronavirus pandemic",
    // Media.
    "movie film cinema",
    "show tv television series",
    "watch streaming stream",
    "song music track",
    "album artist music",
    "band artist musician",
    "concert ticket event",
    "playlist music song",
    "singer artist",
    "guitar chord",
    "photo image picture photograph",
    "logo brand",
    "video youtube clip film",
    "audio sound voice",
    "news headline article",
    "article paper post",
    "podcast episode",
    "book novel ebook reading",
    "story tale fiction",
    "author writer",
    "magazine newspaper news",
    "quote quotation",
    "joke humor funny",
    "meme funny",
    "gif animation",
    // Learning, science.
    "paper publication research article",
    "academic scholarly research paper scholar",
    "arxiv paper",
    "science scientific",
    "university college",
    "school education",
    "student learner",
    "exam test quiz",
    "homework assignment",
    "math mathematics arithmetic",
    "equation formula",
    "statistic statistics stats",
    "definition meaning dictionary",
    "synonym thesaurus",
    "language tutor foreign",
    "grammar spelling",
    "essay writing",
    "history historical",
    "religion prayer",
    // Sport and games.
    "sport team league",
    "soccer football",
    "match game fixture",
    "player athlete",
    "score result",
    "standing ranking table",
    "basketball nba",
    "baseball mlb",
    "hockey nhl",
    "puzzle crossword sudoku",
    "card deck",
    // Astrology.
    "horoscope astrology zodiac",
    "tarot fortune",
    "personality mbti",
    // Communication.
    "email mail inbox",
    "message chat sms",
    "text sms",
    "phone telephone call",
    "meeting calendar appointment event",
    "reminder todo task",
    "note memo",
    "conversation chat dialogue",
    "contact people person",
    "friend follower",
    "tweet twitter",
    "social media",
    "comment reply",
    "user member account",
    "profile account",
    "notification alert",
    "feedback review rating",
    // Web and marketing.
    "website site web webpage page",
    "url link",
    "internet web online",
    "google search",
    "domain dns website",
    "seo keyword",
    "advertisement ad ads advertising campaign",
    "marketing campaign",
    "brand company",
    "traffic visitor",
    "trend popular trending",
    "crawl scrape scraper",
    "browser web",
    "survey form questionnaire",
    "blog post article",
    // Documents and design.
    "document file doc",
    "pdf document",
    "word docx document",
    "spreadsheet excel sheet workbook",
    "presentation slide powerpoint slides",
    "chart graph plot diagram",
    "visualize visualization chart plot",
    "table column",
    "folder directory",
    "file path",
    "image icon",
    "color colour",
    "font typeface",
    "design template",
    "text string",
    "extract parse",
    "ocr scan handwriting",
    "print export",
    "report summary",
    // Computing.
    "code program script programming",
    "function method",
    "bug issue error defect",
    "error exception failure",
    "fix repair resolve",
    "repository repo git",
    "commit change",
    "branch git",
    "pull merge",
    "test testing",
    "deploy deployment",
    "app application",
    "software program",
    "library package dependency",
    "database db sql",
    "sql query",
    "server host machine",
    "vm virtual machine",
    "container docker",
    "kubernetes cluster k8s aks",
    "cloud azure aws",
    "storage blob bucket",
    "secret credential password",
    "key secret",
    "certificate cert tls",
    "permission access role",
    "login authentication auth signin",
    "log logs logging",
    "metric metrics telemetry",
    "event log",
    "queue message",
    "api endpoint",
    "config configuration",
    "environment env",
    "variable parameter",
    "memory ram",
    "cpu processor",
    "disk volume",
    "network subnet",
    "latency performance speed",
    "backup snapshot",
    "version release",
    "id identifier",
    "uuid identifier",
    "time clock",
    "date day calendar",
    "timezone time zone",
    "today current now",
    "hash checksum",
    "encrypt encryption",
    "vulnerability security",
    "breach leak hack",
    "hack security",
    "ai intelligence",
    "llm model",
    "prompt instruction",
    "agent assistant",
    "bot chatbot",
    "plugin extension",
    "weather meteorological",
    // Vehicles, pets, misc.
    "dog pet puppy",
    "cat pet kitten",
    "animal pet wildlife",
    "plant garden gardening flower",
    "baby child infant",
    "kid child children",
    "wedding marriage",
    "birthday anniversary",
    "government political politics",
    "election vote voting",
    "crime police",
    "emergency disaster",
    "vin vehicle",
    "dice roll random",
    "random shuffle",
    "barcode qr",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_line_stand_for_each_other_in_any_form() {
        assert!(others("~film").iter().any(|other| &**other == "~movy"));
        assert!(others("~movy").iter().any(|other| &**other == "~film"));
        assert!(others("~nosuchword").is_empty() && others("film").is_empty());
    }

    /// A question has room for its own words and for those that may stand for them.
    #[test]
    fn no_word_has_many_others() {
        let table = table();
        assert!(table.values().all(|others| others.len() <= 16 && others.is_sorted()));
        assert!(table.iter().all(|(stem, others)| !others.contains(stem)));
    }
}
