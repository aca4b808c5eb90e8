use super::*;
use crate::diag_query::env::{Act, DiagQuery, DiagQueryConfig, Initial, Utility, View};
use crate::diag_query::problem::{CaseSource, TestKind};
use crate::diag_query::testing::worst;
use proptest::prelude::*;
use retune::env::check::{CandidateSampler, CheckConfig, check_env};
use retune::env::{Env, EnvError};
use retune::rng::Seed;
use std::sync::Arc;

/// In the form of the release: values are strings or integers, a child names its parent.
const EVIDENCES: &str = r#"{
  "E_53": {"name": "E_53", "code_question": "E_53", "question_fr": "x", "question_en": "Do you have pain?",
    "is_antecedent": false, "default_value": 0, "value_meaning": {}, "possible-values": [], "data_type": "B"},
  "E_9": {"name": "E_9", "code_question": "E_9", "question_en": "Do you smoke?", "is_antecedent": true,
    "default_value": 0, "value_meaning": {}, "possible-values": [], "data_type": "B"},
  "E_56": {"name": "E_56", "code_question": "E_53", "question_en": "How intense is the pain?", "is_antecedent": false,
    "default_value": 0, "value_meaning": {}, "possible-values": [0, 1, 2, 3], "data_type": "C"},
  "E_55": {"name": "E_55", "code_question": "E_53", "question_en": "Where is the pain?", "is_antecedent": false,
    "default_value": "V_123", "value_meaning": {"V_123": {"fr": "nulle part", "en": "nowhere"},
    "V_14": {"fr": "ventre", "en": "belly"}, "V_15": {"fr": "dos", "en": "back"}},
    "possible-values": ["V_123", "V_14", "V_15"], "data_type": "M"}
}"#;

const CONDITIONS: &str = r#"{
  "Bronchite": {"condition_name": "Bronchite", "cond-name-fr": "Bronchite", "cond-name-eng": "Bronchitis",
    "icd10-id": "j20.9", "symptoms": {"E_53": {}}, "antecedents": {"E_9": {}}, "severity": 4},
  "Ulcère": {"condition_name": "Ulcère", "cond-name-fr": "Ulcère", "cond-name-eng": "Ulcer's \"twin\"",
    "icd10-id": "k25", "symptoms": {"E_55": {}}, "antecedents": {}, "severity": 2}
}"#;

const PATIENTS: &str = "AGE,DIFFERENTIAL_DIAGNOSIS,SEX,PATHOLOGY,EVIDENCES,INITIAL_EVIDENCE\n\
    18,\"[['Bronchitis', 0.75], ['Ulcère', 0.25]]\",M,Bronchitis,\"['E_9', 'E_53', 'E_56_@_2']\",E_9\n\
    80,\"[[\"\"Ulcer's \\\"\"twin\\\"\"\"\", 1.0]]\",F,Ulcère,\"['E_53', 'E_55_@_V_14', 'E_55_@_V_15', 'E_56_@_3']\",E_53\n\
    0,\"[['Bronchitis', 1]]\",F,Bronchite,[],\n";

fn evidences() -> Evidences {
    read_evidences("e.json", EVIDENCES.as_bytes()).unwrap()
}

fn conditions() -> Arc<Conditions> {
    Arc::new(read_conditions("c.json", CONDITIONS.as_bytes()).unwrap())
}

fn patients(text: &str) -> Result<Patients, EnvError> {
    read_patients("p.csv", text.as_bytes(), &evidences(), &conditions(), usize::MAX)
}

#[test]
fn questions_become_findings() {
    let read = evidences();
    let ids: Vec<&str> = read.findings.iter().map(|f| f.id.as_str()).collect();
    assert_eq!(ids, ["E_9", "E_53", "E_55_@_V_123", "E_55_@_V_14", "E_55_@_V_15", "E_56"]);
    let requires: Vec<Option<usize>> = read.findings.iter().map(|f| f.requires).collect();
    assert_eq!(requires, [None, None, Some(1), Some(1), Some(1), Some(1)]);
    assert_eq!(read.findings[3].name, "Where is the pain? belly");
    assert_eq!(read.findings[5].states, ["0", "1", "2", "3"]);
    assert_eq!(read.findings.iter().map(|f| f.default).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 0]);
    assert!(read.find("E_9").unwrap().antecedent && !read.find("E_53").unwrap().antecedent);
    let conditions = conditions();
    assert_eq!((conditions.diagnoses[0].severity, conditions.diagnoses[1].severity), (Some(4), Some(2)));
    assert_eq!(
        (conditions.icd10[1].as_str(), conditions.evidences[0].as_slice()),
        ("k25", &["E_53".into(), "E_9".into()][..])
    );
}

