//! `summary.json`: the results of a study as a stable, versioned interface.

use super::atomic::{read_json, write_json};
use super::comparison::{Comparison, compare_all};
use super::verdict;
use crate::stats::{Bootstrap, Interval, Metric, Normalization, Scores};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Version of [`Summary`] that this code writes and reads. Fields may be added without a new version.
pub const SCHEMA: u32 = 1;

/// Results of a study.
///
/// Fill in what was measured (arms with their seeds and scores, references, splits), then call
/// [`Summary::fill_statistics`] for everything that follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the experiment.
    pub experiment: String,
    /// Preset from which the configuration started.
    pub preset: String,
    /// How far the study came.
    pub status: Status,
    /// What the scores are.
    pub metric: MetricInfo,
    /// The arms with their scores in the main evaluation.
    pub arms: Vec<ArmSummary>,
    /// Every arm that learns by reinforcement against the best supervised arm, in the main evaluation.
    pub comparisons: Vec<Comparison>,
    /// The answer, then one sentence for each comparison.
    pub verdict: Vec<String>,
    /// What the main evaluation measures on, such as "held-out users".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_on: Option<String>,
    /// Scores of policies that are no arms, such as random choice or a planner that knows the rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Further evaluations of the same arms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<Split>,
    /// What a reader must know before believing the numbers: failed trials, too few seeds, settings that disagree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How far a study came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Still under way.
    Running,
    /// Every trial ended as planned.
    Complete,
    /// Stopped before the end; can be resumed.
    Interrupted,
    /// Ended, but at least one trial failed.
    Failed,
}

/// What a score is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricInfo {
    /// Name, such as `episode_return`.
    pub name: String,
    /// Unit in the plural, such as "minutes watched"; empty if there is none.
    pub unit: String,
    /// Whether more is better.
    pub higher_is_better: bool,
}

/// What an arm learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArmKind {
    /// Reward, by reinforcement learning.
    Rl,
    /// Labels, by supervised learning.
    Supervised,
    /// Nothing, or more than an arm may know; shown beside the arms and not compared with them.
    Reference,
}

/// What a trial spent, or the mean over the trials of an arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Env steps of training.
    pub env_steps: u64,
    /// Labels used.
    pub labels: u64,
    /// Tokens that went forward through the backbone.
    pub forward_tokens: u64,
    /// Tokens that gradients went back through.
    pub backward_tokens: u64,
    /// Updates of the learner.
    pub updates: u64,
    /// Wall-clock seconds.
    pub wall_secs: f64,
}

/// Scores by seed and what follows from them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreSet {
    /// One score a finished seed.
    pub scores: Vec<f64>,
    /// The seeds to which the scores belong; equal seeds of two arms met the same evaluation episodes.
    pub seeds: Vec<u64>,
    /// Interquartile mean; none if no seed finished.
    pub iqm: Option<f64>,
    /// 95 percent percentile bootstrap interval of it. With few seeds it is too narrow; see [`crate::stats`].
    pub ci95: Option<Interval>,
    /// Interquartile mean on the scale of the references that are anchors, if there are any.
    pub normalized_iqm: Option<f64>,
}

/// One arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmSummary {
    /// Name, unique in the study.
    pub name: String,
    /// What it learns from.
    pub kind: ArmKind,
    /// How the backbone is trained: `frozen`, `lora`, `full`, or another word where there is no pretrained backbone.
    pub backbone: String,
    /// What the arm is, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Scores in the main evaluation.
    #[serde(flatten)]
    pub results: ScoreSet,
    /// What a trial spent on average.
    pub ledger: Ledger,
    /// Parameters that are trained.
    pub trainable_parameters: u64,
    /// Seeds whose trial failed.
    pub failed_seeds: Vec<u64>,
    /// Why they failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// Other metrics of the main evaluation by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, ExtraMetric>,
}

/// Why a trial failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The error.
    pub message: String,
}

/// A metric beside the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtraMetric {
    /// Unit in the plural; empty if there is none.
    pub unit: String,
    /// Scores by seed.
    #[serde(flatten)]
    pub results: ScoreSet,
}

/// A policy that is no arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Name, such as `random`.
    pub name: String,
    /// Its score.
    pub score: f64,
    /// What it is, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether it is one end of the normalized scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
}

/// Ends of the normalized scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// This reference has the normalized score 0.
    Zero,
    /// This reference has the normalized score 1.
    One,
}

/// A further evaluation of the same arms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Name, such as `cold_start`.
    pub name: String,
    /// What it measures on, such as "cards never seen in training".
    pub measured_on: String,
    /// Scores by arm.
    pub arms: Vec<SplitArm>,
    /// References in this evaluation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// As [`Summary::comparisons`], against the supervised arm that is best in the main evaluation.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
}

/// Scores of an arm in a [`Split`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitArm {
    /// Name of the arm.
    pub name: String,
    /// Its scores.
    #[serde(flatten)]
    pub results: ScoreSet,
}

