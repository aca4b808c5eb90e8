//! What a report is made from.

use super::extras::Extras;
use crate::rng::Seed;
use crate::stats::{Bootstrap, Interval, Metric, Scores};
use crate::track::{Manifest, MetricRecord, Phase, RunDir, Summary, read_jsonl};
use crate::{Error, Result};

/// Replications for the bands of learning curves. Each band has its own, at every evaluation, so fewer than for final
/// scores; the ends move by about a hundredth of the width.
const BAND_REPLICATIONS: usize = 5_000;

/// Everything a report shows.
#[derive(Clone, Debug)]
pub struct ReportInput {
    /// Results.
    pub summary: Summary,
    /// How they came about, if known.
    pub manifest: Option<Manifest>,
    /// Evaluations during training, in the order of the arms.
    pub curves: Vec<Curve>,
    /// The question that the study answers, as a sentence.
    pub question: String,
    /// How it was measured: evaluation, budget, what is held out; one sentence each.
    pub method: Vec<String>,
    /// Command that runs the study again, if known.
    pub reproduce: Option<String>,
    /// What only this experiment has to show.
    pub extras: Extras,
}

/// Evaluations of one trial during training.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The arm.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// Evaluations in order.
    pub points: Vec<CurvePoint>,
}

/// One evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// Env steps of training before it.
    pub env_steps: u64,
    /// The metric of the study.
    pub value: f64,
}

/// Values of one arm over its seeds at one place, such as a number of env steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Aggregate {
    pub x: f64,
    pub iqm: f64,
    pub ci95: Interval,
}

impl ReportInput {
    /// Reads the folder of a run: `summary.json`, `manifest.json` and the evaluations in every `metrics.jsonl`.
    /// Question and method are filled with what is known of every study and may be replaced.
    ///
    /// # Errors
    /// If the summary or the manifest is missing or damaged, or if a log that exists cannot be read.
    pub fn read(run: &RunDir) -> Result<Self> {
        let summary = Summary::read(&run.summary())?;
        let manifest = Manifest::read(&run.manifest())?;
        let mut curves = Vec::new();
        for arm in &summary.arms {
            let seeds = arm.results.seeds.iter().chain(&arm.failed_seeds);
            for &seed in seeds {
                curves.extend(read_curve(run, &arm.name, seed, &summary.metric.name)?);
            }
        }
        let reproduce = (!manifest.command.is_empty()).then(|| manifest.command.join(" "));
        Ok(Self {
            question: format!(
                "Does reinforcement learning make the pretrained model better at {} than supervised learning does?",
                summary.experiment
            ),
            method: Vec::new(),
            summary,
            manifest: Some(manifest),
            curves,
            reproduce,
            extras: Extras::default(),
        })
    }

    /// The curves of an arm.
    pub(super) fn curves_of<'a>(&'a self, arm: &'a str) -> impl Iterator<Item = &'a Curve> {
        self.curves.iter().filter(move |curve| curve.arm == arm && !curve.points.is_empty())
    }

    /// Interquartile mean and interval of an arm wherever as many seeds were evaluated as anywhere. Where a failed
    /// seed is missing the mean would jump for that reason alone.
    pub(super) fn aggregates(&self, arm: &str) -> Vec<Aggregate> {
        let points = self.curves_of(arm).flat_map(|curve| &curve.points);
        self.aggregate(points.map(|point| (point.env_steps as f64, point.value)))
    }

    /// The same for the points (x, y) of all seeds of an arm; what is not finite is left out.
    pub(super) fn aggregate(&self, points: impl IntoIterator<Item = (f64, f64)>) -> Vec<Aggregate> {
        let mut points: Vec<(f64, f64)> = points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        // A stable sort: at each place the seeds stay in their order.
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let places: Vec<&[(f64, f64)]> = points.chunk_by(|a, b| a.0 == b.0).collect();
        let most = places.iter().map(|place| place.len()).max().unwrap_or(0);
        let root = self.manifest.as_ref().map_or(0, |manifest| manifest.root_seed);
        let bootstrap = Bootstrap::new(Seed::root(root).child("report"));
        let bootstrap = bootstrap.with(BAND_REPLICATIONS, 0.95).unwrap_or(bootstrap);
        let full = places.into_iter().filter(|place| place.len() == most);
        full.filter_map(|place| {
            let values: Vec<f64> = place.iter().map(|(_, y)| *y).collect();
            let scores = Scores::from_seeds(&values).ok()?;
            let (iqm, ci95) = (Metric::Iqm.value(&scores), bootstrap.interval(&scores, Metric::Iqm));
            Some(Aggregate { x: place[0].0, iqm, ci95 })
        })
        .collect()
    }
}

