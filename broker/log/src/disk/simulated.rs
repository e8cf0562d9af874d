//! A disk in memory that fails as real ones do: it loses, tears and reorders what was not flushed, fills up, flips
//! bits, fails a flush and then forgets what it should have written.
//!
//! Everything follows from the seed and the order of the calls. Sectors are the unit of tearing: one is old or new (any
//! of the versions since its last flush), never mixed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Disk, DiskFile, DiskSpace, FileSystem, OpenMode};

/// Bytes that are written whole or not at all.
pub const SECTOR: usize = 512;

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
}

/// A file on a simulated disk.
pub struct SimulatedFile {
    world: Arc<Mutex<World>>,
    inode: u64,
    generation: u64,
    writable: bool,
}

/// A lock on a simulated disk.
pub struct SimulatedLock {
    world: Arc<Mutex<World>>,
    path: PathBuf,
    generation: u64,
}

#[derive(Default)]
struct Inode {
    name: PathBuf,
    /// What reads show: the page cache.
    visible: Vec<u8>,
    /// What surely survives.
    durable: Vec<u8>,
    /// Versions of each sector since its last flush, oldest first.
    pending: BTreeMap<usize, Vec<[u8; SECTOR]>>,
}

enum NameChange {
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

struct World {
    random: StdRng,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    name_changes: Vec<NameChange>,
    locked: BTreeSet<PathBuf>,
    /// Goes up when the process or the machine dies: older handles are dead.
    generation: u64,
    capacity: u64,
    read_only: bool,
    /// Calls that change something, so far.
    operations: u64,
    power_cut_at: Option<u64>,
    failing_sync: Option<String>,
    failing_write: Option<String>,
}

impl SimulatedDisk {
    /// An empty disk whose accidents follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let world = World {
            random: StdRng::seed_from_u64(seed),
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            locked: BTreeSet::new(),
            generation: 0,
            capacity: u64::MAX,
            read_only: false,
            operations: 0,
            power_cut_at: None,
            failing_sync: None,
            failing_write: None,
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process dies: its handles and locks are gone, the page cache stays.
    pub fn kill(&self) {
        let mut world = self.world();
        world.generation += 1;
        world.locked.clear();
        world.power_cut_at = None;
    }

    /// The machine loses power: of what was not flushed, any part may be there or not.
    pub fn cut_power(&self) {
        self.kill();
        self.world().lose_unflushed();
    }

    /// From the `operations`-th change from now on every call fails, until [`SimulatedDisk::cut_power`] or
    /// [`SimulatedDisk::kill`].
    pub fn stop_after(&self, operations: u64) {
        let mut world = self.world();
        world.power_cut_at = Some(world.operations + operations);
    }

    /// Whether [`SimulatedDisk::stop_after`] was called, and neither a kill nor a loss of power has come since.
    pub fn stops(&self) -> bool {
        self.world().power_cut_at.is_some()
    }

    /// How many calls changed something so far.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// The next flush of a file whose path contains `name` fails once, and what it should have written is lost though
    /// reads still show it.
    pub fn fail_next_sync(&self, name: &str) {
        self.world().failing_sync = Some(name.to_owned());
    }

    /// The next write to a file whose path contains `name` fails once.
    pub fn fail_next_write(&self, name: &str) {
        self.world().failing_write = Some(name.to_owned());
    }

    /// Sets the size of the disk in bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    /// Makes the disk read-only, or writable again.
    pub fn set_read_only(&self, read_only: bool) {
        self.world().read_only = read_only;
    }

    /// All files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.world().names.keys().cloned().collect()
    }

