//! A graph of waits: for Graphviz, for Mermaid, as JSON, and drawn.

use std::io::{self, Write};

use serde::Serialize;

use super::words;
use crate::analysis::waits::graph::{Edge, WaitGraph};
use crate::analysis::waits::{WaitRow, WaitedOn};
use crate::analysis::{Index, PlaceKind};
use crate::report::clean::clean;
use crate::report::json::{SCHEMA_VERSION, to_writer};
use crate::report::place::PlaceWords;
use crate::report::units::{count, counted};

/// A form of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphFormat {
    /// Graphviz (`.dot`, `.gv`).
    Dot,
    /// Mermaid (`.mmd`).
    Mermaid,
    /// `.json`.
    Json,
    /// A drawing (`.svg`).
    Svg,
}

impl GraphFormat {
    /// That of a file with this ending.
    #[must_use]
    pub fn of_ending(ending: &str) -> Option<Self> {
        match ending {
            "dot" | "gv" => Some(Self::Dot),
            "mmd" => Some(Self::Mermaid),
            "json" => Some(Self::Json),
            "svg" => Some(Self::Svg),
            _ => None,
        }
    }
}

/// A node as it is shown: lines of text.
struct Node {
    lines: Vec<String>,
    in_cycle: bool,
}

/// Writes the graph.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, index: &Index<'_>, graph: &WaitGraph, format: GraphFormat) -> io::Result<()> {
    let goroutines: Vec<Node> = (0..graph.goroutines.len()).map(|at| goroutines(index, graph, at)).collect();
    let objects: Vec<Node> = (0..graph.objects.len()).map(|at| object(index, graph, at)).collect();
    match format {
        GraphFormat::Dot => dot(out, graph, &goroutines, &objects),
        GraphFormat::Mermaid => mermaid(out, graph, &goroutines, &objects),
        GraphFormat::Json => {
            to_writer(out, &document(index, graph, &goroutines, &objects))?;
            writeln!(out)
        }
        GraphFormat::Svg => svg(out, graph, &goroutines, &objects),
    }
}

fn goroutines(index: &Index<'_>, graph: &WaitGraph, at: usize) -> Node {
    let Some(node) = graph.goroutines.get(at) else { return Node { lines: Vec::new(), in_cycle: false } };
    let snapshot = index.snapshot();
    let mut lines = Vec::new();
    if let Some(goroutine) = snapshot.goroutines.get(node.example) {
        lines.push(match node.count {
            1 => format!("goroutine {}: {}", goroutine.id.0, clean(index.state_text(goroutine))),
            n => format!("{}: {}", counted(n, "goroutine", "goroutines"), clean(index.state_text(goroutine))),
        });
        if let Some(words) = PlaceWords::of(&snapshot.symbols, index.place(goroutine, PlaceKind::User)) {
            lines.push(words.line());
            lines.push(words.source);
        }
    }
    lines.retain(|line| !line.is_empty());
    Node { lines, in_cycle: node.in_cycle }
}

fn object(index: &Index<'_>, graph: &WaitGraph, at: usize) -> Node {
    let Some(row) = graph.objects.get(at) else { return Node { lines: Vec::new(), in_cycle: false } };
    let snapshot = index.snapshot();
    let mut lines = vec![name(index, row)];
    lines.extend(row.object(index).map(|object| words::state(snapshot, object)));
    lines.retain(|line| !line.is_empty());
    // Of a deadlock, if both a wait for it and a hold of it are.
    let is_on = |edges: &[Edge]| edges.iter().any(|edge| edge.object == at && edge.in_cycle);
    Node { lines, in_cycle: is_on(&graph.waits) && is_on(&graph.holds) }
}