/// The main evaluations of one trial; none if it wrote no log or never evaluated.
fn read_curve(run: &RunDir, arm: &str, seed: u64, metric: &str) -> Result<Option<Curve>> {
    let path = run.metrics(arm, seed)?;
    if !path.try_exists().map_err(|e| Error::io(&path, e))? {
        return Ok(None);
    }
    let records = read_jsonl::<MetricRecord>(&path)?.into_iter();
    let main = records.filter(|record| record.phase == Phase::Evaluation && record.split.is_none());
    let point = |record: MetricRecord| {
        record.values.get(metric).map(|&value| CurvePoint { env_steps: record.env_steps, value })
    };
    let points: Vec<CurvePoint> = main.filter_map(point).collect();
    Ok((!points.is_empty()).then(|| Curve { arm: arm.to_owned(), seed, points }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stats::Bootstrap;
    use crate::track::{
        Anchor, ArmKind, ArmSummary, Ledger, MetricInfo, Reference, SCHEMA, ScoreSet, Split, SplitArm, Status, TrialLog,
    };
    use std::collections::BTreeMap;

    const NAMES: [(&str, ArmKind, &str, f64, &str); 9] = [
        ("supervised_clicks", ArmKind::Supervised, "lora", 171.0, "Predicts clicks, recommends the likeliest."),
        ("supervised_frozen", ArmKind::Supervised, "frozen", 166.0, "The same with an untouched backbone."),
        ("supervised_random", ArmKind::Supervised, "random", 163.0, "The same from random weights."),
        ("q_learning", ArmKind::Rl, "lora", 232.0, "SlateQ with the null term in target and ranking."),
        ("q_learning_frozen", ArmKind::Rl, "frozen", 204.0, "The same with an untouched backbone."),
        ("sarsa", ArmKind::Rl, "lora", 218.0, "On-policy SlateQ."),
        ("reinforce", ArmKind::Rl, "lora", 178.0, "Policy gradient with a Plackett-Luce slate."),
        ("ppo", ArmKind::Rl, "lora", 196.0, "Clipped policy gradient."),
        ("q_learning_random", ArmKind::Rl, "random", 172.0, "SlateQ from random weights."),
    ];

    /// A made-up study that looks like a real one.
    pub(in crate::report) fn study(arms: usize, seeds: u64) -> ReportInput {
        let mut rng = Seed::root(3).rng();
        let shared: Vec<f64> = (0..seeds).map(|_| 4.0 * rng.normal()).collect();
        let (mut summaries, mut curves, mut cold) = (Vec::new(), Vec::new(), Vec::new());
        for place in 0..arms {
            let (name, kind, backbone, level, description) = NAMES[place % NAMES.len()];
            let name = if place < NAMES.len() { name.to_owned() } else { format!("{name}_{place}") };
            let mut scores = Vec::new();
            for seed in 0..seeds {
                let end = level + shared[seed as usize] + 5.0 * rng.normal();
                let points = (0..=12u64).map(|k| {
                    let value = end - (end - 158.0) * (-(k as f64) / 3.5).exp() + 2.0 * rng.normal();
                    CurvePoint { env_steps: k * 25_000, value }
                });
                let points: Vec<CurvePoint> = points.collect();
                scores.push((seed, points[12].value));
                curves.push(Curve { arm: name.clone(), seed, points });
            }
            let cold_scores = scores.iter().map(|&(seed, v)| (seed, 158.0 + 0.7 * (v - 158.0) + rng.normal()));
            cold.push(SplitArm { name: name.clone(), results: ScoreSet::measured(cold_scores) });
            let wall_secs = 40.0 * (1.0 + place as f64 * 1.7);
            summaries.push(ArmSummary {
                name,
                kind,
                backbone: backbone.into(),
                description: description.into(),
                results: ScoreSet::measured(scores),
                ledger: Ledger {
                    env_steps: 300_000,
                    labels: 0,
                    forward_tokens: 48_000_000,
                    backward_tokens: 12_000_000,
                    updates: 18_750,
                    wall_secs,
                },
                trainable_parameters: 443_000,
                failed_seeds: if place == 7 { vec![seeds] } else { vec![] },
                failures: vec![],
                metrics: BTreeMap::new(),
            });
        }
        let reference =
            |name: &str, score, anchor| Reference { name: name.into(), score, description: String::new(), anchor };
        let references = vec![
            reference("random", 158.2, Some(Anchor::Zero)),
            reference("myopic", 165.0, None),
            reference("planner", 279.9, Some(Anchor::One)),
        ];
        let mut summary = Summary {
            schema: SCHEMA,
            experiment: "rec_sim".into(),
            preset: "quick".into(),
            status: Status::Complete,
            metric: MetricInfo {
                name: "episode_return".into(),
                unit: "minutes watched".into(),
                higher_is_better: true,
            },
            arms: summaries,
            comparisons: vec![],
            verdict: vec![],
            measured_on: Some("held-out users, training cards".into()),
            splits: vec![Split {
                name: "cold_start".into(),
                measured_on: "held-out users, cards never seen in training".into(),
                arms: cold,
                references: references.clone(),
                comparisons: vec![],
            }],
            references,
            warnings: vec!["The catalogue has 2 pairs of identical texts.".into()],
        };
        summary.fill_statistics(&Bootstrap::new(Seed::root(1)).with(4_000, 0.95).unwrap()).unwrap();
        let manifest = Manifest {
            schema: 1,
            experiment: "rec_sim".into(),
            preset: "quick".into(),
            command: vec!["experiment".into(), "rec_sim".into()],
            root_seed: 1,
            device: "cpu".into(),
            started_at: "2026-01-31T09:05:00Z".into(),
            hashes: BTreeMap::from([("wordnet_glosses.csv".into(), "ab".repeat(32))]),
            versions: BTreeMap::from([("retune".into(), "0.1.0".into())]),
            ..Manifest::default()
        };
        ReportInput {
            summary,
            manifest: Some(manifest),
            curves,
            question: "Does reinforcement learning make a pretrained text encoder a better recommender than supervised learning on clicks does?".into(),
            method: vec!["Every arm is scored on the same 200 held-out users for a seed.".into()],
            reproduce: Some("experiment rec_sim --preset quick --seed 1".into()),
            extras: Extras::default(),
        }
    }

    #[test]
    fn a_run_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        let expected = study(4, 2);
        expected.summary.write(&run.summary()).unwrap();
        expected.manifest.as_ref().unwrap().write(&run.manifest()).unwrap();
        for curve in &expected.curves {
            let mut log = TrialLog::create(&run, &curve.arm, curve.seed, 0.0).unwrap();
            for (updates, point) in curve.points.iter().enumerate() {
                let mut record = MetricRecord {
                    phase: Phase::Evaluation,
                    split: None,
                    env_steps: point.env_steps,
                    updates: updates as u64,
                    wall_secs: 0.0,
                    values: BTreeMap::from([("episode_return".into(), point.value)]),
                };
                log.record(&record).unwrap();
                record.split = Some("cold_start".into());
                log.record(&record).unwrap();
                record.phase = Phase::Train;
                log.record(&record).unwrap();
            }
            log.sync().unwrap();
        }
        let input = ReportInput::read(&RunDir::open(folder.path()).unwrap()).unwrap();
        assert_eq!(input.curves, expected.curves);
        assert_eq!(input.summary, expected.summary);
        assert_eq!(input.manifest, expected.manifest);
    }

    #[test]
    fn evaluations_that_a_seed_lacks_are_left_out_of_the_mean() {
        let mut input = study(1, 3);
        input.curves[0].points.truncate(5);
        input.curves[1].points[2].value = f64::NAN;
        let steps: Vec<f64> = input.aggregates("supervised_clicks").iter().map(|a| a.x / 25_000.0).collect();
        assert_eq!(steps, [0.0, 1.0, 3.0, 4.0]);
        assert!(input.aggregates("unknown").is_empty());
    }
}
