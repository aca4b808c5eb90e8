//! The text form: the same user, but items are texts and topics are hidden.

use super::config::EvolutionConfig;
use super::model::{Card, EvolutionModel, Pool, spec};
use crate::rec_sim::catalogue::{Catalogue, Split, data_error, fnv1a};
use crate::rec_sim::env::HISTORY_DIM;
use retune::env::{CandidateSpec, EnvError};
use serde::{Deserialize, Serialize};

/// Events that the mode `history` shows.
pub const HISTORY_LEN: usize = 10;

/// What the agent sees of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObservationMode {
    /// The interest in each cluster; which cluster a text belongs to must be learnt.
    Interests,
    /// No vector, only the last [`HISTORY_LEN`] steps: text consumed, minutes watched, quality seen, or nothing.
    History,
}

impl EvolutionModel {
    /// The text form over one part of a catalogue. The catalogue sets `num_topics` and the qualities, so the settings
    /// `num_topics`, `min_quality`, `max_quality` and `quality_sd` of `config` have no effect here.
    ///
    /// # Errors
    /// [`EnvError::Config`] for a setting out of range; [`EnvError::Data`] if the part has fewer cards than
    /// candidates.
    pub fn text(
        config: EvolutionConfig,
        catalogue: &Catalogue,
        split: Split,
        mode: ObservationMode,
    ) -> Result<Self, EnvError> {
        let config = EvolutionConfig { num_topics: catalogue.topics().len(), ..config };
        config.validate()?;
        let cards: Vec<Card> =
            catalogue.part(split).map(|(text, info)| Card { text, topic: info.topic, quality: info.quality }).collect();
        if cards.len() < config.num_candidates {
            let message = format!(
                "the {split} part has {} of {} items, fewer than num_candidates = {}: add items or offer fewer",
                cards.len(),
                catalogue.cards().len(),
                config.num_candidates
            );
            return Err(data_error(catalogue.file(), message));
        }
        let shows_interests = mode == ObservationMode::Interests;
        let obs = CandidateSpec {
            num_candidates: config.num_candidates,
            state_dim: if shows_interests { config.num_topics } else { 0 },
            candidate_dim: 0,
            has_text: true,
            history_len: if shows_interests { 0 } else { HISTORY_LEN },
            history_dim: if shows_interests { 0 } else { HISTORY_DIM },
            answers: 0..0,
            pool: cards.iter().map(|c| c.text).collect(),
        };
        let description = match mode {
            ObservationMode::Interests => {
                "Recommend things to read to users whose interests are shown; topics and qualities are hidden."
            }
            ObservationMode::History => {
                "Recommend things to read to users of whom only the recent sessions are seen; topics, qualities and \
                 interests are hidden."
            }
        };
        let spec = spec(&config, "rec_sim/interest_evolution/text", description, obs, catalogue.texts().clone());
        let fingerprint = format!("{} {mode:?} {config:?} cards {:016x}", spec.id, hash(catalogue, &cards));
        let means = catalogue.topic_means().into();
        Ok(Self::new(config, means, Pool::Cards(cards.into()), spec, fingerprint))
    }
}

/// Tells pools apart, so that a state is never restored over other cards.
fn hash(catalogue: &Catalogue, cards: &[Card]) -> u64 {
    let mut bytes = Vec::new();
    for card in cards {
        let text = catalogue.texts().get(card.text).unwrap_or_default();
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(card.topic.to_le_bytes());
        bytes.extend(card.quality.to_le_bytes());
    }
    fnv1a(&bytes)
}
