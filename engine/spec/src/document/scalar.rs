//! What a plain (unquoted) scalar means: the core schema of YAML 1.2.2, section 10.3.2.
//!
//! `yes`, `no`, `on` and `off` are texts here, as YAML 1.2 has it. Numbers that cannot be held exactly
//! enough are refused, never rounded in silence.

use serde_json::Number;

/// What a plain scalar means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Number(Number),
    Text,
}

/// A plain scalar that is a number nobody can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberError {
    #[error("is an integer beyond 64 bits")]
    Integer,
    #[error("is no finite number")]
    NotFinite,
    #[error("is a number too large for 64-bit floats")]
    Overflow,
}

/// Reads a plain scalar by the core schema.
pub(crate) fn resolve_plain(text: &str) -> Result<Scalar, NumberError> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Scalar::Null),
        "true" | "True" | "TRUE" => return Ok(Scalar::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Scalar::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return Err(NumberError::NotFinite),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Err(NumberError::NotFinite);
    }
    if let Some(digits) = text.strip_prefix("0o").filter(|digits| all(digits, |byte| matches!(byte, b'0'..=b'7'))) {
        return radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x").filter(|digits| all(digits, |byte| byte.is_ascii_hexdigit())) {
        return radix(digits, 16);
    }
    if all(unsigned, |byte| byte.is_ascii_digit()) {
        return integer(text);
    }
    if is_float(unsigned) {
        let value: f64 = text.parse().map_err(|_| NumberError::Overflow)?;
        return Number::from_f64(value).map(Scalar::Number).ok_or(NumberError::Overflow);
    }
    Ok(Scalar::Text)
}

fn all(text: &str, is: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is)
}

fn radix(digits: &str, radix: u32) -> Result<Scalar, NumberError> {
    let value = u64::from_str_radix(digits, radix).map_err(|_| NumberError::Integer)?;
    Ok(Scalar::Number(value.into()))
}

fn integer(text: &str) -> Result<Scalar, NumberError> {
    if let Ok(value) = text.parse::<i64>() {
        return Ok(Scalar::Number(value.into()));
    }
    text.parse::<u64>().map(|value| Scalar::Number(value.into())).map_err(|_| NumberError::Integer)
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let mantissa_holds = match mantissa.split_once('.') {
        Some(("", fraction)) => all(fraction, is_digit),
        Some((whole, fraction)) => all(whole, is_digit) && (fraction.is_empty() || all(fraction, is_digit)),
        None => all(mantissa, is_digit),
    };
    let exponent_holds = exponent.is_none_or(|digits| all(digits.strip_prefix(['-', '+']).unwrap_or(digits), is_digit));
    mantissa_holds && exponent_holds
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(text: &str, meaning: Value) {
        let scalar = resolve_plain(text).unwrap();
        let found = match scalar {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => value.into(),
            Scalar::Number(number) => Value::Number(number),
            Scalar::Text => text.into(),
        };
        assert_eq!(found, meaning, "{text}");
    }

    #[test]
    fn the_core_schema_is_kept() {
        // The examples of YAML 1.2.2, section 10.3.2.
        check("", json!(null));
        check("~", json!(null));
        check("true", json!(true));
        check("False", json!(false));
        check("0", json!(0));
        check("0o7", json!(7));
        check("0x3A", json!(58));
        check("-19", json!(-19));
        check("0.", json!(0.0));
        check("-0.0", json!(-0.0));
        check(".5", json!(0.5));
        check("+12e03", json!(12000.0));
        check("-2E+05", json!(-200000.0));
        check("007", json!(7));
        check("18446744073709551615", json!(18446744073709551615u64));
    }

    #[test]
    fn what_only_looks_like_a_number_or_bool_is_text() {
        for text in
            ["yes", "off", "on", "n", "1_000", "0b1", "1e", "e3", ".", "-", "+.e3", "1.2.3", "12:30", "0x", "inf"]
        {
            check(text, json!(text));
        }
    }

    #[test]
    fn numbers_that_cannot_be_held_are_refused() {
        assert_eq!(resolve_plain("18446744073709551616"), Err(NumberError::Integer));
        assert_eq!(resolve_plain("-9223372036854775809"), Err(NumberError::Integer));
        assert_eq!(resolve_plain("-.inf"), Err(NumberError::NotFinite));
        assert_eq!(resolve_plain(".nan"), Err(NumberError::NotFinite));
        assert_eq!(resolve_plain("1e400"), Err(NumberError::Overflow));
    }
}
