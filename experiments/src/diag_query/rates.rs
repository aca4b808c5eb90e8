//! Problems from tables of P(finding | disease): one's own, or the Human Phenotype Ontology's.

use super::config::DataSettings;
use super::world::{Hashes, file_stem, read};
use crate::failure::bad_input;
use anyhow::Result;
use retune_envs::diag_query::problem::Problem;
use retune_envs::diag_query::rates::{HpoOptions, read_hpoa, read_obo, read_rates, read_rates_json};
use std::path::Path;

/// The files of a release of the ontology.
const HPO_FILES: [&str; 2] = ["phenotype.hpoa", "hp.obo"];

/// The problem of the table that the settings name; `None` if they name none.
///
/// # Errors
/// [`crate::failure::BadInput`] or [`retune::env::EnvError`] naming the file and the line.
pub fn problem(data: &DataSettings, hashes: &mut Hashes) -> Result<Option<Problem>> {
    if !data.rates.is_empty() {
        return own(data, hashes).map(Some);
    }
    if data.hpo.is_empty() { Ok(None) } else { hpo(data, hashes).map(Some) }
}

fn own(data: &DataSettings, hashes: &mut Hashes) -> Result<Problem> {
    let (file, bytes) = (&data.rates, read("--rates", &data.rates)?);
    let is_json = file.to_ascii_lowercase().ends_with(".json");
    let mut table = if is_json { read_rates_json(file, &bytes)? } else { read_rates(file, &bytes)? };
    hashes.add("rates", &bytes);
    if data.max_diseases > 0 {
        table = table.limited(data.max_diseases);
    }
    Ok(table.problem(&file_stem(file), data.background)?)
}

fn hpo(data: &DataSettings, hashes: &mut Hashes) -> Result<Problem> {
    let [annotations, ontology] = hpo_files(&data.hpo)?;
    let bytes = read("--hpo", &ontology)?;
    hashes.add("hp.obo", &bytes);
    let ontology = read_obo(&ontology, &bytes)?;
    let bytes = read("--hpo", &annotations)?;
    hashes.add("phenotype.hpoa", &bytes);
    let options = HpoOptions {
        without_frequency: (data.without_frequency > 0.0).then_some(data.without_frequency),
        propagate: data.propagate,
        background: data.background,
        prefix: data.prefix.clone(),
        min_terms: data.min_terms,
        max_diseases: (data.max_diseases > 0).then_some(data.max_diseases),
    };
    let table = read_hpoa(&annotations, &bytes, &ontology, &options)?;
    Ok(table.problem(&file_stem(&annotations), &ontology, &options)?)
}

/// Annotations and ontology: the two files of a folder, or two files in whatever order.
fn hpo_files(named: &[String]) -> Result<[String; 2]> {
    let is_obo = |file: &&String| file.to_ascii_lowercase().ends_with(".obo");
    match named {
        [folder] => Ok(HPO_FILES.map(|file| Path::new(folder).join(file).display().to_string())),
        [a, b] if is_obo(&a) != is_obo(&b) => {
            let (annotations, ontology) = if is_obo(&a) { (b, a) } else { (a, b) };
            Ok([annotations.clone(), ontology.clone()])
        }
        _ => Err(bad_input(format!(
            "--hpo {}: expected a folder with {}, or these two files, such as --hpo phenotype.hpoa,hp.obo",
            named.join(","),
            HPO_FILES.join(" and ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ontology_is_a_folder_or_two_files_in_any_order() {
        let files = |named: &[&str]| hpo_files(&named.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let expected = ["a.hpoa".to_owned(), "b.obo".to_owned()];
        assert_eq!(files(&["a.hpoa", "b.obo"]).expect("files"), expected);
        assert_eq!(files(&["b.obo", "a.hpoa"]).expect("files"), expected);
        assert!(files(&["dir"]).expect("folder")[1].ends_with("hp.obo"));
        for wrong in [&["a.hpoa", "b.hpoa"][..], &["a.obo", "b.obo"], &["a", "b.obo", "c"]] {
            assert!(files(wrong).expect_err("unclear").to_string().contains("expected a folder with"));
        }
    }
}
