//! What was counted, in columns.

use std::fmt::Display;
use std::sync::Mutex;

/// Rows that several threads add to.
pub(crate) struct Table {
    head: Vec<String>,
    rows: Mutex<Vec<Vec<String>>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Table {
        Table { head: head.iter().map(|name| (*name).to_owned()).collect(), rows: Mutex::default() }
    }

    /// Adds a row: its name, and a number for each other column.
    pub(crate) fn add(&self, name: &str, cells: &[&dyn Display]) {
        let cells = cells.iter().map(ToString::to_string);
        let row: Vec<String> = std::iter::once(name.to_owned()).chain(cells).collect();
        assert_eq!(row.len(), self.head.len(), "{row:?}");
        self.rows.lock().unwrap().push(row);
    }

    /// Prints all at once, so that other tests do not print in between.
    pub(crate) fn print(&self, title: &str) {
        let rows = self.rows.lock().unwrap();
        let all: Vec<&Vec<String>> = std::iter::once(&self.head).chain(rows.iter()).collect();
        let width = |column: usize| all.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let mut text = format!("\n{title}\n");
        for row in &all {
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                text += &if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            text.push('\n');
        }
        println!("{text}");
    }
}
