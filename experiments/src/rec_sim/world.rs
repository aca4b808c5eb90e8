//! The items and users of a study: built once, shared by all trials.

use super::config::{EnvSettings, Form, RecSimConfig, UserView};
use super::measure::{PLANNER_USERS, plan};
use crate::failure::bad_input;
use crate::study::{SplitInfo, episodes};
use anyhow::Result;
use retune::env::{EnvSpec, TextId, TextTable, TimeLimit};
use retune::rng::Seed;
use retune_envs::rec_sim::catalogue::{Catalogue, CatalogueConfig, Columns, Source, Split};
use retune_envs::rec_sim::interest_evolution::{
    EvolutionConfig, EvolutionModel, InterestEvolution, ObservationMode, Planner,
};
use std::path::Path;
use std::sync::OnceLock;

/// An environment as trials use it.
pub type StudyEnv = TimeLimit<InterestEvolution>;

/// Which items users are offered in a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    /// Those that training offers too.
    Train,
    /// Those that training never showed.
    ColdStart,
}

impl Items {
    /// Name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::ColdStart => "cold_start",
        }
    }

    /// The items of this name.
    ///
    /// # Errors
    /// If there are none.
    pub fn from_name(name: &str) -> retune::Result<Self> {
        let found = [Self::Train, Self::ColdStart].into_iter().find(|items| items.name() == name);
        found.ok_or_else(|| retune::Error::State(format!("rec_sim measures on no items called {name}")))
    }

    /// As reports name a measurement on them.
    #[must_use]
    pub fn split(self) -> SplitInfo {
        let measured_on = match self {
            Self::Train => "users never met in training",
            Self::ColdStart => "items never seen in training",
        };
        SplitInfo { name: self.name(), measured_on }
    }
}

/// Items and users.
#[derive(Debug)]
pub struct World {
    train: Offer,
    cold_start: Option<Offer>,
    texts: TextTable,
    warnings: Vec<String>,
    time_limit: u64,
    /// Users of the planner's search, apart from those it is measured on.
    planner_users: Vec<u64>,
}

/// One pool of items.
#[derive(Debug)]
struct Offer {
    model: EvolutionModel,
    /// Found when first asked for: it takes a few hundred simulated sessions.
    planner: OnceLock<Planner>,
}

impl Offer {
    fn new(model: EvolutionModel) -> Self {
        Self { model, planner: OnceLock::new() }
    }
}

/// Clusters texts where a catalogue names no topics: texts in, `[num_texts, width]` row by row and the width out.
pub type Embed<'a> = &'a dyn Fn(&[String]) -> Result<(Vec<f32>, usize)>;

impl World {
    /// Reads the catalogue and builds the models. `embed` is asked only if topics have to be found.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] and [`retune::env::EnvError`] for settings and catalogues that cannot be used.
    pub fn new(config: &RecSimConfig, embed: Embed<'_>) -> Result<Self> {
        let evolution = EvolutionConfig::with_sizes(config.env.num_candidates, config.env.slate_size);
        let time_limit = config.env.time_limit;
        let planner_users = episodes(&Seed::root(config.seed).child("planner"), PLANNER_USERS);
        if config.env.form == Form::Features {
            let train = Offer::new(EvolutionModel::features(evolution)?);
            let (texts, warnings) = (TextTable::default(), Vec::new());
            return Ok(Self { train, cold_start: None, texts, warnings, time_limit, planner_users });
        }
        let catalogue = catalogue(config, embed)?;
        let mode = mode(&config.env);
        let offer = |split| EvolutionModel::text(evolution.clone(), &catalogue, split, mode).map(Offer::new);
        let (train, cold_start) = (offer(Split::Train)?, Some(offer(Split::Cold)?));
        let (texts, warnings) = (catalogue.texts().clone(), catalogue.warnings().to_vec());
        Ok(Self { train, cold_start, texts, warnings, time_limit, planner_users })
    }

    /// The kinds of measurement this world allows, training items first.
    #[must_use]
    pub fn measurements(&self) -> Vec<Items> {
        let mut all = vec![Items::Train];
        all.extend(self.cold_start.as_ref().map(|_| Items::ColdStart));
        all
    }

