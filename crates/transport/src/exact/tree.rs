//! A spanning tree of sources, targets and one root, with the flow on its arcs.
//!
//! In: pivots. Out: flows and potentials. It does not know: which arcs are worth entering.
//!
//! An arc belongs to its lower node. `up`: it runs from the node to its parent. Arcs to the root are artificial: free from a
//! source, dear to a target, so that optimal flows leave them.

/// No node.
pub(super) const NONE: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) sources: usize,
    pub(super) root: usize,
    pub(super) parent: Vec<usize>,
    pub(super) flow: Vec<i64>,
    pub(super) up: Vec<bool>,
    pub(super) potential: Vec<f64>,
    depth: Vec<u32>,
    first_child: Vec<usize>,
    next: Vec<usize>,
    previous: Vec<usize>,
}

/// An arc that enters the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entering {
    pub(super) source: usize,
    /// A node's number: after those of the sources.
    pub(super) target: usize,
    /// Its reduced cost, below 0.
    pub(super) reduced: f64,
}

impl Tree {
    /// Every node hangs on the root: sources send all they have there, targets take all they need from there.
    pub(super) fn new(supply: &[i64], demand: &[i64], dear: f64) -> Tree {
        let (sources, nodes) = (supply.len(), supply.len() + demand.len());
        let mut tree = Tree {
            sources,
            root: nodes,
            parent: vec![NONE; nodes + 1],
            flow: supply.iter().chain(demand).copied().chain([0]).collect(),
            up: (0..=nodes).map(|v| v < sources).collect(),
            potential: vec![0.0; nodes + 1],
            depth: vec![0; nodes + 1],
            first_child: vec![NONE; nodes + 1],
            next: vec![NONE; nodes + 1],
            previous: vec![NONE; nodes + 1],
        };
        for v in 0..nodes {
            tree.attach(v, nodes);
            tree.depth[v] = 1;
            tree.potential[v] = if v < sources { 0.0 } else { dear };
        }
        tree
    }

    fn attach(&mut self, v: usize, parent: usize) {
        let next = self.first_child[parent];
        self.parent[v] = parent;
        self.previous[v] = NONE;
        self.next[v] = next;
        if next != NONE {
            self.previous[next] = v;
        }
        self.first_child[parent] = v;
    }

    fn detach(&mut self, v: usize) {
        let (previous, next) = (self.previous[v], self.next[v]);
        if previous == NONE {
            self.first_child[self.parent[v]] = next;
        } else {
            self.next[previous] = next;
        }
        if next != NONE {
            self.previous[next] = previous;
        }
    }

    /// Sends as much as possible around the cycle that the arc closes, and lets it take the place of an arc that has
    /// nothing left.
    pub(super) fn pivot(&mut self, arc: Entering) {
        let Entering { source, target, .. } = arc;
        let join = self.join(source, target);
        // On the source's side the cycle runs down, on the target's side up. Of arcs that empty together the last
        // one along the cycle leaves: the tree stays strongly feasible and no pivot cycles (Cunningham, 1976).
        let (mut most, mut leaving, mut below_source) = (i64::MAX, NONE, true);
        let mut v = source;
        while v != join {
            if self.up[v] && self.flow[v] < most {
                (most, leaving) = (self.flow[v], v);
            }
            v = self.parent[v];
        }
        let mut v = target;
        while v != join {
            if !self.up[v] && self.flow[v] <= most {
                (most, leaving, below_source) = (self.flow[v], v, false);
            }
            v = self.parent[v];
        }
        self.send(source, join, most, false);
        self.send(target, join, most, true);
        let (inner, outer) = if below_source {
            (source, target)
        } else {
            (target, source)
        };
        self.turn(inner, outer, leaving, most, below_source);
        let shift = if below_source {
            -arc.reduced
        } else {
            arc.reduced
        };
        self.shift(inner, shift);
    }

    fn join(&self, mut u: usize, mut v: usize) -> usize {
        while u != v {
            if self.depth[u] >= self.depth[v] {
                u = self.parent[u];
            } else {
                v = self.parent[v];
            }
        }
        u
    }

    fn send(&mut self, from: usize, join: usize, amount: i64, upwards: bool) {
        let mut v = from;
        while v != join {
            let along = self.up[v] == upwards;
            self.flow[v] += if along { amount } else { -amount };
            v = self.parent[v];
        }
    }

    /// Hangs the part below `leaving` on the arc from `inner`, a node of it, to `outer`.
    fn turn(&mut self, inner: usize, outer: usize, leaving: usize, amount: i64, up: bool) {
        let (mut v, mut parent, mut flow, mut up) = (inner, outer, amount, up);
        loop {
            let (old_parent, old_flow, old_up) = (self.parent[v], self.flow[v], self.up[v]);
            self.detach(v);
            self.attach(v, parent);
            (self.flow[v], self.up[v]) = (flow, up);
            if v == leaving {
                return;
            }
            (parent, flow, up) = (v, old_flow, !old_up);
            v = old_parent;
        }
    }

    /// Adds to the potentials of `top` and all below it, and sets their depths.
    fn shift(&mut self, top: usize, by: f64) {
        let mut v = top;
        loop {
            self.potential[v] += by;
            self.depth[v] = self.depth[self.parent[v]] + 1;
            v = match self.after(v, top) {
                Some(v) => v,
                None => return,
            };
        }
    }

    /// The node after `v` in a walk of all below `top`, parents before children.
    fn after(&self, mut v: usize, top: usize) -> Option<usize> {
        if self.first_child[v] != NONE {
            return Some(self.first_child[v]);
        }
        while v != top {
            if self.next[v] != NONE {
                return Some(self.next[v]);
            }
            v = self.parent[v];
        }
        None
    }

    /// All potentials anew, so that rounding of many shifts is gone. `cost` is that of a real arc.
    pub(super) fn price(&mut self, dear: f64, cost: impl Fn(usize, usize) -> f64) {
        self.potential[self.root] = 0.0;
        let mut v = self.root;
        while let Some(below) = self.after(v, self.root) {
            v = below;
            let parent = self.parent[v];
            let artificial = if v < self.sources { 0.0 } else { dear };
            let price = match (parent == self.root, self.up[v]) {
                (true, _) => artificial,
                (false, true) => cost(v, parent),
                (false, false) => cost(parent, v),
            };
            let sign = if self.up[v] { -1.0 } else { 1.0 };
            self.potential[v] = self.potential[parent] + sign * price;
        }
    }
}
