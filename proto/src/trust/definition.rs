//! The hash of a tool's definition: what a caller relies on, whoever wrote it down and in which order.

use sha2::{Digest, Sha256};

use crate::record::Hash;

/// SHA-256 over the canonical form (RFC 8785) of what a caller relies on: name, title, description, schemas, annotations.
///
/// # Errors
/// When the definition is not a JSON object.
pub fn definition_hash(definition: &[u8]) -> Result<Hash, serde_json::Error> {
    const PINNED: [&str; 6] = ["annotations", "description", "inputSchema", "name", "outputSchema", "title"];
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(definition)?;
    let mut canonical = String::from("{");
    for key in PINNED {
        if let Some(value) = object.get(key) {
            if canonical.len() > 1 {
                canonical.push(',');
            }
            canonical.push_str(&format!("\"{key}\":"));
            write_canonical(value, &mut canonical);
        }
    }
    canonical.push('}');
    Ok(Sha256::digest(canonical.as_bytes()).into())
}

/// Objects sorted by UTF-16 code units of their keys, no white space (RFC 8785 §3.2). serde_json escapes text as §3.2.2.2 does.
fn write_canonical(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Object(object) => {
            let mut members: Vec<(&String, &Value)> = object.iter().collect();
            members.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push('{');
            for (place, (key, member)) in members.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Number(number) => write_number(number.as_f64().expect("every number is kept as 64 bits"), out),
        other => out.push_str(&other.to_string()),
    }
}

/// ECMAScript's Number::toString of a double (RFC 8785 §3.2.2.3).
fn write_number(double: f64, out: &mut String) {
    let scientific = scientific(double.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("the form has an exponent");
    let exponent: i32 = exponent.parse().expect("the form ends in it");
    let digits = mantissa.replace('.', "");
    if double < 0.0 {
        out.push('-');
    }
    let places = exponent.unsigned_abs() as usize;
    *out += &match exponent {
        0..21 if digits.len() <= places + 1 => format!("{digits:0<width$}", width = places + 1),
        0..21 => format!("{}.{}", &digits[..=places], &digits[places + 1..]),
        -6..0 => format!("0.{digits:0>width$}", width = places - 1 + digits.len()),
        21.. => format!("{mantissa}e+{exponent}"),
        _ => format!("{mantissa}e{exponent}"),
    };
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
            let mut text = String::new();
            write_number(f64::from_bits(bits), &mut text);
            assert_eq!(text, written);
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
            let mut text = String::new();
            write_canonical(&serde_json::from_str(written).unwrap(), &mut text);
            assert_eq!(text, canonical);
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
    }
}
