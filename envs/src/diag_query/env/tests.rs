use super::*;
use crate::diag_query::generators::gated;
use crate::diag_query::problem::{CaseSource, ListSource, Selected};
use crate::diag_query::shipped::{Roles, network_problem};
use crate::diag_query::testing::network;
use retune::env::check::{CandidateSampler, CheckConfig, check_env};
use std::collections::BTreeMap;

fn shipped(name: &str, target: &str) -> Arc<Problem> {
    let roles = Roles::parse(retune_assets::networks::ROLES).unwrap();
    let id = format!("{name}/{target}");
    Arc::new(network_problem(&id, &network(name), &roles[name], target, 1 << 24).unwrap())
}

fn child() -> Arc<Problem> {
    shipped("child", "Disease")
}

fn env(problem: &Arc<Problem>, config: DiagQueryConfig) -> DiagQuery {
    DiagQuery::new(Arc::clone(problem), config).unwrap()
}

fn ask(env: &mut DiagQuery, act: Act) -> Step<CandidateObs> {
    let slate = env.candidate(act);
    env.step(&slate).unwrap()
}

fn conforms(problem: &Arc<Problem>, config: &DiagQueryConfig) {
    let settings = CheckConfig { speed_steps: 0, ..CheckConfig::default() };
    let make = || Ok(env(problem, config.clone()));
    let report = check_env(make, &CandidateSampler, &settings).unwrap();
    assert!(report.passed(), "{config:?}: {report:#?}");
}

#[test]
fn every_view_and_setting_keeps_the_contract() {
    let child = child();
    for (view, _) in View::ALL {
        conforms(&child, &DiagQueryConfig { view, stop: true, ..DiagQueryConfig::default() });
    }
    let noisy = DiagQueryConfig { noise: 0.3, missing: 0.2, budget: Some(4.0), t_max: 3, ..DiagQueryConfig::default() };
    let blind = DiagQueryConfig { view: View::Belief, model_knows_noise: false, ..noisy.clone() };
    let aarlc = Shaping::Aarlc { mu: 1.0, nu: 2.826, threshold: 1.0 };
    for config in [
        DiagQueryConfig { initial: Initial::RandomPositive, view: View::Text, ..noisy.clone() },
        DiagQueryConfig { shaping: aarlc, ..noisy.clone() },
        DiagQueryConfig { shaping: Shaping::Potential { gamma: 0.9 }, ..noisy },
    ] {
        conforms(&child, &config);
    }
    conforms(&shipped("asia", "lung"), &blind);
    conforms(
        &Arc::new(gated(4, 2, 0.05, 4, 0.4).unwrap()),
        &DiagQueryConfig { costs: Costs::Unit, ..Default::default() },
    );
}

#[test]
fn rewards_costs_and_masks_follow_the_rules() {
    let child = child();
    let config = DiagQueryConfig { lambda: 0.1, budget: Some(4.0), ..DiagQueryConfig::default() };
    let mut env = env(&child, config);
    let m = child.findings.len();
    let first = env.reset(Some(3)).unwrap();
    // An x-ray at 5 is beyond the budget from the start.
    let open: Vec<&str> = (0..m).filter(|&i| first.mask[i]).map(|i| child.findings[i].id.as_str()).collect();
    assert_eq!(open, ["BirthAsphyxia", "LVHreport", "LowerBodyO2", "RUQO2", "CO2Report", "GruntingReport", "Age"]);
    let step = ask(&mut env, Act::Ask(1));
    assert_eq!((step.reward, step.status, env.cost()), (-0.1 * 3.0, Status::Running, 3.0));
    // 1 is left: history and examination.
    let open: Vec<usize> = (0..m).filter(|&i| step.obs.mask[i]).collect();
    assert_eq!(open, [0, 6, 7]);
    let refused = env.step(&Slate(vec![1])).unwrap_err();
    assert!(matches!(refused, EnvError::Action { kind: "masked_action", .. }), "{refused}");
    let truth = env.case().unwrap().diagnosis;
    let last = ask(&mut env, Act::Declare(truth));
    assert_eq!((last.reward, last.status), (1.0, Status::Terminated));
    assert!((env.unshaped_return() - 0.7).abs() < 1e-12);
    assert!(matches!(env.step(&Slate(vec![m as u32])), Err(EnvError::EpisodeOver)));
    env.reset(Some(3)).unwrap();
    let wrong = (truth + 1) % child.diagnoses.len();
    assert_eq!(ask(&mut env, Act::Declare(wrong)).reward, -1.0);
}

