//! The stratified percentile bootstrap.

use super::aggregate::{median_in_place, same_tasks, win};
use super::{Metric, Scores};
use crate::rng::{Seed, StreamRng};
use crate::{Error, Result};
use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Replications that share one random stream. A constant, so that the numbers do not depend on the number of threads.
const BLOCK: usize = 512;

/// An interval with its two ends; written as `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the whole interval lies on one side of zero. An end at zero does not.
    #[must_use]
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }

    /// Whether `value` lies in the interval, ends included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

impl From<[f64; 2]> for Interval {
    fn from([low, high]: [f64; 2]) -> Self {
        Self { low, high }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(interval: Interval) -> Self {
        [interval.low, interval.high]
    }
}

/// The stratified percentile bootstrap.
///
/// In each replication every task draws its own runs with replacement, as many as it has, independently of the other
/// tasks; the statistic is computed on the resampled matrix; the interval ends are percentiles of the replications
/// with linear interpolation. Replications come in fixed blocks, each from its own stream below `seed`, so the result
/// does not depend on the number of threads.
///
/// With few runs the interval is too narrow; see the [module documentation](super).
#[derive(Clone, Copy, Debug)]
pub struct Bootstrap {
    seed: Seed,
    replications: usize,
    level: f64,
}

impl Bootstrap {
    /// 50,000 replications and 95 percent intervals, with random numbers from `seed`.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self { seed: seed.child("bootstrap"), replications: 50_000, level: 0.95 }
    }

    /// The same with another number of replications and another level.
    ///
    /// # Errors
    /// If `replications` is zero, or if `level` is not strictly between 0 and 1.
    pub fn with(self, replications: usize, level: f64) -> Result<Self> {
        if replications == 0 {
            return Err(Error::config("replications", replications, "at least 1 is needed; 50000 is the default"));
        }
        if !(level > 0.0 && level < 1.0) {
            return Err(Error::config("level", level, "a number between 0 and 1 is needed, such as 0.95"));
        }
        Ok(Self { replications, level, ..self })
    }

    /// The interval of an aggregate. With one run, or equal scores, it has no width.
    #[must_use]
    pub fn interval(&self, scores: &Scores, metric: Metric) -> Interval {
        let statistic = Resampled::new(scores, metric);
        let (runs, tasks) = (scores.num_runs(), scores.num_tasks());
        let mut values = self.replicate(1, |work, draws, out| {
            work.pick(draws, runs, tasks);
            out[0] = statistic.value(&work.picks, &mut work.buffers);
        });
        self.percentiles(&mut values)
    }

    /// The interval of [`super::probability_of_improvement`]; the runs of `x` and `y` are drawn independently.
    ///
    /// # Errors
    /// If the two matrices differ in their number of tasks.
    pub fn improvement_interval(&self, x: &Scores, y: &Scores) -> Result<Interval> {
        same_tasks(x, y)?;
        let (nx, ny, tasks) = (x.num_runs(), y.num_runs(), x.num_tasks());
        // wins[(task * nx + i) * ny + j]: does run i of x beat run j of y?
        let wins: Vec<f64> = (0..tasks)
            .flat_map(|task| x.task(task).iter().flat_map(move |&a| y.task(task).iter().map(move |&b| win(a, b))))
            .collect();
        let scale = 1.0 / (nx * ny * tasks) as f64;
        let mut values = self.replicate(1, |work, draws, out| {
            let mut total = 0.0;
            for task in wins.chunks_exact(nx * ny) {
                work.pick(draws, ny, 1);
                work.others.resize(nx, 0);
                draws.fill(&mut work.others, nx as u32);
                for &i in &work.others {
                    let row = &task[i as usize * ny..][..ny];
                    total += work.picks.iter().map(|&j| row[j as usize]).sum::<f64>();
                }
            }
            out[0] = total * scale;
        });
        Ok(self.percentiles(&mut values))
    }

    /// Pointwise intervals of [`super::score_distribution`]: one for each of `taus`.
    #[must_use]
    pub fn profile_band(&self, scores: &Scores, taus: &[f64]) -> Vec<Interval> {
        if taus.is_empty() {
            return Vec::new();
        }
        let (runs, tasks) = (scores.num_runs(), scores.num_tasks());
        let scale = 1.0 / (runs * tasks) as f64;
        let values = self.replicate(taus.len(), |work, draws, out| {
            work.pick(draws, runs, tasks);
            let picked = || work.picks.iter().map(|&at| scores.values()[at as usize]);
            for (share, &tau) in out.iter_mut().zip(taus) {
                *share = picked().filter(|&v| v > tau).count() as f64 * scale;
            }
        });
        let column = |tau: usize| values.iter().skip(tau).step_by(taus.len()).copied().collect::<Vec<_>>();
        (0..taus.len()).map(|tau| self.percentiles(&mut column(tau))).collect()
    }