fn name(index: &Index<'_>, row: &WaitRow) -> String {
    match &row.on {
        WaitedOn::Object(_) => {
            row.object(index).map_or_else(String::new, |object| words::object(index.snapshot(), object))
        }
        WaitedOn::Alike(ids) => {
            format!("{}, one goroutine each", words::alike(row.kind, u64::try_from(ids.len()).unwrap_or(u64::MAX)))
        }
        WaitedOn::NilChannel => "nil channel".to_owned(),
        WaitedOn::EmptySelect => "select without cases".to_owned(),
        WaitedOn::Other => words::kind(row.kind).to_owned(),
    }
}

/// Each edge, as it is drawn: what it says, whether it is a hold, and whether it is of a deadlock.
fn edges(graph: &WaitGraph) -> impl Iterator<Item = (&Edge, String, bool)> {
    let wait = |edge: &Edge| if edge.count == 1 { "waits".to_owned() } else { format!("{} wait", count(edge.count)) };
    let waits = graph.waits.iter().map(move |edge| (edge, wait(edge), false));
    waits.chain(graph.holds.iter().map(|edge| (edge, "likely holds".to_owned(), true)))
}

fn left_out(graph: &WaitGraph) -> Option<String> {
    let rows = u64::try_from(graph.left_out).unwrap_or(u64::MAX);
    (rows > 0).then(|| format!("{} not shown", counted(rows, "object", "objects")))
}

fn dot(out: &mut dyn Write, graph: &WaitGraph, goroutines: &[Node], objects: &[Node]) -> io::Result<()> {
    let label = |node: &Node| {
        let escaped: Vec<String> =
            node.lines.iter().map(|line| line.replace('\\', "\\\\").replace('"', "\\\"")).collect();
        escaped.join("\\n")
    };
    writeln!(out, "digraph waits {{\n  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=10];")?;
    if let Some(text) = left_out(graph) {
        writeln!(out, "  label=\"{text}\";")?;
    }
    for (prefix, shape, nodes) in [("g", "box", goroutines), ("o", "ellipse", objects)] {
        for (at, node) in nodes.iter().enumerate() {
            let colour = if node.in_cycle { ", color=red, penwidth=2" } else { "" };
            writeln!(out, "  {prefix}{at} [shape={shape}, label=\"{}\"{colour}];", label(node))?;
        }
    }
    for (edge, text, is_hold) in edges(graph) {
        let (from, to) = if is_hold {
            (format!("o{}", edge.object), format!("g{}", edge.goroutines))
        } else {
            (format!("g{}", edge.goroutines), format!("o{}", edge.object))
        };
        let style = if is_hold { ", style=dashed" } else { "" };
        let colour = if edge.in_cycle { ", color=red" } else { "" };
        writeln!(out, "  {from} -> {to} [label=\"{text}\", fontsize=9{style}{colour}];")?;
    }
    writeln!(out, "}}")
}

fn mermaid(out: &mut dyn Write, graph: &WaitGraph, goroutines: &[Node], objects: &[Node]) -> io::Result<()> {
    let label = |node: &Node| node.lines.iter().map(|line| entities(line)).collect::<Vec<_>>().join("<br/>");
    writeln!(out, "flowchart LR")?;
    for (at, node) in goroutines.iter().enumerate() {
        writeln!(out, "  g{at}[\"{}\"]", label(node))?;
    }
    for (at, node) in objects.iter().enumerate() {
        writeln!(out, "  o{at}([\"{}\"])", label(node))?;
    }
    for (edge, text, is_hold) in edges(graph) {
        match is_hold {
            true => writeln!(out, "  o{} -. {text} .-> g{}", edge.object, edge.goroutines)?,
            false => writeln!(out, "  g{} -- {text} --> o{}", edge.goroutines, edge.object)?,
        }
    }
    if let Some(text) = left_out(graph) {
        writeln!(out, "  rest[\"{text}\"]")?;
    }
    let red: Vec<String> = [("g", goroutines), ("o", objects)]
        .into_iter()
        .flat_map(|(prefix, nodes)| {
            let red = nodes.iter().enumerate().filter(|(_, node)| node.in_cycle);
            red.map(move |(at, _)| format!("{prefix}{at}"))
        })
        .collect();
    if !red.is_empty() {
        writeln!(out, "  classDef cycle stroke:#c00,stroke-width:2px\n  class {} cycle", red.join(","))?;
    }
    Ok(())
}

