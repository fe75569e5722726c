//! Values to bytes and back, in bincode's `standard()` format: little endian, variable-length integers, tags as `u32`.
//!
//! The only file that names the serializer. Decoding is total: any bytes give a value or an error, all bytes must be consumed,
//! and the length is checked before anything is allocated. A value has exactly one spelling: what decodes encodes to the same bytes,
//! so nobody makes a second text of something that was signed or hashed. Types that travel derive [`WireRead`] and [`WireWrite`];
//! they are not recursive, hold no maps and nothing without bytes, and keep their vectors sorted where order has no meaning.
//!
//! After the freeze a type never changes, neither in its fields nor in their order: a reader consumes a body whole, so one field
//! more is another type. What comes later comes as a new kind of message or of record, and old builds skip or relay that.

use wincode::config::Configuration;
use wincode::int_encoding::VarInt;
pub use wincode::{SchemaRead as WireRead, SchemaWrite as WireWrite};

use crate::params::FRAME_BYTES_MAX;

/// Room that one vector may ask for before its items are read. The serializer checks `len × size_of::<T>()` on encode as well, so
/// this is above [`FRAME_BYTES_MAX`]: no item of a full vector of ours takes twice its bytes in memory.
const PREALLOCATION_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

pub(crate) type Format = Configuration<
    true,
    PREALLOCATION_BYTES_MAX,
    wincode::len::BincodeLen,
    wincode::int_encoding::LittleEndian,
    VarInt,
    u32,
    FRAME_BYTES_MAX,
>;

const fn format() -> Format {
    Configuration::new()
}

/// Bytes that are not the value they should be. The input is counted and dropped; no state changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`FRAME_BYTES_MAX`]; nothing was allocated.
    #[error("{0} bytes, more than a frame may have")]
    TooLong(usize),
    /// Not a value of the expected type, or bytes left over.
    #[error("not a valid {what}: {why}")]
    Invalid {
        /// The type that was expected.
        what: &'static str,
        /// What the decoder found.
        why: String,
    },
}

/// A value that has bytes. Implemented for everything that derives the two traits.
pub trait Wire: Sized {
    /// The bytes of this value.
    ///
    /// # Panics
    /// When a value of ours breaks the format's bounds, which is a defect of ours: bounds are checked where values are made.
    fn encode(&self) -> Vec<u8>;

    /// The bytes of this value, or `None` when it breaks the format's bounds: for values made of what others said.
    fn try_encode(&self) -> Option<Vec<u8>>;

    /// The value of exactly these bytes.
    ///
    /// # Errors
    /// [`DecodeError`]; no state changes.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
}

impl<T> Wire for T
where
    T: WireWrite<Format, Src = T> + for<'de> WireRead<'de, Format, Dst = T>,
{
    fn encode(&self) -> Vec<u8> {
        write(self)
    }

    fn try_encode(&self) -> Option<Vec<u8>> {
        wincode::config::serialize(self, format()).ok()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read_in_place(bytes)
    }
}

/// The value of exactly these bytes; it may borrow its texts from them.
///
/// # Errors
/// [`DecodeError`]; no state changes.
pub(crate) fn read_in_place<'a, T>(bytes: &'a [u8]) -> Result<T, DecodeError>
where
    T: WireWrite<Format, Src = T> + WireRead<'a, Format, Dst = T>,
{
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let invalid = |why: String| DecodeError::Invalid { what: short_name::<T>(), why };
    let value: T = wincode::config::deserialize_exact(bytes, format()).map_err(|error| invalid(error.to_string()))?;
    // The format leaves one choice, how wide a number is written, and every wider one is longer: equal length is equal bytes.
    if len_of(&value) != Some(bytes.len()) {
        return Err(invalid("a number is written wider than it needs".to_owned()));
    }
    Ok(value)
}

/// How many bytes a value has, or `None` when it breaks the format's bounds.
pub(crate) fn len_of<T: WireWrite<Format, Src = T>>(value: &T) -> Option<usize> {
    wincode::config::serialized_size(value, format()).ok().and_then(|size| usize::try_from(size).ok())
}

