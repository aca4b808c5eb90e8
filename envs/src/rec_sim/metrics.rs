//! What is measured of recommendation episodes, from what really happened ([`StepFacts`]).

use super::shared::{Model, StepFacts};
use super::sim::Sim;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is kept of one episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodeRecord {
    /// Seed of the episode.
    pub seed: u64,
    /// Sum of rewards.
    pub episode_return: f64,
    /// Σ γ^t r_t.
    pub discounted_return: f64,
    /// Env steps.
    pub episode_length: u64,
    /// Whether a step limit ended it.
    pub truncated: bool,
    /// Steps with a consumed item.
    pub clicks: u64,
    /// Sum of the qualities of consumed items.
    pub quality_sum: f64,
    /// Distinct topics consumed.
    pub topics_consumed: usize,
    /// −Σ p ln p / ln G over the topics consumed, in [0, 1]; 0 with fewer than two clicks or one topic.
    pub topic_entropy: f64,
    /// Mean over steps of the distinct topics in the slate / slate size.
    pub slate_diversity: f64,
}

/// Mean, standard deviation and standard error over episodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean; for a ratio, ratio of the sums.
    pub mean: f64,
    /// Standard deviation over episodes (n − 1); of the linearised residual for a ratio.
    pub sd: f64,
    /// Standard error of the mean.
    pub se: f64,
}

/// Metrics of a set of episodes. NaN where there is nothing to measure, such as quality without a click.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of episodes.
    pub episodes: usize,
    /// Sum of rewards of an episode.
    pub episode_return: Estimate,
    /// Σ γ^t r_t of an episode.
    pub discounted_return: Estimate,
    /// Env steps of an episode.
    pub episode_length: Estimate,
    /// Σ clicks / Σ steps.
    pub ctr: Estimate,
    /// Σ quality of consumed items / Σ clicks (clickbait in `long_term_satisfaction`).
    pub mean_quality: Estimate,
    /// Mean over episodes of [`EpisodeRecord::topics_consumed`].
    pub topics_consumed: Estimate,
    /// Mean over episodes of [`EpisodeRecord::topic_entropy`].
    pub topic_entropy: Estimate,
    /// Mean over episodes of [`EpisodeRecord::slate_diversity`].
    pub slate_diversity: Estimate,
    /// Share of pool items shown at least once.
    pub coverage: f64,
    /// Share of pool items consumed at least once.
    pub coverage_consumed: f64,
    /// Gini coefficient of how often each pool item was shown.
    pub gini: f64,
}

/// Collects metrics step by step, over any number of episodes side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    gamma: f64,
    num_topics: usize,
    shown: Vec<u64>,
    consumed: Vec<u64>,
    /// Episodes that go on, by number.
    open: BTreeMap<usize, Tally>,
    /// Closed episodes, by number.
    closed: BTreeMap<usize, EpisodeRecord>,
}

#[derive(Clone, Debug, PartialEq)]
struct Tally {
    episode_return: f64,
    discounted_return: f64,
    discount: f64,
    steps: u64,
    clicks: u64,
    quality_sum: f64,
    diversity_sum: f64,
    /// Clicks on each topic.
    topic_clicks: Vec<u64>,
}

impl Tally {
    fn new(num_topics: usize) -> Self {
        Self {
            episode_return: 0.0,
            discounted_return: 0.0,
            discount: 1.0,
            steps: 0,
            clicks: 0,
            quality_sum: 0.0,
            diversity_sum: 0.0,
            topic_clicks: vec![0; num_topics],
        }
    }
}

impl Metrics {
    /// Nothing measured yet; sizes are those of the simulator. `gamma` is the discount of `discounted_return`.
    #[must_use]
    pub fn new<M: Model>(sim: &Sim<M>, gamma: f64) -> Self {
        let pool = sim.model().pool_size();
        Self {
            gamma,
            num_topics: sim.model().num_topics(),
            shown: vec![0; pool],
            consumed: vec![0; pool],
            open: BTreeMap::new(),
            closed: BTreeMap::new(),
        }
    }

