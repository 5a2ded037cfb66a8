//! One page for a browser: a flame graph of everything and one for each state, or another part. It needs no network.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::{RecordingOptions, facts, flame_graph, lines, states, title};
use crate::analysis::recording::Recording;
use crate::report::units::{duration, percent};

const HEAD: &str = include_str!("page_head.html");
const FOOT: &str = include_str!("page_foot.html");

/// A flame graph of the page.
pub(super) struct Graph<'a> {
    /// What its button says, before the time.
    pub(super) name: &'a str,
    pub(super) title: String,
    /// The time of all its lines, ns.
    pub(super) ns: u64,
    /// Frames, root first, with their time, ns.
    pub(super) lines: BTreeMap<String, u64>,
}

pub(super) fn write(out: &mut dyn Write, recording: &Recording, options: &RecordingOptions) -> io::Result<()> {
    let title = title(recording, options);
    let states = states(recording, options);
    let ns = states.iter().fold(0_u64, |all, (_, spent)| all.saturating_add(spent.ns));
    let mut graphs = vec![Graph { name: "all", title: title.clone(), ns, lines: lines(recording, options, |_| true) }];
    graphs.extend(states.iter().map(|(status, spent)| Graph {
        name: status.name(),
        title: format!("{}: {}", options.name, status.name()),
        ns: spent.ns,
        lines: lines(recording, options, |doing| doing.status == *status),
    }));
    write_graphs(out, &title, &facts(recording, options), &graphs)
}

/// Writes a page with these graphs, of which the first is all of it, and the others are parts.
pub(super) fn write_graphs(out: &mut dyn Write, title: &str, facts: &str, graphs: &[Graph<'_>]) -> io::Result<()> {
    let all_ns = graphs.first().map_or(0, |graph| graph.ns);
    let mut tabs = String::new();
    for (number, Graph { name, ns, .. }) in graphs.iter().enumerate() {
        let share = match number {
            0 => String::new(),
            _ if all_ns == 0 => format!(" ({})", percent(0.0)),
            _ => format!(" ({})", percent(ratio(*ns, all_ns))),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            tabs,
            "<button data-graph=\"{name}\" aria-pressed=\"{}\">{name} {}{share}</button>",
            number == 0,
            duration(*ns),
        );
    }
    let head =
        HEAD.replace("{{title}}", &escaped(title)).replace("{{facts}}", &escaped(facts)).replace("{{tabs}}", &tabs);
    out.write_all(head.as_bytes())?;
    for Graph { name, title, lines, .. } in graphs {
        graph(out, name, title, facts, lines)?;
    }
    out.write_all(FOOT.as_bytes())
}

/// A graph as text that the page shows when it is asked for: the script of each is alone in its frame then.
fn graph(out: &mut dyn Write, name: &str, title: &str, facts: &str, lines: &BTreeMap<String, u64>) -> io::Result<()> {
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
