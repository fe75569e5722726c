//! What far fellows keep of other zones, as they tell it, so that no question goes by a fellow that would have to ask above itself
//! ("Summary Cache", Fan, Cao, Almeida and Broder 1998).
//!
//! A near fellow costs next to nothing, so whoever owns a question is asked first, whatever it keeps. A far one costs as much as a zone,
//! and is asked for what it said it keeps alone.
//!
//! What must always hold: what is told is a hint. Who keeps it no more asks above, and the answer is as good and as old as it says.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::cache::{Kept, Shelf};
use crate::codec::Wire;
use crate::params::{KEPT_LIFE_MIN, KEPT_PAUSE, KEPT_TOLD_MAX};
use crate::record::NodeId;
use crate::resolver::Act;
use crate::wire::message::{Keeps, KeptAnswer, Question};

/// Which question it is, among those of one zone: two with one number cost a detour.
fn number_of(question: &Question) -> u32 {
    let hash: [u8; 32] = Sha256::digest(question.encode()).into();
    u32::from_le_bytes(*hash.first_chunk().expect("4 of 32 bytes"))
}

/// What fellows keep, and what they are still to be told of this node.
#[derive(Debug, Default)]
pub(super) struct Fellows {
    keeps: Shelf<u32, NodeId>,
    news: Vec<KeptAnswer>,
    tell_at: Option<Duration>,
}

impl Fellows {
    /// This node keeps an answer from now on, for so long.
    pub(super) fn keep(&mut self, question: &Question, lifetime: Duration, now: Duration) {
        if lifetime < KEPT_LIFE_MIN || self.news.len() >= KEPT_TOLD_MAX {
            return;
        }
        let seconds = u16::try_from(lifetime.as_secs()).unwrap_or(u16::MAX);
        self.news.push(KeptAnswer { question: number_of(question), seconds });
        self.tell_at.get_or_insert(now + KEPT_PAUSE);
    }

    /// When fellows are to be told next.
    pub(super) const fn next_deadline(&self) -> Option<Duration> {
        self.tell_at
    }

    /// Tells far fellows what is new, if it is time to.
    pub(super) fn tell(&mut self, far: &[NodeId], now: Duration) -> Vec<Act> {
        if self.tell_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.tell_at = None;
        let keeps = Keeps { answers: std::mem::take(&mut self.news) };
        far.iter().map(|fellow| Act::Tell(*fellow, keeps.clone())).collect()
    }

    /// A fellow tells what it keeps. False when it tells more than anybody may at once; nothing of that is believed.
    pub(super) fn on_keeps(&mut self, fellow: NodeId, keeps: &Keeps, now: Duration) -> bool {
        if keeps.answers.len() > KEPT_TOLD_MAX {
            return false;
        }
        for KeptAnswer { question, seconds } in &keeps.answers {
            let bytes = size_of::<(u32, NodeId)>();
            self.keeps.put(*question, fellow, bytes, Duration::from_secs(u64::from(*seconds)), now);
        }
        true
    }

    /// One of these, if it keeps the answer.
    pub(super) fn who_keeps(&mut self, question: &Question, among: &[NodeId], now: Duration) -> Option<NodeId> {
        let Kept { value: fellow, .. } = self.keeps.get(&number_of(question), now)?;
        among.contains(&fellow).then_some(fellow)
    }

    /// Forgets what others keep.
    pub(super) fn flush(&mut self) {
        self.keeps.retain(|_, _| false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Form;

    const LIFE: Duration = Duration::from_secs(300);

    fn question(text: &str) -> Question {
        Question {
            form: Form::Exact,
            text: text.to_owned(),
            zone: None,
            limit: 1,
            tags: Vec::new(),
            capabilities: Vec::new(),
            after: String::new(),
        }
    }

    #[test]
    fn what_is_told_is_found_until_it_ends() {
        let (us, them, now) = (NodeId([1; 32]), NodeId([2; 32]), Duration::from_secs(1));
        let (mut ours, mut theirs) = (Fellows::default(), Fellows::default());
        assert!(theirs.tell(&[us], now).is_empty());
        theirs.keep(&question("a.z"), LIFE, now);
        theirs.keep(&question("short.z"), KEPT_LIFE_MIN - Duration::from_secs(1), now);
        assert!(theirs.tell(&[us], now).is_empty(), "several are told together");
        let later = theirs.next_deadline().unwrap();
        let told = theirs.tell(&[us], later);
        let [Act::Tell(to, keeps)] = &told[..] else { panic!("one message") };
        assert_eq!((*to, keeps.answers.len(), theirs.next_deadline()), (us, 1, None));
        assert!(ours.on_keeps(them, keeps, later));
        assert_eq!(ours.who_keeps(&question("a.z"), &[them], later), Some(them));
        assert_eq!(ours.who_keeps(&question("a.z"), &[us], later), None, "it is there no more");
        assert_eq!(ours.who_keeps(&question("b.z"), &[them], later), None);
        assert_eq!(ours.who_keeps(&question("a.z"), &[them], later + LIFE), None);
        assert!(ours.on_keeps(them, keeps, later));
        ours.flush();
        assert_eq!(ours.who_keeps(&question("a.z"), &[them], later), None);
    }

    #[test]
    fn nobody_tells_or_hears_more_than_so_much_at_once() {
        let (them, now) = (NodeId([2; 32]), Duration::ZERO);
        let mut fellows = Fellows::default();
        (0..=KEPT_TOLD_MAX).for_each(|number| fellows.keep(&question(&number.to_string()), LIFE, now));
        let told = fellows.tell(&[them], now + KEPT_PAUSE);
        let [Act::Tell(_, keeps)] = &told[..] else { panic!("one message") };
        assert_eq!(keeps.answers.len(), KEPT_TOLD_MAX);
        assert!(fellows.on_keeps(them, keeps, now));
        let more = Keeps { answers: vec![keeps.answers[0]; KEPT_TOLD_MAX + 1] };
        assert!(!fellows.on_keeps(them, &more, now));
    }
}