/// Bytes that say how many follow, before a text or bytes.
pub(crate) const fn bytes_of_count(count: u16) -> usize {
    if count < 251 { 1 } else { 3 }
}

/// The bytes of a value that borrows.
///
/// # Panics
/// As [`Wire::encode`].
pub(crate) fn write<T: WireWrite<Format, Src = T>>(value: &T) -> Vec<u8> {
    wincode::config::serialize(value, format()).expect("values we make stay within the format's bounds")
}

fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, WireRead, WireWrite, bincode::Encode, bincode::Decode)]
    struct Sample {
        small: u8,
        wide: u64,
        signed: i64,
        text: String,
        bytes: Vec<u8>,
        key: [u8; 32],
        signature: [u8; 64],
        maybe: Option<Vec<String>>,
        choice: Choice,
        list: Vec<(u64, u32)>,
    }

    #[derive(Debug, Clone, PartialEq, WireRead, WireWrite, bincode::Encode, bincode::Decode)]
    enum Choice {
        Nothing,
        Named { id: u64, flag: bool },
        Tuple(String),
    }

    fn samples() -> Vec<Sample> {
        let base = Sample {
            small: 7,
            wide: u64::MAX,
            signed: -251,
            text: "wörter".into(),
            bytes: vec![0, 255, 1],
            key: [9; 32],
            signature: [3; 64],
            maybe: Some(vec!["a".into(), String::new()]),
            choice: Choice::Named { id: 300, flag: true },
            list: vec![(250, 251), (65_536, 4_294_967_295)],
        };
        vec![
            Sample { choice: Choice::Nothing, maybe: None, ..base.clone() },
            Sample { choice: Choice::Tuple("x".repeat(300)), wide: 0, signed: i64::MIN, ..base.clone() },
            base,
        ]
    }

    #[test]
    fn bytes_equal_bincode_standard() {
        for sample in samples() {
            let theirs = bincode::encode_to_vec(&sample, bincode::config::standard()).unwrap();
            assert_eq!(sample.encode(), theirs);
            assert_eq!(Sample::decode(&theirs).unwrap(), sample);
        }
    }

    #[test]
    fn every_cut_and_every_leftover_is_an_error() {
        let bytes = samples()[2].encode();
        for cut in 0..bytes.len() {
            assert!(Sample::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Sample::decode(&longer).is_err());
    }

    #[test]
    fn the_count_before_a_text_is_as_wide_as_it_is_said_to_be() {
        for len in [0, 1, 250, 251, 300, u16::MAX] {
            assert_eq!(vec![7_u8; len.into()].encode().len() - usize::from(len), bytes_of_count(len), "{len}");
        }
    }

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(u64::decode(&[251, 44, 1]), Ok(300));
        for wider in [&[251, 7, 0][..], &[252, 44, 1, 0, 0], &[253, 44, 1, 0, 0, 0, 0, 0, 0]] {
            assert!(u64::decode(wider).is_err(), "{wider:?}");
        }
        assert_eq!(Vec::<u8>::decode(&[1, 9]), Ok(vec![9]));
        assert!(Vec::<u8>::decode(&[251, 1, 0, 9]).is_err(), "nor has a count");
    }

    #[test]
    fn tags_other_than_the_known_ones_are_refused() {
        assert!(bool::decode(&[2]).is_err() && Option::<u8>::decode(&[2, 0]).is_err() && Choice::decode(&[3]).is_err());
        assert!(String::decode(&[1, 255]).is_err(), "text is UTF-8");
    }

    #[test]
    fn a_length_bomb_is_refused_before_it_allocates() {
        let bomb = [253, 255, 255, 255, 255, 255, 255, 255, 127];
        assert!(Vec::<u64>::decode(&bomb).is_err());
        assert_eq!(Vec::<u8>::decode(&vec![0; FRAME_BYTES_MAX + 1]), Err(DecodeError::TooLong(FRAME_BYTES_MAX + 1)));
    }
}
