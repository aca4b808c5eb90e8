//! Messages in a junction tree under evidence (Shafer and Shenoy 1990), computed when asked for.
//!
//! Every message is a pure function of the evidence behind it, whatever was asked before: answers never depend on the
//! order in which findings came in. A new finding makes only those messages stale that lead away from it.

use super::scale::{lift, rescale};
use super::tree::{Node, Tree};
use std::sync::Arc;

/// Evidence in a tree and the messages known so far. Cloning copies the messages.
#[derive(Clone)]
pub struct Calibration {
    tree: Arc<Tree>,
    /// Likelihood of each state, per variable of the tree.
    evidence: Vec<Option<Vec<f64>>>,
    /// Variables with evidence, ascending.
    known: Vec<usize>,
    messages: Vec<f64>,
    fresh: Vec<bool>,
    log_scales: Vec<f64>,
    /// Grows with every change, per component.
    versions: Vec<u64>,
    totals: Vec<Option<Total>>,
    work: Vec<f64>,
    open: Vec<usize>,
}

/// P(evidence of a component | class), up to its scale.
#[derive(Clone, Debug)]
struct Total {
    lanes: Vec<f64>,
    log_scale: f64,
}

impl Calibration {
    /// Without evidence or messages.
    pub fn new(tree: Arc<Tree>) -> Self {
        Self {
            evidence: vec![None; tree.states.len()],
            known: Vec::new(),
            messages: vec![0.0; tree.message_cells],
            fresh: vec![false; tree.messages.len()],
            log_scales: vec![0.0; tree.messages.len()],
            versions: vec![0; tree.roots.len()],
            totals: vec![None; tree.roots.len()],
            work: Vec::with_capacity(tree.largest),
            open: Vec::new(),
            tree,
        }
    }

    /// Computes all that is stale, so that clones need not do it again.
    pub fn settle(&mut self) {
        for message in 0..self.fresh.len() {
            self.refresh(message);
        }
        for component in 0..self.totals.len() {
            self.total(component);
        }
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Changes with the evidence of the component that holds variable `v` of the tree.
    pub fn version(&self, v: usize) -> u64 {
        self.versions[self.component(v)]
    }

    fn component(&self, v: usize) -> usize {
        self.tree.nodes[self.tree.home[v]].component
    }

    /// Sets or removes the likelihood of a variable of the tree.
    pub fn set(&mut self, v: usize, likelihood: Option<&[f64]>) {
        if self.evidence[v].as_deref() == likelihood {
            return;
        }
        self.evidence[v] = likelihood.map(<[f64]>::to_vec);
        match (self.known.binary_search(&v), likelihood) {
            (Ok(at), None) => {
                self.known.remove(at);
            }
            (Err(at), Some(_)) => self.known.insert(at, v),
            _ => {}
        }
        let component = self.component(v);
        self.versions[component] += 1;
        self.totals[component] = None;
        let tree = Arc::clone(&self.tree);
        let mut open = vec![(self.tree.home[v], usize::MAX)];
        while let Some((node, from)) = open.pop() {
            for link in tree.nodes[node].links.iter().filter(|l| l.clique != from) {
                // What lies behind a stale message is stale already.
                if std::mem::replace(&mut self.fresh[link.outgoing], false) {
                    open.push((link.clique, node));
                }
            }
        }
    }

    /// Variables of the tree with evidence, ascending.
    pub fn known(&self) -> &[usize] {
        &self.known
    }

    /// The likelihood entered for a variable of the tree.
    pub fn evidence(&self, v: usize) -> Option<&[f64]> {
        self.evidence[v].as_deref()
    }

    /// Makes sure that a message is up to date, and everything that it depends on.
    fn refresh(&mut self, message: usize) {
        if self.fresh[message] {
            return;
        }
        let tree = Arc::clone(&self.tree);
        let mut open = std::mem::take(&mut self.open);
        open.push(message);
        while let Some(&top) = open.last() {
            let (node, link) = (tree.messages[top].from, tree.messages[top].link);
            let before = open.len();
            let others = tree.nodes[node].links.iter().enumerate().filter(|(i, _)| *i != link);
            open.extend(others.map(|(_, l)| l.incoming).filter(|&m| !self.fresh[m]));
            if open.len() == before {
                self.send(&tree, top);
                open.pop();
            }
        }
        self.open = open;
    }

    fn send(&mut self, tree: &Tree, message: usize) {
        let shape = &tree.messages[message];
        let node = &tree.nodes[shape.from];
        let mut log_scale = self.product(tree, node, Some(shape.link));
        let link = &node.links[shape.link];
        let out = &mut self.messages[shape.start..][..shape.len];
        out.fill(0.0);
        sum_blocks(&self.work, &link.offsets, link.block, out);
        log_scale += rescale(out);
        self.log_scales[message] = log_scale;
        self.fresh[message] = true;
    }

    /// Fills `work` with the table of a clique times its evidence and all messages but that over `except`, which must
    /// be fresh; returns the logarithm of the factor that was taken out.
    fn product(&mut self, tree: &Tree, node: &Node, except: Option<usize>) -> f64 {
        self.work.clear();
        let mut log_scale = node.log_scale;
        let mut stride = node.base.len();
        for &v in &node.variables {
            let states = tree.states[v];
            stride /= states;
            if tree.nodes[tree.home[v]].variables.as_ptr() == node.variables.as_ptr()
                && let Some(likelihood) = &self.evidence[v]
            {
                each_block(&mut self.work, &node.base, stride, |i, cells| {
                    let factor = likelihood[i % states];
                    cells.iter_mut().for_each(|cell| *cell *= factor);
                });
                log_scale += lift(&mut self.work);
            }
        }
        for (i, link) in node.links.iter().enumerate() {
            if Some(i) != except {
                let shape = &tree.messages[link.incoming];
                let message = &self.messages[shape.start..][..shape.len];
                multiply_blocks(&mut self.work, &node.base, &link.offsets, link.block, message);
                log_scale += self.log_scales[link.incoming] + lift(&mut self.work);
            }
        }
        if self.work.is_empty() {
            self.work.extend_from_slice(&node.base);
        }
        log_scale
    }

    /// The full table of a clique in `work`.
    fn belief(&mut self, clique: usize) -> f64 {
        let tree = Arc::clone(&self.tree);
        for link in &tree.nodes[clique].links {
            self.refresh(link.incoming);
        }
        self.product(&tree, &tree.nodes[clique], None)
    }

    /// P(x, evidence of its component | class) up to a factor, `[states, lanes]`, of all `variables`, each clique
    /// computed once; `each` gets the variable and its table.
    pub fn marginals(&mut self, variables: &[usize], mut each: impl FnMut(usize, &[f64])) {
        let mut by_home: Vec<(usize, usize)> = variables.iter().map(|&v| (self.tree.home[v], v)).collect();
        by_home.sort_unstable();
        let (mut current, mut table) = (None, Vec::new());
        for (home, v) in by_home {
            if current != Some(home) {
                self.belief(home);
                current = Some(home);
            }
            self.read(v, &mut table);
            each(v, &table);
        }
    }

    /// Sums `work`, the table of the home of `v`, over all other variables.
    fn read(&self, v: usize, out: &mut Vec<f64>) {
        let (tree, lanes) = (&self.tree, self.tree.lanes);
        let variables = &tree.nodes[tree.home[v]].variables;
        let after = variables.iter().skip_while(|&&u| u != v).skip(1);
        let stride = after.map(|&u| tree.states[u]).product::<usize>() * lanes;
        out.clear();
        out.resize(tree.states[v] * lanes, 0.0);
        for (i, cells) in self.work.chunks(stride).enumerate() {
            let sums = &mut out[i % tree.states[v] * lanes..][..lanes];
            for cells in cells.chunks(lanes) {
                sums.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += cell);
            }
        }
    }

