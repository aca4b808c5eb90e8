use super::*;
use crate::diag_query::gain::{Channel, entropy_bits, gains, mutual_information_bits};
use crate::diag_query::model::{Belief, Model, NetworkModel};
use crate::diag_query::network::Variable;
use crate::diag_query::testing::{network, worst};
use proptest::prelude::*;
use retune::rng::{Seed, StreamRng};

/// A random network: up to three parents each, two to four states, some zeros in the tables.
fn random_network(seed: u64, n: usize) -> Network {
    let mut rng = Seed::root(seed).child("network").rng();
    let mut variables: Vec<Variable> = Vec::new();
    for v in 0..n {
        let mut parents: Vec<usize> = (0..rng.below(4).min(v)).map(|_| rng.below(v)).collect();
        parents.sort_unstable();
        parents.dedup();
        let states = 2 + rng.below(3);
        let rows: usize = parents.iter().map(|&p: &usize| variables[p].states.len()).product();
        let table = (0..rows).flat_map(|_| random_row(&mut rng, states)).collect();
        let states = (0..states).map(|s| format!("s{s}")).collect();
        variables.push(Variable { name: format!("V{v:03}"), states, parents, table });
    }
    Network::new("random".into(), variables).unwrap()
}

fn random_row(rng: &mut StreamRng, states: usize) -> Vec<f64> {
    let mut row: Vec<f64> = (0..states).map(|_| if rng.below(8) == 0 { 0.0 } else { rng.uniform() }).collect();
    row[rng.below(states)] += 0.5;
    let sum: f64 = row.iter().sum();
    row.iter().map(|p| p / sum).collect()
}

/// P(target, evidence) by adding up all assignments.
fn enumerate(network: &Network, target: usize, evidence: &EvidenceMap) -> Vec<f64> {
    let mut sums = vec![0.0; network.variables()[target].states.len()];
    let sizes: Vec<usize> = network.variables().iter().map(|v| v.states.len()).collect();
    let mut assignment = vec![0; network.len()];
    loop {
        let mut p: f64 = (0..network.len()).map(|v| network.row(v, &assignment)[assignment[v]]).product();
        for (&v, e) in evidence {
            p *= e.likelihood(sizes[v])[assignment[v]];
        }
        sums[assignment[target]] += p;
        let Some(v) = (0..network.len()).rev().find(|&v| assignment[v] + 1 < sizes[v]) else { return sums };
        assignment[v] += 1;
        assignment[v + 1..].fill(0);
    }
}

fn random_evidence(network: &Network, rng: &mut StreamRng, count: usize) -> EvidenceMap {
    let case = network.sample(rng);
    let mut evidence = EvidenceMap::new();
    for _ in 0..count {
        let v = rng.below(network.len());
        let states = network.variables()[v].states.len();
        let noisy = rng.below(3) == 0;
        let likelihood = (0..states).map(|_| rng.uniform()).collect();
        evidence.insert(v, if noisy { Evidence::Likelihood(likelihood) } else { Evidence::State(case[v]) });
    }
    evidence
}