#[test]
fn patients_have_what_is_listed_and_defaults() {
    let read = patients(PATIENTS).unwrap();
    let case = |i: usize| read.case(&read.patients[i]);
    let states = |i: usize| case(i).findings.iter().map(|s| s.unwrap()).collect::<Vec<_>>();
    // E_9, E_53, nowhere, belly, back, intensity, age, sex.
    assert_eq!(states(0), [1, 1, 1, 0, 0, 2, 3, 0]);
    assert_eq!(states(1), [0, 1, 0, 1, 1, 3, 7, 1]);
    assert_eq!(states(2), [0, 0, 1, 0, 0, 0, 0, 1]);
    assert_eq!((case(0).given, case(1).given, case(2).given), (vec![6, 7, 0], vec![6, 7, 1], vec![6, 7]));
    assert_eq!((case(0).diagnosis, case(1).diagnosis, read.max_given()), (0, 1, 3));
    assert_eq!(read.patients[0].differential, [(0, 0.75), (1, 0.25)]);
    assert_eq!(read.patients[1].differential, [(1, 1.0)]);
}

/// Add-half: of two with bronchitis one smokes, (1 + .5) / (2 + 1); the one with an ulcer does not, .5 / (1 + 1).
#[test]
fn rates_are_counts_plus_one_half() {
    let problem = patients(PATIENTS).unwrap().rates("rates").unwrap();
    let mut belief = problem.model.as_ref().unwrap().begin();
    assert!(worst(belief.posterior(), &[0.6, 0.4]) < 1e-15);
    assert!(worst(belief.conditionals(0), &[0.5, 0.75, 0.5, 0.25]) < 1e-15);
    // "Nowhere" is the default: 2 of 2 have it, and 0 of 1.
    assert!(worst(belief.conditionals(2), &[0.5 / 3.0, 1.5 / 2.0, 2.5 / 3.0, 0.5 / 2.0]) < 1e-15);
    // Intensity: states 0 and 2 once with bronchitis, state 3 once with an ulcer.
    let expected = [1.5 / 4.0, 0.5 / 3.0, 0.5 / 4.0, 0.5 / 3.0, 1.5 / 4.0, 0.5 / 3.0, 0.5 / 4.0, 1.5 / 3.0];
    assert!(worst(belief.conditionals(5), &expected) < 1e-15);
    let case = problem.source.draw(&mut Seed::root(0).rng());
    assert_eq!(case.findings.len(), 8);
}

#[test]
fn both_problems_play_as_environments() {
    let read = patients(PATIENTS).unwrap();
    for (problem, initial) in [
        (read.problem("ddxplus", &read).unwrap(), Initial::FromData),
        (read.rates("ddxplus_rates").unwrap(), Initial::RandomPositive),
    ] {
        let problem = Arc::new(problem);
        for (view, _) in View::ALL {
            let utility = Utility::Severity { kappa: 1.0 };
            let config = DiagQueryConfig { view, initial, utility, t_max: 30, ..DiagQueryConfig::default() };
            let make = || Ok(DiagQuery::new(Arc::clone(&problem), config.clone())?);
            let settings = CheckConfig { speed_steps: 0, episodes: 3, ..CheckConfig::default() };
            let report = check_env(make, &CandidateSampler, &settings).unwrap();
            assert!(report.passed(), "{report:#?}");
        }
    }
}

