//! Numbers as the runtime prints them (`printfloat`, `printcomplex` in runtime/print.go).

/// Seven digits and an exponent of three until 1.25, the fewest digits that distinguish it from others from
/// 1.26 on. A `short` one is of 32 bits.
pub(super) fn float(minor: u32, value: f64, short: Option<f32>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if minor <= 25 { seven_digits(value) } else { fewest_digits(value, short) }
}

/// `(1.5+2i)`.
pub(super) fn complex(real: &str, imaginary: &str) -> String {
    let sign = if imaginary.starts_with(['+', '-']) { "" } else { "+" };
    format!("({real}{sign}{imaginary}i)")
}

/// `+1.500000e+000`, by the arithmetic of `printfloat` (until 1.25), whose last digit is not always
/// that of a correct rounding.
fn seven_digits(value: f64) -> String {
    const DIGITS: i32 = 7;
    let sign = if value < 0.0 || (value == 0.0 && value.is_sign_negative()) { '-' } else { '+' };
    let (mut value, mut exponent) = (value.abs(), 0_i32);
    if value != 0.0 {
        while value >= 10.0 {
            (value, exponent) = (value / 10.0, exponent + 1);
        }
        while value < 1.0 {
            (value, exponent) = (value * 10.0, exponent - 1);
        }
        value += (0..DIGITS).fold(5.0, |half, _| half / 10.0);
        if value >= 10.0 {
            (value, exponent) = (value / 10.0, exponent + 1);
        }
    }
    let mut digits = String::new();
    for index in 0..DIGITS {
        let digit = value.trunc();
        digits.push(char::from_digit(digit.clamp(0.0, 9.0) as u32, 10).unwrap_or('0'));
        if index == 0 {
            digits.push('.');
        }
        value = (value - digit) * 10.0;
    }
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{digits}e{exponent_sign}{:03}", exponent.abs())
}

/// `1.5`, `1e-07`: `strconv.FormatFloat` with `g` and the fewest digits.
fn fewest_digits(value: f64, short: Option<f32>) -> String {
    /// Exponents with which it is written without one.
    const PLAIN: std::ops::Range<i32> = -4..6;
    let scientific = short.map_or_else(|| format!("{value:e}"), |short| format!("{short:e}"));
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if PLAIN.contains(&exponent) {
        return short.map_or_else(|| format!("{value}"), |short| format!("{short}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_the_runtime_prints_them() {
        // What go1.25.5 and go1.27.3 print for these.
        for (value, old, new) in [
            (1.5, "+1.500000e+000", "1.5"),
            (100_000.0, "+1.000000e+005", "100000"),
            (1e6, "+1.000000e+006", "1e+06"),
            (123_456_789.0, "+1.234568e+008", "1.23456789e+08"),
            (1e22, "+1.000000e+022", "1e+22"),
            (0.0001, "+1.000000e-004", "0.0001"),
            (0.00001, "+1.000000e-005", "1e-05"),
            (0.0, "+0.000000e+000", "0"),
            (-12_345_678.9e200, "-1.234568e+207", "-1.23456789e+207"),
        ] {
            assert_eq!((seven_digits(value).as_str(), fewest_digits(value, None).as_str()), (old, new));
        }
        assert_eq!(fewest_digits(f64::from(0.1_f32), Some(0.1)), "0.1");
        assert_eq!(fewest_digits(16_777_216.0, Some(16_777_216.0)), "1.6777216e+07");
    }
}