    /// A file's bytes as reads show them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world();
        world.inodes.get(world.names.get(path)?).map(|inode| inode.visible.clone())
    }

    /// Replaces a file's bytes behind everybody's back, durably.
    pub fn replace(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.world();
        let Some(number) = world.names.get(path).copied() else { return };
        if let Some(inode) = world.inodes.get_mut(&number) {
            bytes.clone_into(&mut inode.visible);
            bytes.clone_into(&mut inode.durable);
            inode.pending.clear();
        }
    }

    /// Removes a file behind everybody's back, durably.
    pub fn lose(&self, path: &Path) {
        let mut world = self.world();
        world.names.remove(path);
        world.durable_names.remove(path);
    }
}

impl World {
    /// Counts a change, or refuses it.
    fn change(&mut self) -> io::Result<()> {
        self.alive()?;
        if self.read_only {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        }
        self.operations += 1;
        self.alive()
    }

    fn alive(&self) -> io::Result<()> {
        match self.power_cut_at {
            Some(at) if self.operations >= at => Err(io::Error::other("the simulated machine is down")),
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|number| self.inodes.get(number))
            .map(|inode| inode.visible.len() as u64)
            .sum()
    }

    fn lose_unflushed(&mut self) {
        let changes = std::mem::take(&mut self.name_changes);
        let kept = self.random.random_range(0..=changes.len());
        for change in changes.into_iter().take(kept) {
            change.apply(&mut self.durable_names);
        }
        self.names.clone_from(&self.durable_names);
        for inode in self.inodes.values_mut() {
            inode.lose_unflushed(&mut self.random);
        }
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link(path, inode) => {
                names.insert(path, inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let (Self::Link(path, _) | Self::Rename(_, path) | Self::Remove(path)) = self;
        path.parent() == Some(dir)
    }
}

impl Inode {
    fn write(&mut self, bytes: &[u8], position: usize) {
        let end = position + bytes.len();
        if self.visible.len() < end {
            self.visible.resize(end, 0);
        }
        self.visible[position..end].copy_from_slice(bytes);
        for sector in position / SECTOR..end.div_ceil(SECTOR) {
            let mut version = [0; SECTOR];
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(self.visible.len());
            version[..to - from].copy_from_slice(&self.visible[from..to]);
            self.pending.entry(sector).or_default().push(version);
        }
    }

    fn persist(&mut self, sector: usize, version: &[u8; SECTOR]) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.durable.len());
        if from < to {
            self.durable[from..to].copy_from_slice(&version[..to - from]);
        }
    }

    fn sync(&mut self) {
        self.durable.resize(self.visible.len(), 0);
        for (sector, versions) in std::mem::take(&mut self.pending) {
            if let Some(newest) = versions.last() {
                self.persist(sector, newest);
            }
        }
    }

    /// Writes some sectors and forgets that the others are dirty.
    fn fail_sync(&mut self, random: &mut StdRng) {
        self.durable.resize(self.visible.len(), 0);
        self.persist_some(random);
    }

    fn persist_some(&mut self, random: &mut StdRng) {
        // Most accidents are unfair: nearly all or nearly nothing arrives.
        let likelihood = [0.0, 0.02, 0.5, 0.98, 1.0][random.random_range(0..5)];
        for (sector, versions) in std::mem::take(&mut self.pending) {
            if random.random_bool(likelihood) {
                self.persist(sector, &versions[random.random_range(0..versions.len())]);
            }
        }
    }

