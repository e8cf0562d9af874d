//! Tests of the real broker process: what it may never lose, whatever is killed, unplugged, full or broken under it.
//! Each test ends by itself, cleans up its mounts and prints the seed that repeats it.

#[path = "process/bad_input.rs"]
mod bad_input;
#[path = "process/check_back.rs"]
mod check_back;
#[path = "process/crash.rs"]
mod crash;
#[path = "process/disks.rs"]
mod disks;
#[path = "process/failing_disk.rs"]
mod failing_disk;
#[path = "process/failover.rs"]
mod failover;
#[path = "process/full_disk.rs"]
mod full_disk;
#[path = "process/namespaces.rs"]
mod namespaces;
#[path = "process/no_segment.rs"]
mod no_segment;
#[path = "process/official_transactions.rs"]
mod official_transactions;
#[path = "process/power_loss.rs"]
mod power_loss;
#[path = "process/trace.rs"]
mod trace;

/// For data in a temporary directory, on whatever file system that is: a killed process loses nothing on any.
const ANY_FILESYSTEM: &str = "--allow-unsafe-filesystem";

/// Everything happens often: segments roll, checkpoints are written, consumed segments are dropped.
const RESTLESS: [&str; 8] =
    ["--segment", "4MiB", "--checkpoint-size", "8MiB", "--checkpoint-interval", "2s", "--keep", "5s"];

/// The same for brokers that others start, as their environment. Producers are asked as soon and as often as a user may have it.
const RESTLESS_REPLICAS: [(&str, &str); 7] = [
    ("RQ_SEGMENT", "4MiB"),
    ("RQ_CHECKPOINT_SIZE", "8MiB"),
    ("RQ_CHECKPOINT_INTERVAL", "2s"),
    ("RQ_KEEP", "5s"),
    ("RQ_TRANSACTION_IMMUNITY", "500ms"),
    ("RQ_TRANSACTION_CHECK_INTERVAL", "1s"),
    ("RQ_LOG", "info"),
];

/// [`RESTLESS`], on [`ANY_FILESYSTEM`].
const RESTLESS_ANYWHERE: [&str; 9] = [
    ANY_FILESYSTEM,
    RESTLESS[0],
    RESTLESS[1],
    RESTLESS[2],
    RESTLESS[3],
    RESTLESS[4],
    RESTLESS[5],
    RESTLESS[6],
    RESTLESS[7],
];

/// Until a broker that was brought back serves its clients again.
const BACK_DEADLINE: std::time::Duration = std::time::Duration::from_mins(1);
