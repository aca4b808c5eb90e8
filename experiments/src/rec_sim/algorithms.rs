//! What can be compared in `rec_sim`.

use crate::arms::{Algorithm, Kind};

/// Every algorithm, references first.
pub const ALGORITHMS: &[Algorithm] = &[
    Algorithm::reference("random", "Shows a slate drawn uniformly from the candidates."),
    Algorithm::reference("myopic", "Knows the user model: shows what is most likely to be clicked now."),
    Algorithm::reference(
        "top_quality",
        "Knows the mean quality of every topic: shows the best, whatever the user likes.",
    ),
    Algorithm::reference("planner", "Knows the user model: shows the slate with the largest expected return."),
    Algorithm {
        name: "popular",
        kind: Kind::Supervised,
        trains: false,
        about: "Counts clicks and watch time per item in logged data and shows the most popular.",
    },
    Algorithm {
        name: "supervised",
        kind: Kind::Supervised,
        trains: true,
        about: "Predicts click and watch time from logged random slates, shows the best predicted.",
    },
    Algorithm {
        name: "supervised_planner",
        kind: Kind::Reference,
        trains: true,
        about: "Predicts click and quality from logged random slates, then plans with the known budget rule.",
    },
    Algorithm::rl("sarsa", "SlateQ on the slates really shown, with a value for nothing clicked."),
    Algorithm::rl("q_learning", "SlateQ towards the best next slate, with a value for nothing clicked."),
    Algorithm::rl("reinforce", "Policy gradient on slates, with a baseline and an entropy bonus."),
    Algorithm::rl(
        "top_k_reinforce",
        "Policy gradient on recent slates, corrected for who acted and for the slate's size.",
    ),
    Algorithm::rl("supervised_then_q_learning", "Begins as `supervised`, goes on as `q_learning`."),
];
