//! Profiles that only count, of goroutines and of threads, as `/debug/pprof/goroutine` and `threadcreate` have them
//! (`printCountProfile` in runtime/pprof/pprof.go; 1.19 to 1.27).

use std::io::{self, Write};

use super::builder::{Builder, Header};
use super::list;
use crate::go_names::minor_of;
use crate::model::{CountProfile, CountedStack, Snapshot};
use crate::report::clean::clean;

/// Most calls of a stack that the runtime records for its goroutine profile (`StackRecord`, `profstackdepth`).
#[must_use]
pub fn most_calls(go_version: &str) -> usize {
    if minor_of(go_version).is_some_and(|minor| minor < 23) { 32 } else { 128 }
}

/// Writes the list of `debug=1`.
///
/// # Errors
/// Those of `out`.
pub fn list(out: &mut dyn Write, profile: &CountProfile, snapshot: &Snapshot) -> io::Result<()> {
    let minor = minor_of(&snapshot.target.go_version).unwrap_or(u32::MAX);
    writeln!(out, "{} profile: total {}", profile.name, profile.total())?;
    for (key, stack) in sorted(profile) {
        writeln!(out, "{} {key}", stack.count)?;
        list::frames(out, &profile.symbols, &stack.stack, minor, false)?;
    }
    Ok(())
}

/// Writes it gzipped, and gives how many samples it has. `snapshot` says whose it is.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, profile: &CountProfile, snapshot: &Snapshot) -> io::Result<u64> {
    let header = Header {
        sample_types: &[(profile.name, "count")],
        default_sample_type: None,
        period: (profile.name, "count", 1),
        time_ns: snapshot.captured_at_unix_ns,
        duration_ns: 0,
        comment: &format!("{} profile of pid {} read by gospy", profile.name, snapshot.target.pid),
    };
    let mut builder = Builder::new(out, &profile.symbols, &snapshot.target, &header)?;
    for (_, counted) in sorted(profile) {
        let locations = builder.locations(list::without_exit(&profile.symbols, &counted.stack))?;
        let mut sample = Builder::<&mut dyn Write>::sample(&locations, &[counted.count]);
        for (key, value) in &counted.labels {
            builder.text_label(&mut sample, key, value);
        }
        builder.add(&sample)?;
    }
    builder.finish()
}

/// The largest first; those with equal counts in order of their stacks and labels.
fn sorted(profile: &CountProfile) -> Vec<(String, &CountedStack)> {
    let mut stacks: Vec<(String, &CountedStack)> = profile.stacks.iter().map(|stack| (key(stack), stack)).collect();
    stacks.sort_by(|(key, stack), (other_key, other)| other.count.cmp(&stack.count).then_with(|| key.cmp(other_key)));
    stacks
}

/// Return addresses and labels.
fn key(counted: &CountedStack) -> String {
    let mut key = "@".to_owned();
    for pc in &counted.stack.pcs {
        key.push_str(&format!(" {pc}"));
    }
    if !counted.labels.is_empty() {
        let mut labels: Vec<String> =
            counted.labels.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
        labels.sort_unstable();
        key.push_str(&format!("\n# labels: {{{}}}", labels.join(", ")));
    }
    key
}

/// As `strconv.Quote` has it: what can be printed stays as it is.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            '\0'..='\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ if is_printable(c) => out.push(c),
            '\u{80}'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    clean(&out).into_owned()
}

/// Much the same as `unicode.IsPrint`.
fn is_printable(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && (c.is_alphanumeric() || c.escape_debug().count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::model::testing::SnapshotBuilder;
    use crate::model::{ProfileStack, Stack, SymbolPool};

    /// Each by a Go program: `strconv.Quote`.
    #[test]
    fn labels_are_quoted_as_go_does() {
        for (text, want) in [
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("\"\\", r#""\"\\""#),
            ("\0\x07\x08\x0b\x0c\n\r\t\x1b\x7f", r#""\x00\a\b\v\f\n\r\t\x1b\x7f""#),
            ("\u{e9}\u{4e16}", "\"\u{e9}\u{4e16}\""),
            ("\u{a0}\u{200b}\u{e000}", r#""\u00a0\u200b\ue000""#),
        ] {
            assert_eq!(quoted(text), want);
        }
    }

    #[test]
    fn the_largest_come_first_and_equal_ones_by_their_addresses() {
        let mut symbols = SymbolPool::default();
        let stack = symbols.intern_stack(Stack { frames: Vec::new() });
        let counted = |pcs: &[u64], labels: &[(&str, &str)], count| CountedStack {
            stack: ProfileStack { pcs: pcs.iter().map(|pc| Addr(*pc)).collect(), stack, recorded: 0, hidden: 0 },
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            count,
        };
        let profile = CountProfile {
            name: "goroutine",
            stacks: vec![
                counted(&[0x20], &[], 1),
                counted(&[0x1f], &[("b", "2"), ("a", "\"")], 1),
                counted(&[0x1f], &[], 1),
                counted(&[], &[], 3),
            ],
            symbols,
        };
        let mut out = Vec::new();
        list(&mut out, &profile, &SnapshotBuilder::new().build()).unwrap();
        let want = "goroutine profile: total 6\n3 @\n#\t0x0\n\n1 @ 0x1f\n#\t0x0\n\n1 @ 0x1f\n\
                    # labels: {\"a\":\"\\\"\", \"b\":\"2\"}\n#\t0x0\n\n1 @ 0x20\n#\t0x0\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
