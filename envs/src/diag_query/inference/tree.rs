//! Junction trees: cliques with their tables, and how messages between them are laid out.
//!
//! A tree has *lanes*: every table carries the states of the class variable as its last, contiguous axis, so that one
//! propagation answers "given each diagnosis". The class then belongs to no clique, which keeps cliques small: in
//! PATHFINDER the diagnosis is a parent of every finding, and without it most findings fall apart into components of
//! a few variables.
use super::elimination::{Graph, cliques};
use super::scale::lift;
use crate::diag_query::network::Network;

/// What a tree is about.
pub struct Scope<'a> {
    pub network: &'a Network,
    /// The variable whose states are the lanes, with the tables that it takes part in.
    pub class: &'a LaneTables,
    /// Variables that matter; a set that contains the parents of its members. The rest is barren and left out.
    pub keep: &'a [bool],
    /// States that are known for good: tables are cut to them.
    pub given: &'a [Option<usize>],
}

/// The tables that a class variable takes part in, with its states as the last axis: reading a lane of the network's own
/// tables would touch another cache line for every state.
pub struct LaneTables {
    class: usize,
    lanes: usize,
    /// Per variable of the network `[other members of the family, lanes]`; `None` without the class among them.
    tables: Vec<Option<Vec<f64>>>,
}

impl LaneTables {
    /// Turns the tables of the class and of its children.
    pub fn new(network: &Network, class: usize) -> Self {
        let lanes = network.variables()[class].states.len();
        let turned = |v: usize| {
            let variable = &network.variables()[v];
            let family: Vec<usize> = variable.parents.iter().copied().chain([v]).collect();
            let at = family.iter().position(|&u| u == class)?;
            let inner: usize = family[at + 1..].iter().map(|&u| network.variables()[u].states.len()).product();
            let mut table = Vec::with_capacity(variable.table.len());
            for outer in variable.table.chunks(lanes * inner) {
                for i in 0..inner {
                    table.extend(outer.iter().skip(i).step_by(inner));
                }
            }
            Some(table)
        };
        Self { class, lanes, tables: (0..network.len()).map(turned).collect() }
    }

    /// The class variable.
    pub fn class(&self) -> usize {
        self.class
    }

    /// States of the class variable.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The table of a variable `[other members of its family, lanes]`, if the class is among them.
    pub fn table(&self, v: usize) -> Option<&[f64]> {
        self.tables[v].as_deref()
    }
}

/// A neighbour of a clique.
pub struct Link {
    pub clique: usize,
    /// The message that comes from it.
    pub incoming: usize,
    /// The message that goes to it.
    pub outgoing: usize,
    /// Where the blocks of this clique's table lie in the separator, in cells.
    pub offsets: Vec<u32>,
    /// Cells of a block: contiguous both in the table and in the separator.
    pub block: usize,
}

/// A clique.
pub struct Node {
    /// Numbers in the tree, ascending.
    pub variables: Vec<usize>,
    pub links: Vec<Link>,
    pub component: usize,
    /// Product of the tables assigned here, `[configurations, lanes]`.
    pub base: Vec<f64>,
    /// Logarithm of the factor that was taken out of `base`.
    pub log_scale: f64,
    /// Tables multiplied into `base`.
    factors: usize,
}

/// A directed message.
pub struct Message {
    pub from: usize,
    /// Index of the receiver among the links of `from`.
    pub link: usize,
    pub start: usize,
    pub len: usize,
}

/// An immutable junction tree, shared by all that query it.
pub struct Tree {
    pub lanes: usize,
    /// Number in the network of each variable of the tree.
    pub variables: Vec<usize>,
    /// Number in the tree of each variable of the network.
    pub local: Vec<Option<usize>>,
    pub states: Vec<usize>,
    pub nodes: Vec<Node>,
    pub messages: Vec<Message>,
    /// Numbers of all messages together.
    pub message_cells: usize,
    /// Smallest clique with each variable.
    pub home: Vec<usize>,
    /// A clique of each component, the one that has no parent.
    pub roots: Vec<usize>,
    /// Product of the tables without free variables, `[lanes]`.
    pub constant: Vec<f64>,
    /// Logarithm of the factor that was taken out of `constant`.
    pub constant_log_scale: f64,
    /// Tables multiplied into `constant`.
    constant_factors: usize,
    /// Cells of the largest clique, lanes included.
    pub largest: usize,
}

/// The cells a tree would take, were it built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TooManyCells(pub f64);