    /// Takes in one step of episode number `episode`: after each `step` of the environment, pass what
    /// [`Sim::last_step`] shows. Steps of several episodes may alternate.
    pub fn record(&mut self, episode: usize, facts: &StepFacts) {
        let tally = self.open.entry(episode).or_insert_with(|| Tally::new(self.num_topics));
        tally.steps += 1;
        tally.episode_return += facts.reward;
        tally.discounted_return += tally.discount * facts.reward;
        tally.discount *= self.gamma;
        let mut distinct = 0;
        for (at, item) in facts.slate.iter().enumerate() {
            self.shown[item.item as usize] += 1;
            distinct += usize::from(facts.slate[..at].iter().all(|earlier| earlier.topic != item.topic));
        }
        tally.diversity_sum += distinct as f64 / facts.slate.len().max(1) as f64;
        if let Some(item) = facts.consumed() {
            self.consumed[item.item as usize] += 1;
            tally.topic_clicks[item.topic as usize] += 1;
            tally.clicks += 1;
            tally.quality_sum += item.quality;
        }
    }

    /// Closes episode number `episode`, which began from `seed`.
    pub fn finish_episode(&mut self, episode: usize, seed: u64, truncated: bool) {
        let tally = self.open.remove(&episode).unwrap_or_else(|| Tally::new(self.num_topics));
        let record = EpisodeRecord {
            seed,
            episode_return: tally.episode_return,
            discounted_return: tally.discounted_return,
            episode_length: tally.steps,
            truncated,
            clicks: tally.clicks,
            quality_sum: tally.quality_sum,
            topics_consumed: tally.topic_clicks.iter().filter(|&&c| c > 0).count(),
            topic_entropy: entropy(&tally.topic_clicks),
            slate_diversity: tally.diversity_sum / tally.steps.max(1) as f64,
        };
        self.closed.insert(episode, record);
    }

    /// The closed episodes in the order of their numbers.
    pub fn episodes(&self) -> impl ExactSizeIterator<Item = &EpisodeRecord> {
        self.closed.values()
    }

    /// How often each pool item was shown.
    #[must_use]
    pub fn shown(&self) -> &[u64] {
        &self.shown
    }

    /// Metrics over all closed episodes. Exposure counts also those of a running one.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let over = |f: fn(&EpisodeRecord) -> f64| estimate(&self.closed.values().map(f).collect::<Vec<_>>());
        let ratio_of = |num: fn(&EpisodeRecord) -> f64, den: fn(&EpisodeRecord) -> f64| {
            ratio_estimate(&self.closed.values().map(|e| (num(e), den(e))).collect::<Vec<_>>())
        };
        let share = |counts: &[u64]| counts.iter().filter(|&&c| c > 0).count() as f64 / counts.len().max(1) as f64;
        Summary {
            episodes: self.closed.len(),
            episode_return: over(|e| e.episode_return),
            discounted_return: over(|e| e.discounted_return),
            episode_length: over(|e| e.episode_length as f64),
            ctr: ratio_of(|e| e.clicks as f64, |e| e.episode_length as f64),
            mean_quality: ratio_of(|e| e.quality_sum, |e| e.clicks as f64),
            topics_consumed: over(|e| e.topics_consumed as f64),
            topic_entropy: over(|e| e.topic_entropy),
            slate_diversity: over(|e| e.slate_diversity),
            coverage: share(&self.shown),
            coverage_consumed: share(&self.consumed),
            gini: gini(&self.shown),
        }
    }
}

/// (x − random) / (planner − random): 0 is as good as random, 1 as the planner, and it may exceed 1.
///
/// `None` if the two references do not differ.
#[must_use]
pub fn normalized_score(x: f64, random: f64, planner: f64) -> Option<f64> {
    let range = planner - random;
    (range != 0.0 && range.is_finite()).then(|| (x - random) / range)
}

/// Gini coefficient of counts, zeros included: 0 if all are equal, towards 1 if one has everything.
///
/// 2 Σ i·x_i / (n Σ x) − (n + 1)/n over counts x sorted upwards; 0 if there is nothing to share.
#[must_use]
pub fn gini(counts: &[u64]) -> f64 {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let total: f64 = sorted.iter().map(|&x| x as f64).sum();
    if total == 0.0 {
        return 0.0;
    }
    let n = sorted.len() as f64;
    let weighted: f64 = (1u64..).zip(&sorted).map(|(i, &x)| i as f64 * x as f64).sum();
    2.0 * weighted / (n * total) - (n + 1.0) / n
}

