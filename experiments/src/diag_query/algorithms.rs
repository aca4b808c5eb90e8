//! What can be compared in `diag_query`.

use crate::arms::Algorithm;
use crate::deep;

/// Policies without learning.
const REFERENCES: [Algorithm; 11] = [
    Algorithm::reference("random", "Asks any open finding; declares once sure enough."),
    Algorithm::reference("static_order", "Asks in one order, by information gain before any answer."),
    Algorithm::reference(
        "greedy_gain",
        "Asks what the attached model expects to tell most; declares once sure enough.",
    ),
    Algorithm::reference("gain_per_cost", "Asks the largest information gain per cost; declares once sure enough."),
    Algorithm::reference("utility_1", "Expected utility of one question against declaring now."),
    Algorithm::reference("utility_2", "Expected utility of two questions, the second chosen after the first answer."),
    Algorithm::reference("lookahead_2", "Information gain of the best two questions; declares once sure enough."),
    Algorithm::reference("lookahead_3", "Information gain of the best three questions; declares once sure enough."),
    Algorithm::reference(
        "naive_bayes_gain",
        "Greedy gain on a wrong model that takes findings for independent given the diagnosis.",
    ),
    Algorithm::reference(
        "bayes_all",
        "Is told every finding free of charge and believes the best model there is: a line above what can be earned.",
    ),
    Algorithm::reference("declare_now", "Asks nothing and declares the diagnosis of the highest expected utility."),
];

/// Agents for single decisions without their own reference, which is the first.
const LEARNERS: usize = deep::ALGORITHMS.len() - 1;
const SUPERVISED: usize = deep::ANSWERING.len();
const COUNT: usize = REFERENCES.len() + SUPERVISED + LEARNERS;

const fn all() -> [Algorithm; COUNT] {
    let mut all = [REFERENCES[0]; COUNT];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < REFERENCES.len() {
            REFERENCES[at]
        } else if at < REFERENCES.len() + SUPERVISED {
            deep::ANSWERING[at - REFERENCES.len()]
        } else {
            deep::ALGORITHMS[at - REFERENCES.len() - SUPERVISED + 1]
        };
        at += 1;
    }
    all
}

static ALL: [Algorithm; COUNT] = all();

/// Every algorithm, references first.
pub static ALGORITHMS: &[Algorithm] = &ALL;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arms::Kind;

    #[test]
    fn every_name_stands_once_and_all_learners_are_there() {
        for (i, algorithm) in ALGORITHMS.iter().enumerate() {
            assert!(ALGORITHMS[..i].iter().all(|other| other.name != algorithm.name), "{}", algorithm.name);
        }
        let learners = || deep::ALGORITHMS.iter().filter(|a| a.kind != Kind::Reference);
        assert!(learners().all(|a| ALGORITHMS.contains(a)));
        assert_eq!(learners().count(), LEARNERS, "the random policy is the only reference among the agents");
    }
}
