//! Numbers as Go's `%v` prints them (fmt, strconv; unchanged since Go 1).

use crate::bytes::FieldsExt as _;

/// A number with a sign, of the length of `bytes`.
pub(super) fn int(bytes: &[u8]) -> Option<String> {
    let word = uint_word(bytes)?;
    let unused = 64 - 8 * u32::try_from(bytes.len()).ok()?;
    Some((word.cast_signed() << unused >> unused).to_string())
}

/// One without.
pub(super) fn uint(bytes: &[u8]) -> Option<String> {
    uint_word(bytes).map(|word| word.to_string())
}

/// The word of 1, 2, 4 or 8 bytes.
pub(super) fn uint_word(bytes: &[u8]) -> Option<u64> {
    let mut word = [0; 8];
    matches!(bytes.len(), 1 | 2 | 4 | 8).then_some(())?;
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(word))
}

/// A floating-point number of 4 or 8 bytes.
pub(super) fn float(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => {
            let value = f32::from_bits(bytes.u32_at(0)?);
            Some(shortest(value.into(), &format!("{value:e}")))
        }
        8 => {
            let value = f64::from_bits(bytes.u64_at(0)?);
            Some(shortest(value, &format!("{value:e}")))
        }
        _ => None,
    }
}

/// Two of them.
pub(super) fn complex(bytes: &[u8]) -> Option<String> {
    let (real, imaginary) = bytes.split_at_checked(bytes.len() / 2)?;
    let (real, imaginary) = (float(real)?, float(imaginary)?);
    let sign = if imaginary.starts_with(['+', '-']) { "" } else { "+" };
    Some(format!("({real}{sign}{imaginary}i)"))
}

/// `scientific` is the shortest number that stands for the value: digits, `e`, exponent.
fn shortest(value: f64, scientific: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // `%v` is `%g` with the shortest digits: the exponent is written below -4 and from 6 on (strconv.FormatFloat).
    if (-4..6).contains(&exponent) || value == 0.0 {
        return plain(digits, exponent);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// Digits with their point moved: `1.25`, 3 gives `1250`.
fn plain(digits: &str, exponent: i32) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    if exponent < 0 {
        return format!("{sign}0.{}{all}", zeros(-exponent - 1));
    }
    let point = usize::try_from(exponent).unwrap_or(0) + whole.len();
    match all.split_at_checked(point) {
        Some((whole, "")) => format!("{sign}{whole}"),
        Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
        None => format!("{sign}{all}{}", "0".repeat(point - all.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against what fmt.Sprint gives.
    #[test]
    fn numbers_are_those_of_go() {
        let wants = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (100_000.0, "100000"),
            (999_999.5, "999999.5"),
            (1_234_567.0, "1.234567e+06"),
            (1e20, "1e+20"),
            (1.25e100, "1.25e+100"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456.789, "123456.789"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, want) in wants {
            assert_eq!(float(&value.to_le_bytes()).unwrap(), want);
        }
        assert_eq!(float(&0.1_f32.to_le_bytes()).unwrap(), "0.1");
        assert_eq!(float(&16_777_216_f32.to_le_bytes()).unwrap(), "1.6777216e+07");
        assert_eq!(complex(&[1.5_f64.to_le_bytes(), (-2.0_f64).to_le_bytes()].concat()).unwrap(), "(1.5-2i)");
        assert_eq!(complex(&[1_f32.to_le_bytes(), f32::INFINITY.to_le_bytes()].concat()).unwrap(), "(1+Infi)");
        assert_eq!((int(&[0xff, 0xff]).unwrap(), uint(&[0xff, 0xff]).unwrap()), ("-1".into(), "65535".into()));
        assert_eq!(int(&i64::MIN.to_le_bytes()).unwrap(), i64::MIN.to_string());
        assert_eq!((int(&[1, 2, 3]), uint(&[]), float(&[1]), complex(&[0; 4])), (None, None, None, None));
    }
}
