//! Rule `bundle`: a file as its bytes, and what it is where it is whole.

use aop_proto::transfer::{Look, Reader};
use aop_proto::wire::message::{Bundle, BundleEnd, Message, Ranges, Vector};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::meaning::Meaning;
use crate::support::hex;

/// What a file holds: its zone, where it leads to and the number of its frames; `null` when it is no whole bundle.
pub(crate) fn output(input: &Value) -> Value {
    let bytes: Vec<u8> = Meaning::from_json(input);
    let read = || {
        let (mut reader, mut look, mut frames, mut rest) = (Reader::default(), Look::new(None), 0, &bytes[..]);
        while let Some(message) = reader.take(&mut rest).ok()? {
            look.at(message);
            frames += 1;
        }
        reader.end().ok()?;
        let opening = look.found().ok()?;
        Some(json!({"zone": opening.bundle.zone, "vector": opening.vector.to_json(), "frames": frames}))
    };
    read().unwrap_or(Value::Null)
}

/// The frame at the end of these.
pub(crate) fn end_of(frames: &[Vec<u8>]) -> BundleEnd {
    let hash = frames.iter().fold(Sha256::new(), |hash, frame| hash.chain_update(frame)).finalize();
    BundleEnd { frames: frames.len() as u64, hash: hash.into() }
}

pub(crate) fn inputs(bundle: Bundle, vector: Vector, ranges: Ranges) -> Vec<(&'static str, Value)> {
    let frames = |messages: Vec<Message>| messages.iter().map(Message::encode).collect::<Vec<_>>();
    let file = |frames: Vec<Vec<u8>>| {
        let end = Message::from(end_of(&frames)).encode();
        [frames.concat(), end].concat()
    };
    let whole = file(frames(vec![bundle.clone().into(), vector.clone().into(), ranges.clone().into()]));
    let empty = file(frames(vec![bundle.clone().into(), vector.clone().into()]));
    let later = file(
        [frames(vec![bundle.clone().into(), vector.clone().into()]), vec![Message::Unknown(200).encode()]].concat(),
    );
    let without = file(frames(vec![bundle.clone().into(), ranges.into()]));
    let twice = file(frames(vec![bundle.clone().into(), vector.into(), bundle.into()]));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let cut = whole[..whole.len() - 1].to_vec();
    let longer = [whole.clone(), vec![0]].concat();
    let all = [whole, empty, later, flipped, cut, longer, without, twice, Vec::new(), b"PK\x03\x04bundle".to_vec()];
    all.iter().map(|bytes| ("bundle", json!(hex(bytes)))).collect()
}