fn entropy(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    if total < 2 || counts.len() < 2 {
        return 0.0;
    }
    let share = counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 / total as f64);
    // Subtracting from 0 and not negating: a single topic gives 0 and not −0.
    (0.0 - share.map(|p| p * p.ln()).sum::<f64>()) / (counts.len() as f64).ln()
}

fn estimate(values: &[f64]) -> Estimate {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    Estimate { mean, sd, se: sd / n.sqrt() }
}

/// Ratio of sums with the standard error of its linearisation.
fn ratio_estimate(pairs: &[(f64, f64)]) -> Estimate {
    let (num, den) = pairs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let mean = num / den;
    let scale = den / pairs.len() as f64;
    let residuals: Vec<f64> = pairs.iter().map(|(x, y)| (x - mean * y) / scale).collect();
    Estimate { mean, ..estimate(&residuals) }
}

#[cfg(test)]
mod tests {
    use super::super::interest_evolution::{EvolutionConfig, EvolutionModel};
    use super::super::shared::ItemFacts;
    use super::*;

    fn facts(topics: &[u32], chosen: Option<usize>, reward: f64) -> StepFacts {
        let item = |&topic| ItemFacts { item: topic, topic, quality: f64::from(topic), text: None };
        StepFacts { slate: topics.iter().map(item).collect(), chosen, reward }
    }

    #[test]
    fn metrics_of_a_hand_made_episode() {
        let config = EvolutionConfig { num_topics: 4, ..EvolutionConfig::default() };
        let mut metrics = Metrics::new(&Sim::new(EvolutionModel::features(config).unwrap()), 0.5);
        // Two episodes alternate, and the later one ends first.
        metrics.record(4, &facts(&[0, 1], Some(1), 4.0));
        metrics.record(4, &facts(&[1, 1], None, 0.0));
        metrics.record(5, &facts(&[1, 2], Some(0), 1.0));
        metrics.finish_episode(5, 10, true);
        metrics.record(4, &facts(&[3, 1], Some(0), 2.0));
        metrics.finish_episode(4, 9, false);
        let records: Vec<_> = metrics.episodes().collect();
        let record = records[0];
        assert_eq!((record.seed, record.episode_return, record.discounted_return), (9, 6.0, 4.5));
        assert_eq!((record.episode_length, record.clicks, record.quality_sum), (3, 2, 4.0));
        assert_eq!((record.topics_consumed, record.truncated), (2, false));
        assert!((record.topic_entropy - 0.5).abs() < 1e-12);
        assert!((record.slate_diversity - 2.5 / 3.0).abs() < 1e-12);
        assert_eq!((records[1].seed, records[1].topic_entropy, records[1].truncated), (10, 0.0, true));
        let summary = metrics.summary();
        assert_eq!((summary.episode_return.mean, summary.ctr.mean), (3.5, 0.75));
        assert!((summary.mean_quality.mean - 5.0 / 3.0).abs() < 1e-12);
        assert_eq!((summary.coverage, summary.coverage_consumed), (1.0, 0.5));
        // Shown 1, 5, 1, 1 times: sorted 1 1 1 5, so 2·(1 + 2 + 3 + 20)/(4·8) − 5/4.
        assert!((summary.gini - (52.0 / 32.0 - 1.25)).abs() < 1e-12);
    }

    #[test]
    fn closed_forms() {
        assert_eq!(gini(&[3, 3, 3]), 0.0);
        assert!((gini(&[0, 0, 0, 8]) - 0.75).abs() < 1e-12);
        assert_eq!(gini(&[0, 0]), 0.0);
        assert_eq!(normalized_score(250.0, 160.0, 280.0), Some(0.75));
        assert_eq!(normalized_score(1.0, 2.0, 2.0), None);
        let e = estimate(&[1.0, 2.0, 3.0, 6.0]);
        assert!((e.mean - 3.0).abs() < 1e-12 && (e.sd - (14.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((e.se - e.sd / 2.0).abs() < 1e-12);
    }
}