/// Text that neither HTML, nor XML, nor Mermaid takes for its own.
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '#' => out.push_str("&#35;"),
            c => out.push(c),
        }
    }
    out
}

/// The graph as JSON has it.
#[derive(Serialize)]
pub(crate) struct GraphDocument {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Goroutines and objects.
    nodes: Vec<NodeDocument>,
    /// Lines between them.
    edges: Vec<EdgeDocument>,
    /// Objects that are not in it.
    left_out: usize,
}

#[derive(Serialize)]
struct NodeDocument {
    /// Its name in edges.
    id: String,
    /// goroutines, or the kind of the object.
    kind: &'static str,
    /// Lines of text for people.
    label: Vec<String>,
    /// How many goroutines it stands for, or how many wait on it.
    count: u64,
    /// Id of one of the goroutines; null of an object.
    example_id: Option<u64>,
    /// Whether it is in a likely deadlock.
    in_cycle: bool,
}

#[derive(Serialize)]
struct EdgeDocument {
    /// From which node.
    from: String,
    /// To which.
    to: String,
    /// waits: certain; likely_holds.
    kind: &'static str,
    /// How many goroutines it stands for.
    count: u64,
    /// Whether it is a part of a likely deadlock.
    in_cycle: bool,
}

/// The graph, as its JSON file has it.
pub(crate) fn document_of(index: &Index<'_>, graph: &WaitGraph) -> GraphDocument {
    let goroutines: Vec<Node> = (0..graph.goroutines.len()).map(|at| goroutines(index, graph, at)).collect();
    let objects: Vec<Node> = (0..graph.objects.len()).map(|at| object(index, graph, at)).collect();
    document(index, graph, &goroutines, &objects)
}

fn document(index: &Index<'_>, graph: &WaitGraph, goroutines: &[Node], objects: &[Node]) -> GraphDocument {
    let mut nodes = Vec::new();
    for (at, (node, of)) in goroutines.iter().zip(&graph.goroutines).enumerate() {
        let example_id = index.snapshot().goroutines.get(of.example).map(|goroutine| goroutine.id.0);
        let (id, kind, label) = (format!("g{at}"), "goroutines", node.lines.clone());
        nodes.push(NodeDocument { id, kind, label, count: of.count, example_id, in_cycle: node.in_cycle });
    }
    for (at, (node, row)) in objects.iter().zip(&graph.objects).enumerate() {
        let (id, kind, label) = (format!("o{at}"), row.kind.name(), node.lines.clone());
        let count = u64::try_from(row.goroutines.len()).unwrap_or(u64::MAX);
        nodes.push(NodeDocument { id, kind, label, count, example_id: None, in_cycle: node.in_cycle });
    }
    let edges = edges(graph).map(|(edge, _, is_hold)| {
        let (goroutines, object) = (format!("g{}", edge.goroutines), format!("o{}", edge.object));
        let (from, to) = if is_hold { (object, goroutines) } else { (goroutines, object) };
        let kind = if is_hold { "likely_holds" } else { "waits" };
        EdgeDocument { from, to, kind, count: edge.count, in_cycle: edge.in_cycle }
    });
    GraphDocument { schema_version: SCHEMA_VERSION, nodes, edges: edges.collect(), left_out: graph.left_out }
}

/// Columns of characters of a node, before it is cut.
const MAX_COLUMNS: usize = 60;
/// Width of a character, pixels.
const CHARACTER: usize = 7;
/// Height of a line, pixels.
const LINE: usize = 15;
/// Space inside and around a node, pixels.
const PAD: usize = 8;
/// Space between the two columns of nodes, pixels.
const GUTTER: usize = 220;

