//! Record → JSON stream, console, OCSF; a bounded queue each, every drop counted.
//!
//! [`Fanout`] numbers the records and offers them to each output's queue without ever waiting; a
//! thread an output renders and writes them. An output that is slow, full or gone costs
//! its own records, counted by reason, and nothing else.

pub mod console;
pub mod escape;
mod fanout;
pub mod json;
pub mod ocsf;
mod shared;
mod sink;
mod stream;
mod weight;
mod writer;

#[cfg(test)]
pub(crate) mod contract_tests;
#[cfg(test)]
pub(crate) mod samples;

pub use console::Colour;
pub use fanout::{DEFAULT_QUEUE_BYTES, Fanout, Output, OutputLoss};
pub use sink::{Failure, LossReason, OutputState};
pub(crate) use stream::keep_to_ourselves;
pub use stream::{Destination, OpenError};

use crate::record::Record;

/// What the lines of an output look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, as `docs/events.md` describes.
    #[default]
    Json,
    /// For people: one line an event, effects below their calls.
    Pretty,
    /// One OCSF 1.8 event a line.
    Ocsf,
}

impl Format {
    /// Every format, in the order of the help text.
    pub const ALL: [Self; 3] = [Self::Json, Self::Pretty, Self::Ocsf];

    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Pretty => "pretty",
            Self::Ocsf => "ocsf",
        }
    }

    /// The format of an event file beside a console of this format: a file is for programs.
    #[must_use]
    pub const fn for_file(self) -> Self {
        match self {
            Self::Pretty => Self::Json,
            other => other,
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|format| format.name() == word).ok_or_else(|| {
            let words = Self::ALL.map(Self::name).join(", ");
            format!("`{}` is no output format: use one of {words}", escape::Escaped::new(word, 40))
        })
    }
}

/// Records → bytes, in one of the formats.
enum Renderer {
    Json(shared::SharedTexts),
    Pretty(Box<console::Console>),
    Ocsf,
}

impl Renderer {
    fn new(format: Format, colour: Colour) -> Self {
        match format {
            Format::Json => Self::Json(shared::SharedTexts::default()),
            Format::Pretty => Self::Pretty(Box::new(console::Console::new(colour))),
            Format::Ocsf => Self::Ocsf,
        }
    }

    /// Appends the record's lines; on an error nothing is appended.
    fn append(&mut self, record: &Record, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        match self {
            Self::Json(texts) => texts.append(record, out),
            Self::Pretty(console) => {
                console.append(record, out);
                Ok(())
            }
            Self::Ocsf => json::append(&ocsf::event(record), out),
        }
    }

    /// Something is held back that should be shown when nothing else comes.
    fn holds(&self) -> bool {
        matches!(self, Self::Pretty(console) if console.holds())
    }

    /// Appends what was held back.
    fn release(&mut self, out: &mut Vec<u8>) {
        if let Self::Pretty(console) = self {
            console.release(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_words() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
            assert_ne!(format.for_file(), Format::Pretty);
        }
        assert!("xml".parse::<Format>().unwrap_err().contains("json, pretty, ocsf"));
    }
}