    /// Replications of the difference of an aggregate. `joint`: one draw of runs serves both matrices.
    pub(super) fn differences(&self, x: &Scores, y: &Scores, metric: Metric, joint: bool) -> Vec<f64> {
        let (of_x, of_y) = (Resampled::new(x, metric), Resampled::new(y, metric));
        self.replicate(1, |work, draws, out| {
            work.pick(draws, x.num_runs(), x.num_tasks());
            let value = of_x.value(&work.picks, &mut work.buffers);
            if !joint {
                work.pick(draws, y.num_runs(), y.num_tasks());
            }
            out[0] = value - of_y.value(&work.picks, &mut work.buffers);
        })
    }

    /// The two percentiles of this level; reorders `values`.
    pub(super) fn percentiles(&self, values: &mut [f64]) -> Interval {
        let tail = 0.5 * (1.0 - self.level);
        Interval { low: percentile(values, tail), high: percentile(values, 1.0 - tail) }
    }

    /// Fills `replications` rows of `width` numbers, in an order and with values that do not depend on the threads.
    fn replicate(&self, width: usize, statistic: impl Fn(&mut Work, &mut Draws, &mut [f64]) + Sync) -> Vec<f64> {
        let mut values = vec![0.0; self.replications * width];
        values.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, rows)| {
            let mut draws = Draws::new(self.seed.index(block as u64).rng());
            let mut work = Work::default();
            for row in rows.chunks_exact_mut(width) {
                statistic(&mut work, &mut draws, row);
            }
        });
        values
    }
}

/// The `q` quantile of a non-empty slice with linear interpolation between order statistics; reorders the slice.
pub(super) fn percentile(values: &mut [f64], q: f64) -> f64 {
    let position = q.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let below = position.floor() as usize;
    let (_, &mut low, rest) = values.select_nth_unstable_by(below, f64::total_cmp);
    let next = rest.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    low + (position - below as f64) * (next - low)
}

/// Uniform integers, taken from the stream in large pieces because one call a number costs more than the numbers.
struct Draws {
    rng: StreamRng,
    bytes: Box<[u8; 4096]>,
    used: usize,
}

impl Draws {
    /// Numbers drawn at once by [`Draws::fill`].
    const CHUNK: usize = 64;

    fn new(rng: StreamRng) -> Self {
        Self { rng, bytes: Box::new([0; 4096]), used: 4096 }
    }

    /// The next `len` bytes of the stream; `len` is at most `4 * CHUNK`.
    fn take(&mut self, len: usize) -> &[u8] {
        if self.used + len > self.bytes.len() {
            self.rng.fill_bytes(&mut self.bytes[..]);
            self.used = 0;
        }
        self.used += len;
        &self.bytes[self.used - len..self.used]
    }

    /// Fills `out` with draws from {0, …, n − 1} for n > 0, without modulo bias.
    ///
    /// Lemire's method on a chunk at a time: if one draw of a chunk is to be rejected the whole chunk is drawn again,
    /// which leaves every value as probable as before and keeps the loop free of branches. 16 bits a draw suffice for
    /// all but very many runs (a chunk is rejected with a probability below n/1024) and halve the work.
    fn fill(&mut self, out: &mut [u32], n: u32) {
        for chunk in out.chunks_mut(Self::CHUNK) {
            if n <= 256 {
                while !scale_16(self.take(2 * chunk.len()), chunk, n) {}
            } else {
                while !scale_32(self.take(4 * chunk.len()), chunk, n) {}
            }
        }
    }
}

/// Maps 16-bit words onto {0, …, n − 1} for n of at most 256; false if one of them would favour a value.
fn scale_16(bytes: &[u8], out: &mut [u32], n: u32) -> bool {
    let threshold = (1 << 16) % n;
    let mut unfair = 0;
    for (out, word) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        let wide = u32::from(u16::from_le_bytes(*word)) * n;
        // The top bit is set where the low half lies below the threshold; a form that compiles to vector code.
        unfair |= (wide & 0xffff).wrapping_sub(threshold);
        *out = wide >> 16;
    }
    unfair >> 31 == 0
}

