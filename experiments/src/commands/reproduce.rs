//! `experiment reproduce DIR`: run again, and see whether the same comes out.

use super::{finish, new, opened, print};
use crate::cli::OutputArgs;
use crate::failure::{Outcome, bad_input};
use crate::interrupt::Interrupt;
use crate::study::{Prepared, differences};
use crate::threads;
use anyhow::Result;
use retune::track::{Status, Summary};
use serde_json::json;
use std::path::{Path, PathBuf};

pub fn run(dir: &Path, output: OutputArgs) -> Result<Outcome> {
    threads::one_per_operation();
    let opened = opened(dir)?;
    let path = opened.run.summary();
    if !path.is_file() || Summary::read(&path)?.status != Status::Complete {
        return Err(bad_input(format!(
            "{0}: the study is not complete; finish it first with: experiment resume {0}",
            dir.display()
        )));
    }
    if opened.manifest.config["train"]["mode"] == "free" {
        return Err(bad_input(format!(
            "{}: train.mode = free: which parameters acted when depended on timing, so a second run would differ; only \
             studies with train.mode = deterministic repeat",
            dir.display()
        )));
    }
    let again = free_name(dir);
    let prepared = opened.experiment.prepare(&opened.manifest.config)?;
    let changed = changed_inputs(prepared.as_ref(), &opened.manifest.hashes);
    let interrupt = Interrupt::listen(output.quiet)?;
    let study = new::begin(prepared, &opened.manifest.preset, &again, interrupt)?;
    let summary = finish::train(&study, &opened.manifest.preset, output)?;
    drop(study);
    if summary.status == Status::Interrupted {
        remove(&again)?;
        return Ok(Outcome::Interrupted);
    }
    let (differing, total) = differences(dir, &again)?;
    let agree = differing.is_empty();
    if agree {
        remove(&again)?;
    }
    let result = json!({"agree": agree, "files": total, "differing": differing, "changed_inputs": changed});
    print(output, &result, || text(&differing, total, &changed, &again))?;
    Ok(if agree { Outcome::Done } else { Outcome::Failed })
}

/// A folder beside the study for the second run.
fn free_name(dir: &Path) -> PathBuf {
    let name = dir.file_name().map_or_else(|| "study".into(), |n| n.to_string_lossy().into_owned());
    let candidates = (1..).map(|n| dir.with_file_name(format!("{name}-again-{n}")));
    candidates.into_iter().find(|path| path.symlink_metadata().is_err()).expect("folders are finite, numbers are not")
}

fn changed_inputs(prepared: &dyn Prepared, recorded: &std::collections::BTreeMap<String, String>) -> Vec<String> {
    recorded.iter().filter(|(name, hash)| prepared.hashes().get(*name) != Some(hash)).map(|(n, _)| n.clone()).collect()
}

fn remove(dir: &Path) -> Result<()> {
    Ok(std::fs::remove_dir_all(dir).map_err(|e| retune::Error::io(dir, e))?)
}

fn text(differing: &[PathBuf], total: usize, changed: &[String], again: &Path) -> String {
    if differing.is_empty() {
        return format!("The second run agrees: all {total} result files have the same hashes, times left out.\n");
    }
    let mut text =
        format!("{} of {total} result files differ; the second run is in {}:\n", differing.len(), again.display());
    for path in differing {
        text.push_str(&format!("  {}\n", path.display()));
    }
    for name in changed {
        text.push_str(&format!("The {name} is not the one that the first run read.\n"));
    }
    text
}
