//! Hostile input on stable: every vector cut, flipped, widened and spliced, and the fuzz targets' entry points under seeded chance.
//!
//! What must hold is asserted in `entry`; here is where the bytes come from. The same seeds every time; `tests/fuzz` goes on from
//! there with coverage.

use std::time::Duration;

use aop_proto::codec::Wire;
use aop_proto::name::ZoneName;
use aop_proto::now::Now;
use aop_proto::record::{Envelope, NodeId, Record, Signed};
use aop_proto::registry::{Registry, Standing};
use aop_proto::selection::Chance;
use aop_proto::transfer::Reader;
use aop_proto::trust::{SigningKey, Verifier};
use aop_proto::wire::message::Message;

mod entry;
mod support;

use entry::author::{Author, range_of};
use support::{all, frames};

/// Frames go in as frames, everything else as a record.
fn feed(is_frame: bool, bytes: &[u8]) {
    if is_frame { entry::frame(bytes) } else { entry::record(bytes) }
}

#[test]
fn every_cut_of_every_vector_is_refused() {
    for vector in all() {
        for cut in 0..vector.bytes.len() {
            feed(vector.kind.is_some(), &vector.bytes[..cut]);
            assert!(vector.kind.is_none() || Message::decode(&vector.bytes[..cut]).is_err(), "{} {cut}", vector.name);
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_another_value() {
    for vector in all() {
        let mut bytes = vector.bytes.clone();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                bytes[place] ^= 1 << bit;
                feed(vector.kind.is_some(), &bytes);
                bytes[place] ^= 1 << bit;
            }
        }
    }
}

/// At every place: counts that promise more than a frame has, and the same number written wider.
#[test]
fn bombs_and_wide_numbers_at_every_place_are_refused() {
    let bombs: [&[u8]; 6] = [
        &[253, 255, 255, 255, 255, 255, 255, 255, 255],
        &[253, 255, 255, 255, 255, 255, 255, 255, 127],
        &[252, 255, 255, 255, 255],
        &[252, 0, 0, 16, 0],
        &[251, 255, 255],
        &[251, 7, 0],
    ];
    for vector in all() {
        let header = if vector.kind.is_some() { 8 } else { 0 };
        for place in header..vector.bytes.len() {
            for bomb in bombs {
                let mut bytes = [&vector.bytes[..place], bomb, &vector.bytes[place + 1..]].concat();
                if header > 0 {
                    let length = u32::try_from(bytes.len() - header).unwrap();
                    bytes[4..8].copy_from_slice(&length.to_le_bytes());
                }
                feed(header > 0, &bytes);
            }
        }
    }
}

/// Of a signed record nothing can be changed, not even its spelling: the signature covers what it says, and what it says has one
/// spelling.
#[test]
fn a_signed_record_has_no_second_envelope() {
    for vector in all().into_iter().filter(|vector| vector.of == "Envelope") {
        let opens = |bytes: &[u8]| Verifier::default().open(bytes).is_ok();
        assert!(opens(&vector.bytes));
        let mut bytes = vector.bytes.clone();
        for place in 0..bytes.len() {
            bytes[place] ^= 1 << (place % 8);
            assert!(!opens(&bytes), "{} {place}", vector.name);
            bytes[place] ^= 1 << (place % 8);
        }
        let envelope = Envelope::decode(&vector.bytes).unwrap();
        for place in 0..=envelope.path.len() {
            let mut longer = envelope.clone();
            longer.path.insert(place, [0; 32]);
            let (below, above) = (longer.index & ((1 << place) - 1), longer.index >> place);
            longer.index = above << (place + 1) | below;
            assert!(!opens(&longer.encode()), "{}: a level without a neighbour added at {place}", vector.name);
        }
        let wide = [&[251, vector.bytes[0], 0][..], &vector.bytes[1..]].concat();
        assert!(vector.bytes[0] > 250 || !opens(&wide));
    }
}

#[test]
fn a_message_of_a_later_version_is_a_value() {
    assert_eq!(Message::decode(&aop_proto::wire::frame(63, &[1, 2])), Ok(Message::Unknown(63)));
}

/// A record of an unknown kind, and a tool whose body nobody can read, go from one registry to the next byte for byte.
#[test]
fn what_cannot_be_read_is_kept_and_relayed_as_it_came() {
    let mut author = Author::new(SigningKey::from_bytes(&[1; 32]), 1);
    let later = all().into_iter().find(|vector| vector.meaning["kind"] == 200).expect("a kind of a later version");
    let unknown = Record { hlc: 0, ..Record::decode(&later.bytes).unwrap() };
    let unreadable = Record { kind: 1, name: "t.s.research".into(), ..unknown.clone() };
    let signed = author.flush(vec![unknown, unreadable], 0);
    let (mut range, mut relayed) = (range_of(0, false, &signed).unwrap(), signed.clone());
    for relay in [NodeId([1; 32]), NodeId([2; 32])] {
        let mut registry = Registry::new(ZoneName::parse("research").unwrap());
        registry.apply(relay, &range, &relayed, Now { mono: Duration::ZERO, wall_ms: 0 }).unwrap();
        range = registry.range_of(author.origin, Standing::Through(0)).unwrap();
        relayed = range.records.iter().map(|bytes| Verifier::default().open(bytes).unwrap()).collect();
    }
    assert!(relayed.iter().map(|signed| signed.envelope()).eq(signed.iter().map(|signed| signed.envelope())));
}

#[test]
fn a_record_longer_than_the_limit_is_refused_and_one_at_it_is_not() {
    let limit = aop_proto::params::RECORD_BYTES_MAX;
    let sample = all().into_iter().find(|vector| vector.of == "Record").unwrap();
    let mut envelope = Envelope::decode(&all().into_iter().find(|v| v.of == "Envelope").unwrap().bytes).unwrap();
    let mut record = Record::decode(&sample.bytes).unwrap();
    record.body = Some(vec![0; 60_000]);
    let rest = limit - record.encode().len();
    for (length, fits) in [(60_000 + rest, true), (60_001 + rest, false)] {
        record.body = Some(vec![0; length]);
        envelope.payload = record.encode();
        assert_eq!(Signed::read(&envelope.encode()).is_ok(), fits, "{}", envelope.payload.len());
    }
}

/// Runs an entry point on seeded inputs: noise, and vectors cut, spliced and overwritten.
fn many(count: usize, seed: u8, seeds: &[Vec<u8>], entry: fn(&[u8])) {
    let mut chance = Chance::new([seed; 32]);
    let below = |chance: &mut Chance, bound: usize| usize::try_from(chance.below(bound as u64)).expect("below a usize");
    for _ in 0..count {
        let mut bytes: Vec<u8> = if seeds.is_empty() || chance.below(8) == 0 {
            (0..below(&mut chance, 2_000)).map(|_| chance.number() as u8).collect()
        } else {
            seeds[below(&mut chance, seeds.len())].clone()
        };
        for _ in 0..below(&mut chance, 4) {
            let (from, to) = (below(&mut chance, bytes.len() + 1), below(&mut chance, bytes.len() + 1));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            match chance.below(4) {
                0 => bytes.truncate(from.max(to)),
                1 => drop(bytes.splice(from..from, part)),
                2 => drop(bytes.splice(from..(from + part.len()).min(bytes.len()), part)),
                _ => bytes.iter_mut().skip(from).take(2).for_each(|byte| *byte = chance.number() as u8),
            }
        }
        entry(&bytes);
    }
}

fn texts() -> Vec<Vec<u8>> {
    let texts = support::entries("rules").into_iter();
    texts.filter_map(|entry| Some(entry["input"].as_str()?.as_bytes().to_vec())).collect()
}

#[test]
fn any_frame() {
    many(20_000, 1, &frames(), entry::frame);
}

#[test]
fn any_record() {
    let records: Vec<Vec<u8>> = all().into_iter().filter(|v| v.kind.is_none()).map(|v| v.bytes).collect();
    many(5_000, 2, &records, entry::record);
}

#[test]
fn any_envelope() {
    let trusted: Vec<Vec<u8>> = all()
        .into_iter()
        .filter(|v| ["Envelope", "Certificate", "Revocation"].contains(&v.of.as_str()))
        .map(|v| v.bytes)
        .collect();
    many(2_000, 7, &trusted, entry::envelope);
}

#[test]
fn any_chain_of_keys() {
    many(400, 8, &[], entry::chain);
}

fn bundles() -> Vec<Vec<u8>> {
    let bundles = support::entries("rules").into_iter().filter(|entry| entry["rule"] == "bundle");
    bundles.filter_map(|entry| Some(support::unhex(entry["input"].as_str()?))).collect()
}

#[test]
fn any_bundle() {
    many(20_000, 9, &bundles(), entry::bundle);
}

/// A file that is not whole is told from one that is, whatever is wrong with it.
#[test]
fn a_bundle_that_was_cut_or_changed_anywhere_is_no_bundle() {
    let is_whole = |bytes: &[u8]| {
        let (mut reader, mut rest) = (Reader::default(), bytes);
        while reader.take(&mut rest).is_ok_and(|message| message.is_some()) {}
        reader.end().is_ok() && rest.is_empty()
    };
    let mut bundle = bundles().remove(0);
    assert!(is_whole(&bundle));
    for place in 0..bundle.len() {
        assert!(!is_whole(&bundle[..place]), "cut at {place}");
        for bit in 0..8 {
            bundle[place] ^= 1 << bit;
            assert!(!is_whole(&bundle), "bit {bit} of byte {place}");
            bundle[place] ^= 1 << bit;
        }
    }
    bundle.push(0);
    assert!(!is_whole(&bundle));
}

#[test]
fn any_name() {
    many(20_000, 3, &texts(), entry::name);
}

#[test]
fn any_delta() {
    many(150, 4, &[], entry::delta);
}

#[test]
fn any_snapshot() {
    many(150, 5, &[], entry::snapshot);
}

#[test]
fn any_life_of_a_node() {
    many(300, 6, &[], entry::node);
}
