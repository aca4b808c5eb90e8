use super::*;
use crate::diag_query::baselines::simulate::play;
use crate::diag_query::baselines::{GreedyGain, Task};
use crate::diag_query::composite::{Composite, CompositeModel};
use crate::diag_query::env::{DiagQuery, DiagQueryConfig, Initial, View};
use crate::diag_query::model::Model;
use crate::diag_query::problem::Case;
use proptest::prelude::*;
use retune::env::Env;
use retune::env::check::{CandidateSampler, CheckConfig, check_env};
use retune_assets::soybean;
use std::sync::Arc;

fn soybean() -> RawTable {
    read_arff("soybean.arff", soybean::ARFF).unwrap()
}

fn message<T: std::fmt::Debug>(result: Result<T, EnvError>) -> String {
    result.expect_err("must be refused").to_string()
}

#[test]
fn soybean_has_the_published_shape() {
    let table = soybean();
    assert_eq!((table.rows.len(), table.columns.len()), (683, 36));
    let missing = table.rows.iter().flat_map(|r| &r.cells).filter(|c| c.is_none()).count();
    assert_eq!(missing, 2337);
    let class = table.column("class").unwrap();
    let classes: std::collections::BTreeSet<_> = table.rows.iter().map(|r| r.cells[class].clone()).collect();
    assert_eq!(classes.len(), 19);
}

/// Ten folds of naive Bayes with greedy gain: .773 after 3 questions, .900 after 6, .927 with all (standard error .012).
#[test]
fn soybean_reaches_the_reference_accuracy() {
    let table = soybean();
    let folds = stratified_folds(&table, "class", 10, 1).unwrap();
    assert!((0..10).all(|f| (68..=69).contains(&folds.iter().filter(|&&x| x == f).count())));
    let mut right = [0.0; 3];
    for fold in 0..10 {
        let rows = |test: bool| -> Vec<usize> { (0..folds.len()).filter(|&i| (folds[i] == fold) == test).collect() };
        let coding = Coding::fit(&table, &rows(false), &CodingOptions::default()).unwrap();
        let training = coding.cases(&table, &rows(false)).unwrap();
        let model = CompositeModel::naive_bayes(19, &coding.states(), &training, 0.5).unwrap();
        let model = Composite::new(model);
        let task = Task::plain(19, model.states());
        for case in coding.cases(&table, &rows(true)).unwrap() {
            let played = play(&model, &task, &mut GreedyGain::default(), &case, 6);
            let mut order = crate::diag_query::baselines::StaticOrder((0..35).collect());
            let all = play(&model, &task, &mut order, &case, 35);
            for (at, p) in [&played.posteriors[3], &played.posteriors[6], &all.posteriors[35]].into_iter().enumerate() {
                right[at] += f64::from(u8::from(task.declare(p).0 == case.diagnosis));
            }
        }
    }
    for (found, (expected, error)) in
        right.map(|r| r / 683.0).into_iter().zip([(0.773, 0.016), (0.9, 0.0115), (0.927, 0.01)])
    {
        // The folds are others: three standard errors of the difference.
        assert!((found - expected).abs() < 3.0 * 1.42 * error, "{found}, expected {expected}");
    }
}

#[test]
fn soybean_plays_as_an_environment() {
    let table = soybean();
    let rows: Vec<usize> = (0..table.rows.len()).collect();
    let coding = Coding::fit(&table, &rows, &CodingOptions::default()).unwrap();
    let cases = coding.cases(&table, &rows).unwrap();
    let problem = Arc::new(coding.problem("soybean", cases.clone(), &cases).unwrap());
    for (view, _) in View::ALL {
        let config = DiagQueryConfig { view, ..DiagQueryConfig::default() };
        let make = || Ok(DiagQuery::new(Arc::clone(&problem), config.clone())?);
        let settings = CheckConfig { speed_steps: 0, episodes: 2, ..CheckConfig::default() };
        let report = check_env(make, &CandidateSampler, &settings).unwrap();
        assert!(report.passed(), "{report:#?}");
    }
    let saved = serde_json::to_string(&coding).unwrap();
    assert_eq!(serde_json::from_str::<Coding>(&saved).unwrap(), coding);
}

const HEART: &str = "age,site,pain,sick\n50,a,typical,0\n60,a,?,1\n70,b,atypical,1\n40,b,typical,0\n55,a,NA,1\n";

