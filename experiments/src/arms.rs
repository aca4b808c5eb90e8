//! Arms: one method under comparison, spelled `algorithm[+view][:mode][@backbone]`.

use crate::failure::bad_input;
use crate::suggest::did_you_mean;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What an arm stands for in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Learns from rewards.
    Rl,
    /// Learns from labels.
    Supervised,
    /// Shows what is possible, not a contestant: knows something the others do not, or learns nothing.
    Reference,
}

/// One algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Algorithm {
    /// What a person types.
    pub name: &'static str,
    /// What it stands for.
    pub kind: Kind,
    /// Whether it trains a network, so that a mode and a backbone mean something.
    pub trains: bool,
    /// One sentence.
    pub about: &'static str,
}

impl Algorithm {
    /// A fixed policy to compare with.
    #[must_use]
    pub const fn reference(name: &'static str, about: &'static str) -> Self {
        Self { name, kind: Kind::Reference, trains: false, about }
    }

    /// One that learns from rewards, with a network.
    #[must_use]
    pub const fn rl(name: &'static str, about: &'static str) -> Self {
        Self { name, kind: Kind::Rl, trains: true, about }
    }
}

/// What of the backbone is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainMode {
    /// Nothing; only the head on top.
    Frozen,
    /// Low-rank additions to its linear layers.
    Lora,
    /// Everything.
    Full,
}

impl TrainMode {
    const ALL: [Self; 3] = [Self::Frozen, Self::Lora, Self::Full];

    /// How it is spelled.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Lora => "lora",
            Self::Full => "full",
        }
    }

    /// As the backbone calls it.
    #[must_use]
    pub fn of_backbone(self) -> retune::backbone::TrainMode {
        match self {
            Self::Frozen => retune::backbone::TrainMode::Frozen,
            Self::Lora => retune::backbone::TrainMode::Lora,
            Self::Full => retune::backbone::TrainMode::Full,
        }
    }
}

/// The backbone of an arm that differs from the study's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArmBackbone {
    /// The one that comes with the program.
    Embedded,
    /// The study's network with random weights.
    Random,
}

impl ArmBackbone {
    const ALL: [Self; 2] = [Self::Embedded, Self::Random];

    /// How it is spelled.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Random => "random",
        }
    }
}

/// One method under comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arm {
    /// How it learns.
    pub algorithm: Algorithm,
    /// What it is shown; `None` is what the study shows.
    pub view: Option<&'static str>,
    /// What of the backbone it trains.
    pub mode: TrainMode,
    /// Its backbone; `None` is the study's.
    pub backbone: Option<ArmBackbone>,
}

impl Arm {
    /// The algorithm as it is: nothing of a backbone trained, the study's own.
    #[must_use]
    pub fn plain(algorithm: Algorithm) -> Self {
        Self { algorithm, view: None, mode: TrainMode::Frozen, backbone: None }
    }

    /// Reads `algorithm[+view][:mode][@backbone]`, the algorithm one of `algorithms`, the view one of `views`.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] with the nearest name for an unknown part, if a mode or backbone is given to an
    /// algorithm that trains no network, or a view where there are none.
    pub fn parse(text: &str, algorithms: &[Algorithm], views: &[&'static str]) -> Result<Self> {
        let (rest, backbone) = match text.split_once('@') {
            Some((rest, backbone)) => (rest, Some(backbone)),
            None => (text, None),
        };
        let (name, mode) = match rest.split_once(':') {
            Some((name, mode)) => (name, Some(mode)),
            None => (rest, None),
        };
        let (name, view) = match name.split_once('+') {
            Some((name, view)) => (name, Some(view)),
            None => (name, None),
        };
        let algorithm = choose(text, "arm", name, algorithms, |a| a.name)?;
        if !algorithm.trains && (mode.is_some() || backbone.is_some()) {
            return Err(bad_input(format!("arm `{text}`: `{name}` trains no network; write just `{name}`")));
        }
        let view = view.map(|v| choose_view(text, name, v, &algorithm, views)).transpose()?;
        let mode = mode.map(|m| choose(text, "mode", m, &TrainMode::ALL, |m| m.name())).transpose()?;
        let backbone = backbone.map(|b| choose(text, "backbone", b, &ArmBackbone::ALL, |b| b.name())).transpose()?;
        Ok(Self { algorithm, view, mode: mode.unwrap_or(TrainMode::Frozen), backbone })
    }

    /// Whether it is a fixed policy that sees what is hidden, and nothing is trained.
    #[must_use]
    pub fn is_policy(&self) -> bool {
        self.algorithm.kind == Kind::Reference && !self.algorithm.trains
    }

    /// Name of the folder that holds its trials; `:` and `@` are not welcome in file names everywhere.
    #[must_use]
    pub fn folder(&self) -> String {
        self.to_string().replace(':', "-").replace('@', "+")
    }

    /// The spellings whose `arm.<spelling>` settings apply to this arm, the most general first.
    #[must_use]
    pub fn setting_names(&self) -> Vec<String> {
        let plain = self.algorithm.name.to_owned();
        let with_view = self.view.map(|view| format!("{plain}+{view}"));
        let mut names = Vec::new();
        for name in [Some(plain), with_view].into_iter().flatten() {
            let with_mode = format!("{name}:{}", self.mode.name());
            let with_backbone = self.backbone.map(|backbone| format!("@{}", backbone.name()));
            names.extend([name.clone(), with_mode.clone()]);
            names.extend(with_backbone.iter().flat_map(|b| [format!("{name}{b}"), format!("{with_mode}{b}")]));
        }
        names
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.name)?;
        if let Some(view) = self.view {
            write!(f, "+{view}")?;
        }
        if self.mode != TrainMode::Frozen {
            write!(f, ":{}", self.mode.name())?;
        }
        match self.backbone {
            Some(backbone) => write!(f, "@{}", backbone.name()),
            None => Ok(()),
        }
    }
}

