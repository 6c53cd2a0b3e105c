//! Effect → call: which of the calls in flight caused what a process of the server's tree just did,
//! how sure that is, and whether the call asked for it.

use std::sync::Arc;

use crate::record::Relation;
use crate::session::Call;

/// What is known of the cause of one effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// How the effect stands to the likeliest call.
    pub relation: Relation,
    /// The calls it may belong to with the share of the evidence each has (they add up to 1 or less),
    /// the likeliest first. Empty for `background` and `startup`.
    pub candidates: Vec<(Arc<Call>, f64)>,
    /// The text of the likeliest call's arguments that names the effect's object, when one does.
    pub matched: Option<String>,
    /// The process was forked in a call that has been answered since: it outlives its call.
    pub outlived: bool,
}

impl Attribution {
    /// The likeliest call.
    #[must_use]
    pub fn call(&self) -> Option<&Arc<Call>> {
        self.candidates.first().map(|(call, _)| call)
    }
}
