//! Discrete Bayesian networks: variables, their parents and their conditional probability tables.

use retune::rng::StreamRng;
use std::collections::HashMap;

/// A variable with a finite number of states.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Name, unique in its network.
    pub name: String,
    /// Names of the states, unique in the variable; at least one.
    pub states: Vec<String>,
    /// Numbers of the parents in the network.
    pub parents: Vec<usize>,
    /// P(state | parents), `[states of parent 1, …, states of the last parent, own states]`, the last fastest. Each
    /// row sums to one.
    pub table: Vec<f64>,
}

/// A discrete Bayesian network without cycles.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    name: String,
    variables: Vec<Variable>,
    /// Parents before children; among those that are free, the lowest number first.
    order: Vec<usize>,
    index: HashMap<String, usize>,
}

impl Network {
    /// A network from parts that fit together.
    ///
    /// # Errors
    /// The numbers of the variables of a cycle, each a parent of the next and the last a parent of the first.
    ///
    /// # Panics
    /// If a table or a parent does not fit: the callers of this crate have checked names, shapes and rows.
    pub(crate) fn new(name: String, variables: Vec<Variable>) -> Result<Self, Vec<usize>> {
        for v in &variables {
            let rows: usize = v.parents.iter().map(|&p| variables[p].states.len()).product();
            assert_eq!(v.table.len(), rows * v.states.len(), "the table of {} fits its states", v.name);
        }
        let order = topological_order(&variables)?;
        let index = variables.iter().enumerate().map(|(i, v)| (v.name.clone(), i)).collect();
        Ok(Self { name, variables, order, index })
    }

    /// The same structure with the tables that complete assignments show: counts plus `pseudo` for each state.
    ///
    /// # Panics
    /// If an assignment does not fit, or `pseudo` is not above 0.
    #[must_use]
    pub fn refitted(&self, assignments: &[Vec<usize>], pseudo: f64) -> Self {
        assert!(pseudo > 0.0, "a row without an assignment needs pseudo counts");
        let mut fitted = self.clone();
        for (v, variable) in fitted.variables.iter_mut().enumerate() {
            let states = variable.states.len();
            let mut counts = vec![pseudo; variable.table.len()];
            for assignment in assignments {
                let row =
                    variable.parents.iter().fold(0, |row, &p| row * self.variables[p].states.len() + assignment[p]);
                counts[row * states + assignment[v]] += 1.0;
            }
            for row in counts.chunks_mut(states) {
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|count| *count /= sum);
            }
            variable.table = counts;
        }
        fitted
    }

    /// Name, as the file gives it; may be empty.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All variables, in the order of the file.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Number of variables.
    #[must_use]
    pub fn len(&self) -> usize {
        self.variables.len()
    }

    /// Whether there are no variables; never so for a network that was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// Number of the variable with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Number of the state with this name.
    #[must_use]
    pub fn find_state(&self, variable: usize, state: &str) -> Option<usize> {
        self.variables[variable].states.iter().position(|s| s == state)
    }

    /// Variables with parents before children.
    #[must_use]
    pub fn topological_order(&self) -> &[usize] {
        &self.order
    }

    /// Number of arcs.
    #[must_use]
    pub fn num_arcs(&self) -> usize {
        self.variables.iter().map(|v| v.parents.len()).sum()
    }

    /// Free parameters: for each row one number less than states.
    #[must_use]
    pub fn num_parameters(&self) -> usize {
        self.variables.iter().map(|v| v.table.len() / v.states.len() * (v.states.len() - 1)).sum()
    }

    /// P(· | parents) of a variable for a complete assignment, `[states]`.
    #[must_use]
    pub fn row(&self, variable: usize, assignment: &[usize]) -> &[f64] {
        let v = &self.variables[variable];
        let row = v.parents.iter().fold(0, |row, &p| row * self.variables[p].states.len() + assignment[p]);
        &v.table[row * v.states.len()..][..v.states.len()]
    }

    /// Natural logarithm of the probability of a complete assignment, a state for each variable.
    #[must_use]
    pub fn log_joint(&self, assignment: &[usize]) -> f64 {
        (0..self.len()).map(|v| self.row(v, assignment)[assignment[v]].ln()).sum()
    }

    /// Draws a complete assignment: in topological order, one uniform number a variable, by inverse CDF.
    #[must_use]
    pub fn sample(&self, rng: &mut StreamRng) -> Vec<usize> {
        let mut assignment = vec![0; self.len()];
        for &v in &self.order {
            assignment[v] = inverse_cdf(self.row(v, &assignment), rng.uniform());
        }
        assignment
    }
}

/// The state in which the cumulated probability exceeds `u`; a state of probability zero is never drawn.
pub(crate) fn inverse_cdf(probabilities: &[f64], u: f64) -> usize {
    let mut cumulated = 0.0;
    let mut last = 0;
    for (state, &p) in probabilities.iter().enumerate() {
        if p > 0.0 {
            cumulated += p;
            last = state;
            if u < cumulated {
                return state;
            }
        }
    }
    // The sum may end a rounding error below one.
    last
}

fn topological_order(variables: &[Variable]) -> Result<Vec<usize>, Vec<usize>> {
    let mut missing: Vec<usize> = variables.iter().map(|v| v.parents.len()).collect();
    let mut children = vec![Vec::new(); variables.len()];
    for (i, v) in variables.iter().enumerate() {
        for &p in &v.parents {
            children[p].push(i);
        }
    }
    let mut free: std::collections::BTreeSet<usize> = (0..variables.len()).filter(|&i| missing[i] == 0).collect();
    let mut order = Vec::with_capacity(variables.len());
    while let Some(v) = free.pop_first() {
        order.push(v);
        for &c in &children[v] {
            missing[c] -= 1;
            if missing[c] == 0 {
                free.insert(c);
            }
        }
    }
    if order.len() == variables.len() { Ok(order) } else { Err(find_cycle(variables, &missing)) }
}

/// Walks up among variables that all have an unplaced parent until one comes again.
fn find_cycle(variables: &[Variable], missing: &[usize]) -> Vec<usize> {
    let unplaced_parent = |v: usize| variables[v].parents.iter().copied().find(|&p| missing[p] > 0);
    let mut path = Vec::new();
    let mut place = vec![None; variables.len()];
    let mut at = missing.iter().position(|&m| m > 0);
    while let Some(v) = at {
        if let Some(start) = place[v] {
            let mut cycle = path.split_off(start);
            cycle.reverse();
            return cycle;
        }
        place[v] = Some(path.len());
        path.push(v);
        at = unplaced_parent(v);
    }
    path
}
