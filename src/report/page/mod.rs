//! A page for a browser: for looking at a program instead of reading about it.
//!
//! It is one file of HTML with a script and a style, and a document of what it shows (`document`). The server hands
//! them out apart, so that a policy can forbid scripts in documents; [`write()`] puts all of them into one file, to attach
//! to an incident. Neither needs a network. Arguments of the program are in no page.

mod document;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use crate::analysis::Index;
use crate::report::json::to_writer;

pub use document::PageOptions;

/// The page without script and style.
pub const HTML: &str = include_str!("page.html");
/// Its script.
pub const SCRIPT: &str = include_str!("page.js");
/// Its style.
pub const STYLE: &str = include_str!("page.css");

const LINKS: &str = "<link rel=\"stylesheet\" href=\"/page.css\">\n<script defer src=\"/page.js\"></script>";

/// Writes the document that the page shows, as JSON.
///
/// # Errors
/// Those of `out`.
pub fn write_document(out: &mut dyn Write, index: &Index<'_>, options: &PageOptions) -> io::Result<()> {
    to_writer(out, &document::of(index, options))
}

/// Writes what changes of the document while a page is open, as JSON on one line: at most 10 KB.
///
/// # Errors
/// Those of `out`.
pub fn write_tick(out: &mut dyn Write, index: &Index<'_>, options: &PageOptions) -> io::Result<()> {
    to_writer(out, &document::tick(index, options))
}

/// Writes the page with everything in it.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, index: &Index<'_>, options: &PageOptions) -> io::Result<()> {
    let mut document = Vec::new();
    write_document(&mut document, index, options)?;
    // Inside a script only this would end it, and JSON can say it differently.
    let document = String::from_utf8_lossy(&document).replace('<', "\\u003c");
    let (head, foot) = HTML.split_once(LINKS).unwrap_or((HTML, ""));
    let parts = [
        head,
        "<style>\n",
        STYLE,
        "</style>\n<script type=\"application/json\" id=\"document\">",
        &document,
        "</script>\n<script type=\"module\">\n",
        SCRIPT,
        "</script>",
        foot,
    ];
    parts.iter().try_for_each(|part| out.write_all(part.as_bytes()))
}