/// Maps 32-bit words onto {0, …, n − 1}; false if one of them would favour a value.
fn scale_32(bytes: &[u8], out: &mut [u32], n: u32) -> bool {
    let threshold = n.wrapping_neg() % n;
    let mut fair = true;
    for (out, word) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        let wide = u64::from(u32::from_le_bytes(*word)) * u64::from(n);
        fair &= wide as u32 >= threshold;
        *out = (wide >> 32) as u32;
    }
    fair
}

/// Buffers of one block of replications.
#[derive(Default)]
struct Work {
    /// Positions in [`Scores::values`] of the resampled matrix, task by task.
    picks: Vec<u32>,
    /// Runs drawn for a second matrix.
    others: Vec<u32>,
    buffers: Buffers,
}

impl Work {
    /// Draws a resampled matrix into `picks`.
    fn pick(&mut self, draws: &mut Draws, runs: usize, tasks: usize) {
        self.picks.resize(runs * tasks, 0);
        draws.fill(&mut self.picks, runs as u32);
        for (task, picks) in self.picks.chunks_exact_mut(runs).enumerate().skip(1) {
            let start = (task * runs) as u32;
            picks.iter_mut().for_each(|at| *at += start);
        }
    }
}

#[derive(Default)]
struct Buffers {
    counts: Vec<i32>,
    means: Vec<f64>,
}

/// A score matrix made ready for computing one aggregate of many resamples.
enum Resampled {
    /// sign · (mean of `values`) + offset.
    Mean {
        values: Vec<f64>,
        sign: f64,
        offset: f64,
    },
    Median {
        values: Vec<f64>,
        runs: usize,
    },
    /// `rank[at]`: place of value `at` in `sorted`. Counting how often each place was drawn replaces sorting: for 20
    /// runs and 8 tasks this takes a tenth of the time.
    Iqm {
        sorted: Vec<f64>,
        rank: Vec<u32>,
    },
}

impl Resampled {
    fn new(scores: &Scores, metric: Metric) -> Self {
        let values = scores.values().to_vec();
        match metric {
            Metric::Mean => Self::Mean { values, sign: 1.0, offset: 0.0 },
            Metric::OptimalityGap(gamma) => {
                Self::Mean { values: values.iter().map(|v| v.min(gamma)).collect(), sign: -1.0, offset: gamma }
            }
            Metric::Median => Self::Median { values, runs: scores.num_runs() },
            Metric::Iqm => {
                let mut order: Vec<usize> = (0..values.len()).collect();
                order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
                let mut rank = vec![0; values.len()];
                for (place, &at) in order.iter().enumerate() {
                    rank[at] = place as u32;
                }
                Self::Iqm { sorted: order.iter().map(|&at| values[at]).collect(), rank }
            }
        }
    }

    fn value(&self, picks: &[u32], buffers: &mut Buffers) -> f64 {
        match self {
            Self::Mean { values, sign, offset } => {
                let total: f64 = picks.iter().map(|&at| values[at as usize]).sum();
                offset + sign * total / picks.len() as f64
            }
            Self::Median { values, runs } => {
                let mean = |task: &[u32]| task.iter().map(|&at| values[at as usize]).sum::<f64>() / *runs as f64;
                buffers.means.clear();
                buffers.means.extend(picks.chunks_exact(*runs).map(mean));
                median_in_place(&mut buffers.means)
            }
            Self::Iqm { sorted, rank } => {
                buffers.counts.clear();
                buffers.counts.resize(sorted.len(), 0);
                for &at in picks {
                    buffers.counts[rank[at as usize] as usize] += 1;
                }
                trimmed_mean(sorted, &buffers.counts)
            }
        }
    }
}

