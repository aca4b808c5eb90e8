//! What only one experiment has to show, in terms that any report understands.

/// Charts and told cases of one experiment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras {
    /// Heading above the charts.
    pub title: String,
    /// The charts, in the order in which a report shows them.
    pub charts: Vec<Chart>,
    /// Heading above the told cases.
    pub told_title: String,
    /// What a reader must know before the cases.
    pub told_intro: String,
    /// A few cases, told.
    pub told: Vec<ToldCase>,
}

/// One chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Name of its files: small letters, digits and `_`, other than those of the figures that every study has.
    pub name: String,
    /// What stands above it.
    pub title: String,
    /// What to say below it.
    pub caption: String,
    /// What it shows.
    pub data: ChartData,
}

/// What a chart shows.
#[derive(Clone, Debug, PartialEq)]
pub enum ChartData {
    /// Values of arms over a common quantity.
    Lines(LineChart),
    /// Whether probabilities come true, one frame an arm.
    Calibration(Vec<Reliability>),
    /// What was taken for what.
    Confusion(Confusion),
}

/// A line an arm, with the interval over its seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct LineChart {
    /// Title of the horizontal axis, with its unit.
    pub x: String,
    /// Title of the vertical axis, with its unit.
    pub y: String,
    /// The lines. Means are taken wherever as many seeds have a point as anywhere.
    pub lines: Vec<SeedLines>,
    /// Values to compare with, by name.
    pub references: Vec<(String, f64)>,
    /// Places on the horizontal axis to point at, by name.
    pub marks: Vec<(String, f64)>,
}

/// The values of one arm.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedLines {
    /// Its name in the summary.
    pub arm: String,
    /// Points (x, y) of each seed, x ascending.
    pub seeds: Vec<Vec<(f64, f64)>>,
}

/// How often the probabilities of one arm came true.
#[derive(Clone, Debug, PartialEq)]
pub struct Reliability {
    /// Its name in the summary.
    pub arm: String,
    /// The bins of each seed, the same for all.
    pub seeds: Vec<Vec<Bin>>,
}

/// Cases with about the same probability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// How many.
    pub cases: u64,
    /// Mean of what was predicted, 0 to 1.
    pub predicted: f64,
    /// Share that came true, 0 to 1.
    pub observed: f64,
}

/// What one arm took for what.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    /// Its name in the summary.
    pub arm: String,
    /// What rows are, such as `true diagnosis`.
    pub truth: String,
    /// What columns are, such as `declared diagnosis`.
    pub answer: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Cases, `[true][answered]`.
    pub counts: Vec<Vec<u64>>,
}

/// One case, told of some arms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToldCase {
    /// Which.
    pub title: String,
    /// What each arm did with it.
    pub tales: Vec<Tale>,
}

/// What one arm did with a case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tale {
    /// The arm.
    pub arm: String,
    /// What happened, in order.
    pub lines: Vec<String>,
    /// How it ended.
    pub end: String,
}

impl Reliability {
    /// The bins over all seeds.
    pub(super) fn pooled(&self) -> Vec<Bin> {
        let bins = self.seeds.iter().map(Vec::len).max().unwrap_or(0);
        let pool = |at: usize| {
            let of: Vec<&Bin> = self.seeds.iter().filter_map(|seed| seed.get(at)).filter(|bin| bin.cases > 0).collect();
            let cases: u64 = of.iter().map(|bin| bin.cases).sum();
            let mean =
                |value: fn(&Bin) -> f64| of.iter().map(|b| b.cases as f64 * value(b)).sum::<f64>() / cases as f64;
            if cases == 0 {
                return Bin::default();
            }
            Bin { cases, predicted: mean(|b| b.predicted), observed: mean(|b| b.observed) }
        };
        (0..bins).map(pool).collect()
    }
}

