//! NATS JetStream: three servers in a cluster, each of which flushes every write. An acknowledged message is flushed on two
//! of them.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::servers::Servers;
use crate::load::Target;

/// Their names.
const NAMES: [&str; 3] = ["n0", "n1", "n2"];
/// Ports, within those that are theirs: from here on one for each server.
const CLIENT_PORT: u16 = 0;
const ROUTE_PORT: u16 = 10;

/// Starts all three; their addresses, and their processes. The load generator makes the stream and finds its leader.
pub(super) async fn start(disk: &Path, installed: &Path) -> Result<(Servers, Target)> {
    let mut servers = Servers::none(disk, "nats")?;
    let program = installed.join("nats/nats-server");
    if !program.exists() {
        bail!("{} is missing: run `make bench-peers`, which installs it", program.display());
    }
    let address = |port: u16| format!("127.0.0.1:{}", servers.port(port));
    let routes = [0, 1, 2].map(|number| format!("nats://{}", address(ROUTE_PORT + number))).join(", ");
    let clients = [0, 1, 2].map(|number| address(CLIENT_PORT + number));
    for (number, name) in (0..).zip(NAMES) {
        let settings = format!(
            "server_name: {name}\nlisten: \"{}\"\n\
             jetstream {{ store_dir: \"{}\", sync_interval: always }}\n\
             cluster {{ name: peers, listen: \"127.0.0.1:{}\", routes: [{routes}] }}\n",
            clients[usize::from(number)],
            servers.home().join(name).display(),
            servers.port(ROUTE_PORT + number),
        );
        let mut command = Command::new(&program);
        command.arg("-c").arg(servers.configure(&format!("{name}.conf"), &settings)?);
        servers.start(name, command)?;
    }
    for number in 0..3 {
        servers.listening(servers.port(CLIENT_PORT + number)).await?;
    }
    let target = Target { address: clients.join(","), pids: servers.pids() };
    Ok((servers, target))
}
