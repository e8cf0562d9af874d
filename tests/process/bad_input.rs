//! Directories that are not what they should be: each is refused with an error that says what to do, nothing of it is
//! changed, and what is only a torn tail is accepted.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rq_core::hash::crc32c;
use rq_proto::reliablequeue::TopicType;
use rq_tests::broker::Broker;
use rq_tests::client::{Client, Incoming, Outgoing};
use rq_tests::disk::{LoopDisk, Overlay};
use rq_tests::requirement::{Requirement, can_run};

use crate::ANY_FILESYSTEM;

const TOPIC: &str = "kept";
const GROUP: &str = "kept-group";
const MESSAGES: u32 = 20;
const ARGUMENTS: [&str; 3] = [ANY_FILESYSTEM, SMALL_SEGMENTS[0], SMALL_SEGMENTS[1]];
const SMALL_SEGMENTS: [&str; 2] = ["--segment", "4MiB"];

/// A data directory with messages in it, of a broker that was killed.
struct Kept {
    home: tempfile::TempDir,
}

impl Kept {
    async fn new() -> Result<Self> {
        let kept = Self { home: tempfile::tempdir()? };
        let mut broker = Broker::start(&kept.data(), &ARGUMENTS).await?;
        let client = Client::new(&broker.endpoint(), "before")?;
        client.create_topic(TOPIC, TopicType::Normal, 1).await?;
        client.create_group(GROUP, false).await?;
        for number in 0..MESSAGES {
            let id = id(number);
            let message =
                Outgoing { topic: TOPIC, id: &id, message_group: None, body: format!("body of {id}").into() };
            let outcome = client.send(&message).await;
            ensure!(outcome.is_ok(), "{id} was not sent: {outcome:?}");
        }
        broker.kill()?;
        broker.contented();
        Ok(kept)
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The newest segment that holds messages, with its bytes.
    fn segment(&self) -> Result<(PathBuf, Vec<u8>)> {
        for entry in std::fs::read_dir(self.data().join("log"))? {
            let path = entry?.path();
            let bytes = std::fs::read(&path)?;
            if path.extension().is_some_and(|kind| kind == "seg") && position(&bytes, &id(0)).is_some() {
                return Ok((path, bytes));
            }
        }
        anyhow::bail!("no segment holds the messages")
    }

    /// Starts the broker and takes all messages.
    async fn all_are_there(&self) -> Result<()> {
        let broker = Broker::start(&self.data(), &ARGUMENTS).await?;
        let client = Client::new(&broker.endpoint(), "after")?;
        let mut missing: std::collections::BTreeSet<String> = (0..MESSAGES).map(id).collect();
        let (invisible, wait) = (Duration::from_secs(20), Duration::from_secs(5));
        while !missing.is_empty() {
            let what =
                Incoming { topic: TOPIC, group: GROUP, batch: 32, invisible, wait, ..Incoming::default() };
            let (outcome, received) = client.receive(what).await;
            ensure!(!received.is_empty(), "{missing:?} are lost ({outcome:?})");
            for message in received {
                ensure!(message.body == format!("body of {}", message.id), "{} has another body", message.id);
                missing.remove(&message.id);
            }
        }
        broker.finish().await
    }

    /// The broker refuses the directory, says `why`, and changes no segment.
    async fn is_refused(&self, why: &[&str]) -> Result<()> {
        let before = self.segment().ok();
        let log = Broker::refused(&self.data(), &ARGUMENTS).await?;
        says(&log, why)?;
        ensure!(self.segment().ok() == before, "the refused directory was changed");
        Ok(())
    }
}

fn id(number: u32) -> String {
    format!("kept-message-{number:04}")
}

fn position(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}

fn says(log: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(log.to_lowercase().contains(&word.to_lowercase()), "the error does not say {word:?}:\n{log}");
    }
    Ok(())
}

