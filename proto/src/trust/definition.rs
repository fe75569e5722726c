//! The hash of a tool's definition: what a caller relies on, whoever wrote it down and in which order.

use serde::Serialize;
use serde::de::Error as _;
use sha2::{Digest, Sha256};

use crate::json::Json;
use crate::record::Hash;

const PINNED: [&str; 6] = ["annotations", "description", "inputSchema", "name", "outputSchema", "title"];

/// SHA-256 over the canonical form (RFC 8785) of what a caller relies on: name, title, description, schemas, annotations.
///
/// # Errors
/// When the definition is not a JSON object.
pub fn definition_hash(definition: &[u8]) -> Result<Hash, serde_json::Error> {
    let definition = Json::read(definition)?;
    if !definition.is_object() {
        return Err(serde_json::Error::custom("the definition is no object"));
    }
    Ok(hash_of_object(&definition))
}

/// The same of a definition that was read.
pub(super) fn hash_of_object(definition: &Json<'_>) -> Hash {
    let mut canonical = Vec::with_capacity(1024);
    write_members(PINNED.iter().filter_map(|key| Some((*key, definition.get(key)?))), &mut canonical);
    Sha256::digest(&canonical).into()
}

/// Objects sorted by UTF-16 code units of their keys, no white space (RFC 8785 §3.2). serde_json escapes text as §3.2.2.2 does.
fn write_canonical(value: &Json<'_>, out: &mut Vec<u8>) {
    match value {
        Json::Object(object) => {
            let mut members: Vec<(&str, &Json<'_>)> = object.iter().map(|(key, member)| (&**key, member)).collect();
            // The sort is stable, so of members of one name the last one is the last of its run.
            members.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            let last_of_runs = members.chunk_by(|a, b| a.0 == b.0).filter_map(|run| run.last().copied());
            write_members(last_of_runs, out);
        }
        Json::Array(items) => {
            out.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        Json::Number(number) => write_number(number.as_f64().expect("every number is kept as 64 bits"), out),
        Json::Text(text) => write_text(text, out),
        Json::Bool(value) => write_json(value, out),
        Json::Null => write_json(&(), out),
    }
}

fn write_members<'a>(members: impl Iterator<Item = (&'a str, &'a Json<'a>)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (place, (key, member)) in members.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_text(key, out);
        out.push(b':');
        write_canonical(member, out);
    }
    out.push(b'}');
}

fn write_json(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("text is JSON, and a vector takes all of it");
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Nearly all of it is written as it is.
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        return write_json(&text, out);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Integers up to here are doubles, and are written digit by digit.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// ECMAScript's Number::toString of a double (RFC 8785 §3.2.2.3).
fn write_number(double: f64, out: &mut Vec<u8>) {
    if double.trunc() == double && double.abs() <= SAFE_INTEGER_MAX {
        return write_json(&(double as i64), out);
    }
    let scientific = scientific(double.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("the form has an exponent");
    let exponent: i32 = exponent.parse().expect("the form ends in it");
    let digits = mantissa.replace('.', "");
    if double < 0.0 {
        out.push(b'-');
    }
    let places = exponent.unsigned_abs() as usize;
    let written = match exponent {
        0..21 if digits.len() <= places + 1 => format!("{digits:0<width$}", width = places + 1),
        0..21 => format!("{}.{}", &digits[..=places], &digits[places + 1..]),
        -6..0 => format!("0.{digits:0>width$}", width = places - 1 + digits.len()),
        21.. => format!("{mantissa}e+{exponent}"),
        _ => format!("{mantissa}e{exponent}"),
    };
    out.extend_from_slice(written.as_bytes());
}

/// The fewest digits that give a double back, of these the nearest, of two that are as near the even one (ECMA-262, Number::toString,
/// note 2). Rust finds how many; where it rounds them otherwise, rounding to that many is nearer, if that gives the double back at all.
fn scientific(double: f64) -> String {
    let shortest = format!("{double:e}");
    let digits = shortest.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
    let nearest = format!("{double:.*e}", digits - 1);
    if nearest.parse() == Ok(double) { nearest } else { shortest }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8785, appendix B, and one more.
    #[test]
    fn doubles_are_written_as_the_rfc_writes_them() {
        for (bits, written) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
            // A power of two: the nearest sixteen digits are those of its smaller neighbour.
            (0x3d30_0000_0000_0000, "5.684341886080802e-14"),
        ] {
            let mut text = Vec::new();
            write_number(f64::from_bits(bits), &mut text);
            assert_eq!(text, written.as_bytes());
        }
    }

    #[test]
    fn the_canonical_form_is_that_of_rfc_8785() {
        for (written, canonical) in [
            (
                "[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001]",
                "[333333333.3333333,1e+30,4.5,0.002,1e-27]",
            ),
            (
                "[9007199254740993,18446744073709551615,-9223372036854775808]",
                "[9007199254740992,18446744073709552000,-9223372036854776000]",
            ),
            // The nearest double, which needs more than a table of powers to find.
            ("[122.416294033786585,-0,-0.0,0e9,1e-400]", "[122.41629403378658,0,0,0,0]"),
            (
                r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/\b\t\u007f""#,
                "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\\b\\t\u{7f}\"",
            ),
            (
                r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#,
                "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}",
            ),
        ] {
            let mut text = Vec::new();
            write_canonical(&Json::read(written.as_bytes()).unwrap(), &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), canonical);
        }
    }

    #[test]
    fn the_definition_hash_ignores_order_and_space_and_sees_every_word() {
        let one = br#"{"name":"t","inputSchema":{"b":1,"a":[1.0,2]},"execution":{"x":1}}"#;
        let same = br#"{ "inputSchema": {"a":[1, 2], "b":1}, "name":"t" }"#;
        let other = br#"{"name":"t","inputSchema":{"b":1,"a":[2,1]}}"#;
        assert_eq!(definition_hash(one).unwrap(), definition_hash(same).unwrap());
        assert_ne!(definition_hash(one).unwrap(), definition_hash(other).unwrap());
        assert!(definition_hash(b"[]").is_err());
        let twice = br#"{"name":"x","name":"t","inputSchema":{"b":7,"b":1,"a":[1,2]}}"#;
        assert_eq!(definition_hash(one).unwrap(), definition_hash(twice).unwrap(), "the last of one name counts");
    }
}
