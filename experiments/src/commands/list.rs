//! `experiment list`.

use super::print;
use crate::arms::Algorithm;
use crate::cli::OutputArgs;
use crate::envs;
use crate::experiments;
use crate::failure::Outcome;
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write;

#[derive(Serialize)]
struct Catalogue {
    experiments: Vec<Named>,
    presets: Vec<Named>,
    arms: Vec<ListedArm>,
    envs: Vec<Named>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    about: &'static str,
}

#[derive(Serialize)]
struct ListedArm {
    experiment: &'static str,
    #[serde(flatten)]
    algorithm: Algorithm,
}

pub fn run(output: OutputArgs) -> Result<Outcome> {
    let named = |name: String, about| Named { name, about };
    let infos = || experiments::ALL.iter().map(|e| e.info());
    let catalogue = Catalogue {
        experiments: infos().map(|info| named(info.name.to_owned(), info.about)).collect(),
        presets: infos()
            .flat_map(|info| info.presets.iter().map(|p| named(format!("{}/{}", info.name, p.name), p.about())))
            .collect(),
        arms: infos()
            .flat_map(|info| {
                let listed = |&algorithm: &Algorithm| ListedArm { experiment: info.name, algorithm };
                info.algorithms.iter().map(listed)
            })
            .collect(),
        envs: envs::all().into_iter().map(|(name, about)| named(name.to_owned(), about)).collect(),
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
    for info in experiments::ALL.iter().map(|e| e.info()) {
        let views = if info.views.is_empty() { String::new() } else { format!("[+{}]", info.views.join("|")) };
        section(
            &format!("arms of {}, spelled algorithm{views}[:frozen|lora|full][@embedded|random]", info.name),
            info.algorithms.iter().map(|a| (a.name, a.about)).collect(),
        );
    }
    text
}
