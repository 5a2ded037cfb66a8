//! What a check found as JUnit XML, which every CI system shows as tests: one for each rule.
//!
//! There is no standard. What is written keeps to what the schemas of Ant and of Jenkins have in
//! common (`tests/junit`): one suite with a host, its properties, and both streams. A rule that fails
//! is a failure; one that could not be judged is an error, since a skipped test counts as well almost
//! everywhere.

use std::io::{self, Write};

use super::{OFFENDERS, Subject, offender_line, outcome, reason_code, typed};
use crate::analysis::check::Outcome;
use crate::report::clean::clean;
use crate::report::members::stack_text;

/// Where and when a check was made.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Name of this machine.
    pub host: &'a str,
    /// Now, ns since the Unix epoch: for a target that was not read.
    pub now_unix_ns: u64,
}

/// Writes one suite.
///
/// # Errors
/// Those of `out`.
pub fn junit(out: &mut dyn Write, subject: &Subject<'_>, origin: Origin<'_>) -> io::Result<()> {
    let name = clean(&format!("gospy check {}", subject.name)).into_owned();
    let (tests, failures, errors) = (subject.verdicts.len(), subject.failed(), subject.not_judged());
    let seconds = std::time::Duration::from_nanos(subject.watched_ns).as_secs_f64();
    let at = subject.census.map_or(origin.now_unix_ns, |census| census.captured_at_unix_ns);
    let at = super::super::json::time(at);
    // Ant wants no time zone, and no parts of a second.
    let at = at.split(['.', 'Z']).next().unwrap_or_default();
    let host = if origin.host.is_empty() { "localhost".into() } else { clean(origin.host) };
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(out, "<testsuites>")?;
    writeln!(
        out,
        r#"  <testsuite name="{}" package="gospy" id="0" tests="{tests}" failures="{failures}" errors="{errors}" skipped="0" time="{seconds:.3}" timestamp="{at}" hostname="{}">"#,
        xml(&name),
        xml(&host),
    )?;
    properties(out, subject)?;
    let words = subject.words(false);
    for verdict in subject.verdicts {
        let rule = xml(&clean(&typed(&verdict.rule)));
        write!(out, r#"    <testcase classname="gospy.check" name="{rule}" time="0""#)?;
        let (element, kind) = match verdict.outcome {
            Outcome::Holds => {
                writeln!(out, "/>")?;
                continue;
            }
            Outcome::Fails => ("failure", verdict.rule.name()),
            Outcome::NotJudged(reason) => ("error", reason_code(reason)),
        };
        writeln!(out, ">")?;
        let message = match (verdict.outcome, subject.error) {
            (Outcome::NotJudged(_), Some(error)) => format!("not judged: {}", clean(&one_line(error))),
            (Outcome::NotJudged(_), None) => format!("not judged: {}", outcome(verdict)),
            _ => outcome(verdict),
        };
        write!(out, r#"      <{element} type="{kind}" message="{}">"#, xml(&message))?;
        for offender in verdict.offenders.iter().take(OFFENDERS) {
            writeln!(out, "{}", xml(&offender_line(offender, &words, subject.stopped())))?;
            if let Some(example) = &offender.example {
                writeln!(out, "{}", xml(&stack_text("  ", &words.stack(example))))?;
            }
        }
        writeln!(out, "</{element}>\n    </testcase>")?;
    }
    writeln!(out, "    <system-out>{}</system-out>", xml(&clean(&subject.notes.join("; "))))?;
    writeln!(out, "    <system-err>{}</system-err>", xml(&clean(&one_line(subject.error.unwrap_or_default()))))?;
    writeln!(out, "  </testsuite>\n</testsuites>")
}

/// What was judged.
fn properties(out: &mut dyn Write, subject: &Subject<'_>) -> io::Result<()> {
    writeln!(out, "    <properties>")?;
    let mut property = |name: &str, value: &str| {
        // Ant wants a property to have at least one character.
        let value = if value.is_empty() { "unknown".into() } else { clean(value) };
        writeln!(out, r#"      <property name="{name}" value="{}"/>"#, xml(&value))
    };
    property("gospy.version", env!("CARGO_PKG_VERSION"))?;
    property("samples", &subject.samples.to_string())?;
    if let Some(census) = subject.census {
        property("go.version", &census.program.go_version)?;
        property("executable", &census.program.exe)?;
        property("goroutines", &census.total.to_string())?;
    }
    writeln!(out, "    </properties>")
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

/// Text and attributes alike. Controls, which XML cannot hold in any form, have been made visible,
/// but for the ends of lines between the lines of a stack.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' => out.push('\n'),
            // Not characters in XML 1.0.
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}
