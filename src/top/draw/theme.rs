//! What tones look like.

use ratatui::style::{Color, Modifier, Style};

use crate::top::piece::Tone;

/// Colours or none. Only the terminal's own sixteen are used, so that its theme applies and any
/// terminal has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Whether there are colours. Bold, dim and reversed remain without.
    pub colour: bool,
}

impl Theme {
    /// The style of a tone.
    #[must_use]
    pub fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        let (style, colour) = match tone {
            Tone::Plain => (plain, None),
            Tone::Head => (plain.add_modifier(Modifier::BOLD), Some(Color::Cyan)),
            Tone::Strong => (plain.add_modifier(Modifier::BOLD), None),
            Tone::Dim => (plain.add_modifier(Modifier::DIM), None),
            Tone::Good => (plain, Some(Color::Green)),
            Tone::Attention => (plain, Some(Color::Yellow)),
            Tone::Bad => (plain.add_modifier(Modifier::BOLD), Some(Color::Red)),
            Tone::Drawing => (plain, Some(Color::Blue)),
        };
        match colour {
            Some(colour) if self.colour => style.fg(colour),
            _ => style,
        }
    }

    /// The row that is selected.
    #[must_use]
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A banner.
    #[must_use]
    pub fn banner(self, tone: Tone) -> Style {
        self.style(tone).add_modifier(Modifier::REVERSED | Modifier::BOLD)
    }
}