#[test]
fn the_same_patient_answers_the_same_in_any_order() {
    let child = child();
    let config = DiagQueryConfig { noise: 0.4, missing: 0.2, ..DiagQueryConfig::default() };
    let (mut one, mut two) = (env(&child, config.clone()), env(&child, config));
    for seed in 0..20 {
        one.reset(Some(seed)).unwrap();
        two.reset(Some(seed)).unwrap();
        assert_eq!(one.case(), two.case());
        (0..8).for_each(|i| drop(ask(&mut one, Act::Ask(i))));
        (0..8).rev().for_each(|i| drop(ask(&mut two, Act::Ask(i))));
        let sorted = |env: &DiagQuery| {
            let mut asked = env.asked().to_vec();
            asked.sort_by_key(|a| a.finding);
            asked
        };
        assert_eq!(sorted(&one), sorted(&two));
        assert_eq!(one.posterior(), two.posterior());
    }
}

#[test]
fn answers_have_the_rates_of_noise_and_missing() {
    let child = child();
    let mut env = env(&child, DiagQueryConfig { noise: 0.1, missing: 0.05, ..DiagQueryConfig::default() });
    let (mut unknown, mut wrong, n) = (0, 0, 4000);
    for seed in 0..n {
        env.reset(Some(seed)).unwrap();
        ask(&mut env, Act::Ask(5));
        match env.asked()[0].reply {
            None => unknown += 1,
            reply => wrong += u32::from(reply != env.case().unwrap().findings[5]),
        }
    }
    // Expected 200 and 380; four standard deviations of 13.8 and 18.5.
    assert!((145..256).contains(&unknown) && (306..455).contains(&wrong), "{unknown} {wrong}");
}

/// Negative control: `unknown` must not be taken for the default state, nor change the belief at all.
#[test]
fn unknown_is_not_a_no() {
    let child = child();
    let mut env = env(&child, DiagQueryConfig { missing: 0.999_999, ..DiagQueryConfig::default() });
    let first = env.reset(Some(1)).unwrap();
    let prior = env.posterior().unwrap().to_vec();
    let step = ask(&mut env, Act::Ask(1));
    assert_eq!(env.asked()[0].reply, None);
    assert_eq!(env.posterior().unwrap(), prior);
    // LVHreport: not asked, unknown, yes, no after those of BirthAsphyxia.
    assert_eq!((&first.state[4..8], &step.obs.state[4..8]), (&[1., 0., 0., 0.][..], &[0., 1., 0., 0.][..]));
    let mut taken_for_no = child.model.as_ref().unwrap().begin();
    taken_for_no.observe(1, &[0.0, 1.0]).unwrap();
    assert_ne!(taken_for_no.posterior(), prior);
}

#[test]
fn a_question_may_wait_for_its_parent() {
    let mut problem = (*child()).clone();
    problem.findings[1].requires = Some(0);
    problem.findings[0].default = 1;
    let mut env = env(&Arc::new(problem), DiagQueryConfig::default());
    let (mut opened, mut closed) = (0, 0);
    for seed in 0..200 {
        assert!(!env.reset(Some(seed)).unwrap().mask[1]);
        let open = ask(&mut env, Act::Ask(0)).obs.mask[1];
        assert_eq!(open, env.asked()[0].reply == Some(0));
        if open { opened += 1 } else { closed += 1 }
    }
    assert!(opened > 5 && closed > 5);
}

#[test]
fn texts_say_what_is_known() {
    let child = child();
    let mut env = env(&child, DiagQueryConfig { view: View::Text, budget: Some(20.0), ..DiagQueryConfig::default() });
    env.reset(Some(5)).unwrap();
    ask(&mut env, Act::Ask(7));
    let step = ask(&mut env, Act::Ask(5));
    let texts = env.spec().texts.clone();
    let known: Vec<&str> = step.obs.history.iter().map(|e| texts.get(e.text.unwrap()).unwrap()).collect();
    let states = |i: usize| env.asked()[i].reply.unwrap();
    let expected = [7, 5].map(|f| child.findings[f].clone()).into_iter().enumerate();
    let expected: Vec<String> = expected.map(|(i, f)| format!("{} {}", f.name, f.states[states(i)])).collect();
    assert_eq!(known, expected);
    assert_eq!(env.sentence(), format!("Known: {}. Asked 2 of 10, cost 5.5 of 20.", expected.join("; ")));
    let offered: Vec<&str> = step.obs.candidate_texts.iter().map(|t| texts.get(*t).unwrap()).collect();
    assert_eq!(offered[5], "ask: chest x-ray report (cost 5)");
    assert_eq!(offered[8], format!("declare: {}", child.diagnoses[0].name));
}

