//! How the screen is shared out, by its size alone.

use ratatui::layout::Rect;

/// Parts of the screen, from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Facts about the program.
    pub header: Rect,
    /// Names of the views.
    pub tabs: Rect,
    /// Heads of the columns; of no height on pages that have none.
    pub heads: Rect,
    /// Rows.
    pub body: Rect,
    /// Prompt, banner or keys.
    pub footer: Rect,
}

/// Lines that the prompt takes with an explanation of what is wrong.
pub(crate) const PROMPT_LINES: u16 = 4;

impl Layout {
    /// For a screen of this size. The footer has `footer` lines if there is room, and the header `more` than
    /// it has otherwise.
    #[must_use]
    pub fn new(width: u16, height: u16, has_heads: bool, footer: u16, more: u16) -> Self {
        let header = match height {
            ..=5 => 0,
            6..=9 => 1,
            10..=13 => 2 + more.min(1),
            14..=19 => 4 + more.min(1),
            _ => 5 + more,
        };
        let mut rest = Rect::new(0, 0, width, height);
        let mut take = |lines: u16| {
            let part = Rect { height: lines.min(rest.height), ..rest };
            rest.y += part.height;
            rest.height -= part.height;
            part
        };
        let header = take(header);
        let tabs = take(1);
        let heads = take(u16::from(has_heads));
        let footer = footer.min(rest.height);
        let body = Rect { height: rest.height - footer, ..rest };
        let footer = Rect { y: rest.y + body.height, height: footer, ..rest };
        Self { header, tabs, heads, body, footer }
    }
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[test]
    fn parts_cover_the_screen_at_any_size() {
        for height in 0..60 {
            for (footer, more) in [(1, 0), (1, 2), (4, 1)] {
                let layout = Layout::new(80, height, true, footer, more);
                let parts = [layout.header, layout.tabs, layout.heads, layout.body, layout.footer];
                let mut y = 0;
                for part in parts {
                    assert_eq!(part.y, y, "{layout:?}");
                    y += part.height;
                }
                assert_eq!(y, height);
            }
        }
        assert_eq!(Layout::new(40, 10, true, 1, 0).body.height, 5);
    }
}
