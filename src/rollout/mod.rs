//! Runners: actors, vector envs, and the flow of experience to the learner.
