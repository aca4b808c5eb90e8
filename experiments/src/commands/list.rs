//! `experiment list`.

use super::print;
use crate::arms::{ALGORITHMS, Algorithm};
use crate::cli::OutputArgs;
use crate::envs;
use crate::failure::Outcome;
use crate::rec_sim;
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write;

#[derive(Serialize)]
struct Catalogue {
    experiments: Vec<Named>,
    presets: Vec<Named>,
    arms: &'static [Algorithm],
    envs: Vec<Named>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    about: &'static str,
}

pub fn run(output: OutputArgs) -> Result<Outcome> {
    let named = |name: &str, about| Named { name: name.to_owned(), about };
    let catalogue = Catalogue {
        experiments: vec![named(rec_sim::NAME, rec_sim::ABOUT)],
        presets: rec_sim::PRESETS
            .iter()
            .map(|p| Named { name: format!("{}/{}", rec_sim::NAME, p.name), about: p.about() })
            .collect(),
        arms: ALGORITHMS,
        envs: envs::all().into_iter().map(|(name, about)| named(name, about)).collect(),
    };
    print(output, &catalogue, || text(&catalogue))?;
    Ok(Outcome::Done)
}

fn text(catalogue: &Catalogue) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<(&str, &str)>| {
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        // Writing to a string cannot fail.
        writeln!(text, "{title}").expect("a string grows");
        for (name, about) in lines {
            writeln!(text, "  {name:width$}  {about}").expect("a string grows");
        }
    };
    let pairs = |named: &'_ [Named]| named.iter().map(|n| (n.name.clone(), n.about)).collect::<Vec<_>>();
    for (title, named) in
        [("experiments", &catalogue.experiments), ("presets", &catalogue.presets), ("envs", &catalogue.envs)]
    {
        section(title, pairs(named).iter().map(|(n, a)| (n.as_str(), *a)).collect());
    }
    section(
        "arms, spelled algorithm[:frozen|lora|full][@embedded|random]",
        catalogue.arms.iter().map(|a| (a.name, a.about)).collect(),
    );
    text
}
