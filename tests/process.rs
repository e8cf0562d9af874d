//! Tests of the real broker process: what it may never lose, whatever is killed, unplugged, full or broken under it.
//! Each test ends by itself, cleans up its mounts and prints the seed that repeats it.

#[path = "process/disks.rs"]
mod disks;
