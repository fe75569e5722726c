//! What the zones below hold, as far as they have told: enough to ask none that has nothing to say, and those first that promise most.
//!
//! Nobody tells it unasked: a node asks for it where a question would have gone, and again while it is of use.
//!
//! What must always hold: whoever is not asked would have found nothing. So an export counts only while no later tag of any zone in it was
//! heard, while everybody of the zone who could be asked says the same, and no longer than a cached answer; and it says how old it is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bounds::COUNT_MAX;
use super::{Route, Terms};
use crate::cache::Tags;
use crate::index::{Filter, Query};
use crate::name::ZoneName;
use crate::params::{EXPORT_PAUSE, EXPORT_RENEWAL, EXPORT_ZONES_MAX, TTL_L2};
use crate::record::NodeId;
use crate::selection::Chance;
use crate::wire::message::{AskExport, Export, Exported, Form, Question, ZoneAnswer};

/// An export that nobody honest sends. Nothing of it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadExport;

/// What was told of zones below, by the node that told it.
#[derive(Debug, Default)]
pub struct Exports {
    held: BTreeMap<NodeId, Held>,
    /// Whom this node asked last, by which number, and when.
    asked: BTreeMap<NodeId, (u64, Duration)>,
}

#[derive(Debug)]
struct Held {
    zone: ZoneName,
    zones: Vec<(ZoneName, Exported)>,
    whole: bool,
    filter: Filter,
    /// When it was asked for.
    at: Duration,
}

impl Held {
    /// How old the oldest part of it is.
    fn age(&self, now: Duration) -> Duration {
        let oldest = self.zones.iter().map(|(_, exported)| exported.age_ms).max().unwrap_or(0);
        Duration::from_millis(oldest) + now.saturating_sub(self.at)
    }

    fn stands(&self, tags: &Tags, now: Duration) -> bool {
        let is_old = |(zone, it): &(ZoneName, Exported)| tags.newest(zone).is_some_and(|tag| tag != it.tag);
        self.whole && self.age(now) < TTL_L2 && !self.zones.iter().any(is_old)
    }

    fn may_answer(&self, query: &Query) -> bool {
        query.terms().iter().any(|term| self.filter.may_hold(term))
    }
}

impl Exports {
    /// Whom of a route to ask for what the zones behind it hold: whoever has not told, or a while ago, and was not asked just now.
    pub fn asks(&mut self, route: &Route, tags: &Tags, chance: &mut Chance, now: Duration) -> Vec<(NodeId, AskExport)> {
        let mut asks = Vec::new();
        for peer in &route.peers {
            let held = self.held.get(peer);
            let is_fresh = held.is_some_and(|held| held.stands(tags, now) && held.age(now) < EXPORT_RENEWAL);
            let is_asked = self.asked.get(peer).is_some_and(|(_, at)| now < *at + EXPORT_PAUSE);
            if !is_fresh && !is_asked {
                let id = chance.number();
                self.asked.insert(*peer, (id, now));
                asks.push((*peer, AskExport { id, known: held.map(|held| held.filter.mark()) }));
            }
        }
        asks
    }

    /// Takes what a node of `zone` told of it and of those below it.
    ///
    /// # Errors
    /// [`BadExport`]: nobody asked for it, it speaks of other zones, of too many, or its filter is none.
    pub fn take(&mut self, peer: NodeId, zone: &ZoneName, export: Export, tags: &Tags) -> Result<(), BadExport> {
        let (_, at) = self.asked.get(&peer).copied().filter(|(id, _)| *id == export.id).ok_or(BadExport)?;
        if export.zones.len() > EXPORT_ZONES_MAX {
            return Err(BadExport);
        }
        let named = export.zones.into_iter().map(|exported| {
            let name = ZoneName::parse(&exported.zone).ok().filter(|name| name.is_within(zone))?;
            let [age_ms, documents, total_length] =
                [exported.age_ms, exported.documents, exported.total_length].map(|count| count.min(COUNT_MAX));
            Some((name, Exported { age_ms, documents, total_length, ..exported }))
        });
        let zones: Vec<(ZoneName, Exported)> = named.collect::<Option<_>>().ok_or(BadExport)?;
        let known = self.held.get(&peer).map(|held| held.filter.clone());
        let filter = match export.filter {
            Some(bits) => Filter::read(&bits).ok_or(BadExport)?,
            None => known.unwrap_or_default(),
        };
        let lists = |of: &ZoneName| zones.iter().any(|(name, _)| name == of);
        let whole = export.whole && lists(zone) && tags.reached_within(zone).all(lists);
        self.held.insert(peer, Held { zone: zone.clone(), zones, whole, filter, at });
        Ok(())
    }

