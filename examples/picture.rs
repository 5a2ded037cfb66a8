//! A picture of what a command shows on a terminal:
//! `picture COLUMNSxROWS OUT.svg STEPS [TEXT=NOTE]… -- COMMAND…`.
//!
//! STEPS are keys and times, with spaces between them: `3s d 5s` waits three seconds, presses `d`,
//! waits five seconds, and then the picture is taken. The command is ended afterwards. The first place that
//! shows TEXT is underlined and numbered, and NOTE stands below the picture under that number. The README's
//! picture of `gospy top` was made with it, of the fixture `fx leak -rate 10 -busy 1`; `examples/top-picture.sh`
//! has the whole command.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

/// Pixels of one cell, and of the edge around the screen.
const CELL: (f32, f32) = (8.4, 18.0);
const EDGE: f32 = 12.0;
/// Columns to the right of a screen with notes, in pixels.
const MARGIN: f32 = 20.0;
/// Colour of notes.
const NOTE: &str = "#e8a15c";
const FONT: &str = "DejaVu Sans Mono, Menlo, Consolas, monospace";
const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d5d8df";
/// The sixteen colours that a terminal has names for.
const COLOURS: [&str; 16] = [
    "#1d2027", "#e0696b", "#8fbf6b", "#d9b45b", "#6b9fe0", "#b98be0", "#5bbcc4", "#d5d8df", "#7b818d", "#f08a8c",
    "#a8d684", "#efcb75", "#8ab8f2", "#cfa8f2", "#7bd3da", "#ffffff",
];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("missing: {what}"));
    let size = next("COLUMNSxROWS")?;
    let (out, steps) = (next("OUT.svg")?, next("STEPS")?);
    let notes: Vec<String> = arguments.by_ref().take_while(|argument| argument != "--").collect();
    let notes: Option<Vec<(&str, &str)>> = notes.iter().map(|note| note.split_once('=')).collect();
    let command: Vec<String> = arguments.collect();
    let Some(notes) = notes.filter(|_| !command.is_empty()) else {
        bail!("usage: picture COLUMNSxROWS OUT.svg STEPS [TEXT=NOTE]… -- COMMAND…");
    };
    let (cols, rows) = size.split_once('x').context("the size is COLUMNSxROWS")?;
    let (cols, rows) = (cols.parse()?, rows.parse()?);
    let screen = show(&command, (cols, rows), &steps)?;
    std::fs::write(&out, svg(&screen, (cols, rows), &notes)?).with_context(|| format!("cannot write {out}"))
}

/// Runs a command on a terminal of its own, and gives what is on the screen after all steps.
fn show(command: &[String], (cols, rows): (u16, u16), steps: &str) -> anyhow::Result<vt100::Screen> {
    let pair = native_pty_system().openpty(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 })?;
    let (program, arguments) = command.split_first().context("no command")?;
    // A relative path would be looked for where a login shell starts.
    let mut builder = CommandBuilder::new(std::fs::canonicalize(program).unwrap_or_else(|_| program.into()));
    builder.args(arguments);
    builder.env("TERM", "xterm-256color");
    builder.env_remove("NO_COLOR");
    let mut child = pair.slave.spawn_command(builder)?;
    let mut reader = pair.master.try_clone_reader()?;
    let mut keys = pair.master.take_writer()?;
    let (sender, output) = channel();
    std::thread::Builder::new().spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer.iter().take(count).copied().collect()).is_err() {
                break;
            }
        }
    })?;
    let mut parser = vt100::Parser::new(rows, cols, 0);
    for step in steps.split_whitespace() {
        match step.strip_suffix('s').and_then(|seconds| seconds.parse().ok()) {
            Some(seconds) => take(&output, &mut parser, Duration::from_secs_f32(seconds)),
            None => {
                keys.write_all(if step == "Enter" { b"\r" } else { step.as_bytes() })?;
                keys.flush()?;
                take(&output, &mut parser, Duration::from_millis(300));
            }
        }
    }
    let screen = parser.screen().clone();
    child.kill()?;
    child.wait()?;
    Ok(screen)
}