#[test]
fn stopping_declares_the_likeliest_and_gains_are_shown() {
    let child = child();
    let config = DiagQueryConfig { view: View::BeliefGain, stop: true, ..DiagQueryConfig::default() };
    let mut env = env(&child, config);
    let first = env.reset(Some(2)).unwrap();
    let d = child.diagnoses.len();
    let gains = &first.state[d + 3 + 8..];
    let best = (0..8).max_by(|&a, &b| gains[a].total_cmp(&gains[b])).unwrap();
    // The first question of greedy gain in the golden file's first state.
    assert_eq!(child.findings[best].id, "LVHreport");
    let expected = likeliest(env.posterior().unwrap());
    ask(&mut env, Act::Stop);
    assert_eq!(env.declared(), Some(expected));
}

#[test]
fn candidates_show_their_own_numbers() {
    let child = child();
    let gains = DiagQueryConfig { view: View::BeliefGain, ..DiagQueryConfig::default() };
    let each = DiagQueryConfig { view: View::Candidates, stop: true, ..DiagQueryConfig::default() };
    let (mut gains, mut each) = (env(&child, gains), env(&child, each));
    let d = child.diagnoses.len();
    for (shown, obs) in [gains.reset(Some(2)).unwrap(), ask(&mut gains, Act::Ask(3)).obs]
        .into_iter()
        .zip([each.reset(Some(2)).unwrap(), ask(&mut each, Act::Ask(3)).obs])
    {
        assert_eq!(obs.state.len(), 4);
        assert_eq!(obs.state[0], shown.state[d], "entropy");
        let numbers: Vec<&[f32]> = obs.candidate_features.chunks(4).collect();
        assert_eq!(numbers.len(), 8 + d + 1);
        for (i, question) in numbers[..8].iter().enumerate() {
            if !obs.mask[i] {
                assert_eq!(*question, [0.0; 4]);
                continue;
            }
            let gain = shown.state[d + 3 + 8 + i];
            assert_eq!(question[..2], [1.0, gain]);
            assert!((question[2] - (gain.log2() / 10.0).max(-1.0)).abs() < 1e-5);
            assert!((question[3] - (each.task().costs[i] / 5.0) as f32).abs() < 1e-6);
        }
        let largest = shown.state[..d].iter().copied().fold(0.0, f32::max);
        let answers = numbers[8..].iter().map(|n| n[1]);
        assert!(answers.eq(shown.state[..d].iter().copied().chain([largest])), "the last one stops");
        assert_eq!(obs.state[1], largest);
    }
}