fn choose_view(
    arm: &str,
    name: &str,
    view: &str,
    algorithm: &Algorithm,
    views: &[&'static str],
) -> Result<&'static str> {
    if views.is_empty() {
        let message = format!("arm `{arm}`: this experiment shows every arm the same, so there is no view `+{view}`");
        return Err(bad_input(format!("{message}; write the arm without it")));
    }
    if algorithm.kind == Kind::Reference {
        return Err(bad_input(format!("arm `{arm}`: `{name}` is a reference and has no view; write just `{name}`")));
    }
    choose(arm, "view", view, views, |view| view)
}

fn choose<T: Copy>(arm: &str, what: &str, given: &str, all: &[T], name: impl Fn(&T) -> &'static str) -> Result<T> {
    all.iter().copied().find(|item| name(item) == given).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(&name).collect();
        let hint = did_you_mean(given, names.iter().copied());
        let of = if arm == given { String::new() } else { format!(" in arm `{arm}`") };
        bad_input(format!("unknown {what} `{given}`{of}; there are {}{hint}", names.join(", ")))
    })
}

/// All arms of a list, each once.
///
/// # Errors
/// [`crate::failure::BadInput`] for an unknown arm, an arm named twice, or an empty list.
pub fn parse_all(names: &[String], algorithms: &[Algorithm], views: &[&'static str]) -> Result<Vec<Arm>> {
    let mut arms: Vec<Arm> = Vec::with_capacity(names.len());
    for name in names {
        let arm = Arm::parse(name, algorithms, views)?;
        if arms.contains(&arm) {
            return Err(bad_input(format!("arm `{arm}` is named twice")));
        }
        arms.push(arm);
    }
    if arms.is_empty() {
        return Err(bad_input("arms: expected at least one; see `experiment list`"));
    }
    Ok(arms)
}

/// Learning settings of one arm: those for all (`agent`), then those for this one (`own`, by spelling).
#[must_use]
pub fn settings(arm: &Arm, agent: &toml::Table, own: &BTreeMap<String, toml::Table>) -> toml::Table {
    let mut table = agent.clone();
    for own in arm.setting_names().iter().filter_map(|name| own.get(name)) {
        merge(&mut table, own);
    }
    table
}

fn merge(into: &mut toml::Table, from: &toml::Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => merge(inner, value),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: &[Algorithm] = &[
        Algorithm::reference("random", "r"),
        Algorithm::reference("planner", "p"),
        Algorithm::rl("q_learning", "q"),
        Algorithm::rl("sarsa", "s"),
        Algorithm { name: "supervised", kind: Kind::Supervised, trains: true, about: "u" },
    ];

    fn parse(name: &str) -> Result<Arm> {
        Arm::parse(name, ALGORITHMS, &["vector", "belief"])
    }

    #[test]
    fn spellings_are_read_and_written_back() {
        for name in [
            "random",
            "q_learning",
            "q_learning:lora",
            "supervised:full@random",
            "sarsa@random",
            "sarsa+belief:lora@random",
        ] {
            assert_eq!(parse(name).expect("known").to_string(), name);
        }
        assert_eq!(parse("q_learning:frozen").expect("known").to_string(), "q_learning");
    }

    #[test]
    fn settings_of_an_arm_go_from_general_to_particular() {
        let names = parse("sarsa+belief:lora@random").expect("known").setting_names();
        let place = |name: &str| names.iter().position(|n| n == name).unwrap_or_else(|| panic!("{name}: {names:?}"));
        let general_first = ["sarsa", "sarsa:lora", "sarsa+belief", "sarsa+belief:lora", "sarsa+belief:lora@random"];
        assert!(general_first.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{names:?}");
        let plain = ["sarsa", "sarsa:frozen"];
        assert_eq!(parse("sarsa").expect("known").setting_names(), plain);
    }

    #[test]
    fn unknown_parts_are_named_with_a_suggestion() {
        let message = |name: &str| parse(name).expect_err("unknown").to_string();
        assert!(message("q_lerning").contains("did you mean `q_learning`?"));
        assert!(message("q_learning:lore").contains("did you mean `lora`?"));
        assert!(message("q_learning@randon").contains("did you mean `random`?"));
        assert!(message("planner:lora").contains("trains no network"));
        assert!(message("sarsa+belif").contains("did you mean `belief`?"));
        assert!(message("planner+belief").contains("has no view"));
        let no_views = Arm::parse("sarsa+belief", ALGORITHMS, &[]).expect_err("no views").to_string();
        assert!(no_views.contains("write the arm without it"), "{no_views}");
        assert!(parse_all(&["sarsa".into(), "sarsa:frozen".into()], ALGORITHMS, &[]).is_err());
    }
}