    /// A node is not connected any more.
    pub fn lose(&mut self, peer: NodeId) {
        self.held.remove(&peer);
        self.asked.remove(&peer);
    }

    /// A tag of a zone was heard: whoever has it below and did not tell of just that says nothing that counts.
    pub(super) fn on_tag(&mut self, zone: &ZoneName, tag: u64) {
        for held in self.held.values_mut().filter(|held| zone.is_within(&held.zone)) {
            held.whole &= held.zones.iter().any(|(name, it)| name == zone && it.tag == tag);
        }
    }

    /// Forgets what was told of a zone and those below it, or of all.
    pub(super) fn flush(&mut self, zone: Option<&ZoneName>) {
        self.held.retain(|_, held| zone.is_some_and(|zone| !held.zone.is_within(zone) && !zone.is_within(&held.zone)));
    }

    /// What everybody of a zone who could be asked has told and still stands.
    fn standing(&self, route: &Route, tags: &Tags, now: Duration) -> Option<Vec<&Held>> {
        let of = |peer: &NodeId| {
            let held = self.held.get(peer).filter(|held| held.zone.as_str() == route.zone);
            held.filter(|held| held.stands(tags, now))
        };
        (!route.peers.is_empty()).then(|| route.peers.iter().map(of).collect::<Option<Vec<&Held>>>())?
    }

    /// What is told upwards of the zone at the end of a route and of those below it.
    pub fn told_of(&self, route: &Route, tags: &Tags, now: Duration) -> Option<(Vec<Exported>, Filter)> {
        let standing = self.standing(route, tags, now)?;
        let mut filter = Filter::default();
        standing.iter().for_each(|held| filter.merge(&held.filter));
        Some((united(&standing, now), filter))
    }

    /// What the zones behind a route would say to a question none of whose words they have; nothing where they have to be asked.
    pub(super) fn nothing_there(
        &self,
        route: &Route,
        question: &Question,
        terms: &Terms,
        visited: &[String],
        tags: &Tags,
        now: Duration,
    ) -> Option<Vec<ZoneAnswer>> {
        if question.form != Form::Words || !terms.cached || is_like_a_name(&question.text) {
            return None;
        }
        let standing = self.standing(route, tags, now)?;
        let query = Query::parse(&question.text);
        if standing.iter().any(|held| held.may_answer(&query) || held.age(now) > terms.age_max) {
            return None;
        }
        let wanted = question.zone.as_deref().and_then(|zone| ZoneName::parse(zone).ok());
        let related = |zone: &ZoneName| wanted.as_ref().is_none_or(|w| w.is_within(zone) || zone.is_within(w));
        let is_asked = |exported: &Exported| {
            !visited.contains(&exported.zone) && ZoneName::parse(&exported.zone).is_ok_and(|zone| related(&zone))
        };
        let oldest = standing.iter().map(|held| held.age(now)).max().unwrap_or_default();
        let life = TTL_L2.saturating_sub(oldest).as_millis() as u64;
        let answer = |exported: Exported| ZoneAnswer {
            zone: exported.zone,
            node: exported.node,
            tag: exported.tag,
            behind: false,
            age_ms: exported.age_ms,
            ttl_ms: life,
            took_us: 0,
            documents: exported.documents,
            total_length: exported.total_length,
            // What is missing counts as 0.
            frequencies: Vec::new(),
            matches: 0,
            candidates: Vec::new(),
            near: Vec::new(),
        };
        Some(united(&standing, now).into_iter().filter(is_asked).map(answer).collect())
    }

