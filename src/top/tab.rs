//! The tabs of the live view.

/// One of the lists that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Groups of goroutines.
    #[default]
    Groups,
    /// Goroutines, one by one.
    Goroutines,
    /// States and wait reasons over time.
    States,
    /// Ps and Ms.
    Scheduler,
    /// What goroutines wait on.
    Waits,
    /// Leaked goroutines, once they were asked for.
    Leaks,
    /// Findings; there only once there are some.
    Findings,
}

impl Tab {
    /// All of them with their titles.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::Groups, "Groups"),
        (Self::Goroutines, "Goroutines"),
        (Self::States, "States"),
        (Self::Scheduler, "Ps & Ms"),
        (Self::Waits, "Waits"),
        (Self::Leaks, "Leaks"),
        (Self::Findings, "Findings"),
    ];

    /// Its place among them, from 0.
    #[must_use]
    pub fn position(self) -> usize {
        Self::ALL.iter().position(|(tab, _)| *tab == self).unwrap_or(0)
    }

    /// Its number, from 1.
    #[must_use]
    pub fn number(self) -> usize {
        self.position() + 1
    }
}