impl Tree {
    /// Builds a tree if all its tables together take at most `limit` cells; known before any is allocated.
    pub fn compile(scope: &Scope<'_>, limit: usize) -> Result<Self, TooManyCells> {
        let network = scope.network;
        let free = |v: usize| scope.keep[v] && scope.given[v].is_none() && v != scope.class.class;
        let variables: Vec<usize> = (0..network.len()).filter(|&v| free(v)).collect();
        let mut local = vec![None; network.len()];
        for (i, &v) in variables.iter().enumerate() {
            local[v] = Some(i);
        }
        let states: Vec<usize> = variables.iter().map(|&v| network.variables()[v].states.len()).collect();
        let lanes = scope.class.lanes;
        let mut graph = Graph::new(variables.len());
        let kept = || (0..network.len()).filter(|&v| scope.keep[v]);
        for family in kept().map(|v| family(network, &local, v)) {
            for (i, &a) in family.iter().enumerate() {
                for &b in &family[i + 1..] {
                    graph.connect(a, b);
                }
            }
        }
        let mut by_name: Vec<usize> = (0..variables.len()).collect();
        by_name.sort_by_key(|&i| &network.variables()[variables[i]].name);
        let mut rank = vec![0; variables.len()];
        for (place, &i) in by_name.iter().enumerate() {
            rank[i] = place;
        }
        let cliques = cliques(graph, &states, &rank);
        let size = |vars: &[usize]| vars.iter().map(|&v| states[v] as f64).product::<f64>() * lanes as f64;
        let total: f64 = cliques.iter().map(|c| size(&c.variables)).sum();
        // Offsets are 32-bit numbers.
        if total > limit as f64 || total > f64::from(u32::MAX) {
            return Err(TooManyCells(total));
        }
        let largest = cliques.iter().map(|c| size(&c.variables)).fold(0.0, f64::max) as usize;
        let mut tree = Self {
            lanes,
            variables,
            local,
            states: states.clone(),
            nodes: Vec::with_capacity(cliques.len()),
            messages: Vec::new(),
            message_cells: 0,
            home: Vec::new(),
            roots: Vec::new(),
            constant: vec![1.0; lanes],
            constant_log_scale: 0.0,
            constant_factors: 0,
            largest,
        };
        for clique in &cliques {
            let cells = size(&clique.variables) as usize;
            let (variables, base) = (clique.variables.clone(), vec![0.0; cells]);
            tree.nodes.push(Node { variables, links: Vec::new(), component: 0, base, log_scale: 0.0, factors: 0 });
        }
        tree.home = (0..tree.states.len()).map(|v| tree.smallest_with(&[v])).collect();
        for (i, clique) in cliques.iter().enumerate() {
            match clique.parent {
                Some(p) => tree.link(i, p),
                None => tree.roots.push(i),
            }
        }
        tree.mark_components();
        for v in kept() {
            tree.assign(scope, v);
        }
        // A clique that only passes messages on.
        tree.nodes.iter_mut().filter(|n| n.factors == 0).for_each(|n| n.base.fill(1.0));
        Ok(tree)
    }

    fn smallest_with(&self, variables: &[usize]) -> usize {
        let holds = |n: &Node| variables.iter().all(|v| n.variables.binary_search(v).is_ok());
        let fitting = self.nodes.iter().enumerate().filter(|(_, n)| holds(n));
        let smallest = fitting.min_by_key(|(_, n)| n.base.len());
        smallest.expect("a family is linked completely, so that a clique holds it").0
    }

    fn link(&mut self, a: usize, b: usize) {
        let shared: Vec<usize> =
            self.nodes[a].variables.iter().copied().filter(|v| self.nodes[b].variables.contains(v)).collect();
        let len = shared.iter().map(|&v| self.states[v]).product::<usize>() * self.lanes;
        let (there, back) = (self.messages.len(), self.messages.len() + 1);
        for (from, to, incoming, outgoing) in [(a, b, back, there), (b, a, there, back)] {
            let (offsets, block) = self.layout(&self.nodes[from].variables, &shared);
            let link = self.nodes[from].links.len();
            self.nodes[from].links.push(Link { clique: to, incoming, outgoing, offsets, block });
            self.messages.push(Message { from, link, start: self.message_cells, len });
            self.message_cells += len;
        }
    }

