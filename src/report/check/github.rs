//! What a check found as annotations of GitHub Actions.
//!
//! One error for each rule that failed, at the innermost line of the worst group that is in the
//! workspace.

use std::io::{self, Write};
use std::path::Path;

use super::{OFFENDERS, Subject, offender_line, outcome, typed};
use crate::report::clean::clean;
use crate::report::members::stack_text;

/// Writes workflow commands. `workspace` is the checkout (`GITHUB_WORKSPACE`): files in it are
/// pointed at.
///
/// # Errors
/// Those of `out`.
pub fn github(out: &mut dyn Write, subject: &Subject<'_>, workspace: Option<&Path>) -> io::Result<()> {
    let words = subject.words(false);
    for verdict in subject.verdicts.iter().filter(|verdict| !verdict.holds) {
        let mut properties = Vec::new();
        let worst = verdict.offenders.first().and_then(|offender| offender.example.as_ref());
        // The innermost line of the repository's own: what it calls is no fault of a library.
        let own = worst.and_then(|example| {
            words.lines(example).find_map(|(file, line)| Some((in_workspace(file, workspace)?, line)))
        });
        if let Some((file, line)) = own {
            properties.push(format!("file={}", property(&clean(file))));
            properties.push(format!("line={line}"));
        }
        let title = format!("gospy check: {}", typed(&verdict.rule));
        properties.push(format!("title={}", property(&clean(&title))));
        let mut message = outcome(verdict);
        for offender in verdict.offenders.iter().take(OFFENDERS) {
            message.push_str(&format!("\n\n{}\n", offender_line(offender, &words)));
            if let Some(example) = &offender.example {
                message.push_str(&stack_text("", &words.stack(example)));
            }
        }
        writeln!(out, "::error {}::{}", properties.join(","), data(message.trim_end()))?;
    }
    Ok(())
}

/// The file as the repository names it; with `-trimpath` it may be so already, but then it begins
/// with the module's path and cannot be pointed at.
fn in_workspace<'a>(file: &'a str, workspace: Option<&Path>) -> Option<&'a str> {
    let workspace = workspace?.to_str()?.trim_end_matches('/');
    file.strip_prefix(workspace)?.strip_prefix('/').filter(|rest| !rest.is_empty() && !workspace.is_empty())
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