impl ScoreSet {
    /// Scores as measured, without statistics yet.
    #[must_use]
    pub fn measured(scores: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let (seeds, scores) = scores.into_iter().unzip();
        Self { scores, seeds, ..Self::default() }
    }

    /// Computes interquartile mean, interval and normalized score. Without scores all are none.
    ///
    /// # Errors
    /// If a score is not finite, or if seeds and scores differ in number.
    pub fn fill(&mut self, bootstrap: &Bootstrap, scale: Option<Normalization>) -> Result<()> {
        if self.seeds.len() != self.scores.len() {
            let expected = format!("one for each of the {} scores is needed", self.scores.len());
            return Err(Error::config("seeds", self.seeds.len(), expected));
        }
        (self.iqm, self.ci95, self.normalized_iqm) = (None, None, None);
        if self.scores.is_empty() {
            return Ok(());
        }
        let scores = Scores::from_seeds(&self.scores)?;
        let iqm = Metric::Iqm.value(&scores);
        self.iqm = Some(iqm);
        self.ci95 = Some(bootstrap.interval(&scores, Metric::Iqm));
        self.normalized_iqm = scale.map(|scale| scale.apply(iqm));
        Ok(())
    }
}

impl Summary {
    /// Computes everything that follows from scores and references: aggregates, intervals, normalized scores,
    /// comparisons and the verdict. What was there of these is replaced, so the call can be repeated.
    ///
    /// # Errors
    /// If a score is not finite, if seeds and scores differ in number, or if two anchors have the same score.
    pub fn fill_statistics(&mut self, bootstrap: &Bootstrap) -> Result<()> {
        let scale = scale(&self.references)?;
        for arm in &mut self.arms {
            arm.results.fill(bootstrap, scale).map_err(|e| in_arm(&arm.name, &e))?;
            for (name, metric) in &mut arm.metrics {
                metric.results.fill(bootstrap, None).map_err(|e| in_arm(&format!("{}.{name}", arm.name), &e))?;
            }
        }
        let best = self.best_supervised().map(|arm| arm.name.clone());
        let main: Vec<_> = self.arms.iter().map(|arm| (arm.name.as_str(), arm.kind, &arm.results)).collect();
        self.comparisons = compare_all(&main, best.as_deref(), self.metric.higher_is_better, bootstrap)?;
        let kinds: BTreeMap<&str, ArmKind> = self.arms.iter().map(|arm| (arm.name.as_str(), arm.kind)).collect();
        for split in &mut self.splits {
            let scale = self::scale(&split.references)?;
            for arm in &mut split.arms {
                arm.results.fill(bootstrap, scale).map_err(|e| in_arm(&format!("{}.{}", split.name, arm.name), &e))?;
            }
            let kind = |name: &str| kinds.get(name).copied().unwrap_or(ArmKind::Reference);
            let arms: Vec<_> =
                split.arms.iter().map(|arm| (arm.name.as_str(), kind(&arm.name), &arm.results)).collect();
            split.comparisons = compare_all(&arms, best.as_deref(), self.metric.higher_is_better, bootstrap)?;
        }
        self.verdict = verdict::sentences(self);
        Ok(())
    }

    /// The supervised arm with the best interquartile mean in the main evaluation; the first of several.
    #[must_use]
    pub fn best_supervised(&self) -> Option<&ArmSummary> {
        let sign = if self.metric.higher_is_better { 1.0 } else { -1.0 };
        let value = |arm: &ArmSummary| arm.results.iqm.map(|iqm| sign * iqm);
        let supervised = self.arms.iter().filter(|arm| arm.kind == ArmKind::Supervised && arm.results.iqm.is_some());
        supervised.reduce(|best, arm| if value(arm) > value(best) { arm } else { best })
    }

    /// The arm called `name`.
    #[must_use]
    pub fn arm(&self, name: &str) -> Option<&ArmSummary> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// Writes the file atomically, with a checksum.
    ///
    /// # Errors
    /// As [`write_json`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// Reads the file and checks its checksum and version.
    ///
    /// # Errors
    /// As [`read_json`], and [`Error::Invalid`] for another version.
    pub fn read(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let found = read_json::<Version>(path)?.schema;
        if found != SCHEMA {
            return Err(Error::invalid(path, format!("schema = {found}: this program reads schema {SCHEMA}")));
        }
        read_json(path)
    }
}

/// The scale between the two anchors, if both are there.
fn scale(references: &[Reference]) -> Result<Option<Normalization>> {
    let anchor = |end| references.iter().find(|r| r.anchor == Some(end)).map(|r| r.score);
    match (anchor(Anchor::Zero), anchor(Anchor::One)) {
        (Some(zero), Some(one)) => Normalization::new(zero, one).map(Some),
        _ => Ok(None),
    }
}

