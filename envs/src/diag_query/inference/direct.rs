//! One query by variable elimination (Zhang and Poole 1994), without a tree.
//!
//! A query about few variables is over before a junction tree for it would be laid out. Barren variables are left out;
//! tables are read where they lie, at the offset that the evidence gives; the target is the lanes, so that a table
//! which does not know it has one lane. Scopes are sets of bits. Everything follows the numbers of the variables: the
//! bits of an answer do not depend on the order in which the evidence came. The buffers are kept between queries.

use super::scale::{largest, lift};
use super::tree::LaneTables;
use super::{Evidence, EvidenceMap};
use crate::diag_query::network::Network;

/// Most free variables: the bits of a scope.
const MAX_FREE: usize = 64;

/// Tables after whose multiplication a product is checked: fewer do not leave the range of f64 unless they are absurd,
/// and looking costs time.
const DEPTH: usize = 4;

/// Most factors of one product. More could leave the range of f64; trees rescale in between.
const MAX_JOINED: usize = 16;

/// A product below this may have lost digits. A tree then answers.
const SMALLEST: f64 = 1e-200;

/// A table over free variables.
#[derive(Clone, Copy, Debug)]
struct Factor {
    /// The free variables, as bits.
    scope: u64,
    /// Where its strides begin, one a variable in ascending order.
    strides: usize,
    source: Source,
    /// Where its first row begins.
    offset: usize,
    /// Whether a row has all lanes or one number for all of them.
    wide: bool,
    /// Tables multiplied into it since it was last looked at.
    depth: usize,
}

/// Where the numbers of a factor lie.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The network's table of a variable.
    Network(usize),
    /// The table of a variable with the target as the last axis.
    Lanes(usize),
    /// The arena.
    Arena,
}

/// P(evidence | target) × P(target), up to `log_scale`, `[lanes]`.
pub struct Weights {
    pub lanes: Vec<f64>,
    pub log_scale: f64,
    depth: usize,
    sound: bool,
}

impl Weights {
    /// Whether no digits were lost.
    fn check(&mut self) -> bool {
        self.sound &= largest(&self.lanes) >= SMALLEST;
        self.sound
    }
}

/// Buffers of the queries on one network.
pub struct Direct {
    /// Place of each variable in name order, which breaks ties.
    rank: Vec<usize>,
    seen: Vec<bool>,
    /// State of a variable that is known for good.
    given: Vec<Option<usize>>,
    /// Number of a variable among the free ones.
    local: Vec<Option<usize>>,
    kept: Vec<usize>,
    open: Vec<usize>,
    /// The free variables.
    free: Vec<usize>,
    dims: Vec<usize>,
    order: Vec<usize>,
    factors: Vec<Factor>,
    joined: Vec<Factor>,
    strides: Vec<usize>,
    /// Numbers of factors that were computed; what is beyond `used` is left from other queries.
    arena: Vec<f64>,
    used: usize,
    walk: Walk,
    row: Vec<f64>,
    arch: pulp::Arch,
}

impl Direct {
    pub fn new(network: &Network) -> Self {
        let n = network.len();
        let mut by_name: Vec<usize> = (0..n).collect();
        by_name.sort_by_key(|&v| &network.variables()[v].name);
        let mut rank = vec![0; n];
        by_name.iter().enumerate().for_each(|(place, &v)| rank[v] = place);
        Self {
            rank,
            seen: vec![false; n],
            given: vec![None; n],
            local: vec![None; n],
            kept: Vec::new(),
            open: Vec::new(),
            free: Vec::new(),
            dims: Vec::new(),
            order: Vec::new(),
            factors: Vec::new(),
            joined: Vec::new(),
            strides: Vec::new(),
            arena: Vec::new(),
            used: 0,
            walk: Walk::default(),
            row: Vec::new(),
            arch: pulp::Arch::new(),
        }
    }

    /// The weights of the states of the target, or `None` if there are too many free variables or more than `limit`
    /// cells would be taken. Evidence about the target itself is left to the caller.
    pub fn weights(
        &mut self,
        network: &Network,
        class: &LaneTables,
        evidence: &EvidenceMap,
        limit: usize,
    ) -> Option<Weights> {
        self.keep(network, class.class(), evidence);
        let mut weights = Weights { lanes: vec![1.0; class.lanes()], log_scale: 0.0, depth: 0, sound: true };
        let fits = self.number(network, class.class());
        if fits {
            self.collect(network, class, evidence, &mut weights);
        }
        let fits = fits && self.find_order(class.lanes(), limit);
        let sound = fits
            && (0..self.order.len()).all(|i| self.eliminate(network, class, self.order[i], &mut weights))
            && weights.check();
        for &v in &self.kept {
            (self.seen[v], self.given[v], self.local[v]) = (false, None, None);
        }
        sound.then_some(weights)
    }

