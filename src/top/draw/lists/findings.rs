//! Findings.

use ratatui::text::Line;

use super::super::table::{Fitted, fit};
use super::super::text::line;
use super::{Lists, column};
use crate::analysis::findings::Found;
use crate::report::findings::sentence;
use crate::top::piece::{Tone, piece};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FindingColumn {
    Code,
}

impl Lists<'_> {
    /// A finding where there is no view of them.
    pub(crate) fn alarm(&self, found: &Found) -> Line<'static> {
        let text = format!("! {}: {}", found.finding.code(), sentence(found, &self.index));
        line(&[piece(Tone::Bad, text)], self.room, self.theme)
    }

    pub(super) fn finding(&self, found: &Found) -> Line<'static> {
        let cells = |FindingColumn::Code, _| vec![piece(Tone::Bad, found.finding.code())];
        self.findings.row(cells, |_| vec![piece(Tone::Plain, sentence(found, &self.index))], self.theme)
    }
}

pub(super) fn finding_columns(room: usize) -> Fitted<FindingColumn> {
    fit(vec![column(FindingColumn::Code, "FINDING", 17, false, 1)], room, 40)
}
