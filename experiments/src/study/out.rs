//! Where a study is written.

use crate::failure::bad_input;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// `runs/<experiment>/<preset>-<seed>`, with `-2`, `-3`, … behind it if that exists.
#[must_use]
pub fn default_out(experiment: &str, preset: &str, seed: u64) -> PathBuf {
    let folder = Path::new("runs").join(experiment);
    let name = format!("{preset}-{seed}");
    let mut path = folder.join(&name);
    let mut number = 2;
    while path.symlink_metadata().is_ok() {
        path = folder.join(format!("{name}-{number}"));
        number += 1;
    }
    path
}

/// Refuses a folder that a study could not be written to, as far as that can be told without changing anything.
///
/// # Errors
/// [`crate::failure::BadInput`] if something is there already, or a file stands in the way.
pub fn check_free(path: &Path) -> Result<()> {
    let shown = path.display();
    if let Ok(found) = path.symlink_metadata() {
        let what = if found.is_dir() { "a folder" } else { "a file" };
        return Err(bad_input(format!(
            "--out {shown}: there is {what} of that name; choose a new one (to go on with a study: experiment resume \
             {shown})"
        )));
    }
    match path.ancestors().skip(1).find(|above| above.symlink_metadata().is_ok()) {
        Some(above) if !above.is_dir() => {
            Err(bad_input(format!("--out {shown}: {} is a file; choose another folder", above.display())))
        }
        _ => Ok(()),
    }
}