    fn lose_unflushed(&mut self, random: &mut StdRng) {
        if self.visible.len() > self.durable.len() && random.random_bool(0.5) {
            self.durable.resize(self.visible.len(), 0);
        }
        self.persist_some(random);
        self.visible.clone_from(&self.durable);
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;
    type Lock = SimulatedLock;

    fn has_background(&self) -> bool {
        false
    }

    fn random_id(&self) -> u128 {
        self.world().random.random()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimulatedFile> {
        let mut world = self.world();
        world.alive()?;
        let found = world.names.get(path).copied();
        let number = match (found, mode) {
            (Some(number), OpenMode::Read | OpenMode::Write) => number,
            (None, OpenMode::Read | OpenMode::Write) => return Err(io::Error::from(io::ErrorKind::NotFound)),
            // A file made empty is a new one here: its old bytes may come back after a power cut, as they may anywhere.
            (_, OpenMode::Create) => {
                world.change()?;
                let number = world.inodes.len() as u64;
                world.inodes.insert(number, Inode { name: path.to_owned(), ..Inode::default() });
                world.names.insert(path.to_owned(), number);
                world.name_changes.push(NameChange::Link(path.to_owned(), number));
                number
            }
        };
        if mode == OpenMode::Write && world.read_only {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        }
        let generation = world.generation;
        let writable = mode != OpenMode::Read;
        Ok(SimulatedFile { world: Arc::clone(&self.world), inode: number, generation, writable })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        world.alive()?;
        let names = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.world().alive()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.change()?;
        let number = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), number);
        if let Some(inode) = world.inodes.get_mut(&number) {
            to.clone_into(&mut inode.name);
        }
        world.name_changes.push(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.change()?;
        world.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.name_changes.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.change()?;
        let changes = std::mem::take(&mut world.name_changes);
        for change in changes {
            if change.is_in(dir) {
                change.apply(&mut world.durable_names);
            } else {
                world.name_changes.push(change);
            }
        }
        Ok(())
    }

    fn space(&self, _dir: &Path) -> io::Result<DiskSpace> {
        let world = self.world();
        Ok(DiskSpace { available: world.capacity.saturating_sub(world.used()), total: world.capacity })
    }

    fn file_system(&self, _dir: &Path) -> io::Result<FileSystem> {
        Ok(FileSystem { name: "simulated".to_owned(), keeps_promises: true })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<SimulatedLock>> {
        let mut world = self.world();
        world.change()?;
        let generation = world.generation;
        let taken = world.locked.insert(path.to_owned());
        Ok(taken.then(|| SimulatedLock { world: Arc::clone(&self.world), path: path.to_owned(), generation }))
    }

    fn map(&self, _file: &SimulatedFile) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if world.generation == self.generation {
            world.locked.remove(&self.path);
        }
    }
}

impl SimulatedFile {
    fn with<T>(&self, act: impl FnOnce(&mut World, &mut Inode) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.alive()?;
        if world.generation != self.generation {
            return Err(io::Error::other("the simulated process is dead"));
        }
        let mut inode = world.inodes.remove(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let done = act(&mut world, &mut inode);
        world.inodes.insert(self.inode, inode);
        done
    }

    fn change<T>(&self, act: impl FnOnce(&mut World, &mut Inode) -> io::Result<T>) -> io::Result<T> {
        if !self.writable {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        self.with(|world, inode| {
            world.change()?;
            act(world, inode)
        })
    }
}

fn hits(fault: &mut Option<String>, inode: &Inode) -> bool {
    fault.take_if(|name| inode.name.to_string_lossy().contains(name.as_str())).is_some()
}

fn grow(world: &World, inode: &Inode, length: u64) -> io::Result<()> {
    let more = length.saturating_sub(inode.visible.len() as u64);
    let used = world.used() + inode.visible.len() as u64;
    if more > 0 && used + more > world.capacity {
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    Ok(())
}

impl DiskFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        self.with(|_, inode| Ok(inode.visible.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(|_, inode| {
            let from = inode.visible.get(position as usize..).unwrap_or_default();
            let count = from.len().min(buffer.len());
            buffer[..count].copy_from_slice(&from[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.change(|world, inode| {
            if hits(&mut world.failing_write, inode) {
                return Err(io::Error::other("simulated write error"));
            }
            grow(world, inode, position + bytes.len() as u64)?;
            inode.write(bytes, position as usize);
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.change(|world, inode| {
            grow(world, inode, length)?;
            inode.visible.resize(length as usize, 0);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.change(|world, inode| {
            if hits(&mut world.failing_sync, inode) {
                inode.fail_sync(&mut world.random);
                return Err(io::Error::other("simulated flush error"));
            }
            inode.sync();
            Ok(())
        })
    }
}
