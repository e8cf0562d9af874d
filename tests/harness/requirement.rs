//! What a test needs of the machine. A test that cannot run says so loudly, and fails where `CI=true`: it must
//! never look like one that passed.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::network::Network;

/// Something that not every machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Requirement {
    /// The rights of root: mounts and tracing.
    Root,
    /// Loop devices and `mkfs.ext4`.
    LoopDevice,
    /// `strace` on the path.
    Strace,
    /// A tmpfs on `/dev/shm`.
    SharedMemory,
    /// Mounts of overlayfs.
    Overlay,
    /// Network namespaces with a bridge, and rules that drop packets.
    Namespaces,
}

impl Requirement {
    fn is_met(self) -> bool {
        match self {
            Requirement::Root => rustix::process::geteuid().is_root(),
            Requirement::LoopDevice => {
                std::path::Path::new("/dev/loop-control").exists()
                    && runs("mkfs.ext4", "-V")
                    && runs("mount", "-V")
            }
            Requirement::Strace => runs("strace", "-V"),
            Requirement::SharedMemory => lists("/proc/mounts", " /dev/shm tmpfs "),
            Requirement::Overlay => lists("/proc/filesystems", "\toverlay"),
            Requirement::Namespaces => {
                runs("ip", "-V") && runs("iptables", "-V") && runs("nsenter", "-V") && Network::new(0).is_ok()
            }
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Requirement::Root => "root: run the tests as root",
            Requirement::LoopDevice => {
                "a loop device: install e2fsprogs and mount, and give access to /dev/loop-control"
            }
            Requirement::Strace => "strace: install the package strace",
            Requirement::SharedMemory => "a tmpfs on /dev/shm: mount one",
            Requirement::Overlay => "overlayfs: load the kernel module overlay",
            Requirement::Namespaces => {
                "network namespaces: install iproute2, iptables and util-linux, and load the kernel module bridge"
            }
        }
    }
}

fn lists(file: &str, words: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.contains(words)))
}

fn runs(program: &str, argument: &str) -> bool {
    let status = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// True if all of `needs` are there. Otherwise says loudly what is missing, and is an error where `CI=true`.
pub fn can_run(test: &str, needs: &[Requirement]) -> Result<bool> {
    let missing: Vec<&str> = needs.iter().filter(|need| !need.is_met()).map(|need| need.advice()).collect();
    if missing.is_empty() {
        return Ok(true);
    }
    let missing = missing.join("; ");
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        bail!("{test} cannot run here and CI=true asks for every test: it needs {missing}");
    }
    loudly(&format!("NOT RUN: {test} needs {missing}"));
    Ok(false)
}

/// Says what was left out past the capture of the test runner, which hides what a passing test prints.
pub fn loudly(what: &str) {
    let _ = writeln!(std::io::stderr(), "\n!!!! {what} !!!!\n");
}
