//! The experiments there are.

use crate::control::Control;
use crate::diag_query::DiagQueryStudies;
use crate::failure::bad_input;
use crate::rec_sim::RecSim;
use crate::study::Experiment;
use crate::suggest::did_you_mean;
use anyhow::Result;

/// Every experiment, the main one first.
pub const ALL: &[&dyn Experiment] = &[&RecSim, &Control, &DiagQueryStudies];

/// The experiment of this name. `place` is where the name was found, for the message.
///
/// # Errors
/// [`crate::failure::BadInput`] if there is none.
pub fn find(name: &str, place: &str) -> Result<&'static dyn Experiment> {
    let names = || ALL.iter().map(|e| e.info().name);
    ALL.iter().copied().find(|e| e.info().name == name).ok_or_else(|| {
        let (known, hint) = (names().collect::<Vec<_>>().join(", "), did_you_mean(name, names()));
        bad_input(format!("{place}: experiment = {name}: this program knows {known}{hint}"))
    })
}
