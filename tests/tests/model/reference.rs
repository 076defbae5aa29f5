//! What an edge's freshness may be at most: a second account of the lease, in true time, which knows
//! nothing of how the edge keeps its own.

/// The handshakes of one process, and what the process before it left.
#[derive(Clone, Debug)]
pub struct Reference {
    inherited: Option<u64>,
    /// When each began, and the head that it read.
    handshakes: Vec<(u64, u64)>,
    visible: u64,
    own: Option<u64>,
}

impl Reference {
    pub fn new(inherited: Option<u64>) -> Self {
        Self { inherited, handshakes: Vec::new(), visible: 0, own: None }
    }

    pub fn proved(&mut self, began: u64, head: u64) {
        self.handshakes.push((began, head));
        self.settle();
    }

    pub fn advanced(&mut self, visible: u64) {
        self.visible = self.visible.max(visible);
        self.settle();
    }

    fn settle(&mut self) {
        let visible = self.visible;
        let reached = self.handshakes.iter().filter(|(_, head)| *head <= visible).map(|(began, _)| *began);
        self.own = reached.max().max(self.own);
        self.handshakes.retain(|(_, head)| *head > visible);
    }

    /// Since when this process can have been fresh by itself.
    pub fn own(&self) -> Option<u64> {
        self.own
    }

    /// The latest true time at which the rows were known to be fresh.
    pub fn fresh_at(&self) -> Option<u64> {
        self.own.max(self.inherited)
    }
}