/// Signed: ±1, ordinals, one slot a value, eight age bins and two sexes; children wait for their parent.
#[test]
fn the_signed_view_shows_age_and_sex_in_slots() {
    let read = patients(PATIENTS).unwrap();
    let problem = Arc::new(read.problem("ddxplus", &read).unwrap());
    assert!(problem.findings[6..].iter().all(|f| f.kind == TestKind::Demographic));
    let config = DiagQueryConfig { view: View::Signed, initial: Initial::FromData, ..DiagQueryConfig::default() };
    let mut env = DiagQuery::new(Arc::clone(&problem), config).unwrap();
    let mut seen = 0;
    for seed in 0..40 {
        let obs = env.reset(Some(seed)).unwrap();
        assert_eq!(obs.state.len(), 2 * 6 + 8 + 2 + 2);
        let case = env.case().unwrap().clone();
        let slots: Vec<usize> = (12..22).filter(|&i| obs.state[i] == 1.0).collect();
        assert_eq!(slots, [12 + case.findings[6].unwrap(), 20 + case.findings[7].unwrap()]);
        assert!(!obs.mask[6] && !obs.mask[7], "age and sex are known");
        if case.diagnosis == 1 {
            // Pain is given, so that its children may be asked.
            assert!(obs.mask[3] && obs.mask[5]);
            let obs = env.step(&env.candidate(Act::Ask(5))).unwrap().obs;
            assert_eq!((obs.state[2], obs.state[10]), (1.0, 1.0), "yes; the last of four states");
            let obs = env.step(&env.candidate(Act::Ask(0))).unwrap().obs;
            assert_eq!(obs.state[0], -1.0);
            seen += 1;
        } else {
            assert!(!obs.mask[3]);
        }
    }
    assert!(seen > 3);
}

fn fails<T: std::fmt::Debug>(result: Result<T, EnvError>, expected: &str) {
    let found = result.expect_err("must be refused").to_string();
    assert!(found.contains(expected), "{found}; expected {expected}");
}

