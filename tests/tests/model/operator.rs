//! An operator who does whatever comes to mind, and an installation to do it to.

use crate::commands::{Ask, class, short};
use crate::world::{Faults, Happening, World};
use keywheel_domain::command::Which;
use keywheel_domain::policy::{Change, Class, OnOverlapMax, PolicyChange};
use keywheel_domain::{Address, KeyState, KeyringId, Span, Tenant, Version};

const OPERATE_EVERY: u64 = 9000;

impl World {
    pub fn tenant() -> Address {
        Address::Tenant(Tenant::parse("t").unwrap())
    }

    /// An edge that is on the roster and runs.
    pub fn join(&mut self, name: &str) -> usize {
        let n = self.build_edge(name);
        let id = self.edges[n].id.clone();
        self.order(Address::Installation, Ask::AddEdge(id));
        self.start_edge(n);
        n
    }

    /// Two replicas of each service, three edges, three keyrings, four clients, and all that may happen.
    pub fn stormy(seed: u64) -> Self {
        let mut world = World::new(seed, 2);
        let faults = Faults {
            lost: world.rng.within(0, 60),
            doubled: world.rng.within(0, 150),
            late: world.rng.within(0, 80),
            strikes: true,
        };
        world.order(World::tenant(), Ask::Policy(short()));
        world.run(3000);
        for name in ["e1", "e2", "e3"] {
            world.join(name);
        }
        for keyring in ["t/a", "t/b", "t/c", "t/c"] {
            let client = world.add_client(keyring);
            let id = world.clients[client].keyring.clone();
            world.order_key(&id, Ask::Issue { client, expires_in: None });
        }
        let strict = world.clients[1].keyring.clone();
        world.order_key(&strict, Ask::Policy(class(Class::Strict)));
        world.run(10_000);
        world.faults = faults;
        world.after(1, Happening::Strike);
        world.after(1, Happening::Operate);
        world
    }

    pub fn operate(&mut self) {
        if !self.faults.strikes {
            return;
        }
        let client = self.rng.index(self.clients.len());
        let keyring = self.clients[client].keyring.clone();
        self.count("operations");
        match self.rng.within(0, 100) {
            0..45 => self.rotate_or_issue(client),
            45..55 => self.roll_back(&keyring),
            55..62 => {
                if let Some(version) = self.any_version(&keyring) {
                    self.order_key(&keyring, Ask::Retire(version));
                }
            }
            62..67 => {
                if let Some(version) = self.any_version(&keyring) {
                    let all = self.rng.chance(300);
                    let which = if all { Which::All } else { Which::One(version) };
                    self.order_key(&keyring, Ask::Revoke(which));
                }
            }
            67..75 => self.change_class(&keyring),
            75..85 => self.change_roster(),
            _ => {
                self.clients[client].is_idle = self.rng.chance(400);
                self.clients[client].fetches = self.rng.chance(700);
                self.after(1, Happening::Fetch(client));
            }
        }
        let wait = self.rng.within(1, 2 * OPERATE_EVERY);
        self.after(wait, Happening::Operate);
    }

    fn rotate_or_issue(&mut self, client: usize) {
        let keyring = self.clients[client].keyring.clone();
        let Some(own) = self.own_active(client) else {
            let expires_in = self.rng.chance(200).then(|| Span(self.rng.within(60_000, 300_000)));
            self.order_key(&keyring, Ask::Issue { client, expires_in });
            return;
        };
        let holders = self.clients.iter().filter(|other| other.keyring == keyring).count();
        let supersedes = if holders > 1 { vec![own] } else { Vec::new() };
        let mut change = PolicyChange::default();
        if self.rng.chance(100) {
            change.on_overlap_max = Change::Set(OnOverlapMax::Retire);
        }
        self.order_key(
            &keyring,
            Ask::Rotate { client, supersedes: supersedes.clone(), change: change.clone() },
        );
        if self.rng.chance(200) {
            // And once more while that is pending.
            self.order_key(&keyring, Ask::Rotate { client, supersedes, change });
        }
    }

    /// The newest key of a client's own that is active.
    fn own_active(&self, client: usize) -> Option<Version> {
        let Self { clients, log, .. } = self;
        let client = &clients[client];
        let state = log.now(&Address::Keyring(client.keyring.clone()));
        let own = state.keys.iter().filter(|(_, key)| client.made_for.contains(&key.kid));
        own.filter(|(_, key)| key.state == KeyState::Active).map(|(version, _)| *version).next_back()
    }

    fn roll_back(&mut self, keyring: &KeyringId) {
        let address = Address::Keyring(keyring.clone());
        let head = self.log.head();
        let to_seq = self.rng.within(head.saturating_sub(25), head);
        let to_seq = self.log.last_of(&address, to_seq);
        let revoke_new = self.rng.chance(150);
        self.order_key(keyring, Ask::Rollback { to_seq, revoke_new });
    }

    fn any_version(&mut self, keyring: &KeyringId) -> Option<Version> {
        let state = self.log.now(&Address::Keyring(keyring.clone()));
        let versions: Vec<Version> = state.keys.keys().copied().collect();
        (!versions.is_empty()).then(|| versions[self.rng.index(versions.len())])
    }

    fn change_class(&mut self, keyring: &KeyringId) {
        let to = if self.rng.chance(500) { Class::Strict } else { Class::Available };
        if self.rng.chance(700) {
            self.order_key(keyring, Ask::Policy(class(to)));
        } else {
            self.order(World::tenant(), Ask::Policy(class(to)));
        }
    }

    /// A removed edge's credential is withdrawn first.
    fn change_roster(&mut self) {
        let n = self.rng.index(self.edges.len());
        let id = self.edges[n].id.clone();
        let is_on = self.log.now(&Address::Installation).edges.contains_key(&id);
        if is_on {
            self.edges[n].is_banned = true;
            self.order(Address::Installation, Ask::RemoveEdge(id));
        } else {
            self.edges[n].is_banned = false;
            self.order(Address::Installation, Ask::AddEdge(id));
        }
    }
}