#[tokio::test]
async fn an_undamaged_directory_is_accepted() -> Result<()> {
    Kept::new().await?.all_are_there().await
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_nothing_is_lost() -> Result<()> {
    let kept = Kept::new().await?;
    let (path, bytes) = kept.segment()?;
    let end = bytes.iter().rposition(|byte| *byte != 0).context("an empty segment")?;
    let torn = (end + 1).next_multiple_of(8);
    // The beginning of a frame as it may be left behind: the first frame's header, and noise instead of its payload.
    let mut tail = bytes.get(..64).context("a short segment")?.to_vec();
    tail.extend((0..200_u8).map(|n| n ^ 0x5A | 1));
    std::fs::File::options().write(true).open(path)?.write_all_at(&tail, torn as u64)?;
    kept.all_are_there().await
}

#[tokio::test]
async fn a_flipped_bit_below_the_commit_point_is_refused() -> Result<()> {
    let kept = Kept::new().await?;
    let (path, mut bytes) = kept.segment()?;
    let at = position(&bytes, &id(MESSAGES / 2)).context("the message is not there")?;
    bytes[at] ^= 1;
    std::fs::File::options().write(true).open(&path)?.write_all_at(&bytes[at..=at], at as u64)?;
    kept.is_refused(&["damaged", "restore"]).await?;
    bytes[at] ^= 1;
    std::fs::File::options().write(true).open(path)?.write_all_at(&bytes[at..=at], at as u64)?;
    kept.all_are_there().await
}

#[tokio::test]
async fn a_truncated_segment_is_refused() -> Result<()> {
    let kept = Kept::new().await?;
    let (path, bytes) = kept.segment()?;
    let at = position(&bytes, &id(MESSAGES / 2)).context("the message is not there")?;
    std::fs::File::options().write(true).open(path)?.set_len(at as u64)?;
    kept.is_refused(&["damaged"]).await
}

#[tokio::test]
async fn a_missing_segment_is_refused() -> Result<()> {
    let kept = Kept::new().await?;
    std::fs::remove_file(kept.segment()?.0)?;
    let log = Broker::refused(&kept.data(), &ARGUMENTS).await?;
    says(&log, &["damaged", "missing"])
}

#[tokio::test]
async fn the_directory_of_another_cluster_is_refused() -> Result<()> {
    let kept = Kept::new().await?;
    let mut arguments = ARGUMENTS.to_vec();
    arguments.extend(["--cluster", "another"]);
    let log = Broker::refused(&kept.data(), &arguments).await?;
    says(&log, &["belongs to cluster", "another"])?;
    kept.all_are_there().await
}

#[tokio::test]
async fn the_directory_of_a_newer_version_is_refused() -> Result<()> {
    let kept = Kept::new().await?;
    let path = kept.data().join("IDENTITY");
    let original = std::fs::read(&path)?;
    // Magic, then the version; the last four bytes are the checksum of all before.
    let mut newer = original.clone();
    newer[4..8].copy_from_slice(&9_u32.to_le_bytes());
    let end = newer.len() - 4;
    let checksum = crc32c(&newer[..end]).to_le_bytes();
    newer[end..].copy_from_slice(&checksum);
    std::fs::write(&path, newer)?;
    kept.is_refused(&["format version 9", "use the release that wrote it"]).await?;
    std::fs::write(&path, original)?;
    kept.all_are_there().await
}

#[tokio::test]
async fn a_directory_without_its_identity_is_refused() -> Result<()> {
    let kept = Kept::new().await?;
    std::fs::remove_file(kept.data().join("IDENTITY"))?;
    kept.is_refused(&["IDENTITY"]).await
}

#[tokio::test]
async fn a_second_broker_on_one_directory_is_refused() -> Result<()> {
    let kept = Kept::new().await?;
    let first = Broker::start(&kept.data(), &ARGUMENTS).await?;
    let log = Broker::refused(&kept.data(), &ARGUMENTS).await?;
    says(&log, &["in use by another process"])?;
    ensure!(first.is_ready(), "the first broker was disturbed");
    first.finish().await?;
    kept.all_are_there().await
}

/// Refused by its name with nothing left behind, and accepted with the flag.
async fn is_unsafe(directory: &Path, file_system: &str) -> Result<()> {
    let data = directory.join("data");
    let log = Broker::refused(&data, &SMALL_SEGMENTS).await?;
    says(&log, &[file_system, "ext4 or xfs", "--allow-unsafe-filesystem"])?;
    ensure!(!data.exists(), "the refused directory was made");
    std::fs::create_dir(&data)?;
    Broker::refused(&data, &SMALL_SEGMENTS).await?;
    ensure!(std::fs::read_dir(&data)?.next().is_none(), "something was left in the refused directory");
    Broker::start(&data, &ARGUMENTS).await?.finish().await
}

#[tokio::test]
async fn memory_is_refused_as_a_disk_unless_allowed() -> Result<()> {
    if !can_run("data in memory", &[Requirement::SharedMemory])? {
        return Ok(());
    }
    let home = tempfile::tempdir_in("/dev/shm")?;
    is_unsafe(home.path(), "tmpfs").await
}

#[tokio::test]
async fn the_layer_of_a_container_is_refused_as_a_disk_unless_allowed() -> Result<()> {
    if !can_run("data on an overlay", &[Requirement::Root, Requirement::LoopDevice, Requirement::Overlay])? {
        return Ok(());
    }
    let overlay = Overlay::new()?;
    is_unsafe(&overlay.path(), "overlay").await
}

#[tokio::test]
async fn a_read_only_disk_is_refused() -> Result<()> {
    if !can_run("read-only disk", &[Requirement::Root, Requirement::LoopDevice])? {
        return Ok(());
    }
    let disk = LoopDisk::new(64)?;
    let data = disk.path().join("data");
    Broker::start(&data, &SMALL_SEGMENTS).await?.finish().await?;
    disk.set_read_only(true)?;
    let log = Broker::refused(&data, &SMALL_SEGMENTS).await?;
    says(&log, &["read-only"])?;
    disk.set_read_only(false)?;
    Broker::start(&data, &SMALL_SEGMENTS).await?.finish().await
}
