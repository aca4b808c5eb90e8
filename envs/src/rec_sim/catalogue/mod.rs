//! Catalogues: the items of the text form, from a CSV file.
//!
//! The way from a file to an environment is [`Source::read`], [`Source::assign_topics`] if the file has no topic
//! column, [`Catalogue::build`], then [`super::InterestEvolution::text`].
//!
//! Topics and qualities are hidden from agents. Topics in alphabetical order are mapped onto clusters by a permutation
//! from the stream `catalogue`, so that the order of names says nothing about quality. Qualities that the file does not
//! give are drawn from the same stream, once per card in the order of the file.

mod kmeans;
mod source;

pub use kmeans::kmeans;
pub use source::{Columns, Source};

use super::interest_evolution::topic_means;
use super::shared::{config_error, require};
use retune::env::{EnvError, TextId, TextTable};
use retune::rng::Seed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Standard deviation that given qualities are brought to: below the 1.7 of drawn ones, so that clipping stays rare.
pub const GIVEN_QUALITY_SD: f64 = 1.2;
/// Bound that given qualities are clipped to.
pub const GIVEN_QUALITY_CLIP: f64 = 3.0;

/// Settings of a catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogueConfig {
    /// Root seed of the stream `catalogue`, apart from that of the users so that a study keeps its cards.
    pub seed: u64,
    /// Mean quality of the worst topic, where qualities are drawn. At most 0.
    pub min_quality: f64,
    /// Mean quality of the best topic, where qualities are drawn. At least 0.
    pub max_quality: f64,
    /// Standard deviation of quality within a topic, where qualities are drawn. At least 0.
    pub quality_sd: f64,
}

impl Default for CatalogueConfig {
    fn default() -> Self {
        Self { seed: 0, min_quality: -3.0, max_quality: 3.0, quality_sd: 0.1 }
    }
}

impl CatalogueConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`EnvError::Config`] naming key and value.
    pub fn validate(&self) -> Result<(), EnvError> {
        require(self.min_quality <= 0.0, "catalogue.min_quality", self.min_quality, "a finite number of at most 0")?;
        require(self.max_quality >= 0.0, "catalogue.max_quality", self.max_quality, "a finite number of at least 0")?;
        require(self.quality_sd >= 0.0, "catalogue.quality_sd", self.quality_sd, "a finite number of at least 0")
    }
}

/// A part of a catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// 70 % of each topic: training.
    Train,
    /// 10 % of each topic: tuning.
    Validation,
    /// 20 % of each topic: never seen in training or tuning.
    Cold,
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Cold => "cold-start",
        })
    }
}

/// What is known of a card besides its text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CardInfo {
    /// Cluster, the index into a user's interests. Hidden.
    pub topic: u32,
    /// Quality. Hidden until the card is consumed.
    pub quality: f64,
    /// The part of the catalogue it belongs to.
    pub split: Split,
}

/// A checked catalogue, ready to be offered.
#[derive(Clone, Debug)]
pub struct Catalogue {
    file: String,
    texts: TextTable,
    cards: Vec<CardInfo>,
    topics: Vec<String>,
    topic_means: Vec<f64>,
    warnings: Vec<String>,
}

impl Catalogue {
    /// Draws what the file does not give and splits the cards.
    ///
    /// # Errors
    /// [`EnvError::Config`] for a setting out of range; [`EnvError::Data`] if the file has no topics and none were
    /// assigned, or if all given qualities are equal.
    pub fn build(source: Source, config: &CatalogueConfig) -> Result<Self, EnvError> {
        config.validate()?;
        let Source { file, keys, texts, topics, qualities, .. } = source;
        let topics = topics.ok_or_else(|| {
            data_error(&file, "no topics: name a topic column, or assign topics from embeddings of the texts")
        })?;
        let names: Vec<String> =
            topics.iter().cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        let mut rng = Seed::root(config.seed).child("catalogue").rng();
        let clusters = permutation(names.len(), &mut rng);
        let cluster_of: BTreeMap<&str, usize> =
            names.iter().map(String::as_str).zip(clusters.iter().copied()).collect();
        let card_topics: Vec<usize> = topics.iter().map(|t| cluster_of[t.as_str()]).collect();

        let (qualities, topic_means) = match qualities {
            Some(given) => {
                let qualities = standardise(&file, &given)?;
                let means = means_by_topic(&card_topics, &qualities, names.len());
                (qualities, means)
            }
            None => {
                let means = topic_means(names.len(), config.min_quality, config.max_quality);
                let draw = |&topic: &usize| means[topic] + config.quality_sd * rng.normal();
                (card_topics.iter().map(draw).collect(), means)
            }
        };

        let splits = split(&card_topics, &keys, &texts, names.len());
        let cards = card_topics.iter().zip(&qualities).zip(splits);
        let cards = cards.map(|((&topic, &quality), split)| CardInfo { topic: topic as u32, quality, split }).collect();
        let warnings = warnings(&file, &names, &card_topics, &clusters);
        let mut by_cluster = vec![String::new(); names.len()];
        for (name, &cluster) in names.into_iter().zip(&clusters) {
            by_cluster[cluster] = name;
        }
        Ok(Self { file, texts: TextTable::new(texts), cards, topics: by_cluster, topic_means, warnings })
    }