/// Where a node is drawn.
#[derive(Clone, Copy)]
struct Frame {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Frame {
    fn middle(self) -> usize {
        self.y + self.height / 2
    }
}

/// A column of nodes from `x` on.
fn column(nodes: &[Node], x: usize) -> (Vec<Frame>, usize) {
    let width_of = |node: &Node| node.lines.iter().map(|line| line.chars().count().min(MAX_COLUMNS)).max().unwrap_or(0);
    let width = nodes.iter().map(width_of).max().unwrap_or(0) * CHARACTER + 2 * PAD;
    let mut y = 2 * PAD;
    let mut frames = Vec::new();
    for node in nodes {
        let height = node.lines.len().max(1) * LINE + 2 * PAD;
        frames.push(Frame { x, y, width, height });
        y += height + 2 * PAD;
    }
    (frames, y)
}

/// Goroutines to the left, objects to the right.
fn svg(out: &mut dyn Write, graph: &WaitGraph, goroutines: &[Node], objects: &[Node]) -> io::Result<()> {
    let (left, left_height) = column(goroutines, 2 * PAD);
    let from = left.first().map_or(2 * PAD, |frame| frame.x + frame.width) + GUTTER;
    let (right, right_height) = column(objects, from);
    let width = right.first().map_or(from, |frame| frame.x + frame.width) + 2 * PAD;
    let height = left_height.max(right_height) + LINE + PAD;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <defs><marker id=\"to\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto-start-reverse\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>"
    )?;
    for (edge, text, is_hold) in edges(graph) {
        let (Some(node), Some(object)) = (left.get(edge.goroutines), right.get(edge.object)) else { continue };
        // A little apart, so that a wait and a hold of the same two are two lines.
        let apart = if is_hold { 6 } else { 0 };
        let (x1, y1, x2, y2) = (node.x + node.width, node.middle() + apart, object.x, object.middle() + apart);
        let middle = usize::midpoint(x1, x2);
        let (marker, dash) = if is_hold { ("start", " stroke-dasharray=\"4 3\"") } else { ("end", "") };
        let colour = if edge.in_cycle { "#c00" } else { "#555" };
        writeln!(
            out,
            "<path d=\"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}\" fill=\"none\" stroke=\"{colour}\"{dash} \
             marker-{marker}=\"url(#to)\"/>"
        )?;
        // Where it comes from: lines that come together have words of their own.
        let (x, y, anchor) = if is_hold { (x2 - 12, y2 + LINE, "end") } else { (x1 + 8, y1 - 4, "start") };
        writeln!(out, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>")?;
    }
    for (nodes, frames, radius) in [(goroutines, &left, 2), (objects, &right, 12)] {
        for (node, frame) in nodes.iter().zip(frames) {
            let Frame { x, y, width, height } = *frame;
            let (stroke, fill) = if node.in_cycle { ("#c00", "#fff0f0") } else { ("#333", "#f7f7f7") };
            writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{radius}\" fill=\"{fill}\" \
                 stroke=\"{stroke}\"/>"
            )?;
            for (nth, line) in node.lines.iter().enumerate() {
                let (x, y) = (x + PAD, y + PAD + LINE * (nth + 1) - 4);
                writeln!(out, "<text x=\"{x}\" y=\"{y}\">{}</text>", entities(&cut(line)))?;
            }
        }
    }
    if let Some(text) = left_out(graph) {
        writeln!(out, "<text x=\"{}\" y=\"{}\">{text}</text>", 2 * PAD, height - PAD)?;
    }
    writeln!(out, "</svg>")
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(MAX_COLUMNS - 1) {
        Some((at, _)) if line.chars().count() > MAX_COLUMNS => format!("{}…", line.get(..at).unwrap_or_default()),
        _ => line.to_owned(),
    }
}