/// Interquartile mean of the sorted values, the i-th of which occurs `counts[i]` times; the counts add up to the
/// number of values.
fn trimmed_mean(sorted: &[f64], counts: &[i32]) -> f64 {
    let size = sorted.len() as i32;
    let (first, last) = (size / 4, size - size / 4);
    // How many of the copies at sorted places seen..seen + count lie in first..last. No branch, because the counts are
    // random and a branch would be mispredicted half of the time; four sums, because one would wait for itself.
    let (mut seen, mut seen_inside) = (0, first);
    let mut add = |total: &mut f64, value: f64, count: i32| {
        seen += count;
        let inside = seen.clamp(first, last);
        *total += f64::from(inside - seen_inside) * value;
        seen_inside = inside;
    };
    let mut totals = [0.0; 4];
    let (values, counts) = (sorted.as_chunks::<4>(), counts.as_chunks::<4>());
    for (values, counts) in values.0.iter().zip(counts.0) {
        for lane in 0..4 {
            add(&mut totals[lane], values[lane], counts[lane]);
        }
    }
    for (&value, &count) in values.1.iter().zip(counts.1) {
        add(&mut totals[0], value, count);
    }
    totals.iter().sum::<f64>() / f64::from(last - first)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Case, golden};
    use super::*;

    fn bootstrap() -> Bootstrap {
        Bootstrap::new(Seed::root(11))
    }

    #[test]
    fn intervals_match_the_golden_values() {
        for case in golden("intervals.json") {
            let reps = case.0["reps"].as_u64().unwrap() as usize;
            let bootstrap = bootstrap().with(reps, case.0["level"].as_f64().unwrap()).unwrap();
            let metric = case.0["metric"].as_str().unwrap();
            let got = match metric {
                "iqm" => bootstrap.interval(&case.matrix("scores"), Metric::Iqm),
                "mean" => bootstrap.interval(&case.matrix("scores"), Metric::Mean),
                "median" => bootstrap.interval(&case.matrix("scores"), Metric::Median),
                "optimality_gap" => bootstrap.interval(&case.matrix("scores"), Metric::OptimalityGap(1.0)),
                "probability_of_improvement" => {
                    bootstrap.improvement_interval(&case.matrix("x"), &case.matrix("y")).unwrap()
                }
                other => panic!("unknown metric {other}"),
            };
            let expected = Case::numbers(&case.0["expected"]);
            let tolerance = Case::numbers(&case.0["tolerance"]);
            for (end, got) in [got.low, got.high].into_iter().enumerate() {
                let off = (got - expected[end]).abs();
                assert!(off <= tolerance[end], "{} {metric} end {end}: {got}, off by {off}", case.name());
            }
        }
    }

    #[test]
    fn the_number_of_threads_has_no_influence() {
        let scores = Scores::from_runs(&[[1.0, 5.0], [2.0, 4.0], [4.0, 7.0], [3.0, 1.0]]).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bootstrap().with(5_000, 0.9).unwrap().interval(&scores, Metric::Iqm))
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn resampling_nothing_gives_the_plain_aggregate() {
        let rows: Vec<Vec<f64>> = (0..7).map(|i| (0..3).map(|j| f64::from((i * 5 + j * 3) % 11)).collect()).collect();
        let scores = Scores::from_runs(&rows).unwrap();
        let picks: Vec<u32> = (0..21).collect();
        for metric in [Metric::Mean, Metric::Median, Metric::Iqm, Metric::OptimalityGap(4.0)] {
            let got = Resampled::new(&scores, metric).value(&picks, &mut Buffers::default());
            assert!((got - metric.value(&scores)).abs() < 1e-12, "{metric:?}");
        }
    }

    #[test]
    fn the_profile_band_holds_the_profile() {
        let scores = Scores::from_runs(&(0..20).map(|i| [f64::from(i), f64::from(i * i % 17)]).collect::<Vec<_>>());
        let scores = scores.unwrap();
        let taus = [-1.0, 3.0, 8.0, 15.0, 99.0];
        let band = bootstrap().with(2_000, 0.95).unwrap().profile_band(&scores, &taus);
        for (interval, share) in band.iter().zip(super::super::score_distribution(&scores, &taus)) {
            assert!(interval.contains(share), "{interval:?} {share}");
        }
        assert_eq!((band[0].low, band[4].high), (1.0, 0.0));
        assert!(band[2].high - band[2].low > 0.1);
    }

    #[test]
    fn percentiles_interpolate() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(percentile(&mut values, 0.5), 2.5);
        assert_eq!(percentile(&mut values, 0.0), 1.0);
        assert_eq!(percentile(&mut values, 1.0), 4.0);
        assert_eq!(percentile(&mut [7.0], 0.3), 7.0);
    }

    #[test]
    fn draws_are_uniform() {
        // 256 and 6,000 lie on both sides of the change from 16 to 32 bits.
        for n in [6, 256, 6_000] {
            let mut values = vec![0; 600_000];
            Draws::new(Seed::root(2).rng()).fill(&mut values, n);
            let mut counts = vec![0usize; n as usize];
            values.iter().for_each(|&v| counts[v as usize] += 1);
            let expected = values.len() as f64 / f64::from(n);
            let chi2: f64 = counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum();
            // Mean n − 1 and variance 2(n − 1); five standard deviations.
            let spread = (2.0 * f64::from(n - 1)).sqrt();
            assert!((chi2 - f64::from(n - 1)).abs() < 5.0 * spread, "{n}: {chi2}");
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        assert!(bootstrap().with(0, 0.95).is_err());
        for level in [0.0, 1.0, f64::NAN] {
            assert!(bootstrap().with(10, level).is_err());
        }
    }
}
