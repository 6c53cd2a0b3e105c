//! When the console is in colour, and in which.

use std::fmt::{self, Display, Formatter};

use crate::record::{Relation, Severity};

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// Escape sequences for colour are written.
    Always,
    /// Plain text.
    #[default]
    Never,
}

impl Colour {
    /// Colour on a terminal only, and as the user's environment says: `NO_COLOR` (no-color.org),
    /// `CLICOLOR` and `CLICOLOR_FORCE` (bixense.com/clicolors), `TERM=dumb`.
    #[must_use]
    pub fn detect(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name| variable(name).filter(|value| !value.is_empty());
        if value("NO_COLOR").is_some() {
            return Self::Never;
        }
        if value("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
            return Self::Always;
        }
        let refused = value("CLICOLOR").is_some_and(|value| value == "0")
            || value("TERM").is_some_and(|value| value == "dumb");
        if terminal && !refused { Self::Always } else { Self::Never }
    }

    pub(super) fn paint(self, style: Style) -> Sequence {
        Sequence(match self {
            Self::Always => style.sequence(),
            Self::Never => "",
        })
    }
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Dim,
    Name,
    Good,
    Warning,
    Bad,
    Covert,
    Severity(Severity),
}

impl Style {
    const fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "\x1b[0m",
            Self::Dim => "\x1b[2m",
            Self::Name => "\x1b[36m",
            Self::Good => "\x1b[32m",
            Self::Warning => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Covert => "\x1b[1;35m",
            Self::Severity(Severity::Info) => "\x1b[34m",
            Self::Severity(Severity::Low) => "\x1b[1;36m",
            Self::Severity(Severity::Medium) => "\x1b[1;33m",
            Self::Severity(Severity::High) => "\x1b[1;31m",
            Self::Severity(Severity::Critical) => "\x1b[1;97;41m",
        }
    }
}

impl From<Relation> for Style {
    fn from(relation: Relation) -> Self {
        match relation {
            Relation::Requested => Self::Good,
            Relation::Covert => Self::Covert,
            Relation::Background => Self::Warning,
            Relation::Startup => Self::Dim,
        }
    }
}

/// An escape sequence, or nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence(&'static str);

impl Display for Sequence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        for (terminal, variables, expected) in [
            (true, &[][..], Colour::Always),
            (false, &[][..], Colour::Never),
            (true, &[("NO_COLOR", "1")][..], Colour::Never),
            (true, &[("NO_COLOR", "")][..], Colour::Always),
            (true, &[("CLICOLOR", "0")][..], Colour::Never),
            (true, &[("CLICOLOR", "1")][..], Colour::Always),
            (false, &[("CLICOLOR", "1")][..], Colour::Never),
            (false, &[("CLICOLOR_FORCE", "1")][..], Colour::Always),
            (false, &[("CLICOLOR_FORCE", "0")][..], Colour::Never),
            (true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")][..], Colour::Never),
            (true, &[("TERM", "dumb")][..], Colour::Never),
        ] {
            let variable = |name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(Colour::detect(terminal, variable), expected, "{terminal} {variables:?}");
        }
    }
}
