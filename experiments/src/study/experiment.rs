//! What makes an experiment: its words and settings, and how one of its trials is run.
//!
//! The commands see experiments through [`Experiment`] and a study that is ready to run through [`Prepared`], and know
//! none of them by name. Everything else a study does (order of work, checkpoints, resume, statistics, figures) is
//! written once, in this folder.

use super::{Plan, Study, TrialId, TrialRecord};
use crate::arms::{Algorithm, Arm};
use crate::config::{Layers, Preset, Request, Schema, resolve};
use crate::failure::bad_input;
use crate::progress::TrialProgress;
use anyhow::{Context, Result};
use retune::env::check::CheckReport;
use retune::report::Extras;
use retune::stats::Bootstrap;
use retune::track::{Anchor, MetricInfo, Reference, Summary};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is known of an experiment before anybody asks for anything.
#[derive(Debug)]
pub struct Info {
    /// Name on the command line and in files.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The question a study of it answers.
    pub question: &'static str,
    /// The environments, with what is special about each.
    pub envs: &'static [(&'static str, &'static str)],
    /// The presets, the default first.
    pub presets: &'static [Preset],
    /// The preset that a person who has seen the default one should try next.
    pub next_preset: Option<&'static str>,
    /// Every setting, as TOML texts: its own, then those it shares with others.
    pub settings: &'static [&'static str],
    /// What can be compared, references first.
    pub algorithms: &'static [Algorithm],
    /// What an arm may be shown other than what the study shows, `arm+view`; empty where there is no choice.
    pub views: &'static [&'static str],
    /// The references that are the ends of the normalized scale. They are measured even if nobody asks: they cost a
    /// second and say what a score is worth.
    pub anchors: &'static [(&'static str, Anchor)],
    /// Settings (or tables of them) that decide which episodes a seed is measured on: two studies that agree in all
    /// of them can be compared seed by seed.
    pub paired_by: &'static [&'static str],
}

impl Info {
    /// Every setting there is.
    ///
    /// # Errors
    /// If the table that comes with the program is not valid, which a test excludes.
    pub fn schema(&self) -> Result<Schema> {
        Schema::parse(&self.settings.join("\n")).with_context(|| format!("presets/{}/settings.toml", self.name))
    }

    /// One arm by its spelling.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] as [`Arm::parse`].
    pub fn arm(&self, spelling: &str) -> Result<Arm> {
        Arm::parse(spelling, self.algorithms, self.views)
    }

    /// The references that are the ends of the normalized scale.
    #[must_use]
    pub fn anchor_arms(&self) -> Vec<Arm> {
        let is_anchor = |algorithm: &&Algorithm| self.anchors.iter().any(|(name, _)| *name == algorithm.name);
        self.algorithms.iter().filter(is_anchor).map(|&algorithm| Arm::plain(algorithm)).collect()
    }
}

/// An experiment, as the commands see it.
pub trait Experiment: Sync {
    /// What is known of it.
    fn info(&self) -> &'static Info;

    /// Presets to begin from below the one a person named, as the settings so far ask for them, such as the tuned
    /// settings of the chosen task.
    fn base(&self, _layers: &Layers<'_>) -> Vec<Preset> {
        Vec::new()
    }

    /// The settings as the manifest keeps them.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] naming settings that contradict each other and where they came from.
    fn checked(&self, layers: &Layers<'_>) -> Result<Value>;

    /// Understands settings, reads files, and checks that every arm can be built. Nothing is written.
    ///
    /// # Errors
    /// Whatever is wrong with what a person put in.
    fn prepare(&self, config: &Value) -> Result<Box<dyn Prepared>>;

    /// How it was measured, one sentence each.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] if these are not settings of this experiment.
    fn method(&self, config: &Value) -> Result<Vec<String>>;

    /// What only reports of this experiment show, from what the finished trials recorded.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] if a trial recorded something of another form.
    fn extras(&self, _summary: &Summary, _records: &[TrialRecord]) -> Result<Extras> {
        Ok(Extras::default())
    }

    /// Whether the environment of this name (one of [`Info::envs`]) keeps its contract, and its speed.
    ///
    /// # Errors
    /// If it cannot be built.
    fn check_env(&self, name: &str) -> Result<CheckReport>;
}

impl dyn Experiment + '_ {
    /// The settings of all layers for `request`, the preset they began from, and the layers themselves.
    ///
    /// # Errors
    /// As [`resolve`].
    pub fn layers<'s>(&self, schema: &'s Schema, request: &Request<'_>) -> Result<(Preset, Layers<'s>)> {
        resolve(schema, self.info().presets, request, &|layers| self.base(layers))
    }
}

/// One kind of final measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitInfo {
    /// Name in files.
    pub name: &'static str,
    /// What it measures on, such as `users never met in training`.
    pub measured_on: &'static str,
}

/// A study that is ready to run: settings that were understood, files that were read.
pub trait Prepared: Sync {
    /// The experiment.
    fn info(&self) -> &'static Info;

    /// The settings, as the manifest keeps them.
    fn config(&self) -> &Value;

    /// What all studies settle.
    fn plan(&self) -> &Plan;

    /// Where tensors live, as files name it.
    fn device(&self) -> String;

    /// SHA-256 of what was read, by name.
    fn hashes(&self) -> &BTreeMap<String, String>;

    /// What the scores are.
    fn metric(&self) -> MetricInfo;

    /// Unit of a measure beside the score; empty if it has none.
    fn unit(&self, measure: &str) -> &'static str;

    /// The final measurements, the main one first.
    fn splits(&self) -> Vec<SplitInfo>;

    /// How the backbone of an arm is trained, `none` without one.
    fn backbone(&self, arm: &Arm) -> String;

    /// What a reader must know that the trials cannot say of themselves.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Lines to compare with that no policy has to earn, such as a known threshold.
    fn fixed_references(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// Says what follows from the filled summary, where that is more or other than reinforcement learning against
    /// supervised learning.
    ///
    /// # Errors
    /// If a score is not finite.
    fn conclude(&self, _summary: &mut Summary, _bootstrap: &Bootstrap) -> Result<()> {
        Ok(())
    }

    /// Runs one trial to its end.
    ///
    /// # Errors
    /// [`retune::Error::Interrupted`] after a request to stop; whatever else stops a trial.
    fn run_trial(&self, study: &Study, trial: &TrialId, bar: &TrialProgress) -> retune::Result<TrialRecord>;
}

/// Settings that a manifest kept, as the experiment's own structure.
///
/// # Errors
/// [`crate::failure::BadInput`] if they have another form.
pub fn typed<T: DeserializeOwned>(config: &Value) -> Result<T> {
    serde_json::from_value(config.clone()).map_err(|e| bad_input(format!("manifest.json: config: {e}")))
}
