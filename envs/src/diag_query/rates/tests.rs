use super::*;
use crate::diag_query::composite::{Composite, CompositeModel};
use crate::diag_query::env::{DiagQuery, DiagQueryConfig, Initial, View};
use crate::diag_query::gain::{Channel, gains};
use crate::diag_query::model::Model;
use crate::diag_query::problem::CaseSource;
use crate::diag_query::testing::worst;
use proptest::prelude::*;
use retune::env::Env;
use retune::env::check::{CandidateSampler, CheckConfig, check_env};
use retune::rng::Seed;
use std::sync::Arc;

const OBO: &str = "format-version: 1.2\n\n[Term]\nid: HP:1\nname: All\n\n[Term]\nid: HP:2\nname: Sign\nis_a: HP:1 ! All\n\n\
    [Term]\nid: HP:3\nname: A \\\"big\\\" sign\nsynonym: \"Large \\\"x\\\" sign\" EXACT []\nis_a: HP:2 ! Sign\nalt_id: HP:30\n\n\
    [Term]\nid: HP:4\nname: Old\nis_obsolete: true\nreplaced_by: HP:3\n\n[Term]\nid: HP:5\nname: Gone\nis_obsolete: true\n\n\
    [Typedef]\nid: part_of\n";

fn row(disease: &str, qualifier: &str, term: &str, frequency: &str, aspect: &str) -> String {
    format!("{disease}\tName of {disease}\t{qualifier}\t{term}\tref\tPCS\t\t{frequency}\t\t\t{aspect}\tX\n")
}

fn ontology() -> Ontology {
    read_obo("hp.obo", OBO.as_bytes()).unwrap()
}

fn hpoa(rows: &[String], options: &HpoOptions) -> Result<HpoTable, EnvError> {
    let text = format!("#version: x\ndatabase_id\tdisease_name\tq\th\tr\te\to\tf\ts\tm\ta\tb\n{}", rows.concat());
    read_hpoa("p.hpoa", text.as_bytes(), &ontology(), options)
}

#[test]
fn obsolete_and_alternative_ids_resolve() {
    let o = ontology();
    assert_eq!((o.len(), o.name(2), &o.synonyms(2)[0][..]), (5, "A \"big\" sign", "Large \"x\" sign"));
    assert_eq!((o.resolve("HP:30"), o.resolve("HP:4"), o.parents(2)), (Ok(2), Ok(2), &[1][..]));
    assert!(o.resolve("HP:5").unwrap_err().contains("obsolete"));
    assert!(o.resolve("HP:9").unwrap_err().contains("no term HP:9"));
    let read = |text: &str| read_obo("o", text.as_bytes()).unwrap_err().to_string();
    assert!(read("[Term]\nid: A\nis_a: B\n").contains("line 1: A: is_a B"));
    assert!(read("[Term]\nid: A\n[Term]\nid: A\n").contains("line 3: A stands a second time"));
    assert!(read("[Term]\nid: A\nis_a: B\n[Term]\nid: B\nis_a: A\n").contains("cycle"));
    assert!(read("[Term]\nname: x\n").contains("without an id"));
    assert!(read("[Term]\nid: A\nhello\n").contains("line 3: found hello"));
    assert!(read("").contains("no [Term]"));
}