#[test]
fn csv_is_cut_at_training_quantiles_only() {
    let table = read_csv("heart.csv", HEART.as_bytes()).unwrap();
    let options = CodingOptions { bins: 2, cuts: [("age".to_owned(), vec![52.0])].into(), ..Default::default() };
    let sites = split_by_column(&table, "site").unwrap();
    assert_eq!(sites["a"], [0, 1, 4]);
    let coding = Coding::fit(&table, &[0, 1, 2, 3, 4], &CodingOptions { skip: vec!["site".into()], ..options.clone() });
    let case = coding.unwrap().case(&table, 1).unwrap();
    assert_eq!((case.diagnosis, case.findings), (1, vec![Some(1), None]));
    // Quantiles move with the training rows alone.
    let wide: String = std::iter::once("x,y\n".to_owned())
        .chain((0..40).map(|i| format!("{i},{}\n", i % 2)))
        .chain(["1000000,1\n".to_owned()])
        .collect();
    let table = read_csv("wide.csv", wide.as_bytes()).unwrap();
    let train: Vec<usize> = (0..40).collect();
    let coding = Coding::fit(&table, &train, &CodingOptions::default()).unwrap();
    assert_eq!(coding.states(), [4]);
    let states: Vec<usize> = train.iter().map(|&i| coding.case(&table, i).unwrap().findings[0].unwrap()).collect();
    assert_eq!((0..4).map(|s| states.iter().filter(|&&x| x == s).count()).collect::<Vec<_>>(), [10; 4]);
    assert_eq!(coding.case(&table, 40).unwrap().findings, [Some(3)]);
}

#[test]
fn each_mistake_of_a_table_has_a_message_with_its_line() {
    let read = |text: &str| read_csv("t.csv", text.as_bytes());
    let fit = |text: &str, rows: &[usize]| {
        Coding::fit(&read(text).unwrap(), rows, &CodingOptions { diagnosis: Some("y".into()), ..Default::default() })
    };
    for (found, expected) in [
        (message(read("a,b\n1\n")), "t.csv: line 2"),
        (message(read("a,b\n")), "there are no cases"),
        (message(read("a,a\n1,2\n")), "two columns are called a"),
        (message(read_csv("t.csv", b"a,b\n\xff,2\n")), "line 2: not UTF-8"),
        (message(fit("x,z\n1,2\n", &[0])), "there is no column y, expected one of x, z"),
        (message(fit("x,y\na,1\nb,1\n", &[0, 1])), "1 diagnoses in the training rows"),
        (message(fit("x,y\na,1\na,2\n", &[0, 1])), "x: 1 state(s) in the training rows"),
    ] {
        assert!(found.contains(expected), "{found}");
    }
    let text = "x,w,y\na,p,1\nb,q,2\nc,p,1\n?,,2\na,p,3\na,p,\n";
    let table = read(text).unwrap();
    let coding = fit(text, &[0, 1]).unwrap();
    for (row, expected) in [
        (2, "line 4: x: no training row has c, expected one of a, b"),
        (3, "line 5: all findings are missing"),
        (4, "line 6: y: 3 is no diagnosis of the training rows"),
        (5, "line 7: y: the diagnosis is missing"),
    ] {
        let found = message(coding.case(&table, row));
        assert!(found.contains(expected), "{found}");
    }
    let options = CodingOptions { diagnosis: Some("y".into()), unseen: Unseen::Missing, ..Default::default() };
    let lenient = Coding::fit(&table, &[0, 1], &options).unwrap();
    assert_eq!(lenient.case(&table, 2).unwrap().findings, [None, Some(0)]);
    let folds = message(stratified_folds(&read("x,y\na,1\nb,1\nc,2\n").unwrap(), "y", 2, 0));
    assert!(folds.contains("line 4: y: 2 has one case"), "{folds}");
}