#[test]
fn bad_definitions_are_refused_with_their_line() {
    let of = |from: &str, to: &str| {
        let damaged = EVIDENCES.replacen(from, to, 1);
        assert_ne!(damaged, EVIDENCES);
        read_evidences("e.json", damaged.as_bytes())
    };
    fails(
        of(r#""code_question": "E_53", "question_en": "How"#, r#""code_question": "E_1", "question_en": "How"#),
        "e.json: line 6: E_56: code_question: there is no evidence E_1",
    );
    fails(
        of(r#""code_question": "E_53", "question_en": "How"#, r#""code_question": "E_55", "question_en": "How"#),
        "line 6: E_56: code_question has several answers",
    );
    fails(of(r#""data_type": "C""#, r#""data_type": "X""#), "line 6: E_56: data_type X, expected B, C or M");
    fails(
        of(r#""default_value": "V_123""#, r#""default_value": "V_9""#),
        "line 8: E_55: default_value V_9, expected one of V_123",
    );
    fails(of("[0, 1, 2, 3]", "[0, 1, 1]"), "value 1 stands twice");
    fails(of("[0, 1, 2, 3]", "[0, [1]]"), "value [1], expected a string or a number");
    fails(of(r#", "data_type": "B"},"#, "},"), "line 3: missing field `data_type`");
    fails(read_evidences("e.json", &EVIDENCES.as_bytes()[..300]), "e.json: line 4: EOF");
    fails(read_evidences("e.json", b""), "e.json: line 1: EOF");
    fails(read_evidences("e.json", b"{}"), "no evidences");
    fails(read_evidences("e.json", b"{\n\"\xff"), "line 2: not UTF-8");
    let absurd = format!("{:?}", (0..40_000).collect::<Vec<u32>>());
    fails(of("[0, 1, 2, 3]", &absurd), "line 6: E_56: the questions have more than 65536 states together");
    let of = |from: &str, to: &str| read_conditions("c.json", CONDITIONS.replacen(from, to, 1).as_bytes());
    fails(of(r#""severity": 2"#, r#""severity": 9"#), "c.json: line 4: Ulcère: severity 9, expected 1 (worst) to 5");
    fails(of(r#""severity": 2"#, r#""severity": null"#), "severity null");
    fails(of(r#", "severity": 2"#, ""), "line 5: missing field `severity`");
    fails(of(r#""condition_name": "Ulcère""#, r#""condition_name": "Bronchitis""#), "Bronchitis is the name of two");
    fails(read_conditions("c.json", b"{}"), "no conditions");
    fails(read_conditions("c.json", b"[1]"), "line 1: invalid type");
}

#[test]
fn bad_patients_are_refused_with_their_line() {
    let of = |from: &str, to: &str| {
        let damaged = PATIENTS.replacen(from, to, 1);
        assert_ne!(damaged, PATIENTS);
        patients(&damaged)
    };
    for (from, to, expected) in [
        ("'E_9', ", "'E_7', ", "p.csv: line 2: EVIDENCES: there is no evidence E_7"),
        ("V_14", "V_99", "line 3: EVIDENCES: E_55 has no value V_99, expected one of V_123"),
        ("'E_56_@_2'", "'E_56'", "line 2: EVIDENCES: E_56 has values, expected E_56_@_VALUE"),
        ("'E_9', ", "'E_9_@_1', ", "E_9 has no values, found 1"),
        ("'E_9', ", "'E_56_@_1', ", "line 2: EVIDENCES: E_56 has two different values"),
        ("['E_9', ", "['E_9' ", "line 2: EVIDENCES: expected , or ]"),
        ("['E_9', ", "[E_9, ", "EVIDENCES: found E_9, 'E_53'"),
        ("['E_9', ", "'E_9', ", "EVIDENCES: expected [ at the start"),
        ("E_56_@_2']", "E_56_@_2'", "EVIDENCES: expected , or ] after an item"),
        ("E_56_@_2']", "E_56_@_2]", "EVIDENCES: a string does not end"),
        ("E_56_@_2']", "E_56_@_2'] 1", "expected nothing after the list"),
        ("M,Bronchitis", "M,Flu", "line 2: PATHOLOGY: there is no pathology \"Flu\""),
        ("['Bronchitis', 0.75]", "['Flu', 0.75]", "DIFFERENTIAL_DIAGNOSIS: there is no pathology"),
        ("0.75", "7.5", "Bronchitis has probability 7.5, expected 0 to 1"),
        ("0.75", "nan", "DIFFERENTIAL_DIAGNOSIS: found nan"),
        ("0.75", "'x'", "expected a list of [name in quotes, number]"),
        ("80,", "-1,", "line 3: AGE -1, expected whole years from 0 to 150"),
        ("80,", "1e9,", "AGE 1e9"),
        (",F,Ulc", ",X,Ulc", "line 3: SEX X, expected M or F"),
        (",E_9\n", ",E_0\n", "line 2: INITIAL_EVIDENCE: there is no evidence E_0"),
        ("AGE,", "YEARS,", "line 1: there is no column AGE"),
        (",E_9\n", ",E_9,1\n", "p.csv: line 2"),
    ] {
        fails(of(from, to), expected);
    }
    fails(patients(""), "there is no column AGE");
    fails(patients(PATIENTS.lines().next().unwrap()), "no patients");
    let read = patients(PATIENTS).unwrap();
    let others = Patients { findings: Arc::new(read.findings[..3].to_vec()), ..read.clone() };
    fails(read.problem("x", &others), "other questions or conditions");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Bytes in place of others, at any place, and cut off there: read or refused with the name of the file.
    #[test]
    fn damaged_files_are_read_or_refused(
        at in any::<prop::sample::Index>(),
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..8),
            "[\\[\\](),'\"\\\\0-9EV_@.-]{0,12}".prop_map(String::into_bytes),
        ],
        which in 0..3usize,
    ) {
        let mut file = [EVIDENCES, CONDITIONS, PATIENTS][which].as_bytes().to_vec();
        let at = at.index(file.len());
        let end = (at + bytes.len()).min(file.len());
        file.splice(at..end, bytes);
        for damaged in [&file[..], &file[..at]] {
            let outcome = match which {
                0 => read_evidences("f", damaged).map(drop),
                1 => read_conditions("f", damaged).map(drop),
                _ => read_patients("f", damaged, &evidences(), &conditions(), usize::MAX).and_then(|p| p.rates("f").map(drop)),
            };
            if let Err(error) = outcome {
                prop_assert!(error.to_string().starts_with("f: "), "{error}");
            }
        }
    }

    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_evidences("f", &bytes).is_err());
        prop_assert!(read_conditions("f", &bytes).is_err());
        prop_assert!(read_patients("f", &bytes, &evidences(), &conditions(), usize::MAX).is_err());
    }
}