    /// The file it came from, for messages.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// All texts; card `i` has [`TextId`]`(i)`.
    #[must_use]
    pub fn texts(&self) -> &TextTable {
        &self.texts
    }

    /// Topic, quality and split of every card, in the order of the file.
    #[must_use]
    pub fn cards(&self) -> &[CardInfo] {
        &self.cards
    }

    /// Names of the topics in cluster order.
    #[must_use]
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Expected quality of each cluster: the mean it is drawn around, or the mean of the given qualities.
    #[must_use]
    pub fn topic_means(&self) -> &[f64] {
        &self.topic_means
    }

    /// What is unusual about it, one sentence each. A study goes on but should say so.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The cards of one part, in the order of the file.
    pub fn part(&self, split: Split) -> impl Iterator<Item = (TextId, &CardInfo)> {
        let ids = (0u32..).map(TextId);
        ids.zip(&self.cards).filter(move |(_, card)| card.split == split)
    }
}

/// An [`EnvError::Data`].
pub(crate) fn data_error(file: &str, message: impl Into<String>) -> EnvError {
    EnvError::Data { file: file.to_owned(), message: message.into() }
}

/// A uniformly random permutation of 0, …, n − 1 (Fisher and Yates).
fn permutation(n: usize, rng: &mut retune::rng::StreamRng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, rng.below(i + 1));
    }
    order
}

/// Given qualities with mean 0 and standard deviation [`GIVEN_QUALITY_SD`], clipped to ±[`GIVEN_QUALITY_CLIP`].
fn standardise(file: &str, given: &[f64]) -> Result<Vec<f64>, EnvError> {
    // Scaled to at most 1 first: squares of huge ratings would overflow.
    let largest = given.iter().fold(0.0f64, |a, &q| a.max(q.abs()));
    let scaled: Vec<f64> = given.iter().map(|q| if largest > 0.0 { q / largest } else { 0.0 }).collect();
    let n = scaled.len() as f64;
    let mean = scaled.iter().sum::<f64>() / n;
    let sd = (scaled.iter().map(|q| (q - mean).powi(2)).sum::<f64>() / n).sqrt();
    if given.windows(2).all(|w| w[0] == w[1]) || sd <= f64::EPSILON {
        let message = format!(
            "all {} qualities are equal ({}): no item is worth more than another, so there is nothing to plan for; \
             leave the quality column out to have qualities drawn per topic",
            given.len(),
            given.first().copied().unwrap_or_default()
        );
        return Err(data_error(file, message));
    }
    let bring = |q: f64| (GIVEN_QUALITY_SD * (q - mean) / sd).clamp(-GIVEN_QUALITY_CLIP, GIVEN_QUALITY_CLIP);
    Ok(scaled.into_iter().map(bring).collect())
}

fn means_by_topic(topics: &[usize], qualities: &[f64], num_topics: usize) -> Vec<f64> {
    let (mut sums, mut counts) = (vec![0.0; num_topics], vec![0.0; num_topics]);
    for (&topic, quality) in topics.iter().zip(qualities) {
        sums[topic] += quality;
        counts[topic] += 1.0;
    }
    sums.iter().zip(counts).map(|(sum, count)| if count > 0.0 { sum / count } else { 0.0 }).collect()
}

/// Within each topic, in the order of the FNV-1a hash of the key: 70 % training, 10 % validation, the rest cold-start.
///
/// A hash and not a random stream, so that adding a topic or a seed never moves a card that a study has held out.
fn split(topics: &[usize], keys: &[String], texts: &[String], num_topics: usize) -> Vec<Split> {
    let mut splits = vec![Split::Cold; topics.len()];
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); num_topics];
    for (card, &topic) in topics.iter().enumerate() {
        members[topic].push(card);
    }
    for mut cards in members {
        // Equal keys (two items of one title) are told apart by their texts, which are distinct.
        cards.sort_by(|&a, &b| (fnv1a(keys[a].as_bytes()), &texts[a]).cmp(&(fnv1a(keys[b].as_bytes()), &texts[b])));
        let (train, validation) = (cards.len() * 7 / 10, cards.len() / 10);
        for (rank, card) in cards.into_iter().enumerate() {
            if rank < train {
                splits[card] = Split::Train;
            } else if rank < train + validation {
                splits[card] = Split::Validation;
            }
        }
    }
    splits
}

/// 64-bit FNV-1a.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn warnings(file: &str, names: &[String], card_topics: &[usize], clusters: &[usize]) -> Vec<String> {
    let mut warnings = Vec::new();
    let count = |i: usize| card_topics.iter().filter(|&&t| t == clusters[i]).count();
    let lonely: Vec<&str> = (0..names.len()).filter(|&i| count(i) == 1).map(|i| names[i].as_str()).collect();
    if !lonely.is_empty() {
        let shown = lonely.iter().take(5).map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
        let more = if lonely.len() > 5 { ", …" } else { "" };
        warnings.push(format!(
            "{file}: {} of {} topics have a single item ({shown}{more}), which is held out, so training never meets \
             the topic",
            lonely.len(),
            names.len()
        ));
    }
    if names.len() == 1 {
        warnings.push(format!("{file}: there is one topic only, so interests do not tell items apart"));
    }
    warnings
}

#[cfg(test)]
mod tests;