#[test]
fn frequencies_follow_the_classes_and_repeated_rows_are_averaged() {
    let rows = [
        row("ORPHA:10", "", "HP:3", "HP:0040281", "P"),
        row("ORPHA:10", "", "HP:4", "1/2", "P"),
        row("ORPHA:9", "", "HP:2", "45%", "P"),
        row("ORPHA:9", "NOT", "HP:3", "", "P"),
        row("ORPHA:9", "", "HP:1", "", "P"),
        row("OMIM:1", "", "HP:3", "0/4", "P"),
        row("ORPHA:9", "", "HP:99", "?", "I"),
    ];
    let table = hpoa(&rows, &HpoOptions { min_terms: 0, ..Default::default() }).unwrap();
    let ids: Vec<&str> = table.diseases.iter().map(|d| d.0.as_str()).collect();
    assert_eq!(ids, ["OMIM:1", "ORPHA:9", "ORPHA:10"]);
    let mean = (0.895 + 0.5) / 2.0;
    assert_eq!(table.rates, [vec![(2, 0.0)], vec![(1, 0.45), (2, 0.0)], vec![(2, mean)]]);
    let options =
        HpoOptions { propagate: true, prefix: "ORPHA:".into(), without_frequency: Some(0.2), ..Default::default() };
    let table = hpoa(&rows, &options).unwrap();
    assert_eq!(table.rates, [vec![(0, 0.45), (1, 0.45), (2, 0.0)], vec![(0, mean), (1, mean), (2, mean)]]);
    for (rows, expected) in [
        (vec![row("A:1", "", "HP:3", "3/2", "P")], "line 3: frequency 3/2"),
        (vec![row("A:1", "", "HP:3", "0/0", "P")], "line 3: frequency 0/0"),
        (vec![row("A:1", "", "HP:3", "often", "P")], "line 3: frequency often"),
        (vec![row("A:1", "", "HP:3", "NaN%", "P")], "line 3: frequency NaN%"),
        (vec![row("A:1", "", "HP:5", "1/2", "P")], "line 3: HP:5 is obsolete"),
        (vec![row("A:1", "MAYBE", "HP:3", "1/2", "P")], "line 3: qualifier MAYBE"),
        (vec!["a\tb\n".to_owned()], "line 3: 2 tab-separated columns, expected 12"),
        (vec![], "no disease is left"),
    ] {
        let found = hpoa(&rows, &HpoOptions::default()).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
}

/// Random sparse rates and the same as a dense table.
fn pair(seed: u64) -> (SparseModel, Composite) {
    let mut rng = Seed::root(seed).child("sparse").rng();
    let (diseases, findings) = (2 + rng.below(6), 1 + rng.below(8));
    let mut sparse = SparseRates::new(diseases, findings, 0.01).unwrap();
    let mut dense = vec![vec![0.99; 2 * diseases]; findings];
    dense.iter_mut().for_each(|table| table[diseases..].fill(0.01));
    for (finding, table) in dense.iter_mut().enumerate() {
        for disease in 0..diseases {
            if rng.below(3) == 0 {
                let rate = 0.01 + 0.98 * rng.uniform();
                sparse.set(finding, disease, rate);
                (table[disease], table[diseases + disease]) = (1.0 - rate, rate);
            }
        }
    }
    let prior: Vec<f64> = (0..diseases).map(|_| 0.1 + rng.uniform()).collect();
    let dense = CompositeModel::new(diseases, prior.clone(), (0..diseases).collect(), dense).unwrap();
    (sparse.finish(prior).unwrap(), Composite::new(dense))
}

proptest! {
    #[test]
    fn sparse_and_dense_tables_agree(seed in 0u64..1 << 40) {
        let (sparse, dense) = pair(seed);
        let mut rng = Seed::root(seed).child("case").rng();
        let all: Vec<usize> = (0..sparse.states().len()).collect();
        let (mut a, mut b) = (sparse.begin(), dense.begin());
        let case = sparse.draw(&mut rng);
        for channel in [Channel::exact(), Channel::symmetric(0.2, 0.1)] {
            for &finding in &all {
                let likelihood = channel.likelihood(finding, 2, case.findings[finding].unwrap());
                a.observe(finding, &likelihood).unwrap();
                b.observe(finding, &likelihood).unwrap();
                prop_assert!(worst(a.posterior(), b.posterior()) < 1e-12);
                prop_assert!((a.log_evidence() - b.log_evidence()).abs() < 1e-10);
                prop_assert!(worst(a.conditionals(finding), b.conditionals(finding)) < 1e-12);
                let fast = gains(a.as_mut(), &channel, &all, sparse.states());
                prop_assert!(worst(&fast, &gains(b.as_mut(), &channel, &all, dense.states())) < 1e-12);
            }
        }
    }
}

#[test]
fn a_table_plays_as_an_environment() {
    let rows = [
        row("ORPHA:1", "", "HP:3", "9/10", "P"),
        row("ORPHA:2", "", "HP:2", "8/10", "P"),
        row("ORPHA:3", "", "HP:1", "7/10", "P"),
    ];
    let options = HpoOptions::default();
    let problem = Arc::new(hpoa(&rows, &options).unwrap().problem("hpo", &ontology(), &options).unwrap());
    let config = DiagQueryConfig { view: View::BeliefGain, initial: Initial::RandomPositive, ..Default::default() };
    let make = || Ok(DiagQuery::new(Arc::clone(&problem), config.clone())?);
    let settings = CheckConfig { speed_steps: 0, ..CheckConfig::default() };
    let report = check_env(make, &CandidateSampler, &settings).unwrap();
    assert!(report.passed(), "{report:#?}");
}

/// A tenth of the release of 2025-01-16 in both directions; the example `hpo_scale` measures its full size.
#[test]
fn a_table_of_many_diseases_loads_and_steps() {
    let (diseases, terms, each) = (1_268, 1_128, 20);
    let mut obo = String::from("[Term]\nid: HP:0\nname: All\n");
    (1..terms).for_each(|t| obo += &format!("[Term]\nid: HP:{t}\nname: Term {t}\nis_a: HP:{} ! up\n", (t - 1) / 4));
    let ontology = read_obo("hp.obo", obo.as_bytes()).unwrap();
    let mut rng = Seed::root(1).child("hpo").rng();
    let mut rows = String::new();
    for d in 0..diseases {
        for _ in 0..each {
            rows += &row(&format!("ORPHA:{d}"), "", &format!("HP:{}", rng.below(terms)), "HP:0040282", "P");
        }
    }
    let options = HpoOptions::default();
    let read = |options: &HpoOptions| read_hpoa("p.hpoa", rows.as_bytes(), &ontology, options).unwrap();
    assert_eq!(read(&options).diseases.len(), diseases);
    let some = read(&HpoOptions { prefix: "ORPHA:".into(), min_terms: 20, max_diseases: Some(200), ..options.clone() });
    assert!(some.diseases.len() == 200 && some.rates.iter().all(|r| r.len() >= 20));
    let problem = Arc::new(read(&options).problem("hpo", &ontology, &options).unwrap());
    let config = DiagQueryConfig { view: View::BeliefGain, initial: Initial::RandomPositive, ..Default::default() };
    let mut env = DiagQuery::new(problem, config).unwrap();
    let obs = env.reset(Some(1)).unwrap();
    let open = obs.mask.iter().position(|open| *open).unwrap();
    let step = env.step(&retune::env::Slate(vec![open as u32])).unwrap();
    assert_eq!(step.obs.state.len(), obs.state.len());
}

const RATES: &str = "disease,finding,rate,prior\nflu,fever,0.9,3\nflu,cough,1,\ncold,cough,0.5,1\n";

#[test]
fn a_table_of_ones_own_is_a_problem() {
    let table = read_rates("r.csv", RATES.as_bytes()).unwrap();
    assert_eq!(table.rates, [(0, 0, 0.9), (0, 1, 1.0), (1, 1, 0.5)]);
    let json = r#"{"diseases": [{"name": "flu", "prior": 3, "rates": {"fever": 0.9, "cough": 1}},
        {"name": "cold", "prior": 1, "rates": {"cough": 0.5}}], "findings": ["fever", "cough"]}"#;
    let of_json = read_rates_json("r.json", json.as_bytes()).unwrap();
    assert_eq!(
        (&of_json.diseases, &of_json.findings, &of_json.prior),
        (&table.diseases, &table.findings, &table.prior)
    );
    for table in [table, of_json] {
        let problem = table.problem("mine", BACKGROUND).unwrap();
        let mut belief = problem.model.as_ref().unwrap().begin();
        assert!(worst(belief.posterior(), &[0.75, 0.25]) < 1e-15);
        // Clipped and background rates.
        assert!(worst(belief.conditionals(1), &[0.001, 0.5, 0.999, 0.5]) < 1e-15);
        assert!(worst(belief.conditionals(0), &[0.1, 0.999, 0.9, 0.001]) < 1e-15);
        belief.observe(0, &[0.0, 1.0]).unwrap();
        assert!((belief.posterior()[0] - 2.7 / 2.701).abs() < 1e-12);
    }
    let plain = read_rates("r.csv", b"rate,finding,disease\n.5,a,x\n.5,a,y\n").unwrap();
    assert_eq!(plain.prior, [1.0, 1.0]);
    assert!(plain.problem("x", 0.0).unwrap_err().to_string().contains("background"));
}