    /// Marks the target, the evidence and what they descend from.
    fn keep(&mut self, network: &Network, class: usize, evidence: &EvidenceMap) {
        self.kept.clear();
        self.open.push(class);
        self.open.extend(evidence.keys());
        while let Some(v) = self.open.pop() {
            if !std::mem::replace(&mut self.seen[v], true) {
                self.kept.push(v);
                self.open.extend(&network.variables()[v].parents);
            }
        }
        self.kept.sort_unstable();
        for (&v, e) in evidence {
            if let Evidence::State(state) = e {
                self.given[v] = Some(*state);
            }
        }
    }

    /// Numbers the free variables; `false` if they are too many.
    fn number(&mut self, network: &Network, class: usize) -> bool {
        self.free.clear();
        self.dims.clear();
        for &v in self.kept.iter().filter(|&&v| v != class && self.given[v].is_none()) {
            self.local[v] = Some(self.free.len());
            self.free.push(v);
            self.dims.push(network.variables()[v].states.len());
        }
        self.free.len() <= MAX_FREE
    }

    /// The tables of all kept variables and the likelihoods, as factors.
    fn collect(&mut self, network: &Network, class: &LaneTables, evidence: &EvidenceMap, weights: &mut Weights) {
        self.factors.clear();
        self.strides.clear();
        self.used = 0;
        for i in 0..self.kept.len() {
            let v = self.kept[i];
            let factor = self.table(network, class, v);
            self.add(network, class, factor, weights);
            let likelihood = evidence.get(&v).filter(|_| v != class.class());
            if let (Some(Evidence::Likelihood(likelihood)), Some(local)) = (likelihood, self.local[v]) {
                let (strides, offset) = (self.strides.len(), self.used);
                self.strides.push(1);
                self.arena.truncate(offset);
                self.arena.extend_from_slice(likelihood);
                self.used = self.arena.len();
                self.factors.push(Factor {
                    scope: 1 << local,
                    strides,
                    source: Source::Arena,
                    offset,
                    wide: false,
                    depth: 1,
                });
            }
        }
    }

    /// The table of `v`, cut to what is known.
    fn table(&mut self, network: &Network, class: &LaneTables, v: usize) -> Factor {
        let variables = network.variables();
        let wide = class.table(v).is_some();
        let (source, mut stride) = if wide { (Source::Lanes(v), class.lanes()) } else { (Source::Network(v), 1) };
        let (mut scope, mut offset) = (0u64, 0);
        let mut of = [0; MAX_FREE];
        for &u in [v].iter().chain(variables[v].parents.iter().rev()).filter(|&&u| u != class.class()) {
            match (self.local[u], self.given[u]) {
                (Some(local), _) => {
                    scope |= 1 << local;
                    of[local] = stride;
                }
                (None, given) => offset += given.unwrap_or_default() * stride,
            }
            stride *= variables[u].states.len();
        }
        let strides = self.strides.len();
        self.strides.extend(bits(scope).map(|local| of[local]));
        Factor { scope, strides, source, offset, wide, depth: 1 }
    }

    /// Keeps a factor, or multiplies one without free variables into the weights.
    fn add(&mut self, network: &Network, class: &LaneTables, factor: Factor, weights: &mut Weights) {
        if factor.scope != 0 {
            self.factors.push(factor);
            return;
        }
        let numbers = &numbers(network, class, &self.arena, factor.source)[factor.offset..];
        if factor.wide {
            weights.lanes.iter_mut().zip(numbers).for_each(|(weight, p)| *weight *= p);
        } else {
            weights.lanes.iter_mut().for_each(|weight| *weight *= numbers[0]);
        }
        weights.depth += factor.depth;
        if weights.depth >= DEPTH {
            weights.check();
            weights.log_scale += lift(&mut weights.lanes);
            weights.depth = 0;
        }
    }

