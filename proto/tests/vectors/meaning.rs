//! Every type that travels, as JSON and as bincode writes it: one line a type, the fields in the order of the wire.
//!
//! The compiler checks the names and that none is missing; the bytes check the order.

use aop_proto::record::*;
use aop_proto::wire::message::*;
use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::support::{hex, unhex};

/// A value with a meaning in JSON, and with the bytes that bincode gives it.
pub(crate) trait Meaning: Sized {
    fn to_json(&self) -> Value;
    fn from_json(json: &Value) -> Self;
    fn put<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError>;
    fn take<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError>;

    /// Bytes are hex, every other list is one.
    fn list_to_json(list: &[Self]) -> Value {
        list.iter().map(Self::to_json).collect()
    }
    fn list_from_json(json: &Value) -> Vec<Self> {
        json.as_array().expect("a list").iter().map(Self::from_json).collect()
    }
}

/// The bytes that bincode 2.0.1 gives a value.
pub(crate) fn bincode_bytes<T: Meaning>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(By(value), bincode::config::standard()).expect("samples have bytes")
}

/// The value that bincode 2.0.1 reads from all of these bytes.
pub(crate) fn bincode_value<T: Meaning>(bytes: &[u8]) -> T {
    let (Is(value), used) = bincode::decode_from_slice(bytes, bincode::config::standard()).expect("vectors decode");
    assert_eq!(used, bytes.len());
    value
}

/// A meaning as bincode takes it, so that lists and options are bincode's own.
struct By<'a, T>(&'a T);

impl<T: Meaning> Encode for By<'_, T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.put(encoder)
    }
}

/// A meaning as bincode gives it.
struct Is<T>(T);

impl<T: Meaning, C> Decode<C> for Is<T> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        T::take(decoder).map(Is)
    }
}

macro_rules! plain {
    ($($name:ty = |$json:ident| $read:expr $(, $list:item $unlist:item)?;)*) => {$(
        impl Meaning for $name {
            fn to_json(&self) -> Value {
                json!(self)
            }
            fn from_json($json: &Value) -> Self {
                $read
            }
            fn put<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                self.encode(encoder)
            }
            fn take<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
                Self::decode(decoder)
            }
            $($list $unlist)?
        }
    )*};
}

plain! {
    u16 = |json| Self::try_from(json.as_u64().expect("a number")).expect("it fits");
    u32 = |json| Self::try_from(json.as_u64().expect("a number")).expect("it fits");
    u64 = |json| json.as_u64().expect("a number");
    bool = |json| json.as_bool().expect("true or false");
    String = |json| json.as_str().expect("text").to_owned();
    u8 = |json| Self::try_from(json.as_u64().expect("a number")).expect("it fits"),
        fn list_to_json(list: &[Self]) -> Value {
            hex(list).into()
        }
        fn list_from_json(json: &Value) -> Vec<Self> {
            unhex(json.as_str().expect("hex"))
        };
}

impl<const N: usize> Meaning for [u8; N] {
    fn to_json(&self) -> Value {
        hex(self).into()
    }
    fn from_json(json: &Value) -> Self {
        unhex(json.as_str().expect("hex")).try_into().expect("as many bytes as the type has")
    }
    fn put<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.encode(encoder)
    }
    fn take<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

impl Meaning for NodeId {
    fn to_json(&self) -> Value {
        self.0.to_json()
    }
    fn from_json(json: &Value) -> Self {
        Self(Meaning::from_json(json))
    }
    fn put<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.put(encoder)
    }
    fn take<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        Meaning::take(decoder).map(Self)
    }
}

impl<T: Meaning> Meaning for Vec<T> {
    fn to_json(&self) -> Value {
        T::list_to_json(self)
    }
    fn from_json(json: &Value) -> Self {
        T::list_from_json(json)
    }
    fn put<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.iter().map(By).collect::<Vec<_>>().encode(encoder)
    }
    fn take<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Vec::<Is<T>>::decode(decoder)?.into_iter().map(|item| item.0).collect())
    }
}

/// Shared bytes are bytes.
impl Meaning for Bytes {
    fn to_json(&self) -> Value {
        self.to_vec().to_json()
    }
    fn from_json(json: &Value) -> Self {
        Vec::from_json(json).into()
    }
    fn put<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.to_vec().put(encoder)
    }
    fn take<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        <Vec<u8> as Meaning>::take(decoder).map(Self::from)
    }
}

impl<T: Meaning> Meaning for Option<T> {
    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }
    fn from_json(json: &Value) -> Self {
        (!json.is_null()).then(|| T::from_json(json))
    }
    fn put<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.as_ref().map(By).encode(encoder)
    }
    fn take<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Option::<Is<T>>::decode(decoder)?.map(|item| item.0))
    }
}

impl<A: Meaning, B: Meaning> Meaning for (A, B) {
    fn to_json(&self) -> Value {
        json!([self.0.to_json(), self.1.to_json()])
    }
    fn from_json(json: &Value) -> Self {
        (A::from_json(&json[0]), B::from_json(&json[1]))
    }
    fn put<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.put(encoder)?;
        self.1.put(encoder)
    }
    fn take<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok((A::take(decoder)?, B::take(decoder)?))
    }
}