#[test]
fn each_mistake_of_a_table_of_rates_has_its_line() {
    let head = "disease,finding,rate,prior\n";
    for (rows, expected) in [
        ("a,x,0.5,\na,x,0.5,\n", "r.csv: line 3: a and x stand together a second time (first on line 2)"),
        ("a,x,1.5,\n", "line 2: rate 1.5, expected a number from 0 to 1"),
        ("a,x,NaN,\n", "line 2: rate NaN"),
        ("a,x,,\n", "line 2: rate ,"),
        (",x,0.5,\n", "line 2: the disease has no name"),
        ("a,,0.5,\n", "line 2: the finding has no name"),
        ("a,x,0.5,-1\n", "line 2: prior -1, expected a finite number from 0"),
        ("a,x,0.5,inf\n", "line 2: prior inf"),
        ("a,x,0.5,1\na,y,0.5,2\n", "line 3: a has prior 2 here and 1 above"),
        ("a,x,0.5,1\nb,x,0.5,\n", "b has no prior, expected one for all"),
        ("a,x\n", "line 2"),
        ("", "no rates"),
    ] {
        let found = read_rates("r.csv", format!("{head}{rows}").as_bytes()).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
    let found = read_rates("r.csv", b"disease,rate\na,1\n").unwrap_err().to_string();
    assert!(found.contains("line 1: there is no column finding"), "{found}");
    let zero = read_rates("r.csv", format!("{head}a,x,0.5,0\n").as_bytes()).unwrap().problem("z", 0.1);
    assert!(zero.unwrap_err().to_string().contains("prior"));
    for (json, expected) in [
        ("{\"diseases\": [\n", "r.json: line 2: EOF"),
        (r#"{"diseases": []}"#, "no rates"),
        (r#"{"diseases": [{"name": "a", "rates": {"x": 2}}]}"#, "disease a: rate 2"),
        (r#"{"diseases": [{"name": "a", "rates": {"x": 1}}], "findings": ["y"]}"#, "there is no finding x among"),
        (r#"{"diseases": [{"name": "a", "rates": {"x": 1}}], "findings": ["x", "x"]}"#, "finding x stands twice"),
        (r#"{"diseases": [{"name": "a", "rates": {}}, {"name": "a", "rates": {}}]}"#, "disease a: stands twice"),
        (r#"{"diseases": [{"name": "a", "rates": {}, "odd": 1}]}"#, "unknown field `odd`"),
    ] {
        let found = read_rates_json("r.json", json.as_bytes()).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_tables_are_read_or_refused(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..8),
        which in 0..4usize,
    ) {
        let json = r#"{"diseases": [{"name": "flu", "prior": 3, "rates": {"fever": 0.9}}], "findings": ["fever"]}"#;
        let hpoa = row("ORPHA:10", "", "HP:3", "HP:0040281", "P") + &row("ORPHA:11", "NOT", "HP:2", "", "P");
        let mut file = [RATES, json, OBO, &hpoa][which].as_bytes().to_vec();
        let at = at.index(file.len());
        let end = (at + bytes.len()).min(file.len());
        file.splice(at..end, bytes);
        for damaged in [&file[..], &file[..at]] {
            let outcome = match which {
                0 => read_rates("f", damaged).map(drop),
                1 => read_rates_json("f", damaged).map(drop),
                2 => read_obo("f", damaged).map(drop),
                _ => read_hpoa("f", damaged, &ontology(), &HpoOptions::default()).map(drop),
            };
            if let Err(error) = outcome {
                prop_assert!(error.to_string().starts_with("f: "), "{error}");
            }
        }
    }
}
