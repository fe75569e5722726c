//! What is to happen, by time; at one time, in the order it was asked for.
//!
//! The heap holds small keys only; what an event carries lies in a slot beside it. A timer carries nothing and has no slot.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Where an event stands in the order of things.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    at: u64,
    tie: u64,
    host: u32,
    slot: u32,
}

/// The slot of events that carry nothing.
const NOTHING: u32 = u32::MAX;

/// Events of type `E`, and bare timers.
#[derive(Debug)]
pub(super) struct Queue<E> {
    heap: BinaryHeap<Reverse<Key>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    next: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), next: 0 }
    }
}

impl<E> Queue<E> {
    /// Something to happen at a host.
    pub(super) fn push(&mut self, at: Duration, host: usize, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                self.slots.len() as u32 - 1
            }
        };
        self.insert(at, host, slot);
    }

    /// A host wants to be woken.
    pub(super) fn push_timer(&mut self, at: Duration, host: usize) {
        self.insert(at, host, NOTHING);
    }

    fn insert(&mut self, at: Duration, host: usize, slot: u32) {
        self.next += 1;
        self.heap.push(Reverse(Key { at: nanos(at), tie: self.next, host: host as u32, slot }));
    }

    /// The next event, if it is not after `end`; without a value it is a timer.
    pub(super) fn pop(&mut self, end: Duration) -> Option<(Duration, usize, Option<E>)> {
        let Reverse(first) = self.heap.peek()?;
        if first.at > nanos(end) {
            return None;
        }
        let Reverse(key) = self.heap.pop()?;
        let event = self.slots.get_mut(key.slot as usize).and_then(Option::take);
        if event.is_some() {
            self.free.push(key.slot);
        }
        Some((Duration::from_nanos(key.at), key.host as usize, event))
    }
}

/// Virtual time ends after 584 years.
const fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_those_of_one_time_in_order() {
        let mut queue = Queue::default();
        let at = Duration::from_millis;
        queue.push(at(5), 1, "late");
        queue.push(at(1), 2, "first");
        queue.push_timer(at(1), 3);
        queue.push(at(1), 4, "third");
        let mut came = Vec::new();
        while let Some((_, host, event)) = queue.pop(at(2)) {
            came.push((host, event));
        }
        assert_eq!(came, [(2, Some("first")), (3, None), (4, Some("third"))]);
        assert_eq!(queue.pop(at(4)), None);
        assert_eq!(queue.pop(at(5)), Some((at(5), 1, Some("late"))));
    }
}