/// Takes in what a command writes during `time`.
fn take(output: &Receiver<Vec<u8>>, parser: &mut vt100::Parser, time: Duration) {
    let end = Instant::now() + time;
    loop {
        match output.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(bytes) => parser.process(&bytes),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// How a cell looks: foreground, background, bold.
type Look = (String, Option<String>, bool);

fn look(cell: &vt100::Cell) -> Look {
    let (mut front, mut back) = (colour(cell.fgcolor()), colour(cell.bgcolor()));
    if cell.inverse() {
        (front, back) = (back.or_else(|| Some(BACKGROUND.to_owned())), front.or_else(|| Some(FOREGROUND.to_owned())));
    }
    (front.unwrap_or_else(|| FOREGROUND.to_owned()), back, cell.bold())
}

fn colour(colour: vt100::Color) -> Option<String> {
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Rgb(r, g, b) => Some(format!("#{r:02x}{g:02x}{b:02x}")),
        vt100::Color::Idx(index) => Some(match COLOURS.get(usize::from(index)) {
            Some(named) => (*named).to_owned(),
            // A cube of 6×6×6 colours, then 24 greys.
            None if index < 232 => {
                let level = |digit: u8| if digit == 0 { 0 } else { 55 + 40 * digit };
                let index = index - 16;
                format!("#{:02x}{:02x}{:02x}", level(index / 36), level(index / 6 % 6), level(index % 6))
            }
            None => format!("#{0:02x}{0:02x}{0:02x}", 8 + 10 * (index - 232)),
        }),
    }
}

/// Where a text is on the screen: column, row and length. Every character of it takes one column.
fn find(screen: &vt100::Screen, (cols, rows): (u16, u16), text: &str) -> Option<(u16, u16, u16)> {
    let wanted: Vec<String> = text.chars().map(String::from).collect();
    (0..rows).find_map(|row| {
        let cells: Vec<&str> = (0..cols).map(|col| screen.cell(row, col).map_or("", |cell| cell.contents())).collect();
        let cells: Vec<&str> = cells.into_iter().map(|cell| if cell.is_empty() { " " } else { cell }).collect();
        let at = cells.windows(wanted.len()).position(|window| window.iter().eq(&wanted))?;
        Some((u16::try_from(at).ok()?, row, u16::try_from(wanted.len()).ok()?))
    })
}

/// A number in a circle around a point.
fn number(out: &mut String, number: usize, (x, y): (f32, f32)) {
    let _ = writeln!(
        out,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\" fill=\"{NOTE}\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
         fill=\"{BACKGROUND}\" font-size=\"11\" font-weight=\"bold\" text-anchor=\"middle\">{number}</text>",
        y + 4.0
    );
}

/// Underlines and numbers what there are notes on, and writes them below the screen.
fn annotate(
    out: &mut String,
    screen: &vt100::Screen,
    (cols, rows): (u16, u16),
    notes: &[(&str, &str)],
) -> anyhow::Result<()> {
    for (at, (text, note)) in notes.iter().enumerate() {
        let Some((col, row, length)) = find(screen, (cols, rows), text) else {
            bail!("{text:?} is not on the screen");
        };
        let (x, y) = (EDGE + f32::from(col) * CELL.0, EDGE + f32::from(row + 1) * CELL.1 - 1.5);
        let end = x + f32::from(length) * CELL.0;
        let edge = EDGE + f32::from(cols) * CELL.0 + MARGIN / 2.0;
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {y:.1}H{end:.1}\" stroke=\"{NOTE}\" stroke-width=\"1.5\"/>\
             <path d=\"M{end:.1} {y:.1}H{edge:.1}\" stroke=\"{NOTE}\" stroke-width=\"0.7\" stroke-dasharray=\"1 4\"/>"
        );
        number(out, at + 1, (edge, y - 6.0));
        let line = EDGE + (f32::from(rows) + at as f32 + 1.0) * CELL.1;
        number(out, at + 1, (EDGE + 8.0, line + 4.5));
        let note = note.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{NOTE}\">{note}</text>", EDGE + 24.0, line + 9.5);
    }
    Ok(())
}

fn svg(screen: &vt100::Screen, (cols, rows): (u16, u16), notes: &[(&str, &str)]) -> anyhow::Result<String> {
    let (mut width, mut height) = (f32::from(cols) * CELL.0 + 2.0 * EDGE, f32::from(rows) * CELL.1 + 2.0 * EDGE);
    if !notes.is_empty() {
        width += MARGIN;
        height += (notes.len() as f32 + 1.0) * CELL.1;
    }
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" font-family=\"{FONT}\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for row in 0..rows {
        let cells = (0..cols).filter_map(|col| Some((col, screen.cell(row, col)?)));
        let mut runs: Vec<(u16, u16, Look, String)> = Vec::new();
        for (col, cell) in cells.filter(|(_, cell)| !cell.is_wide_continuation()) {
            let text = if cell.has_contents() { cell.contents() } else { " " };
            let (look, wide) = (look(cell), if cell.is_wide() { 2 } else { 1 });
            match runs.last_mut() {
                Some((_, length, last, run)) if *last == look => {
                    *length += wide;
                    run.push_str(text);
                }
                _ => runs.push((col, wide, look, text.to_owned())),
            }
        }
        for (col, length, (front, back, bold), text) in runs {
            let (x, y) = (EDGE + f32::from(col) * CELL.0, EDGE + f32::from(row) * CELL.1);
            let long = f32::from(length) * CELL.0;
            if let Some(back) = back {
                let tall = CELL.1;
                // Writing to a String cannot fail.
                let _ = writeln!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{long:.1}\" height=\"{tall}\" fill=\"{back}\"/>"
                );
            }
            if text.trim().is_empty() {
                continue;
            }
            let weight = if bold { " font-weight=\"bold\"" } else { "" };
            let base = y + 13.5;
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{base:.1}\" fill=\"{front}\"{weight} textLength=\"{long:.1}\" \
                 xml:space=\"preserve\">{text}</text>"
            );
        }
    }
    annotate(&mut out, screen, (cols, rows), notes)?;
    out.push_str("</svg>\n");
    Ok(out)
}