/// A potential changes no differences between policies: along any episode the shaping adds up to Φ at the start, γ = 1.
#[test]
fn potential_shaping_telescopes() {
    let child = child();
    let shaping = Shaping::Potential { gamma: 1.0 };
    let mut env = env(&child, DiagQueryConfig { shaping, ..DiagQueryConfig::default() });
    for seed in 0..10 {
        env.reset(Some(seed)).unwrap();
        let mut total = 0.0;
        for i in 0..seed as usize % 8 {
            total += ask(&mut env, Act::Ask(i)).reward;
        }
        total += ask(&mut env, Act::Declare(0)).reward;
        assert!((total - env.unshaped_return() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn aarlc_ends_when_sure_and_learns_its_thresholds() {
    let child = child();
    let shaping = Shaping::Aarlc { mu: 1.0, nu: 2.826, threshold: 1.3 };
    let mut env = env(&child, DiagQueryConfig { shaping, lambda: 0.0, ..DiagQueryConfig::default() });
    env.reset(Some(0)).unwrap();
    let mut ended = 0;
    for _ in 0..50 {
        let mut before = env.posterior().unwrap().to_vec();
        for i in [5, 2, 3, 7] {
            let step = ask(&mut env, Act::Ask(i));
            let after = env.posterior().unwrap().to_vec();
            let positive = env.asked().last().unwrap().reply != Some(child.findings[i].default);
            let drop = (entropy_nats(&before) - entropy_nats(&after)).max(0.0) / env.rules.prior_entropy;
            let expected = if positive { 0.7 } else { -0.3 } + 2.826 * drop;
            before = after;
            if step.status.is_over() {
                let right = env.declared() == Some(env.case().unwrap().diagnosis);
                let end = if right { 1.0 + 1.0 } else { -1.0 - 1.0 };
                assert!((step.reward - expected - end).abs() < 1e-12);
                ended += 1;
                break;
            }
            assert!((step.reward - expected).abs() < 1e-12);
        }
        env.reset(None).unwrap();
    }
    assert!(ended > 5);
    assert!(env.episode.as_ref().unwrap().thresholds.iter().any(|t| *t < 1.3));
}

#[test]
fn a_model_that_knows_no_noise_keeps_its_belief_and_counts() {
    let roles = Roles::all_but(&network("asia"), "tub");
    let all = Arc::new(network_problem("asia/all", &network("asia"), &roles, "tub", 1 << 20).unwrap());
    let blind = DiagQueryConfig { noise: 0.5, model_knows_noise: false, ..DiagQueryConfig::default() };
    let mut env = env(&all, blind);
    let mut impossible = 0;
    for seed in 0..200 {
        env.reset(Some(seed)).unwrap();
        (0..all.findings.len()).for_each(|i| drop(ask(&mut env, Act::Ask(i))));
        impossible += env.impossible_answers();
        assert!((env.posterior().unwrap().iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    assert!(impossible > 10, "{impossible}");
}

#[test]
fn bad_settings_are_refused_by_name() {
    let child = child();
    let costs = |pairs: &[(&str, f64)]| Costs::Map(pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect());
    let base = DiagQueryConfig::default;
    let confusion = BTreeMap::from([("Age".to_owned(), vec![vec![0.5, 0.5]])]);
    for (key, config) in [
        ("t_max", DiagQueryConfig { t_max: 0, ..base() }),
        ("lambda", DiagQueryConfig { lambda: -0.1, ..base() }),
        ("budget", DiagQueryConfig { budget: Some(f64::NAN), ..base() }),
        ("noise", DiagQueryConfig { noise: 1.0, ..base() }),
        ("missing", DiagQueryConfig { missing: -0.1, ..base() }),
        ("costs.Age", DiagQueryConfig { costs: costs(&[("Age", -1.0)]), ..base() }),
        ("costs.Agee", DiagQueryConfig { costs: costs(&[("Agee", 1.0)]), ..base() }),
        ("confusion.Age", DiagQueryConfig { confusion, ..base() }),
        ("utility", DiagQueryConfig { utility: Utility::Matrix(vec![vec![1.0]]), ..base() }),
        ("utility", DiagQueryConfig { utility: Utility::Severity { kappa: 1.0 }, ..base() }),
        ("shaping.gamma", DiagQueryConfig { shaping: Shaping::Potential { gamma: 2.0 }, ..base() }),
    ] {
        match DiagQuery::new(Arc::clone(&child), config) {
            Err(EnvError::Config { key: found, .. }) if found.starts_with(key) => {}
            Err(other) => panic!("{key}: {other}"),
            Ok(_) => panic!("{key} was taken"),
        }
    }
    let mut bare = (*child).clone();
    bare.model = None;
    let config = DiagQueryConfig { view: View::Belief, ..base() };
    assert!(matches!(DiagQuery::new(Arc::new(bare), config), Err(EnvError::Config { key, .. }) if key == "view"));
}

#[test]
fn what_is_known_says_the_same_as_the_vector_without_what_was_not_asked() {
    let child = child();
    let config = DiagQueryConfig { missing: 0.3, ..DiagQueryConfig::default() };
    let mut vector = env(&child, DiagQueryConfig { view: View::Vector, ..config.clone() });
    let mut known = env(&child, DiagQueryConfig { view: View::Known, ..config });
    for seed in 0..20 {
        let (mut a, mut b) = (vector.reset(Some(seed)).unwrap(), known.reset(Some(seed)).unwrap());
        assert!(b.state.iter().all(|x| *x == 0.0), "nothing is known at first: {:?}", b.state);
        for finding in [3, 0, 7, 5] {
            (a, b) = (ask(&mut vector, Act::Ask(finding)).obs, ask(&mut known, Act::Ask(finding)).obs);
        }
        let (mut at, mut expected) = (0, Vec::new());
        for &states in &vector.rules.states {
            expected.extend_from_slice(&a.state[at + 1..at + states + 2]);
            at += states + 2;
        }
        expected.extend_from_slice(&a.state[at..]);
        assert_eq!(b.state, expected);
        assert_eq!(b.state.iter().filter(|x| **x == 1.0).count(), 4, "one slot an answer");
    }
}

#[test]
fn what_is_imagined_looks_as_if_it_had_happened() {
    let child = child();
    for (view, _) in View::ALL {
        let config = DiagQueryConfig { view, ..DiagQueryConfig::default() };
        let (mut real, mut other) = (env(&child, config.clone()), env(&child, config));
        real.reset(Some(1)).unwrap();
        let mut obs = None;
        for finding in [2, 6] {
            obs = Some(ask(&mut real, Act::Ask(finding)).obs);
        }
        other.reset(Some(9)).unwrap();
        let imagined = other.imagine(real.asked().to_vec()).unwrap();
        assert_eq!(imagined, CandidateObs { feedback: None, ..obs.unwrap() }, "{view:?}");
        assert_eq!(other.posterior(), real.posterior());
        assert_eq!((other.cost(), other.unshaped_return()), (real.cost(), real.unshaped_return()));
        let twice = vec![real.asked()[0]; 2];
        assert!(other.imagine(twice).is_err(), "nothing is asked twice");
        ask(&mut other, Act::Declare(0));
        assert!(other.imagine(Vec::new()).is_err(), "an episode that is over shows nothing more");
    }
}

/// Both wordings have a text of their own for everything; the pool is that of the first.
#[test]
fn findings_can_be_renamed() {
    let child = child();
    let synonyms: BTreeMap<String, String> =
        [("Age".to_owned(), "how old".to_owned()), ("TGA".to_owned(), "transposed vessels".to_owned())].into();
    let config = DiagQueryConfig { view: View::Text, synonyms, ..DiagQueryConfig::default() };
    let mut own = env(&child, config.clone());
    let mut other = env(&child, DiagQueryConfig { renamed: true, ..config.clone() });
    let texts = |env: &mut DiagQuery| {
        env.reset(Some(1)).unwrap();
        let obs = ask(env, Act::Ask(7)).obs;
        let read = |id: TextId| env.spec().texts.get(id).unwrap().to_owned();
        let all: Vec<String> = obs.candidate_texts.iter().map(|id| read(*id)).collect();
        (all, read(obs.history[0].text.unwrap()))
    };
    let (before, known) = texts(&mut own);
    let (after, renamed) = texts(&mut other);
    let changed: Vec<usize> = (0..before.len()).filter(|&i| before[i] != after[i]).collect();
    let tga = 8 + child.diagnoses.iter().position(|d| d.id == "TGA").unwrap();
    assert_eq!(changed, [7, tga]);
    assert!(after[7].starts_with("ask: how old (cost") && after[tga] == "declare: transposed vessels", "{after:?}");
    assert_eq!(renamed, known.replace("age ", "how old "));
    let ObsSpec::Candidates(spec) = &own.spec().obs else { panic!("candidates") };
    assert_eq!((spec.pool.len() * 2, own.shown_texts()), (own.spec().texts.len(), spec.pool.clone()));
    assert!(other.shown_texts().iter().all(|id| !spec.pool.contains(id)));
    let unknown = DiagQueryConfig { synonyms: [("Aeg".to_owned(), "x".to_owned())].into(), ..config };
    assert!(DiagQuery::new(child, unknown).err().unwrap().to_string().contains("Aeg"));
}

#[test]
fn what_may_not_be_declared_is_masked_and_refused() {
    let child = child();
    let config = DiagQueryConfig { undeclarable: ["TGA".to_owned()].into(), ..DiagQueryConfig::default() };
    let tga = child.diagnoses.iter().position(|d| d.id == "TGA").unwrap();
    let mut env = env(&child, config.clone());
    let obs = env.reset(Some(1)).unwrap();
    let masked: Vec<usize> = (0..obs.mask.len()).filter(|&i| !obs.mask[i]).collect();
    assert_eq!(masked, [child.findings.len() + tga]);
    let refused = env.step(&env.candidate(Act::Declare(tga))).unwrap_err();
    assert!(matches!(refused, EnvError::Action { kind: "masked_action", .. }), "{refused}");
    conforms(&child, &config);
    let all = child.diagnoses.iter().map(|d| d.id.clone()).collect();
    assert!(DiagQuery::new(child, DiagQueryConfig { undeclarable: all, ..config }).is_err());
}

#[test]
fn patients_can_be_selected_by_their_diagnosis() {
    let child = child();
    let kept: Vec<bool> = (0..child.diagnoses.len()).map(|d| d == 2).collect();
    let selected = Selected::new(Arc::clone(&child.source), kept.clone()).unwrap();
    let mut rng = retune::rng::Seed::root(3).rng();
    assert!((0..50).all(|_| selected.draw(&mut rng).diagnosis == 2));
    assert!(Selected::new(Arc::clone(&child.source), vec![false; 6]).is_err());
    let list = ListSource::new(vec![selected.draw(&mut rng)]).unwrap();
    assert!(Selected::new(Arc::new(list), kept).is_err());
}