/// A kept tree, elimination without a tree, and a tree for each query.
pub(super) fn ways(network: &Arc<Network>) -> [Inference; 3] {
    let kept = InferenceOptions { memo: 0, reuse_cells: 1 << 18, ..InferenceOptions::default() };
    let single = InferenceOptions { reuse_cells: 0, ..kept };
    let [kept, direct, mut tree] = [kept, single, single].map(|options| Inference::new(Arc::clone(network), options));
    tree.direct = None;
    [kept, direct, tree]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn answers_equal_enumeration(seed in 0u64..1 << 40, n in 2usize..8, count in 0usize..5) {
        let network = Arc::new(random_network(seed, n));
        let mut rng = Seed::root(seed).child("evidence").rng();
        let evidence = random_evidence(&network, &mut rng, count);
        let target = rng.below(n);
        let sums = enumerate(&network, target, &evidence);
        let total: f64 = sums.iter().sum();
        for mut inference in ways(&network) {
            let answer = inference.posterior(target, &evidence).unwrap();
            let expected: Vec<f64> = sums.iter().map(|s| s / total).collect();
            prop_assert!(worst(&answer.probabilities, &expected) < 1e-12);
            prop_assert!((answer.log_evidence - total.ln()).abs() < 1e-11);
            prop_assert!((answer.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    /// Adding a finding and marginalising it back returns the old posterior; gains lie between 0 and the entropy.
    #[test]
    fn a_finding_marginalises_away(seed in 0u64..1 << 40, n in 3usize..12, count in 0usize..4) {
        let network = Arc::new(random_network(seed, n));
        let mut rng = Seed::root(seed).child("evidence").rng();
        let evidence = random_evidence(&network, &mut rng, count);
        let (a, b) = (rng.below(n), rng.below(n));
        let mut inference = Inference::new(Arc::clone(&network), InferenceOptions::default());
        let before = inference.posterior(a, &evidence).unwrap().probabilities;
        let joint = inference.pair(a, b, &evidence).unwrap();
        let back: Vec<f64> = joint.chunks(joint.len() / before.len()).map(|row| row.iter().sum()).collect();
        prop_assert!(worst(&before, &back) < 1e-12);
        if a != b && !evidence.contains_key(&b) && !evidence.contains_key(&a) {
            let findings: Vec<usize> = (0..n).filter(|&v| v != a).collect();
            let model = NetworkModel::new(&network, a, &findings, 1 << 20).unwrap();
            let mut belief = model.begin();
            for (v, e) in &evidence {
                let at = findings.iter().position(|f| f == v).unwrap();
                belief.observe(at, &e.likelihood(model.states()[at])).unwrap();
            }
            prop_assert!(worst(belief.posterior(), &before) < 1e-12);
            let at = findings.iter().position(|&f| f == b).unwrap();
            let entropy = entropy_bits(belief.posterior());
            let gain = gains(belief.as_mut(), &Channel::exact(), &[at], model.states())[0];
            prop_assert!(gain >= 0.0 && gain <= entropy + 1e-12);
            // The table that the gain comes from is P(b | a, evidence).
            let states = model.states()[at];
            let table = belief.conditionals(at).to_vec();
            prop_assert!((gain - mutual_information_bits(belief.posterior(), &table)).abs() < 1e-12);
            let missing = Channel::symmetric(0.0, 0.25);
            let less = gains(belief.as_mut(), &missing, &[at], model.states())[0];
            prop_assert!((less - 0.75 * gain).abs() < 1e-12);
            for (i, p) in before.iter().enumerate().filter(|(_, p)| **p > 1e-9) {
                for s in 0..states {
                    prop_assert!((table[s * before.len() + i] * p - joint[i * states + s]).abs() < 1e-12);
                }
            }
        }
    }

    /// Beliefs are pure: any order of the same answers gives the same bits, and a refused answer changes nothing.
    #[test]
    fn the_order_of_answers_does_not_matter(seed in 0u64..1 << 40, n in 4usize..14) {
        let network = random_network(seed, n);
        let findings: Vec<usize> = (1..n).collect();
        let model = NetworkModel::new(&network, 0, &findings, 1 << 20).unwrap();
        let mut rng = Seed::root(seed).child("order").rng();
        let case = network.sample(&mut rng);
        let mut order: Vec<usize> = (0..findings.len()).collect();
        let enter = |belief: &mut dyn Belief, at: usize| {
            belief.observe(at, &Evidence::State(case[findings[at]]).likelihood(model.states()[at])).unwrap();
        };
        let (mut one, mut two) = (model.begin(), model.begin());
        order.iter().for_each(|&at| enter(one.as_mut(), at));
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i + 1));
        }
        for &at in &order {
            enter(two.as_mut(), at);
            // Queries in between must leave no trace.
            two.conditionals(rng.below(findings.len()));
        }
        prop_assert_eq!(one.posterior(), two.posterior());
        prop_assert_eq!(one.log_evidence().to_bits(), two.log_evidence().to_bits());
        let zero = vec![0.0; model.states()[0]];
        prop_assert_eq!(two.observe(0, &zero), Err(InferenceError::ImpossibleEvidence));
        prop_assert_eq!(one.posterior(), two.posterior());
    }
}

/// Relabelling the states of a variable permutes the answer.
#[test]
fn relabelled_states_permute_the_answer() {
    let network = network("child");
    let disease = network.find("Disease").unwrap();
    let mut variables = network.variables().to_vec();
    let states = variables[disease].states.len();
    let flip = |row: usize| row / states * states + (states - 1 - row % states);
    variables[disease].states.reverse();
    variables[disease].table =
        (0..variables[disease].table.len()).map(|i| network.variables()[disease].table[flip(i)]).collect();
    for (v, variable) in variables.iter_mut().enumerate() {
        if let Some(at) = variable.parents.iter().position(|&p| p == disease) {
            let own = &network.variables()[v];
            let inner: usize =
                own.parents[at + 1..].iter().map(|&p| network.variables()[p].states.len()).product::<usize>()
                    * own.states.len();
            variable.table = (0..own.table.len())
                .map(|i| {
                    own.table[i / (inner * states) * inner * states + flip(i / inner % states) * inner + i % inner]
                })
                .collect();
        }
    }
    let relabelled = Network::new("relabelled".into(), variables).unwrap();
    let evidence = EvidenceMap::from([(network.find("Age").unwrap(), Evidence::State(1))]);
    let ask = |network: Network| {
        Inference::new(Arc::new(network), InferenceOptions::default())
            .posterior(disease, &evidence)
            .unwrap()
            .probabilities
    };
    let mut reversed = ask(relabelled);
    reversed.reverse();
    assert!(worst(&ask((*network).clone()), &reversed) < 1e-14);
}

/// Negative control: two parents swapped in one table is noticed.
#[test]
fn swapped_parents_change_the_answer() {
    let network = network("asia");
    let dysp = network.find("dysp").unwrap();
    let mut variables = network.variables().to_vec();
    variables[dysp].parents.swap(0, 1);
    let swapped = Network::new("swapped".into(), variables).unwrap();
    let evidence = EvidenceMap::from([(dysp, Evidence::State(0))]);
    let ask = |network: Network| {
        Inference::new(Arc::new(network), InferenceOptions::default()).posterior(4, &evidence).unwrap().probabilities
    };
    assert!(worst(&ask((*network).clone()), &ask(swapped)) > 1e-3);
}

/// A hidden state with many noisy readings: the product underflows even f64, the answer must not.
#[test]
fn a_thousand_findings_do_not_underflow() {
    let n = 1001;
    let row = |p: f64| [p, 1.0 - p];
    let mut variables = vec![Variable {
        name: "y".into(),
        states: vec!["a".into(), "b".into()],
        parents: vec![],
        table: row(0.5).to_vec(),
    }];
    for i in 1..n {
        let table = [row(0.1), row(0.1 + 1e-4)].concat();
        variables.push(Variable {
            name: format!("x{i}"),
            states: vec!["a".into(), "b".into()],
            parents: vec![0],
            table,
        });
    }
    let network = Arc::new(Network::new("wide".into(), variables).unwrap());
    let evidence: EvidenceMap = (1..n).map(|v| (v, Evidence::State(0))).collect();
    let (a, b) = (1000.0 * 0.1f64.ln(), 1000.0 * (0.1f64 + 1e-4).ln());
    let expected = 1.0 / (1.0 + (b - a).exp());
    for mut inference in ways(&network) {
        let answer = inference.posterior(0, &evidence).unwrap();
        assert!((answer.probabilities[0] - expected).abs() < 1e-9, "{answer:?}");
        assert!((answer.log_evidence - (0.5 * (1.0 + (b - a).exp())).ln() - a).abs() < 1e-6);
    }
}

/// Negative control for rows that are not normalised: along a chain, barren variables would no longer sum to one.
#[test]
fn a_chain_answers_the_same_with_and_without_its_barren_end() {
    let chain = |off: f64| {
        let variables = (0..60).map(|i| Variable {
            name: format!("c{i:02}"),
            states: vec!["a".into(), "b".into()],
            parents: if i == 0 { vec![] } else { vec![i - 1] },
            // The second row is the one that may be off, as in a file with too few digits.
            table: if i == 0 { vec![0.5, 0.5] } else { vec![0.7, 0.3, 0.2, 0.8 + off] },
        });
        Arc::new(Network::new("chain".into(), variables.collect()).unwrap())
    };
    let gap = |network: Arc<Network>| {
        let whole = Inference::new(Arc::clone(&network), InferenceOptions::default());
        let pruned = Inference::new(network, InferenceOptions { reuse_cells: 0, ..Default::default() });
        let ask = |mut i: Inference| i.posterior(0, &EvidenceMap::new()).unwrap().probabilities;
        worst(&ask(whole), &ask(pruned))
    };
    assert!(gap(chain(0.0)) < 1e-15);
    assert!(gap(chain(1e-5)) > 1e-9, "the control must notice rows that do not sum to one");
}

/// A grid is the worst case for junction trees: refused before memory is taken, or sampled with an error that holds.
#[test]
fn too_large_is_refused_or_sampled() {
    let side = 40;
    let at = |r: usize, c: usize| r * side + c;
    let mut variables = Vec::new();
    for r in 0..side {
        for c in 0..side {
            let mut parents = Vec::new();
            if r > 0 {
                parents.push(at(r - 1, c));
            }
            if c > 0 {
                parents.push(at(r, c - 1));
            }
            let rows = 1 << parents.len();
            let table = (0..rows).flat_map(|i| [0.3 + 0.1 * f64::from(i), 0.7 - 0.1 * f64::from(i)]).collect();
            let states = vec!["a".into(), "b".into()];
            variables.push(Variable { name: format!("g{r:02}_{c:02}"), states, parents, table });
        }
    }
    let network = Arc::new(Network::new("grid".into(), variables).unwrap());
    let options = InferenceOptions { max_cells: 1 << 12, reuse_cells: 0, ..Default::default() };
    let corner = EvidenceMap::from([(at(side - 1, side - 1), Evidence::State(0))]);
    let found = Inference::new(Arc::clone(&network), options).posterior(0, &corner);
    assert!(matches!(found, Err(InferenceError::TooLarge { .. })), "{found:?}");
    // The prior of the first variable prunes all the rest away.
    let prior = Inference::new(Arc::clone(&network), options).posterior(0, &EvidenceMap::new()).unwrap();
    assert!(worst(&prior.probabilities, &[0.3, 0.7]) < 1e-15);
    let sampled = InferenceOptions { samples: 2_000, ..options };
    let answer = Inference::new(network, sampled).posterior(0, &corner).unwrap();
    let Quality::Sampled { standard_errors, effective_samples } = answer.quality else { panic!("must be sampled") };
    assert!(effective_samples > 500.0 && standard_errors[0] > 0.0);
    assert!((answer.probabilities[0] - 0.3).abs() < 4.0 * standard_errors[0] + 1e-3, "far evidence says little");
}

#[test]
fn sampling_agrees_with_exact_answers_within_its_error() {
    let network = network("alarm");
    let evidence: EvidenceMap = [("HRBP", 2), ("CVP", 1)]
        .map(|(name, s)| (network.find(name).unwrap(), Evidence::State(s)))
        .into_iter()
        .chain([(network.find("BP").unwrap(), Evidence::Likelihood(vec![0.8, 0.1, 0.1]))])
        .collect();
    let target = network.find("CATECHOL").unwrap();
    let exact = Inference::new(Arc::clone(&network), InferenceOptions::default()).posterior(target, &evidence).unwrap();
    let answer = weighting::posterior(&network, target, &evidence, 20_000, 1).unwrap();
    let Quality::Sampled { standard_errors, .. } = &answer.quality else { panic!("must be sampled") };
    for (i, p) in exact.probabilities.iter().enumerate() {
        assert!((answer.probabilities[i] - p).abs() < 4.0 * standard_errors[i], "{answer:?}");
    }
    assert!((answer.log_evidence - exact.log_evidence).abs() < 0.1);
    let asia = network_with_impossible();
    assert_eq!(weighting::posterior(&asia.0, 0, &asia.1, 100, 1), Err(InferenceError::NoSupport { samples: 100 }));
}

fn network_with_impossible() -> (Arc<Network>, EvidenceMap) {
    let network = network("asia");
    let of = |name: &str, s| (network.find(name).unwrap(), Evidence::State(s));
    let evidence = EvidenceMap::from([of("tub", 0), of("either", 1)]);
    (network, evidence)
}

#[test]
fn bad_queries_are_refused() {
    let network = network("asia");
    let mut inference = Inference::new(Arc::clone(&network), InferenceOptions::default());
    let bad = [
        (9, EvidenceMap::new()),
        (0, EvidenceMap::from([(8, Evidence::State(0))])),
        (0, EvidenceMap::from([(1, Evidence::State(2))])),
        (0, EvidenceMap::from([(1, Evidence::Likelihood(vec![1.0]))])),
        (0, EvidenceMap::from([(1, Evidence::Likelihood(vec![1.0, f64::NAN]))])),
    ];
    for (target, evidence) in bad {
        assert!(matches!(inference.posterior(target, &evidence), Err(InferenceError::Invalid(_))));
    }
    assert!(NetworkModel::new(&network, 0, &[1, 0], 1 << 20).is_err());
    assert!(NetworkModel::new(&network, 0, &[1, 1], 1 << 20).is_err());
}

/// A hidden cause of forty findings: their product leaves the range of f64, so that a tree must take over.
#[test]
fn many_factors_of_one_variable_do_not_underflow() {
    let binary = |name: String, parents: Vec<usize>, table: Vec<f64>| Variable {
        name,
        states: vec!["a".into(), "b".into()],
        parents,
        table,
    };
    let mut variables =
        vec![binary("y".into(), vec![], vec![0.5, 0.5]), binary("hidden".into(), vec![0], vec![0.9, 0.1, 0.2, 0.8])];
    let tiny = 1e-10;
    for i in 0..40 {
        variables.push(binary(format!("x{i:02}"), vec![1], vec![tiny, 1.0 - tiny, 2.0 * tiny, 1.0 - 2.0 * tiny]));
    }
    let network = Arc::new(Network::new("wide".into(), variables).unwrap());
    let evidence: EvidenceMap = (2..42).map(|v| (v, Evidence::State(0))).collect();
    // P(e | hidden) is tiny^40 times 1 or 2^40.
    let of = |p: f64| p + (1.0 - p) * 2f64.powi(40);
    let expected = of(0.9) / (of(0.9) + of(0.2));
    for mut inference in ways(&network) {
        let answer = inference.posterior(0, &evidence).unwrap();
        assert!((answer.probabilities[0] - expected).abs() < 1e-12, "{answer:?}");
        let log = (0.5 * (of(0.9) + of(0.2))).ln() + 40.0 * tiny.ln();
        assert!((answer.log_evidence - log).abs() < 1e-9, "{answer:?}");
    }
}