    /// P(evidence | class) over all components, `[lanes]`, and the logarithm of the factor that was taken out.
    pub fn lanes(&mut self) -> (Vec<f64>, f64) {
        let mut product = self.tree.constant.clone();
        let mut log_scale = self.tree.constant_log_scale + rescale(&mut product);
        for component in 0..self.totals.len() {
            let total = self.total(component);
            product.iter_mut().zip(&total.lanes).for_each(|(p, t)| *p *= t);
            log_scale += total.log_scale + rescale(&mut product);
        }
        (product, log_scale)
    }

    fn total(&mut self, component: usize) -> &Total {
        if self.totals[component].is_none() {
            // A function of the evidence alone, near a place where something is known.
            let mut homes = self.known.iter().rev().map(|&v| self.tree.home[v]);
            let place = homes.find(|&n| self.tree.nodes[n].component == component);
            let clique = place.unwrap_or(self.tree.roots[component]);
            let tree = Arc::clone(&self.tree);
            let node = &tree.nodes[clique];
            let alone = node.links.is_empty() && node.variables.iter().all(|&v| self.evidence[v].is_none());
            // Most components of a small query are one clique, whose table need not be copied to be summed.
            let (table, mut log_scale) = if alone {
                (&node.base, node.log_scale)
            } else {
                let log_scale = self.belief(clique);
                (&self.work, log_scale)
            };
            let mut lanes = vec![0.0; tree.lanes];
            for cells in table.chunks(tree.lanes) {
                lanes.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += cell);
            }
            log_scale += rescale(&mut lanes);
            self.totals[component] = Some(Total { lanes, log_scale });
        }
        self.totals[component].as_ref().expect("it was just computed")
    }
}

/// Changes a table block by block. An empty one is filled from `base` on the way: a large table then goes through the cache
/// once, not twice.
fn each_block(table: &mut Vec<f64>, base: &[f64], block: usize, mut change: impl FnMut(usize, &mut [f64])) {
    if table.is_empty() {
        for (i, cells) in base.chunks(block).enumerate() {
            let start = table.len();
            table.extend_from_slice(cells);
            change(i, &mut table[start..]);
        }
    } else {
        table.chunks_mut(block).enumerate().for_each(|(i, cells)| change(i, cells));
    }
}

fn multiply_blocks(table: &mut Vec<f64>, base: &[f64], offsets: &[u32], block: usize, message: &[f64]) {
    if block == 1 {
        if table.is_empty() {
            table.extend_from_slice(base);
        }
        table.iter_mut().zip(offsets).for_each(|(cell, &at)| *cell *= message[at as usize]);
        return;
    }
    each_block(table, base, block, |i, cells| {
        let factors = &message[offsets[i] as usize..][..block];
        cells.iter_mut().zip(factors).for_each(|(cell, factor)| *cell *= factor);
    });
}

fn sum_blocks(table: &[f64], offsets: &[u32], block: usize, out: &mut [f64]) {
    if block == 1 {
        table.iter().zip(offsets).for_each(|(cell, &at)| out[at as usize] += cell);
        return;
    }
    for (cells, &at) in table.chunks_exact(block).zip(offsets) {
        let sums = &mut out[at as usize..][..block];
        sums.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += cell);
    }
}