    /// A fresh environment.
    ///
    /// # Errors
    /// If the time limit does not fit, or there are no such items.
    pub fn env(&self, items: Items) -> retune::Result<StudyEnv> {
        Ok(TimeLimit::new(InterestEvolution::from_model(self.model(items)?.clone()), self.time_limit)?)
    }

    /// Settings and items behind the environments of one kind.
    ///
    /// # Errors
    /// If there are no such items.
    pub fn model(&self, items: Items) -> retune::Result<&EvolutionModel> {
        Ok(&self.offer(items)?.model)
    }

    /// The reference that knows the user model.
    ///
    /// # Errors
    /// If there are no such items, or the user model has no planner.
    pub fn planner(&self, items: Items) -> retune::Result<Planner> {
        let offer = self.offer(items)?;
        if let Some(planner) = offer.planner.get() {
            return Ok(planner.clone());
        }
        // Two trials that ask at once both search and find the same.
        let planner = plan(&offer.model, &self.planner_users)?;
        Ok(offer.planner.get_or_init(|| planner).clone())
    }

    /// Steps after which an episode is cut.
    #[must_use]
    pub fn time_limit(&self) -> u64 {
        self.time_limit
    }

    fn offer(&self, items: Items) -> retune::Result<&Offer> {
        match items {
            Items::Train => Ok(&self.train),
            Items::ColdStart => {
                self.cold_start.as_ref().ok_or_else(|| retune::Error::State("there are no cold-start items".into()))
            }
        }
    }

    /// The texts that environments of one kind can show.
    ///
    /// # Errors
    /// If there are no such items.
    pub fn pool(&self, items: Items) -> retune::Result<Vec<TextId>> {
        Ok(match &self.spec(items)?.obs {
            retune::env::ObsSpec::Candidates(candidates) => candidates.pool.clone(),
            _ => Vec::new(),
        })
    }

    /// What is known about the environments of one kind.
    ///
    /// # Errors
    /// If there are no such items.
    pub fn spec(&self, items: Items) -> retune::Result<EnvSpec> {
        Ok(retune::env::Env::spec(&self.env(items)?).clone())
    }

    /// What is unusual about the catalogue.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All texts; empty in the feature form.
    #[must_use]
    pub fn texts(&self) -> &TextTable {
        &self.texts
    }
}

fn mode(env: &EnvSettings) -> ObservationMode {
    match env.user {
        UserView::Interests => ObservationMode::Interests,
        UserView::History => ObservationMode::History,
    }
}

/// The catalogue's bytes, as the manifest records them.
///
/// # Errors
/// [`crate::failure::BadInput`] if the file cannot be read.
pub fn catalogue_bytes(config: &RecSimConfig) -> Result<Vec<u8>> {
    let file = &config.catalog.file;
    if file == "embedded" {
        return Ok(retune_assets::wordnet_glosses::CSV.as_bytes().to_vec());
    }
    std::fs::read(Path::new(file)).map_err(|e| bad_input(format!("--catalog {file}: cannot be read: {e}")))
}

fn catalogue(config: &RecSimConfig, embed: Embed<'_>) -> Result<Catalogue> {
    let settings = &config.catalog;
    let bytes = catalogue_bytes(config)?;
    let named = |column: &String| Some(column.clone()).filter(|c| !c.is_empty());
    let columns = if settings.file == "embedded" {
        Columns::wordnet()
    } else {
        Columns {
            text: settings.text_columns.clone(),
            topic: named(&settings.topic_column),
            quality: named(&settings.quality_column),
        }
    };
    let mut source = Source::read(&settings.file, &bytes, &columns)?;
    if source.needs_topics() {
        let (embeddings, width) = embed(source.texts())?;
        source.assign_topics(&embeddings, width, settings.num_topics, settings.seed)?;
    }
    Ok(Catalogue::build(source, &CatalogueConfig { seed: settings.seed, ..CatalogueConfig::default() })?)
}