    /// A min-fill order, ties to the smaller clique and then to the name; `false` if it takes more than `limit` cells.
    fn find_order(&mut self, lanes: usize, limit: usize) -> bool {
        let n = self.free.len();
        let mut around = [0u64; MAX_FREE];
        for factor in &self.factors {
            bits(factor.scope).for_each(|v| around[v] |= factor.scope);
        }
        let dims = &self.dims;
        let key = |around: &[u64; MAX_FREE], v: usize| {
            let clique = around[v];
            // Pairs that are not linked; each stands twice.
            let fill: u32 = bits(clique).map(|u| (clique & !around[u]).count_ones()).sum();
            (fill, bits(clique).map(|u| dims[u] as f64).product::<f64>())
        };
        let mut keys = [(0u32, 0.0f64); MAX_FREE];
        (0..n).for_each(|v| keys[v] = key(&around, v));
        self.order.clear();
        let mut left = if n == MAX_FREE { u64::MAX } else { (1 << n) - 1 };
        let mut cells = 0.0;
        while left != 0 {
            let rank = |v: usize| self.rank[self.free[v]];
            let better = |a: usize, b: usize| {
                let ((fill_a, size_a), (fill_b, size_b)) = (keys[a], keys[b]);
                fill_a.cmp(&fill_b).then(size_a.total_cmp(&size_b)).then_with(|| rank(a).cmp(&rank(b))).is_lt()
            };
            let best = bits(left).reduce(|best, v| if better(v, best) { v } else { best });
            let Some(v) = best else { break };
            self.order.push(v);
            left &= !(1 << v);
            cells += keys[v].1 * lanes as f64;
            if cells > limit as f64 {
                return false;
            }
            let clique = around[v] & !(1 << v);
            let mut stale = clique;
            for u in bits(clique) {
                around[u] = (around[u] | clique) & !(1 << v);
                stale |= around[u];
            }
            bits(stale).for_each(|u| keys[u] = key(&around, u));
        }
        true
    }

    /// Multiplies the factors that know `v` and sums over its states; `false` if digits may have been lost.
    fn eliminate(&mut self, network: &Network, class: &LaneTables, v: usize, weights: &mut Weights) -> bool {
        let (joined, factors) = (&mut self.joined, &mut self.factors);
        joined.clear();
        factors.retain(|factor| {
            let knows = factor.scope >> v & 1 == 1;
            if knows {
                joined.push(*factor);
            }
            !knows
        });
        if joined.len() > MAX_JOINED {
            return false;
        }
        // Rows of one number first: they are multiplied into one factor of the rows with lanes.
        joined.sort_by_key(|factor| factor.wide);
        let scope = joined.iter().fold(0, |scope, factor| scope | factor.scope) & !(1 << v);
        let narrow = joined.iter().filter(|factor| !factor.wide).count();
        let wide = narrow < joined.len();
        let width = if wide { class.lanes() } else { 1 };
        self.walk.prepare(joined, &self.strides, &self.dims, scope, v);
        let (start, len) = (self.used, self.walk.configurations * width);
        self.used += len;
        if self.arena.len() < self.used {
            self.arena.resize(self.used, 0.0);
        }
        let (known, rest) = self.arena.split_at_mut(start);
        let out = &mut rest[..len];
        let tables: Vec<&[f64]> = joined.iter().map(|f| numbers(network, class, known, f.source)).collect();
        let (states, walk, row) = (self.dims[v], &mut self.walk, &mut self.row);
        // Lanes side by side in the widest registers there are; sums and products are elementwise, so that the bits are
        // the same on every CPU.
        self.arch.dispatch(
            #[inline(always)]
            || combine(out, width, states, &tables, narrow, walk, row),
        );
        let mut depth = joined.iter().map(|factor| factor.depth).sum();
        if depth >= DEPTH {
            if largest(out) < SMALLEST {
                return false;
            }
            weights.log_scale += lift(out);
            depth = 1;
        }
        let strides = self.strides.len();
        let mut stride = width * self.walk.configurations;
        for u in bits(scope) {
            stride /= self.dims[u];
            self.strides.push(stride);
        }
        let factor = Factor { scope, strides, source: Source::Arena, offset: start, wide, depth };
        self.add(network, class, factor, weights);
        true
    }
}