    /// How the table of a clique maps onto that of some of its variables.
    fn layout(&self, variables: &[usize], shared: &[usize]) -> (Vec<u32>, usize) {
        let mut block = self.lanes;
        let mut outer = variables.len();
        // Trailing variables that are shared are contiguous in both tables.
        let mut rest = shared.len();
        while outer > 0 && rest > 0 && variables[outer - 1] == shared[rest - 1] {
            block *= self.states[variables[outer - 1]];
            outer -= 1;
            rest -= 1;
        }
        let mut strides = vec![0; outer];
        let mut stride = block;
        for &v in shared[..rest].iter().rev() {
            let at = variables.iter().position(|&u| u == v).expect("shared variables are variables of the clique");
            strides[at] = stride;
            stride *= self.states[v];
        }
        let dims: Vec<usize> = variables[..outer].iter().map(|&v| self.states[v]).collect();
        (walk(&dims, &strides).map(|at| at as u32).collect(), block)
    }

    fn mark_components(&mut self) {
        for (component, &root) in self.roots.iter().enumerate() {
            let mut open = vec![(root, root)];
            while let Some((node, from)) = open.pop() {
                self.nodes[node].component = component;
                let links = &self.nodes[node].links;
                open.extend(links.iter().filter(|l| l.clique != from).map(|l| (l.clique, node)));
            }
        }
    }

    /// Multiplies the table of `v` into the smallest clique that holds its free variables.
    fn assign(&mut self, scope: &Scope<'_>, v: usize) {
        let variable = &scope.network.variables()[v];
        let family = family(scope.network, &self.local, v);
        let node = if family.is_empty() { None } else { Some(self.smallest_with(&family)) };
        let held: Vec<usize> = node.map_or(Vec::new(), |n| self.nodes[n].variables.clone());
        let (table, spread) = match &scope.class.tables[v] {
            Some(turned) => (turned, self.lanes),
            None => (&variable.table, 1),
        };
        let (mut strides, mut fixed, mut stride) = (vec![0; held.len()], 0, spread);
        for &u in [v].iter().chain(variable.parents.iter().rev()).filter(|u| **u != scope.class.class) {
            if let Some(state) = scope.given[u] {
                fixed += state * stride;
            } else {
                let at = held.iter().position(|&h| self.variables[h] == u).expect("the clique holds the family");
                strides[at] = stride;
            }
            stride *= scope.network.variables()[u].states.len();
        }
        let dims: Vec<usize> = held.iter().map(|&h| self.states[h]).collect();
        let (target, log_scale, factors) = match node {
            Some(n) => {
                let node = &mut self.nodes[n];
                (&mut node.base, &mut node.log_scale, &mut node.factors)
            }
            None => (&mut self.constant, &mut self.constant_log_scale, &mut self.constant_factors),
        };
        // The first table of a clique is copied, the others are multiplied in.
        let first = *factors == 0 && node.is_some();
        for (cells, at) in target.chunks_mut(self.lanes).zip(walk(&dims, &strides)) {
            let row = &table[fixed + at..][..spread];
            match (first, spread == self.lanes) {
                (true, true) => cells.copy_from_slice(row),
                (true, false) => cells.fill(row[0]),
                (false, true) => cells.iter_mut().zip(row).for_each(|(cell, factor)| *cell *= factor),
                (false, false) => cells.iter_mut().for_each(|cell| *cell *= row[0]),
            }
        }
        *factors += 1;
        // Four rows of a table in a row do not leave the range of f64 unless it is absurd; looking costs time.
        if *factors % 4 == 0 {
            *log_scale += lift(target);
        }
    }
}

/// The free variables of the table of `v`, by their numbers in the tree.
fn family(network: &Network, local: &[Option<usize>], v: usize) -> Vec<usize> {
    network.variables()[v].parents.iter().chain([&v]).filter_map(|&u| local[u]).collect()
}

/// Offsets under `strides` of all index tuples below `dims`, the last index fastest.
fn walk(dims: &[usize], strides: &[usize]) -> impl Iterator<Item = usize> {
    let (dims, strides) = (dims.to_vec(), strides.to_vec());
    let total: usize = dims.iter().product();
    let mut index = vec![0; dims.len()];
    let mut at = 0;
    (0..total).map(move |_| {
        let here = at;
        for d in (0..dims.len()).rev() {
            index[d] += 1;
            at += strides[d];
            if index[d] < dims[d] {
                break;
            }
            at -= strides[d] * dims[d];
            index[d] = 0;
        }
        here
    })
}