macro_rules! choices {
    ($($name:ident { $($choice:ident = $number:literal),* })*) => {$(
        impl Meaning for $name {
            fn to_json(&self) -> Value {
                match self { $(Self::$choice => stringify!($choice).into(),)* }
            }
            fn from_json(json: &Value) -> Self {
                match json.as_str() {
                    $(Some(stringify!($choice)) => Self::$choice,)*
                    _ => panic!("{json} is no {}", stringify!($name)),
                }
            }
            fn put<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                match self { $(Self::$choice => $number,)* }.put(encoder)
            }
            fn take<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
                match u32::take(decoder)? {
                    $($number => Ok(Self::$choice),)*
                    _ => Err(DecodeError::Other(stringify!($name))),
                }
            }
        }
    )*};
}

macro_rules! structs {
    ($($name:ident { $($field:ident),* })*) => {
        $(impl Meaning for $name {
            fn to_json(&self) -> Value {
                let mut object = Map::new();
                $(object.insert(stringify!($field).to_owned(), self.$field.to_json());)*
                object.into()
            }
            fn from_json(json: &Value) -> Self {
                Self { $($field: Meaning::from_json(&json[stringify!($field)])),* }
            }
            fn put<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                $(self.$field.put(encoder)?;)*
                Ok(())
            }
            fn take<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
                Ok(Self { $($field: Meaning::take(decoder)?),* })
            }
        })*

        /// Does one thing with the type of that name.
        pub(crate) fn with_type<V: Visit>(name: &str, visit: V) {
            match name {
                $(stringify!($name) => visit.visit::<$name>(),)*
                _ => panic!("no type {name}"),
            }
        }
    };
}

/// Something to do with any type that travels.
pub(crate) trait Visit {
    fn visit<T: Meaning + aop_proto::codec::Wire + PartialEq>(self);
}

choices! {
    Form { Exact = 0_u32, Words = 1_u32, List = 2_u32 }
    Health { Ok = 0_u32, Unknown = 1_u32, Degraded = 2_u32, Down = 3_u32 }
}

structs! {
    Hello { zone, address, version, zone_key, chain, manifests, founding, held, versions }
    Admit { zone_key, chain, manifests }
    Refuse { reason }
    Join { token }
    Revoked { statements }
    Leave { seq }
    Fork { chain, one, other }
    Referral { zone, zone_key, proofs, anchors, manifests, delegation }
    ReferredChild { zone_key, epoch, manifests, gateways }
    Delegate { zone, zone_key, chain, manifests, gateways, tools }
    Serials { zones }
    Above { anchors, manifests, proofs }
    Serial { zone, node, stamp, tag }
    Digest { hash, members }
    Buckets { hashes }
    Vector { buckets, entries, reply }
    Ranges { ranges, chains, more, hop }
    Range { origin, from_exclusive, to_inclusive, cut, records }
    Announce { dots, hop }
    Announced { origin, through }
    Busy { retry_ms }
    ClockAhead { ahead_ms }
    Bundle { zone, zone_key, manifests, node, issued_ms, delta }
    BundleEnd { frames, hash }
    Ping { number, updates }
    Ack { number, updates }
    PingRequest { number, target, updates }
    Members { updates, reply }
    Update { node, counter, state, by }
    AskExport { id, known }
    Export { id, zones, whole, filter }
    Exported { zone, node, tag, age_ms, documents, total_length }
    Keeps { answers }
    KeptAnswer { question, seconds }
    Query { id, question, deadline_ms, hops, budget, visited, outside, cached }
    Question { form, text, zone, limit, tags, capabilities, after }
    Answer { id, zones, silent, skipped, proofs }
    ZoneAnswer {
        zone, node, tag, behind, age_ms, ttl_ms, took_us, documents, total_length, frequencies, matches, candidates, near
    }
    Candidate { envelope, chain, instances, clash }
    Instance { node, address, health, error, since_ms }
    Silent { zone, reason }
    Call { name, home, zone, def_hash, arguments, extra, deadline_ms, hops, progress, key, priority, afar, author }
    Author { zone, node, chain, proofs, issued_ms, number, signature }
    Progress { params }
    CallResult { part, failed, not_sent, last, served_by, hops }
    Origin { node, incarnation }
    Record {
        zone, kind, name, node, incarnation, seq, epoch, hlc, visibility, issued_ms, expires_ms, def_hash, body
    }
    Head { seq, floor, count, root }
    Envelope { payload, index, path, head, signature }
    ToolBody { server, original, definition, tags, capabilities, examples, agent, replica, served }
    AgentBody { model, role, parameters }
    NodeBody { address, version, chain, parents }
    DelegationBody { zone_key, epoch, gateways, tools, since_ms }
    Gateway { node, address }
    ServerBody { up, error, since_ms }
    ReapBody { node, incarnation }
    Revocation { zone, node, child, issued_ms, reason, chain, signature }
    GrantBody { role }
    ManifestBody { zone, epoch, key, issued_ms, by_previous, by_key }
    Certificate { zone, node, issuer, issued_ms, signature }
    ZoneProof { zone, delegation, chain, manifests }
}
