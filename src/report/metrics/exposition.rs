//! Prometheus' text exposition format, version 0.0.4.
//!
//! Its crates are registries of a process's own metrics; these are another's, so that the format is written here.
//! OpenMetrics cannot hold a counter `x_total` beside a gauge `x`, which Go's collector has.

use std::io::{self, Write};

/// What HTTP calls the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Quantiles, with a sum and a count.
    Summary,
    /// Counts up to bounds, with a sum and a count.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Histogram => "histogram",
        }
    }
}

/// One value of a family.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// What follows the family's name: `_sum`, `_count`, `_bucket` or nothing.
    pub(super) suffix: &'static str,
    /// Labels and their values.
    pub(super) labels: Vec<(&'static str, String)>,
    /// The value.
    pub(super) value: f64,
}

impl From<f64> for Sample {
    fn from(value: f64) -> Self {
        Self { suffix: "", labels: Vec::new(), value }
    }
}

/// Values of one name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// One line for people.
    pub(super) help: &'static str,
    pub(super) samples: Vec<Sample>,
}

/// Writes families in the order of their names.
pub(super) fn write(out: &mut dyn Write, mut families: Vec<Family>) -> io::Result<()> {
    families.sort_by_key(|family| family.name);
    for family in &families {
        writeln!(out, "# HELP {} {}", family.name, escaped(family.help, false))?;
        writeln!(out, "# TYPE {} {}", family.name, family.kind.name())?;
        for sample in &family.samples {
            write!(out, "{}{}", family.name, sample.suffix)?;
            for (nth, (label, value)) in sample.labels.iter().enumerate() {
                write!(out, "{}{label}=\"{}\"", if nth == 0 { '{' } else { ',' }, escaped(value, true))?;
            }
            if !sample.labels.is_empty() {
                write!(out, "}}")?;
            }
            writeln!(out, " {}", number(sample.value))?;
        }
    }
    Ok(())
}

/// A value of a label, or a help text, in which quotes stay as they are.
fn escaped(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            _ => out.push(c),
        }
    }
    out
}

/// A number as Go's client library writes it: the fewest digits that give the value back, with an exponent below
/// 1e-04 and from 1e+21 on, or where six digits or more come before the point and none after it is needed
/// (`strconv.FormatFloat(value, 'g', -1, 64)`).
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..LARGEST_EXPONENT).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// `eprec` of `strconv.FormatFloat` for the shortest form.
const LARGEST_EXPONENT: i32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each by a Go program: `strconv.FormatFloat(value, 'g', -1, 64)`.
    #[test]
    fn numbers_are_those_of_go() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-3.5, "-3.5"),
            (12345.0, "12345"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (4_194_304.0, "4.194304e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (1.797_656e9, "1.797656e+09"),
            (18_446_744_073_709_551_615.0, "1.8446744073709552e+19"),
            (9_223_372_036_854_775_807.0, "9.223372036854776e+18"),
            (1_763_800_000.123_456_7, "1.7638000001234567e+09"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn families_are_sorted_and_texts_escaped() {
        let family = |name, label: &str| Family {
            name,
            kind: Kind::Gauge,
            help: "a \\ \"b\"\nc",
            samples: vec![Sample { suffix: "", labels: vec![("x", label.to_owned())], value: 1.0 }],
        };
        let mut out = Vec::new();
        write(&mut out, vec![family("b", "\"\n\\"), family("a", "é")]).unwrap();
        let expected = "# HELP a a \\\\ \"b\"\\nc\n# TYPE a gauge\na{x=\"é\"} 1\n\
                        # HELP b a \\\\ \"b\"\\nc\n# TYPE b gauge\nb{x=\"\\\"\\n\\\\\"} 1\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
