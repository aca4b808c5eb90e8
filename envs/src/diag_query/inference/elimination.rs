//! Elimination orders and the cliques they lead to.

/// An undirected graph over the variables of a tree, as rows of bits.
pub struct Graph {
    words: usize,
    rows: Vec<u64>,
}

impl Graph {
    pub fn new(n: usize) -> Self {
        let words = n.div_ceil(64);
        Self { words, rows: vec![0; n * words] }
    }

    fn row(&self, v: usize) -> &[u64] {
        &self.rows[v * self.words..][..self.words]
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        if a != b {
            self.rows[a * self.words + b / 64] |= 1 << (b % 64);
            self.rows[b * self.words + a / 64] |= 1 << (a % 64);
        }
    }

    fn neighbours(&self, v: usize) -> Vec<usize> {
        let mut found = Vec::new();
        for (w, &word) in self.row(v).iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                found.push(w * 64 + rest.trailing_zeros() as usize);
                rest &= rest - 1;
            }
        }
        found
    }

    fn remove(&mut self, v: usize) {
        for n in self.neighbours(v) {
            self.rows[n * self.words + v / 64] &= !(1 << (v % 64));
        }
        self.rows[v * self.words..][..self.words].fill(0);
    }

    /// Arcs that the elimination of `v` would add.
    fn fill(&self, v: usize) -> usize {
        let around = self.neighbours(v);
        let pairs = around.len() * around.len().saturating_sub(1);
        let common = |n: usize| self.row(n).iter().zip(self.row(v)).map(|(a, b)| (a & b).count_ones() as usize);
        let present: usize = around.iter().map(|&n| common(n).sum::<usize>()).sum();
        (pairs - present) / 2
    }
}

/// A maximal clique and the clique it hangs from.
pub struct Clique {
    /// Ascending.
    pub variables: Vec<usize>,
    /// `None` at the root of a component.
    pub parent: Option<usize>,
}

/// Cliques of the triangulation by greedy min-fill; ties go to the smaller clique (in cells), then to the lower
/// `rank`. The graph is used up.
pub fn cliques(mut graph: Graph, states: &[usize], rank: &[usize]) -> Vec<Clique> {
    let n = states.len();
    let cells = |graph: &Graph, v: usize| -> f64 {
        graph.neighbours(v).iter().map(|&u| states[u] as f64).product::<f64>() * states[v] as f64
    };
    let mut keys: Vec<Option<(usize, f64, usize)>> =
        (0..n).map(|v| Some((graph.fill(v), cells(&graph, v), rank[v]))).collect();
    let mut place = vec![n; n];
    let mut eliminated = Vec::with_capacity(n);
    for step in 0..n {
        let open = (0..n).filter_map(|v| keys[v].map(|key| (key, v)));
        let best = open.min_by(|(a, _), (b, _)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        let Some((_, v)) = best else { break };
        let around = graph.neighbours(v);
        for (i, &a) in around.iter().enumerate() {
            for &b in &around[i + 1..] {
                graph.connect(a, b);
            }
        }
        graph.remove(v);
        keys[v] = None;
        place[v] = step;
        // The fill of a variable depends on its neighbours and on the links among them.
        let mut stale: Vec<usize> = around.iter().flat_map(|&a| graph.neighbours(a)).chain(around.clone()).collect();
        stale.sort_unstable();
        stale.dedup();
        for u in stale {
            keys[u] = Some((graph.fill(u), cells(&graph, u), rank[u]));
        }
        let mut clique = around;
        clique.push(v);
        clique.sort_unstable();
        eliminated.push((v, clique));
    }
    join(eliminated, &place)
}

/// Links each clique to that of its first eliminated neighbour, and drops cliques that lie within another.
fn join(eliminated: Vec<(usize, Vec<usize>)>, place: &[usize]) -> Vec<Clique> {
    let n = eliminated.len();
    let parent: Vec<Option<usize>> =
        eliminated.iter().map(|(v, clique)| clique.iter().filter(|&u| u != v).map(|&u| place[u]).min()).collect();
    // `keeper[i]` is the clique that contains clique i; a clique is contained in one eliminated before it.
    let mut keeper: Vec<usize> = (0..n).collect();
    for i in 0..n {
        if let Some(p) = parent[i]
            && keeper[p] == p
            && eliminated[p].1.len() + 1 == eliminated[i].1.len()
        {
            keeper[p] = keeper[i];
        }
    }
    let mut number = vec![0; n];
    let mut kept = 0;
    for i in 0..n {
        if keeper[i] == i {
            number[i] = kept;
            kept += 1;
        }
    }
    // The tree edge of a kept clique is that of the last clique in the chain it swallowed.
    let mut up = vec![None; n];
    for i in 0..n {
        if let Some(p) = parent[i]
            && keeper[p] != keeper[i]
        {
            up[keeper[i]] = Some(number[keeper[p]]);
        }
    }
    let cliques = eliminated.into_iter().enumerate().filter(|(i, _)| keeper[*i] == *i);
    cliques.map(|(i, (_, variables))| Clique { variables, parent: up[i] }).collect()
}