#[test]
fn arff_dialects_and_mistakes() {
    let text = "% c\n@RELATION 'r x'\n@attribute 'my size' { 'a b' , \"c,d\", it\\'s }\n@ATTRIBUTE n Real\n\
                @attribute y {u,v}\n@data\n% c\n'a b', 1.5 ,u\n\"c,d\",?,v\n?, 2,u\n";
    let text = text.replace("it\\'s", "'it\\'s'");
    let table = read_arff("t.arff", text.as_bytes()).unwrap();
    let ColumnKind::Nominal(states) = &table.columns[0].kind else { panic!("nominal") };
    assert_eq!(
        (table.columns[0].name.as_str(), states.as_slice()),
        ("my size", &["a b".into(), "c,d".into(), "it's".into()][..])
    );
    assert_eq!(table.rows[1].cells, [Some("c,d".into()), None, Some("v".into())]);
    assert_eq!(table.rows[0].line, 8);
    let read = |text: &str| message(read_arff("t.arff", text.as_bytes()));
    for (text, expected) in [
        ("@attribute a string\n", "line 1: a: type `string` is not supported"),
        ("@attribute a date 'yyyy'\n", "is not supported"),
        ("@attribute a {x,y}\n@data\n{0 x}\n", "line 3: sparse rows"),
        ("@attribute a {x,y}\n@data\nz\n", "line 3: a: z is none of its values"),
        ("@attribute a numeric\n@data\nx\n", "line 3: a: x is no number"),
        ("@attribute a {x,y}\n@data\nx,y\n", "line 3: 2 values, expected 1"),
        ("@attribute a {x,x}\n", "stands twice"),
        ("@attribute a {x\n", "expected }"),
        ("@data\n", "before any"),
        ("@attribute a {x,y}\n", "ends before @data"),
        ("@attribute a {x,y}\n@data\n", "there are no cases"),
        ("@attribute a {x,y}\n@data\n'x\n", "expected ' at the end"),
        ("hello\n", "line 1: found hello"),
    ] {
        let found = read(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

const TALKS: &str = r#"[{"pid": 1, "exp_sxs": {"cough": "1"}, "imp_sxs": {"fever": "0", "rash": "2"}, "label": "cold"},
    {"pid": 2, "exp_sxs": {"rash": "1", "fever": "1"}, "imp_sxs": {"rash": "1"}, "label": "measles"}]"#;

#[test]
fn dialogues_give_what_was_volunteered() {
    let talks = read_dialogues(&[("t.json", TALKS.as_bytes())]).unwrap();
    assert_eq!(
        (talks.symptoms.as_slice(), talks.diseases.len()),
        (&["cough".into(), "fever".into(), "rash".into()][..], 2)
    );
    let case = &talks.files[0][0];
    assert_eq!((case.findings.as_slice(), case.given.as_slice()), (&[Some(1), Some(0), None][..], &[0][..]));
    assert_eq!(Dialogues::recall(case, &[2]), 0.0);
    assert_eq!(Dialogues::recall(case, &[1, 2]), 1.0);
    let cases = talks.files[0].clone();
    let problem = Arc::new(talks.problem("talks", cases.clone(), &cases).unwrap());
    let config = DiagQueryConfig { initial: Initial::FromData, t_max: 20, view: View::Text, ..Default::default() };
    let mut env = DiagQuery::new(problem, config).unwrap();
    let obs = env.reset(Some(1)).unwrap();
    assert_eq!(obs.history.len(), env.case().unwrap().given.len());
    assert!(env.case().unwrap().given.iter().all(|&i| !obs.mask[i]));
}

/// The published DXY data have such records.
#[test]
fn a_patient_who_said_nothing_is_a_case() {
    let text =
        r#"[{"exp_sxs": {"a": "1"}, "imp_sxs": {}, "label": "x"}, {"exp_sxs": {}, "imp_sxs": {}, "label": "y"}]"#;
    let read = read_dialogues(&[("t.json", text.as_bytes())]).unwrap();
    assert_eq!(read.files[0][1], Case { diagnosis: 1, findings: vec![None], given: Vec::new() });
}

#[test]
fn bad_dialogues_are_refused() {
    let read = |text: &str| message(read_dialogues(&[("t.json", text.as_bytes())]));
    for (text, expected) in [
        ("{}", "expected an array"),
        ("[]", "no dialogues"),
        (r#"[{"pid": 7, "exp_sxs": {"a": "1"}, "imp_sxs": {"a": "0"}, "label": "x"}]"#, "pid 7"),
        (r#"[{"exp_sxs": {"a": "3"}, "imp_sxs": {}, "label": "x"}]"#, "exp_sxs.a = 3"),
        (r#"[{"exp_sxs": {}, "imp_sxs": {}, "label": "x"}]"#, "t.json: no record has symptoms"),
        (r#"[{"exp_sxs": {"a": "1"}, "imp_sxs": {}}]"#, "missing field `label`"),
    ] {
        let found = read(text);
        assert!(found.contains(expected), "{found}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_files_are_read_or_refused(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..8),
        which in 0..3usize,
    ) {
        let arff: &[u8] = b"@relation r\n@attribute a {x, 'y z'}\n@attribute b numeric\n@data\nx, 1\n'y z', ?\n";
        let mut file = [arff, HEART.as_bytes(), TALKS.as_bytes()][which].to_vec();
        let at = at.index(file.len());
        let end = (at + bytes.len()).min(file.len());
        file.splice(at..end, bytes);
        for damaged in [&file[..], &file[..at]] {
            let outcome = match which {
                0 => read_arff("f", damaged).map(drop),
                1 => read_csv("f", damaged).map(drop),
                _ => read_dialogues(&[("f", damaged)]).map(drop),
            };
            if let Err(error) = outcome {
                prop_assert!(error.to_string().starts_with("f: "));
            }
        }
    }
}
