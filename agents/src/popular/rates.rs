//! Click counts by item.

use candle_core::{Device, Tensor};
use retune::env::{CandidateObs, CandidateSpec, EnvSpec, ObsSpec};
use retune::persist::StateDict;
use retune::{Error, Result};
use std::collections::BTreeMap;

/// What an item is recognised by: its text if it has one, else the bits of its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemKeys {
    Text,
    Features { dim: usize },
}

/// An item: its text id, or the bits of its features.
pub(super) type Key = Vec<u32>;

impl ItemKeys {
    /// # Errors
    /// [`Error::Config`] if the env does not offer candidates.
    pub fn of(spec: &EnvSpec) -> Result<Self> {
        match &spec.obs {
            ObsSpec::Candidates(CandidateSpec { has_text: true, .. }) => Ok(Self::Text),
            ObsSpec::Candidates(c) => Ok(Self::Features { dim: c.candidate_dim }),
            _ => Err(Error::config("env", &spec.id, "agents of this family need an env that offers candidates")),
        }
    }

    pub fn key(self, obs: &CandidateObs, item: usize) -> Key {
        match self {
            Self::Text => vec![obs.candidate_texts[item].0],
            Self::Features { dim } => {
                obs.candidate_features[item * dim..(item + 1) * dim].iter().map(|x| x.to_bits()).collect()
            }
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Text => 1,
            Self::Features { dim } => dim,
        }
    }
}

/// FNV-1a over the words of a key.
pub(super) fn hash(key: &[u32]) -> u64 {
    key.iter()
        .flat_map(|word| word.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// How often each item was shown and clicked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rates {
    keys: ItemKeys,
    counts: BTreeMap<Key, (u32, u32)>,
    mean: f64,
}

impl Rates {
    pub fn new(keys: ItemKeys) -> Self {
        Self { keys, counts: BTreeMap::new(), mean: 0.0 }
    }

    pub fn keys(&self) -> ItemKeys {
        self.keys
    }

    pub fn count(&mut self, key: Key, clicked: bool) {
        let (shown, clicks) = self.counts.entry(key).or_default();
        *shown += 1;
        *clicks += u32::from(clicked);
    }

    /// Clicks per time shown; that of all items together for one that was never shown.
    pub fn rate(&self, key: &[u32]) -> f64 {
        self.counts.get(key).map_or(self.mean, |&(shown, clicks)| f64::from(clicks) / f64::from(shown))
    }

    /// Number of items, and clicks per item shown.
    pub fn summary(&self) -> (usize, f64) {
        let (shown, clicks) = self
            .counts
            .values()
            .fold((0.0, 0.0), |(s, c), &(shown, clicks)| (s + f64::from(shown), c + f64::from(clicks)));
        (self.counts.len(), if shown > 0.0 { clicks / shown } else { 0.0 })
    }

    /// Words of all keys, times shown, clicks; in key order.
    fn columns(&self) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let words = self.counts.keys().flatten().copied().collect();
        (words, self.counts.values().map(|c| c.0).collect(), self.counts.values().map(|c| c.1).collect())
    }

    fn from_columns(keys: ItemKeys, words: &[u32], shown: &[u32], clicks: &[u32]) -> Result<Self> {
        if words.len() != shown.len() * keys.len() || shown.len() != clicks.len() || shown.contains(&0) {
            return Err(Error::State("the click counts do not belong to the items of this env".to_owned()));
        }
        let counts = words.chunks(keys.len().max(1)).zip(shown.iter().zip(clicks));
        let counts = counts.map(|(key, (&s, &c))| (key.to_vec(), (s, c))).collect();
        let mut rates = Self { keys, counts, mean: 0.0 };
        rates.mean = rates.summary().1;
        Ok(rates)
    }

    /// As tensors for a snapshot. Bits travel as two exact halves, because parameters are F32.
    pub fn to_params(&self) -> Result<BTreeMap<String, Tensor>> {
        let (words, shown, clicks) = self.columns();
        let halves = |words: &[u32]| -> Result<Tensor> {
            let flat: Vec<f32> = words.iter().flat_map(|w| [(w >> 16) as f32, (w & 0xffff) as f32]).collect();
            Ok(Tensor::from_vec(flat, (words.len(), 2), &Device::Cpu)?)
        };
        let named = [("popular.items", &words), ("popular.shown", &shown), ("popular.clicks", &clicks)];
        named.into_iter().map(|(name, words)| Ok((name.to_owned(), halves(words)?))).collect()
    }

    /// Back from a snapshot.
    pub fn from_params(keys: ItemKeys, params: &BTreeMap<String, Tensor>) -> Result<Self> {
        let words = |name: &str| -> Result<Vec<u32>> {
            let halves = params.get(name).ok_or_else(|| Error::State(format!("parameter {name} is missing")))?;
            let flat = halves.flatten_all()?.to_vec1::<f32>()?;
            Ok(flat.chunks_exact(2).map(|h| ((h[0] as u32) << 16) | h[1] as u32).collect())
        };
        Self::from_columns(keys, &words("popular.items")?, &words("popular.shown")?, &words("popular.clicks")?)
    }

    pub fn save(&self, state: &mut StateDict, prefix: &str) {
        let (words, shown, clicks) = self.columns();
        state.put_u32s(format!("{prefix}items"), &words);
        state.put_u32s(format!("{prefix}shown"), &shown);
        state.put_u32s(format!("{prefix}clicks"), &clicks);
    }

    pub fn restored(keys: ItemKeys, state: &StateDict, prefix: &str) -> Result<Self> {
        let column = |name: &str| state.u32s(&format!("{prefix}{name}"));
        Self::from_columns(keys, &column("items")?, &column("shown")?, &column("clicks")?)
    }
}