    /// How many zones lie behind a route, itself among them, where that is known.
    pub(super) fn zones_behind(&self, route: &Route, tags: &Tags, now: Duration) -> Option<u16> {
        let zones = united(&self.standing(route, tags, now)?, now).len();
        Some(u16::try_from(zones).unwrap_or(u16::MAX))
    }

    /// Puts those first that hold the rarest words of a question: a word is worth the more the fewer of these zones have it (the inverse
    /// collection frequency of CORI, Callan and others 1995). Whoever has told nothing may hold everything.
    pub(super) fn by_promise<T>(&self, routes: &mut [(T, Route, Question)], text: &str) {
        let query = Query::parse(text);
        let may_hold = |route: &Route, term: &str| {
            let held = route.peers.iter().find_map(|peer| self.held.get(peer));
            held.is_none_or(|held| !held.whole || held.filter.may_hold(term))
        };
        let worth: Vec<f32> = query
            .terms()
            .iter()
            .map(|term| {
                let holders = routes.iter().filter(|(_, route, _)| may_hold(route, term)).count();
                (routes.len() as f32 / holders.max(1) as f32).ln_1p()
            })
            .collect();
        let promise = |route: &Route| {
            let held = query.terms().iter().zip(&worth).filter(|(term, _)| may_hold(route, term));
            held.map(|(_, worth)| worth).sum::<f32>()
        };
        routes.sort_by_cached_key(|(_, route, _)| {
            // Positive numbers sort as their bits do.
            (std::cmp::Reverse(promise(route).to_bits()), route.zone.clone())
        });
    }
}

/// What several nodes of a zone told of it and those below it: every zone that one of them named, as old as the oldest word of it.
fn united(told: &[&Held], now: Duration) -> Vec<Exported> {
    let mut zones: BTreeMap<&str, Exported> = BTreeMap::new();
    for held in told {
        let waited = now.saturating_sub(held.at).as_millis() as u64;
        for (_, exported) in &held.zones {
            let age_ms = exported.age_ms.saturating_add(waited);
            let known = zones.entry(&exported.zone).or_insert_with(|| exported.clone());
            known.age_ms = known.age_ms.max(age_ms);
        }
    }
    zones.into_values().collect()
}

/// Whether a tool could go by the text, although none of its words were told apart from names: such a question is always asked.
fn is_like_a_name(text: &str) -> bool {
    text.contains(['.', '/']) || text.contains("__") || !Query::is_telling(text)
}

/// How many zones each of several may ask, of all that may be asked beyond them: what it needs where that is known, and an equal share of
/// the rest where not.
pub(super) fn shares(left: u16, needs: &[Option<u16>]) -> Vec<u16> {
    let known: u32 = needs.iter().flatten().map(|need| u32::from(*need)).sum();
    let open = needs.iter().filter(|need| need.is_none()).count() as u32;
    // Where not even the known needs are met, or nothing would be left for the others, all are cut alike.
    let equal = u32::from(left) / u32::try_from(needs.len().max(1)).unwrap_or(u32::MAX);
    let fits = known + open * equal <= u32::from(left);
    let rest = if fits { (u32::from(left) - known).checked_div(open).unwrap_or(0) } else { equal };
    let share = |need: &Option<u16>| match need {
        Some(need) if fits => u32::from(*need),
        Some(need) => u32::from(*need).min(equal),
        None => rest,
    };
    needs.iter().map(|need| u16::try_from(share(need)).unwrap_or(u16::MAX)).collect()
}
