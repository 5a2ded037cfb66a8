//! One page for a browser: a flame graph of everything and one for each state. It needs no network.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{RecordingOptions, facts, flame_graph, lines, states, title};
use crate::analysis::recording::Recording;
use crate::report::units::{duration, percent};

const HEAD: &str = include_str!("page_head.html");
const FOOT: &str = include_str!("page_foot.html");

pub(super) fn write(out: &mut dyn Write, recording: &Recording, options: &RecordingOptions) -> io::Result<()> {
    let facts = facts(recording, options);
    let title = title(recording, options);
    let states = states(recording, options);
    let all_ns = states.iter().fold(0_u64, |all, (_, spent)| all.saturating_add(spent.ns));
    let mut tabs = format!("<button data-graph=\"all\" aria-pressed=\"true\">all {}</button>", duration(all_ns));
    for (status, spent) in &states {
        let share = if all_ns == 0 { 0.0 } else { ratio(spent.ns, all_ns) };
        let name = status.name();
        // Writing to a string cannot fail.
        let _ = write!(
            tabs,
            "<button data-graph=\"{name}\" aria-pressed=\"false\">{name} {} ({})</button>",
            duration(spent.ns),
            percent(share)
        );
    }
    let head =
        HEAD.replace("{{title}}", &escaped(&title)).replace("{{facts}}", &escaped(&facts)).replace("{{tabs}}", &tabs);
    out.write_all(head.as_bytes())?;
    graph(out, "all", &title, &facts, lines(recording, options, |_| true))?;
    for (status, _) in &states {
        let name = status.name();
        let title = format!("{}: {name}", options.name);
        graph(out, name, &title, &facts, lines(recording, options, |doing| doing.status == *status))?;
    }
    out.write_all(FOOT.as_bytes())
}

/// A graph as text that the page shows when it is asked for: the script of each is alone in its frame then.
fn graph(
    out: &mut dyn Write,
    name: &str,
    title: &str,
    facts: &str,
    lines: std::collections::BTreeMap<String, u64>,
) -> io::Result<()> {
    let mut svg = Vec::new();
    flame_graph::write(&mut svg, title, facts, lines)?;
    let svg = String::from_utf8_lossy(&svg);
    writeln!(out, "<template data-graph=\"{name}\">{}</template>", escaped(&svg))
}

/// Text for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
