//! This broker as a member of its shard: its replica's decisions, its links to the others, and what it tells of itself.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rq_core::config::{self, Config};
use rq_core::failover::MasterWatch;
use rq_core::ids::{Lsn, Session, StoreId};
use rq_core::replication::timers::Timers;
use rq_core::replication::{Durable, Halt, Input, Link, Phase, Replica};
use rq_log::{LogReader, Snapshot, StdDisk};

use super::cluster::{
    Cluster, ConfigRequest, Following, Outlets, Peer, Progress, ReplicaView, Role, Rules, SlaveView, ToPeer,
};
use super::recover::{Place, Recovered, epochs};

/// How often time passes for a member of a cluster.
const TICK: Duration = Duration::from_millis(25);
/// What the room of a disk is told in, in bytes.
const ROOM_UNIT: u64 = 1 << 20;
/// How often at least the figures of a view are told anew.
const VIEW_EVERY: Duration = Duration::from_millis(100);

/// The reader of the present log; none while that is opened anew.
pub(super) type CurrentReader = Arc<RwLock<Option<LogReader<StdDisk>>>>;

/// The member.
pub(super) struct Member {
    pub(super) replica: Replica,
    pub(super) session: Session,
    pub(super) place: Place,
    pub(super) reader: CurrentReader,
    /// None for a broker that is alone.
    pub(super) cluster: Option<Cluster>,
    pub(super) outlets: Outlets,
    /// Open links, each with the store at its other end.
    pub(super) links: BTreeMap<Link, (StoreId, Peer)>,
    /// The log is to be opened anew, before anything else.
    pub(super) reopening: Option<Reopening>,
    pub(super) halted: Option<Halt>,
    /// What the disks of slaves have left, as they said last.
    rooms: BTreeMap<StoreId, u64>,
    /// What the master was told of this disk.
    told_room: Option<(Link, u64)>,
    timers: Timers,
    rules: Rules,
    began: Instant,
    last_tick: Instant,
    last_view: Instant,
    orders: u64,
    /// What this slave hears of its master.
    watch: MasterWatch,
}

/// Why the log is opened anew.
#[derive(Clone, Debug)]
pub(super) enum Reopening {
    /// The master's log does not have what lies above.
    CutOff(Lsn),
    /// A mastership ended: what the shard holds and the log may not must be forgotten.
    SteppedDown,
    /// The state of this replica is wrong, and by this configuration nobody counts on it any more: it copies the master
    /// whatever it has.
    CopyAnew(Config),
    /// The master's log starts after the end of this one: it is replaced by the beginning of a copy.
    Install(Snapshot),
}

/// What a replica starts from.
pub(super) fn replica(recovered: &Recovered, session: Session) -> Replica {
    Replica::new(recovered.log.identity().store_id, session, found(recovered))
}

/// What a log that was opened says.
pub(super) fn found(recovered: &Recovered) -> Durable {
    let Recovered { log, state, commit } = recovered;
    Durable {
        promised: log.promised_epoch(),
        history: epochs(state),
        start: log.start(),
        end: log.end(),
        flushed: log.durable(),
        commit: *commit,
        flush_mode: state.flush_policy().mode,
    }
}

impl Member {
    pub(super) fn new(
        replica: Replica,
        session: Session,
        place: Place,
        cluster: Option<Cluster>,
        outlets: Outlets,
    ) -> Self {
        let now = Instant::now();
        let rules = cluster.as_ref().map(|cluster| cluster.rules).unwrap_or_default();
        let member = Self {
            replica: replica.with_rejoin_lag(rules.rejoin_lag_bytes),
            session,
            place,
            reader: CurrentReader::default(),
            cluster,
            outlets,
            links: BTreeMap::new(),
            reopening: None,
            halted: None,
            rooms: BTreeMap::new(),
            told_room: None,
            timers: Timers::new(rules.ack_timeout_ms),
            rules,
            began: now,
            last_tick: now,
            last_view: now,
            orders: 0,
            watch: MasterWatch::default(),
        };
        // Asked before anything has happened, a store that was used must not seem to be new.
        member.outlets.view.send_replace(member.view(Role::Idle, 0));
        member
    }