/// For each configuration of the walk, the sum over the states of one variable of the product of all tables. The first
/// `narrow` of them have one number a row.
#[inline(always)]
fn combine(
    out: &mut [f64],
    width: usize,
    states: usize,
    tables: &[&[f64]],
    narrow: usize,
    walk: &mut Walk,
    row: &mut Vec<f64>,
) {
    for cells in out.chunks_exact_mut(width) {
        for state in 0..states {
            let at = |f: usize| walk.at[f] + state * walk.inner[f];
            let factor = (0..narrow).fold(1.0, |product, f| product * tables[f][at(f)]);
            let lanes = |f: usize| &tables[f][at(f)..][..width];
            match tables.len() - narrow {
                0 if state == 0 => cells[0] = factor,
                0 => cells[0] += factor,
                1 if state == 0 => set_scaled(cells, factor, lanes(narrow)),
                1 => add_scaled(cells, factor, lanes(narrow)),
                2 if state == 0 => set_product(cells, factor, lanes(narrow), lanes(narrow + 1)),
                2 => add_product(cells, factor, lanes(narrow), lanes(narrow + 1)),
                _ => {
                    row.clear();
                    row.extend_from_slice(lanes(narrow));
                    for f in narrow + 1..tables.len() - 1 {
                        row.iter_mut().zip(lanes(f)).for_each(|(p, q)| *p *= q);
                    }
                    let last = lanes(tables.len() - 1);
                    if state == 0 {
                        set_product(cells, factor, row, last);
                    } else {
                        add_product(cells, factor, row, last);
                    }
                }
            }
        }
        walk.next();
    }
}

#[inline(always)]
fn set_scaled(out: &mut [f64], factor: f64, a: &[f64]) {
    out.iter_mut().zip(a).for_each(|(out, a)| *out = factor * a);
}

#[inline(always)]
fn add_scaled(out: &mut [f64], factor: f64, a: &[f64]) {
    out.iter_mut().zip(a).for_each(|(out, a)| *out += factor * a);
}

#[inline(always)]
fn set_product(out: &mut [f64], factor: f64, a: &[f64], b: &[f64]) {
    out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = factor * a * b);
}

#[inline(always)]
fn add_product(out: &mut [f64], factor: f64, a: &[f64], b: &[f64]) {
    out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out += factor * a * b);
}

fn numbers<'a>(network: &'a Network, class: &'a LaneTables, arena: &'a [f64], source: Source) -> &'a [f64] {
    match source {
        Source::Network(v) => &network.variables()[v].table,
        Source::Lanes(v) => class.table(v).unwrap_or_default(),
        Source::Arena => arena,
    }
}

/// The numbers of the bits that are set, ascending.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let next = (set != 0).then(|| set.trailing_zeros() as usize);
        set &= set.wrapping_sub(1);
        next
    })
}

/// Goes through all configurations of a scope, the last variable fastest, and knows where each factor stands.
#[derive(Default)]
struct Walk {
    configurations: usize,
    dims: Vec<usize>,
    index: Vec<usize>,
    /// Place of each factor.
    at: Vec<usize>,
    /// Stride of the variable that is summed out, per factor.
    inner: Vec<usize>,
    /// `[variables of the scope, factors]`.
    steps: Vec<usize>,
}

impl Walk {
    fn prepare(&mut self, factors: &[Factor], strides: &[usize], dims: &[usize], scope: u64, v: usize) {
        let stride = |factor: &Factor, u: usize| {
            let place = (factor.scope & ((1 << u) - 1)).count_ones() as usize;
            if factor.scope >> u & 1 == 1 { strides[factor.strides + place] } else { 0 }
        };
        self.dims.clear();
        self.steps.clear();
        for u in bits(scope) {
            self.dims.push(dims[u]);
            self.steps.extend(factors.iter().map(|factor| stride(factor, u)));
        }
        self.configurations = self.dims.iter().product();
        self.index.clear();
        self.index.resize(self.dims.len(), 0);
        self.at.clear();
        self.at.extend(factors.iter().map(|factor| factor.offset));
        self.inner.clear();
        self.inner.extend(factors.iter().map(|factor| stride(factor, v)));
    }

    fn next(&mut self) {
        let factors = self.at.len();
        for d in (0..self.dims.len()).rev() {
            let steps = &self.steps[d * factors..][..factors];
            self.index[d] += 1;
            if self.index[d] < self.dims[d] {
                self.at.iter_mut().zip(steps).for_each(|(at, step)| *at += step);
                return;
            }
            let back = self.dims[d] - 1;
            self.index[d] = 0;
            self.at.iter_mut().zip(steps).for_each(|(at, step)| *at -= back * step);
        }
    }
}
