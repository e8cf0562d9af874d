//! Notices that the data directory was removed or replaced while the broker runs: what it flushes then lies in files that
//! no restart finds, so a master that went on would be the only one to hold what it acknowledges.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Completes when what lies at `dir` is not what lay there when this was called, and tells what is missing.
pub(crate) async fn gone(dir: &Path) -> PathBuf {
    gone_by_looks(dir, LOOK_EVERY).await
}

async fn gone_by_looks(dir: &Path, every: Duration) -> PathBuf {
    let marks = rq_log::landmarks(dir).map(|path| (inode(&path).ok(), path));
    let segments = dir.join("log");
    loop {
        tokio::time::sleep(every).await;
        let missing = marks.iter().find(|(before, path)| before.is_some() && is_another(path, *before));
        if let Some((_, path)) = missing {
            return path.clone();
        }
        if std::fs::read_dir(&segments).is_ok_and(|mut files| files.next().is_none()) {
            return segments;
        }
    }
}

/// Not for a disk that fails to answer: the log finds that out by itself.
fn is_another(path: &Path, before: Option<(u64, u64)>) -> bool {
    match inode(path) {
        Ok(now) => Some(now) != before,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    async fn noticed(remove: impl FnOnce(&Path)) -> PathBuf {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data");
        drop(rq_log::open(rq_log::StdDisk, &dir, options()).unwrap().finish().unwrap());
        let every = Duration::from_millis(5);
        let looking = gone_by_looks(&dir, every);
        tokio::pin!(looking);
        assert!(tokio::time::timeout(every * 10, &mut looking).await.is_err(), "it is there");
        remove(&dir);
        looking.await.strip_prefix(home.path()).unwrap().to_owned()
    }

    fn options() -> rq_log::Options {
        rq_log::Options {
            segment_bytes: 1 << 20,
            allow_unsafe_filesystem: true,
            ..rq_log::Options::default()
        }
    }

    #[tokio::test]
    async fn a_data_directory_that_was_moved_replaced_or_emptied_is_noticed() {
        let moved = noticed(|dir| std::fs::rename(dir, dir.with_extension("away")).unwrap()).await;
        assert_eq!(moved, Path::new("data/IDENTITY"));
        let emptied = noticed(|dir| {
            for entry in std::fs::read_dir(dir.join("log")).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        });
        assert_eq!(emptied.await, Path::new("data/log"));
        let replaced = noticed(|dir| {
            std::fs::rename(dir.join("log"), dir.join("away")).unwrap();
            std::fs::create_dir(dir.join("log")).unwrap();
        });
        assert_eq!(replaced.await, Path::new("data/log"));
    }
}
