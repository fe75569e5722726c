//! The life of an agent, as a table: what is said of a server and of everything it serves.
//!
//! ```text
//!  INIT ─listed─▶ REGISTERED ─connected─▶ ACTIVE ◀─freed── BUSY
//!                     │                   │ ▲ └──filled───▶ │
//!                     └──lost──▶ ERROR ◀──┘ └─connected─┐   │ lost
//!                                  └────────────────────┘◀──┘        removed, from anywhere: TERMINATED
//! ```
//!
//! Source: AOP paper §4.2.

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is being reached for the first time; nothing of it is listed.
    Init,
    /// Its tools are known, from now or from an earlier run, and it was not reached in this one yet.
    Registered,
    /// It takes calls.
    Active,
    /// It takes no more at the moment: those that come wait.
    Busy,
    /// It was lost or cannot be reached; contact is retried for ever.
    Error,
    /// It was removed. The end.
    Terminated,
}

/// What happens to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Its tools became known here.
    Listed,
    /// It can be called.
    Connected,
    /// As many calls run as may.
    Filled,
    /// One more may run.
    Freed,
    /// It cannot be called.
    Lost,
    /// It was taken out.
    Removed,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Init, Self::Registered, Self::Active, Self::Busy, Self::Error, Self::Terminated];

    /// As people are shown it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Registered => "REGISTERED",
            Self::Active => "ACTIVE",
            Self::Busy => "BUSY",
            Self::Error => "ERROR",
            Self::Terminated => "TERMINATED",
        }
    }

    /// The stage after what happens; the same where it means nothing to this one.
    #[must_use]
    pub const fn after(self, happening: Happening) -> Self {
        match (self, happening) {
            (Self::Terminated, _) | (_, Happening::Removed) => Self::Terminated,
            (Self::Init, Happening::Listed) => Self::Registered,
            (Self::Registered | Self::Error, Happening::Connected) | (Self::Busy, Happening::Freed) => Self::Active,
            (Self::Active, Happening::Filled) => Self::Busy,
            (Self::Registered | Self::Active | Self::Busy, Happening::Lost) => Self::Error,
            (stage, _) => stage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Happening::{Connected, Filled, Freed, Listed, Lost, Removed};
    use Stage::{Active, Busy, Error, Init, Registered, Terminated};

    #[test]
    fn the_table_is_the_drawing() {
        let moves: Vec<(Stage, Happening, Stage)> = Stage::ALL
            .into_iter()
            .flat_map(|stage| [Listed, Connected, Filled, Freed, Lost].map(|happening| (stage, happening)))
            .map(|(stage, happening)| (stage, happening, stage.after(happening)))
            .filter(|(from, _, to)| from != to)
            .collect();
        let drawn = [
            (Init, Listed, Registered),
            (Registered, Connected, Active),
            (Registered, Lost, Error),
            (Active, Filled, Busy),
            (Active, Lost, Error),
            (Busy, Freed, Active),
            (Busy, Lost, Error),
            (Error, Connected, Active),
        ];
        assert_eq!(moves, drawn);
        assert!(Stage::ALL.into_iter().all(|stage| stage.after(Removed) == Terminated));
    }
}