    /// The configuration of a broker that is alone: nobody else can ever be master, so nobody keeps it.
    pub(super) fn alone(&self) -> Config {
        let epoch = self.replica.promised().max(self.replica.history().last_epoch()).next();
        let store = self.replica.store();
        let members = BTreeMap::from([(store, config::Member::default())]);
        Config { epoch, ..Config::form(store, self.session, members, 1) }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    pub(super) fn until_tick(&self) -> Option<Duration> {
        self.cluster.as_ref().map(|_| TICK.saturating_sub(self.last_tick.elapsed()))
    }

    /// What time has brought.
    pub(super) fn tick(&mut self) -> Vec<Input> {
        if self.cluster.is_none() || self.last_tick.elapsed() < TICK {
            return Vec::new();
        }
        self.last_tick = Instant::now();
        let mut inputs = self.timers.tick(self.now(), &self.replica);
        inputs.extend(self.considers_taking_over());
        inputs
    }

    /// A slave that has lost its master may take over.
    fn considers_taking_over(&self) -> Option<Input> {
        if !self.rules.self_promotion {
            return None;
        }
        let config = self.replica.config()?;
        let keep = self.watch.takes_over(&self.replica, config, self.halted.is_some(), self.now())?;
        Some(Input::TakeOver { keep })
    }

    /// Something came over a link.
    pub(super) fn heard(&mut self, link: Link) {
        let Some((store, _)) = self.links.get(&link) else { return };
        let now = self.now();
        self.timers.heard(*store, now);
        if self.replica.following() == Some(*store) {
            self.watch.hears(now);
        }
    }

    /// A slave said what its disk has left.
    pub(super) fn slave_has_room(&mut self, link: Link, free_bytes: u64) {
        if let Some((store, _)) = self.links.get(&link) {
            self.rooms.insert(*store, free_bytes);
        }
    }

    /// What the fullest disk of those that count has left, when the master's own has `free_bytes`: while one is full,
    /// producers wait, and the in-sync set stays.
    pub(super) fn room(&self, free_bytes: u64) -> u64 {
        self.replica.counted().filter_map(|store| self.rooms.get(&store).copied()).fold(free_bytes, u64::min)
    }

    /// Tells the master what this slave's disk has left, if that is news.
    pub(super) fn tell_room(&mut self, free_bytes: u64) {
        // In whole units, or it would be news all the time.
        let free_bytes = free_bytes - free_bytes % ROOM_UNIT;
        let Some(link) = self.replica.following().and_then(|_| self.links.keys().next().copied()) else {
            return;
        };
        if self.told_room.replace((link, free_bytes)) != Some((link, free_bytes)) {
            self.send(link, ToPeer::Room(free_bytes));
        }
    }

    /// The slave that leaves, if this is the link it has.
    pub(super) fn leaves(&mut self, link: Link) -> Option<StoreId> {
        let (slave, _) = self.replica.peers().find(|(_, peer)| peer.link == Some(link))?;
        self.timers.leaves(slave, self.now());
        Some(slave)
    }

    /// Nobody listens where the master should be.
    pub(super) fn refused(&mut self, master: StoreId) {
        if self.replica.following() == Some(master) {
            self.watch.is_refused(self.now());
        }
    }

    pub(super) fn ask_config(&self, request: ConfigRequest) {
        if let Some(cluster) = &self.cluster {
            // Its thread ends with the process.
            let _ = cluster.config.send(request);
        }
    }

    pub(super) fn send(&self, link: Link, what: ToPeer) {
        if let Some((_, peer)) = self.links.get(&link) {
            // A link that broke is said to be disconnected.
            let _ = peer.send(what);
        }
    }

    /// Orders the follower to connect to the master.
    pub(super) fn follow(&mut self, master: StoreId) {
        self.watch.listens(self.now());
        self.links.clear();
        self.orders += 1;
        let address = self.replica.config().and_then(|config| config.members.get(&master));
        let Some(address) = address.map(|member| member.address.clone()) else { return };
        let following = Following { order: self.orders, master, address, hello: self.replica.hello() };
        self.outlets.following.send_replace(Some(following));
    }

    /// Follows the master to another address, should it have moved there without a new epoch.
    pub(super) fn follow_moved_master(&mut self) {
        let (Some(master), Some(config)) = (self.replica.following(), self.replica.config()) else { return };
        let address = config.members.get(&master).map(|member| &member.address);
        let ordered = self.outlets.following.borrow().as_ref().map(|following| following.address.clone());
        if address.is_some() && address != ordered.as_ref() {
            self.follow(master);
        }
    }

    /// Orders the follower to fetch the snapshot of the master that it is linked to.
    pub(super) fn fetch_snapshot(&self) {
        let Some(master) = self.replica.following() else { return };
        if let Some((link, _)) = self.links.iter().find(|(_, (store, _))| *store == master) {
            self.send(*link, ToPeer::Install);
        }
    }

    /// The snapshot is here. It replaces the log, unless the replica wants something else by now.
    pub(super) fn begin_copy(&mut self, link: Link, snapshot: Snapshot) {
        if self.links.contains_key(&link) && self.replica.phase() == Some(Phase::Installing) {
            self.reopening = Some(Reopening::Install(snapshot));
        }
    }

    /// Begins a mastership: nobody is followed.
    pub(super) fn lead(&mut self) {
        self.links.clear();
        self.watch = MasterWatch::default();
        self.outlets.following.send_replace(None);
    }

    /// Begins again after a mastership, with what the log says.
    pub(super) fn begin_again(&mut self, recovered: &Recovered) {
        self.stop_leading();
        self.replica = replica(recovered, self.session).with_rejoin_lag(self.rules.rejoin_lag_bytes);
    }

    /// Lets go of the slaves. Before the log changes, so that nothing of another epoch goes out to them.
    pub(super) fn stop_leading(&mut self) {
        self.links.clear();
        self.timers = Timers::new(self.rules.ack_timeout_ms);
    }

    /// Whether this replica halted because its state is wrong, and is out of the in-sync set by now.
    pub(super) fn may_copy_anew(&self, config: &Config) -> bool {
        let store = self.replica.store();
        let is_newer = self.replica.config().is_none_or(|seen| seen.version < config.version);
        let is_out = !config.in_sync.contains_key(&store) && config.master != store;
        matches!(self.halted, Some(Halt::StateDiffers { .. })) && is_newer && is_out
    }

    /// Begins again with what the log says, for no longer than until it can be replaced by the master's.
    pub(super) fn copy_anew(&mut self, recovered: &Recovered) {
        self.begin_again(recovered);
        self.halted = None;
        let store = recovered.log.identity().store_id;
        self.replica = Replica::that_copies_anew(store, self.session, found(recovered))
            .with_rejoin_lag(self.rules.rejoin_lag_bytes);
    }

    /// Lets readers of the log go on with this one; none: with none for now.
    pub(super) fn publish_reader(&self, reader: Option<LogReader<StdDisk>>) {
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = reader;
    }

    /// Tells the shippers how far the log is, and with it wakes them if there is more to ship.
    pub(super) fn tell_progress(&self) {
        if self.cluster.is_none() {
            return;
        }
        let now = Progress { end: self.replica.end(), commit: self.replica.commit() };
        self.outlets.progress.send_if_modified(|progress| {
            let more = progress.end != now.end;
            *progress = now;
            more
        });
    }

    /// Tells what this replica is: at once if that changed, else now and then.
    pub(super) fn tell_view(&mut self, flush_interval_ms: u32) {
        let role = self.role();
        let version = self.replica.config().map(|config| config.version);
        let overdue = self.cluster.is_some() && self.last_view.elapsed() >= VIEW_EVERY;
        let changed = {
            let told = self.outlets.view.borrow();
            (told.role, told.config.as_ref().map(|config| config.version)) != (role, version)
        };
        if !(changed || overdue) {
            return;
        }
        self.last_view = Instant::now();
        let view = self.view(role, flush_interval_ms);
        self.outlets.view.send_if_modified(|told| {
            *told = view;
            changed
        });
    }

    fn view(&self, role: Role, flush_interval_ms: u32) -> ReplicaView {
        let slave = |(store, peer): (StoreId, &rq_core::replication::Peer)| {
            let view = SlaveView { phase: peer.phase, received: peer.received, durable: peer.durable };
            (store, view)
        };
        ReplicaView {
            store: Some(self.replica.store()),
            role,
            config: self.replica.config().cloned(),
            promised: self.replica.promised(),
            log_epoch: self.replica.history().last_epoch(),
            end: self.replica.end(),
            master_silent_ms: self.watch.silent_since().map(|heard| self.now().saturating_sub(heard)),
            slaves: self.replica.peers().map(slave).collect(),
            flush_mode: self.replica.flush_mode(),
            flush_interval_ms,
            halted: self.halted,
        }
    }

    fn role(&self) -> Role {
        match (self.replica.leading(), self.replica.phase()) {
            (Some(epoch), _) => Role::Master { epoch, serves: self.replica.serving() == Some(epoch) },
            (None, Some(phase)) => Role::Slave(phase),
            (None, None) => Role::Idle,
        }
    }
}
