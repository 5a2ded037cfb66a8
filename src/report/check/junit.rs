//! What a check found as JUnit XML, which every CI system shows as tests: one for each rule.

use std::io::{self, Write};

use super::{OFFENDERS, Subject, offender_line, outcome, typed};
use crate::report::clean::clean;
use crate::report::members::stack_text;

/// Writes one suite.
///
/// # Errors
/// Those of `out`.
pub fn junit(out: &mut dyn Write, subject: &Subject<'_>) -> io::Result<()> {
    let name = clean(&format!("gospy check {}", subject.census.name)).into_owned();
    let (tests, failures) = (subject.verdicts.len(), subject.failed());
    let seconds = std::time::Duration::from_nanos(subject.watched_ns).as_secs_f64();
    let at = super::super::json::time(subject.census.captured_at_unix_ns);
    let at = at.split(['.', 'Z']).next().unwrap_or_default();
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(out, r#"<testsuites tests="{tests}" failures="{failures}" errors="0" time="{seconds:.3}">"#)?;
    writeln!(
        out,
        r#"  <testsuite name="{}" tests="{tests}" failures="{failures}" errors="0" skipped="0" time="{seconds:.3}" timestamp="{at}">"#,
        xml(&name)
    )?;
    let words = subject.words(false);
    for verdict in subject.verdicts {
        let rule = xml(&clean(&typed(&verdict.rule)));
        write!(out, r#"    <testcase classname="gospy.check" name="{rule}" time="0""#)?;
        if verdict.holds {
            writeln!(out, "/>")?;
            continue;
        }
        writeln!(out, ">")?;
        write!(out, r#"      <failure type="{}" message="{}">"#, verdict.rule.name(), xml(&outcome(verdict)))?;
        for offender in verdict.offenders.iter().take(OFFENDERS) {
            writeln!(out, "{}", xml(&offender_line(offender, &words)))?;
            if let Some(example) = &offender.example {
                writeln!(out, "{}", xml(&stack_text("  ", &words.stack(example))))?;
            }
        }
        writeln!(out, "</failure>\n    </testcase>")?;
    }
    if !subject.notes.is_empty() {
        writeln!(out, "    <system-out>{}</system-out>", xml(&clean(&subject.notes.join("; "))))?;
    }
    writeln!(out, "  </testsuite>\n</testsuites>")
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