fn in_arm(name: &str, error: &Error) -> Error {
    Error::config(&format!("arm {name}"), "cannot be summarised", error.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rng::Seed;
    use crate::stats::Claim;

    pub(crate) fn arm(name: &str, kind: ArmKind, scores: &[f64]) -> ArmSummary {
        ArmSummary {
            name: name.into(),
            kind,
            backbone: "lora".into(),
            description: String::new(),
            results: ScoreSet::measured((0..).zip(scores.iter().copied())),
            ledger: Ledger::default(),
            trainable_parameters: 10,
            failed_seeds: vec![],
            failures: vec![],
            metrics: BTreeMap::new(),
        }
    }

    pub(crate) fn summary(arms: Vec<ArmSummary>) -> Summary {
        let reference = |name: &str, score, anchor| Reference {
            name: name.into(),
            score,
            description: String::new(),
            anchor: Some(anchor),
        };
        Summary {
            schema: SCHEMA,
            experiment: "rec_sim".into(),
            preset: "quick".into(),
            status: Status::Complete,
            metric: MetricInfo {
                name: "episode_return".into(),
                unit: "minutes watched".into(),
                higher_is_better: true,
            },
            arms,
            comparisons: vec![],
            verdict: vec![],
            measured_on: None,
            references: vec![reference("random", 0.0, Anchor::Zero), reference("planner", 20.0, Anchor::One)],
            splits: vec![],
            warnings: vec![],
        }
    }

    pub(crate) fn bootstrap() -> Bootstrap {
        Bootstrap::new(Seed::root(0)).with(2_000, 0.95).unwrap()
    }

    fn study() -> Summary {
        let mut summary = summary(vec![
            arm("clicks", ArmKind::Supervised, &[1.0, 2.0, 3.0, 4.0, 5.0]),
            arm("labels", ArmKind::Supervised, &[3.0, 4.0, 5.0, 6.0, 7.0]),
            arm("q_learning", ArmKind::Rl, &[9.0, 10.0, 11.0, 12.0, 13.5]),
            arm("broken", ArmKind::Rl, &[]),
            arm("oracle", ArmKind::Reference, &[19.0; 5]),
        ]);
        summary.splits.push(Split {
            name: "cold_start".into(),
            measured_on: "cards never seen in training".into(),
            arms: summary.arms.iter().map(|a| SplitArm { name: a.name.clone(), results: a.results.clone() }).collect(),
            references: vec![],
            comparisons: vec![],
        });
        summary
    }

    #[test]
    fn statistics_follow_from_the_scores() {
        let mut summary = study();
        summary.fill_statistics(&bootstrap()).unwrap();
        let rl = &summary.arm("q_learning").unwrap().results;
        assert_eq!((rl.iqm, rl.normalized_iqm), (Some(11.0), Some(0.55)));
        assert!(rl.ci95.unwrap().contains(11.0));
        assert_eq!(summary.arm("broken").unwrap().results.iqm, None);
        // Only the RL arm that has scores is compared, and with the better supervised arm.
        assert_eq!(summary.comparisons.len(), 1);
        let comparison = &summary.comparisons[0];
        assert_eq!((comparison.a.as_str(), comparison.b.as_str()), ("q_learning", "labels"));
        assert_eq!((comparison.difference_iqm, comparison.claim), (6.0, Claim::Better));
        assert_eq!(summary.splits[0].comparisons[0].claim, Claim::Better);
        let again = {
            let mut s = summary.clone();
            s.fill_statistics(&bootstrap()).unwrap();
            s
        };
        assert_eq!(again, summary);
    }

    #[test]
    fn the_file_has_the_promised_form_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        let mut summary = study();
        summary.fill_statistics(&bootstrap()).unwrap();
        summary.write(&path).unwrap();
        assert_eq!(Summary::read(&path).unwrap(), summary);

        let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(value["schema"], 1);
        assert_eq!(value["status"], "complete");
        let arm = &value["arms"][2];
        assert_eq!(arm["kind"], "rl");
        assert_eq!(arm["scores"].as_array().unwrap().len(), 5);
        assert_eq!(arm["ci95"].as_array().unwrap().len(), 2);
        assert_eq!(arm["normalized_iqm"], 0.55);
        assert_eq!(arm["ledger"]["env_steps"], 0);
        let comparison = &value["comparisons"][0];
        assert_eq!(comparison["probability_of_improvement"], 1.0);
        assert!(comparison["seeds_for_80_percent_power"].is_u64());
        assert!(value["verdict"][0].is_string());
    }

    #[test]
    fn other_versions_and_bad_scores_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        std::fs::write(&path, r#"{"schema": 2}"#).unwrap();
        assert!(Summary::read(&path).unwrap_err().to_string().contains("schema = 2"));
        let mut summary = summary(vec![arm("q", ArmKind::Rl, &[1.0, f64::NAN])]);
        let message = summary.fill_statistics(&bootstrap()).unwrap_err().to_string();
        assert!(message.contains("arm q") && message.contains("scores[1][0] = NaN"), "{message}");
    }
}