impl Confusion {
    /// The same with at most `most` classes: those that occur or were answered most, in their order, and the others
    /// taken together at the end. Also says how many were taken together.
    pub(super) fn capped(&self, most: usize) -> (Vec<String>, Vec<Vec<u64>>, usize) {
        let size = self.classes.len();
        let count = |row: usize, column: usize| {
            self.counts.get(row).and_then(|counts| counts.get(column)).copied().unwrap_or_default()
        };
        let used = |class: usize| (0..size).map(|other| count(class, other) + count(other, class)).sum::<u64>();
        let mut kept: Vec<usize> = (0..size).filter(|&class| used(class) > 0).collect();
        let mut rest: Vec<usize> = Vec::new();
        if kept.len() > most {
            kept.sort_by_key(|&class| (std::cmp::Reverse(used(class)), class));
            rest = kept.split_off(most.saturating_sub(1));
            kept.sort_unstable();
        }
        let mut groups: Vec<Vec<usize>> = kept.iter().map(|&class| vec![class]).collect();
        let mut names: Vec<String> = kept.iter().map(|&class| self.classes[class].clone()).collect();
        if !rest.is_empty() {
            names.push(format!("{} others", rest.len()));
            groups.push(rest.clone());
        }
        let sum = |a: &[usize], b: &[usize]| a.iter().flat_map(|&i| b.iter().map(move |&j| count(i, j))).sum();
        let counts = groups.iter().map(|row| groups.iter().map(|column| sum(row, column)).collect()).collect();
        (names, counts, rest.len())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Made-up extras for the arms of a made-up study.
    pub(in crate::report) fn extras(arms: &[&str], seeds: usize, classes: usize) -> Extras {
        let curve = |place: usize, seed: usize| -> Vec<(f64, f64)> {
            let end = 0.95 - 0.03 * place as f64 + 0.004 * seed as f64;
            (0..=8).map(|k| (f64::from(k), end - 0.5 * (-f64::from(k) / 2.0).exp())).collect()
        };
        let lines = arms.iter().enumerate().map(|(place, arm)| SeedLines {
            arm: (*arm).to_owned(),
            seeds: (0..seeds).map(|seed| curve(place, seed)).collect(),
        });
        let bins = |shift: f64| -> Vec<Bin> {
            let bin = |i: u64| {
                let middle = (i as f64 + 0.5) / 10.0;
                Bin { cases: 5 * i * i, predicted: middle, observed: (middle + shift * (1.0 - middle)).clamp(0.0, 1.0) }
            };
            (0..10).map(bin).collect()
        };
        let reliabilities = arms.iter().take(3).enumerate().map(|(place, arm)| Reliability {
            arm: (*arm).to_owned(),
            seeds: (0..seeds).map(|seed| bins(0.05 * place as f64 - 0.02 * seed as f64)).collect(),
        });
        let cell =
            |row: usize, column: usize| if row == column { 180 + row as u64 } else { ((row * 7 + column) % 9) as u64 };
        let chart = |name: &str, title: &str, data| Chart {
            name: name.into(),
            title: title.into(),
            caption: format!("What {name} means."),
            data,
        };
        let tale = |arm: &&str| Tale {
            arm: (*arm).to_owned(),
            lines: vec!["asked smoke: yes → believed lung cancer 42 %".into()],
            end: "declared lung cancer: right".into(),
        };
        Extras {
            title: "Questions and answers".into(),
            charts: vec![
                chart(
                    "accuracy_by_questions",
                    "Accuracy against questions",
                    ChartData::Lines(LineChart {
                        x: "questions".into(),
                        y: "accuracy (share of cases)".into(),
                        lines: lines.collect(),
                        references: vec![("all findings known".into(), 0.97)],
                        marks: vec![("as studied".into(), 2.0)],
                    }),
                ),
                chart("calibration", "Calibration", ChartData::Calibration(reliabilities.collect())),
                chart(
                    "confusion",
                    "What was taken for what",
                    ChartData::Confusion(Confusion {
                        arm: arms.first().copied().unwrap_or_default().to_owned(),
                        truth: "true diagnosis".into(),
                        answer: "declared diagnosis".into(),
                        classes: (0..classes).map(|i| format!("disease_number_{i}")).collect(),
                        counts: (0..classes).map(|i| (0..classes).map(|j| cell(i, j)).collect()).collect(),
                    }),
                ),
            ],
            told_title: "Cases, question by question".into(),
            told_intro: "Beliefs are those of the model.".into(),
            told: vec![ToldCase { title: "Case 1".into(), tales: arms.iter().take(2).map(tale).collect() }],
        }
    }

    #[test]
    fn bins_are_pooled_by_their_cases() {
        let bin = |cases, predicted, observed| Bin { cases, predicted, observed };
        let all = Reliability {
            arm: "a".into(),
            seeds: vec![vec![bin(1, 0.1, 0.0), bin(0, 0.0, 0.0)], vec![bin(3, 0.5, 1.0), bin(0, 0.0, 0.0)]],
        };
        assert_eq!(all.pooled(), [bin(4, 0.4, 0.75), Bin::default()]);
    }

    #[test]
    fn rare_classes_are_taken_together() {
        let counts = vec![vec![9, 0, 1, 0], vec![0, 1, 0, 0], vec![0, 2, 7, 0], vec![0, 0, 0, 0]];
        let classes = ["a", "b", "c", "never"].map(str::to_owned).to_vec();
        let all = Confusion { arm: "x".into(), truth: "t".into(), answer: "d".into(), classes, counts };
        let (names, counts, together) = all.capped(3);
        assert_eq!((names, together), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], 0));
        assert_eq!(counts, [[9, 0, 1], [0, 1, 0], [0, 2, 7]]);
        let (names, counts, together) = all.capped(2);
        assert_eq!((names, together), (vec!["a".to_owned(), "2 others".to_owned()], 2));
        assert_eq!(counts, [[9, 1], [0, 10]]);
    }
}
