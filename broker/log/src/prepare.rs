//! Segments written with zeroes before the log needs them, so that a flush of the log changes no metadata.
//!
//! A thread works ahead of the log; a segment gets its name only when its zeroes and the name are durable. A full disk
//! here is no failure of the log: the thread tries again, and the log says "no space" meanwhile.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{DiskError, WriteError};
use crate::layout::{Layout, unfinished};
use crate::shared::{Segment, lock};

/// Zeroes written at a time.
const CHUNK: u64 = 1 << 20;
/// Zeroes flushed at a time.
const FLUSH: u64 = 16 << 20;
/// Pause after a chunk unless the log is about to need it: keeps the disk free for the log's flushes.
const PAUSE: Duration = Duration::from_millis(8);
/// How soon after a failure preparing is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What unwritten parts of the log consist of.
pub(crate) static ZEROES: [u8; CHUNK as usize] = [0; CHUNK as usize];

/// Writes zeroes from `from` to `to`; `pause` is called after each chunk and stops the work by saying `false`.
pub(crate) fn write_zeroes<F: DiskFile>(
    file: &F,
    from: u64,
    to: u64,
    mut pause: impl FnMut(u64) -> bool,
) -> io::Result<bool> {
    let (mut at, mut flushed) = (from, from);
    while at < to {
        let len = CHUNK.min(to - at);
        file.write_at(&ZEROES[..len as usize], at)?;
        at += len;
        if at - flushed >= FLUSH || at == to {
            file.sync()?;
            flushed = at;
        }
        if !pause(at) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the thread needs to make a segment.
pub(crate) struct Workshop<D: Disk> {
    pub(crate) disk: D,
    pub(crate) layout: Layout,
    pub(crate) segment_bytes: u64,
}

impl<D: Disk> Workshop<D> {
    /// Makes one segment; `None` if `pause` stopped the work.
    fn make(&self, base: u64, pause: impl FnMut(u64) -> bool) -> Result<Option<Arc<Segment<D>>>, DiskError> {
        let path = self.layout.segment(base);
        let tmp = unfinished(&path);
        let made = self.make_at(&tmp, &path, pause);
        if !matches!(made, Ok(Some(_))) {
            // Frees what it took; if that fails too, the next start removes it.
            let _ = self.disk.remove(&tmp);
        }
        Ok(made?.map(|file| Arc::new(Segment::new(base, path, file))))
    }

    fn make_at(
        &self,
        tmp: &Path,
        path: &Path,
        pause: impl FnMut(u64) -> bool,
    ) -> Result<Option<D::File>, DiskError> {
        let file = self.disk.open(tmp, OpenMode::Create).map_err(DiskError::at("create", tmp))?;
        file.allocate(self.segment_bytes).map_err(DiskError::at("reserve room for", tmp))?;
        if !write_zeroes(&file, 0, self.segment_bytes, pause).map_err(DiskError::at("prepare", tmp))? {
            return Ok(None);
        }
        self.disk.rename(tmp, path).map_err(DiskError::at("rename", tmp))?;
        self.disk.sync_dir(&self.layout.log).map_err(DiskError::at("flush", &self.layout.log))?;
        Ok(Some(file))
    }
}

struct Stock<D: Disk> {
    ready: VecDeque<Arc<Segment<D>>>,
    next_base: u64,
    /// Whether the next one is being written: its room is taken already.
    making: bool,
    /// Why there are no more, since the last attempt.
    failure: Option<Failure>,
    stop: bool,
}

/// A failed attempt, kept for who asks.
struct Failure {
    op: &'static str,
    path: PathBuf,
    kind: io::ErrorKind,
    code: Option<i32>,
}

impl Failure {
    fn of(error: &DiskError) -> Self {
        Self {
            op: error.op,
            path: error.path.clone(),
            kind: error.source.kind(),
            code: error.source.raw_os_error(),
        }
    }

    fn to_write_error(&self) -> WriteError {
        let source = self.code.map_or_else(|| io::Error::from(self.kind), io::Error::from_raw_os_error);
        let error = DiskError { op: self.op, path: self.path.clone(), source };
        if error.is_no_space() { WriteError::NoSpace } else { WriteError::NoSegment(error) }
    }
}

struct Bench<D: Disk> {
    workshop: Workshop<D>,
    ahead: usize,
    stock: Mutex<Stock<D>>,
    changed: Condvar,
    /// How far the active segment of a fresh log has been written with zeroes; the log stays below it.
    zeroed: AtomicU64,
    /// Whether the log will need the next segment soon, or waits already.
    hurry: AtomicBool,
}

/// The stock of prepared segments, and the thread that fills it up.
pub(crate) struct Preparer<D: Disk> {
    bench: Arc<Bench<D>>,
    thread: Option<JoinHandle<()>>,
}

/// The active segment of a fresh log, of which only the first part was written with zeroes yet.
pub(crate) struct Unzeroed<D: Disk> {
    pub(crate) segment: Arc<Segment<D>>,
    pub(crate) from: u64,
}

impl<D: Disk> Preparer<D> {
    /// Starts with the segments that are prepared already; the next is to have `next_base`.
    pub(crate) fn start(
        workshop: Workshop<D>,
        ahead: usize,
        ready: VecDeque<Arc<Segment<D>>>,
        next_base: u64,
        unzeroed: Option<Unzeroed<D>>,
    ) -> io::Result<Self> {
        let background = workshop.disk.has_background();
        let zeroed = unzeroed.as_ref().map_or(u64::MAX, |rest| rest.segment.base + rest.from);
        let bench = Arc::new(Bench {
            workshop,
            ahead,
            stock: Mutex::new(Stock { ready, next_base, making: false, failure: None, stop: false }),
            changed: Condvar::new(),
            zeroed: AtomicU64::new(zeroed),
            hurry: AtomicBool::new(false),
        });
        let thread = if background {
            let bench = Arc::clone(&bench);
            let work = move || {
                if let Some(rest) = unzeroed {
                    bench.finish_zeroing(&rest);
                }
                bench.keep_stock();
            };
            Some(std::thread::Builder::new().name("log-prepare".to_owned()).spawn(work)?)
        } else {
            None
        };
        Ok(Self { bench, thread })
    }

    /// Takes the segment with this base, waiting while it is being made. Gives up at once if the last attempt to make
    /// it failed.
    pub(crate) fn take(&self, base: u64) -> Result<Arc<Segment<D>>, WriteError> {
        let mut stock = lock(&self.bench.stock);
        loop {
            if let Some(segment) = stock.ready.pop_front_if(|segment| segment.base == base) {
                self.bench.hurry.store(false, Ordering::Relaxed);
                self.bench.changed.notify_all();
                return Ok(segment);
            }
            if self.thread.is_none() {
                self.bench.make_now(&mut stock).map_err(|error| Failure::of(&error).to_write_error())?;
            } else if let Some(failure) = &stock.failure {
                return Err(failure.to_write_error());
            } else {
                self.hurry();
                stock = self.bench.changed.wait(stock).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Waits until the active segment is written with zeroes up to `end`.
    pub(crate) fn wait_zeroed(&self, end: u64) {
        if self.bench.zeroed.load(Ordering::Acquire) >= end {
            return;
        }
        self.hurry();
        let mut stock = lock(&self.bench.stock);
        while self.bench.zeroed.load(Ordering::Acquire) < end {
            stock = self.bench.changed.wait(stock).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that the log will need the next segment soon.
    pub(crate) fn hurry(&self) {
        self.bench.hurry.store(true, Ordering::Relaxed);
    }

    /// How many segments are ready or have their room taken.
    pub(crate) fn stocked(&self) -> usize {
        let stock = lock(&self.bench.stock);
        stock.ready.len() + usize::from(stock.making)
    }

    /// Tries again soon: there may be room now.
    pub(crate) fn nudge(&self) {
        self.bench.changed.notify_all();
    }
}

impl<D: Disk> Drop for Preparer<D> {
    fn drop(&mut self) {
        lock(&self.bench.stock).stop = true;
        self.bench.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has logged whatever it failed at.
            let _ = thread.join();
        }
    }
}

impl<D: Disk> Bench<D> {
    fn finish_zeroing(&self, rest: &Unzeroed<D>) {
        let Segment { base, file, path, .. } = rest.segment.as_ref();
        let zeroed = write_zeroes(file, rest.from, self.workshop.segment_bytes, |at| {
            let stock = lock(&self.stock);
            self.zeroed.store(base + at, Ordering::Release);
            self.changed.notify_all();
            self.pause(stock)
        });
        if let Err(error) = zeroed {
            // Room was reserved, so the log can write there all the same; what is broken it will find out itself.
            tracing::warn!(file = %path.display(), %error, "the first segment is not prepared to its end");
        }
        let _stock = lock(&self.stock);
        self.zeroed.store(u64::MAX, Ordering::Release);
        self.changed.notify_all();
    }

    /// Makes one segment more, holding the stock.
    fn make_now(&self, stock: &mut Stock<D>) -> Result<(), DiskError> {
        if let Some(segment) = self.workshop.make(stock.next_base, |_| true)? {
            stock.ready.push_back(segment);
            stock.next_base += self.workshop.segment_bytes;
        }
        Ok(())
    }

    fn keep_stock(&self) {
        let mut stock = lock(&self.stock);
        while !stock.stop {
            if stock.ready.len() >= self.ahead {
                stock = self.changed.wait(stock).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let base = stock.next_base;
            drop(stock);
            let made = self.workshop.make(base, |_| {
                let mut stock = lock(&self.stock);
                stock.making = true;
                self.pause(stock)
            });
            stock = lock(&self.stock);
            stock.making = false;
            match made {
                Ok(Some(segment)) => {
                    stock.ready.push_back(segment);
                    stock.next_base += self.workshop.segment_bytes;
                    stock.failure = None;
                }
                Ok(None) => {}
                Err(error) => {
                    if stock.failure.is_none() {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "cannot prepare a segment, trying on"
                        );
                    }
                    stock.failure = Some(Failure::of(&error));
                    self.changed.notify_all();
                    stock = self.changed.wait_timeout(stock, RETRY).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
            self.changed.notify_all();
        }
    }

    /// Between two chunks: slows down while there is no hurry; `false` ends the work.
    fn pause(&self, stock: MutexGuard<'_, Stock<D>>) -> bool {
        if stock.stop || (stock.ready.is_empty() && self.hurry.load(Ordering::Relaxed)) {
            return !stock.stop;
        }
        let (stock, _) = self.changed.wait_timeout(stock, PAUSE).unwrap_or_else(PoisonError::into_inner);
        !stock.stop
    }
}
